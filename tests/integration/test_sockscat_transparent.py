"""sockscat transparent, with a scripted server that forwards by itself (tests/lib/transparent_server.py)."""

import hashlib
import socket
import time

import pytest

import cat
import socks
import udp
from targets import pattern
from transparent_server import TCP, UDP, TransparentServer


@pytest.fixture
def serve(sockets):
    """Makes servers: serve(manner=2)"""
    return lambda **options: sockets.keep(TransparentServer(**options))


@pytest.fixture
def server(serve):
    return serve()


def words(server, *arguments):
    return cat.words(server.address, "transparent", *arguments)


def free_port(kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@pytest.fixture
def target_udp(sockets):
    return sockets.keep(udp.udp_socket())


# ------------------------------------------------------------------------------------------------- TCP

@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_stream_comes_from_the_announced_source(serve, sockets, host):
    server = serve(host=host)
    echo = sockets.echo(host)
    octets = pattern(5_000_000)
    code, output, error = cat.run(words(server, *echo.address), octets)
    assert code == cat.DONE and error.startswith(f"sockscat: carried by {'[::1]' if ':' in host else host}:")
    assert hashlib.sha256(output).digest() == hashlib.sha256(octets).digest()
    request, = server.requests
    assert (request.dest, request.protocol) == (echo.address, TCP)
    assert request.source[0] in ("0.0.0.0", "::") and request.source[1] != 0
    assert server.strangers == 0


def test_what_is_announced_and_bound_may_be_chosen(server, sockets):
    port = free_port()
    echo = sockets.echo()
    arguments = ["--ptcl", "tcp", "--source", f"127.0.0.1:{port}", *echo.address]
    assert cat.run(words(server, *arguments), b"hello")[:2] == (cat.DONE, b"hello")
    assert server.requests[0].source == ("127.0.0.1", port) and server.strangers == 0


def test_a_source_port_may_be_left_to_be_learned(server, sockets):
    arguments = ["--source", "0.0.0.0:0", *sockets.echo().address]
    assert cat.run(words(server, *arguments), b"hello")[:2] == (cat.DONE, b"hello")
    assert server.requests[0].source == ("0.0.0.0", 0)


def test_names_are_carried_as_names(server, sockets):
    port = free_port()
    echo = sockets.echo()
    arguments = ["--source", f"localhost:{port}", "localhost", echo.address[1]]
    running = sockets.keep(cat.Cat(*words(server, *arguments, "--timeout", 5)))
    running.line()
    running.end()
    running.wait()
    assert server.requests[0].source == ("localhost", port)
    assert server.requests[0].dest == ("localhost", echo.address[1])


def test_the_proxys_own_address_stands_for_a_zero_one(serve, sockets):
    server = serve(bound="0.0.0.0")
    running = sockets.keep(cat.Cat(*words(server, "--print", *sockets.echo().address)))
    assert running.address()[0] == "127.0.0.1"
    running.say(b"hello")
    assert running.hear(5) == b"hello"


def test_half_closes_are_passed_on_both_ways(serve, sockets, target):
    server = serve(single=False)
    running = sockets.keep(cat.Cat(*words(server, *target.getsockname())))
    running.say(b"question")
    running.end()
    sock = sockets.accept(target)
    assert socks.read_all(sock) == b"question"
    sock.sendall(b"answer")
    sock.close()
    code, output, _ = running.wait()
    assert (code, output) == (cat.DONE, b"answer")


def test_a_source_that_is_not_ours_is_told(server, sockets):
    code, _, error = cat.run(words(server, "--source", "192.0.2.1:5000", *sockets.closed_port()))
    assert code == cat.FAILED and "192.0.2.1:5000" in error
    assert server.requests == []


def test_a_bound_address_of_another_family_is_told(serve, sockets):
    code, _, error = cat.run(words(serve(bound="::1"), *sockets.closed_port()))
    assert code == cat.FAILED and "family" in error


def test_an_association_that_ends_takes_its_stream_along(serve, sockets, target):
    running = sockets.keep(cat.Cat(*words(serve(manner="end"), *target.getsockname())))
    running.say(b"x")
    began = time.monotonic()
    code, _, error = running.wait()
    assert code == cat.FAILED and "the proxy ended the association" in error
    assert time.monotonic() - began < 20


# ------------------------------------------------------------------------------------------- refusals

@pytest.mark.parametrize("code, sentence", [
    (1, "general failure"), (2, "not allowed by ruleset"), (7, "command not supported"),
    (9, "protocol not supported")])
def test_a_refusal_is_told(serve, sockets, code, sentence):
    ended, output, error = cat.run(words(serve(manner=code), *sockets.closed_port()))
    assert (ended, output) == (cat.FAILED, b"")
    assert f"{sentence} (REP {code})" in error


def test_a_server_that_is_no_proxy_is_told(serve, sockets):
    code, _, error = cat.run(words(serve(manner="http"), *sockets.closed_port()))
    assert code == cat.FAILED and "does not speak this version of SOCKS" in error
    code, _, error = cat.run(words(serve(manner="silent"), "--timeout", 1, *sockets.closed_port()))
    assert code == cat.FAILED and "did not answer" in error


def test_a_login(serve, sockets):
    server = serve(users={"alice": "secret"})
    echo = sockets.echo()
    arguments = words(server, "--user", "alice", *echo.address)
    assert cat.run(arguments, b"hello", SOCKSCAT_PASSWORD="secret")[:2] == (cat.DONE, b"hello")
    assert server.requests[0].user == "alice"
    code, _, error = cat.run(arguments, SOCKSCAT_PASSWORD="wrong")
    assert code == cat.FAILED and "user name and password" in error


# ------------------------------------------------------------------------------------------------- UDP

def test_datagrams_go_without_a_header(server, sockets, target_udp):
    running = sockets.keep(cat.Cat(*words(server, "--ptcl", "udp", "--line", *target_udp.getsockname())))
    running.say(b"one\ntwo\n")
    assert target_udp.recv(65536) == b"one"
    octets, sender = target_udp.recvfrom(65536)
    assert octets == b"two"
    target_udp.sendto(b"answer", sender)
    running.end()
    assert running.wait()[:2] == (cat.DONE, b"answer\n")
    request, = server.requests
    assert (request.dest, request.protocol) == (target_udp.getsockname(), UDP)
    assert server.strangers == 0


def test_datagrams_come_from_the_source_that_was_chosen(server, target_udp):
    port = free_port(socket.SOCK_DGRAM)
    arguments = ["--ptcl", "17", "--source", f"127.0.0.1:{port}", *target_udp.getsockname()]
    assert cat.run(words(server, *arguments), b"hello")[0] == cat.DONE
    assert target_udp.recv(65536) == b"hello"
    assert server.requests[0].source == ("127.0.0.1", port) and server.strangers == 0


def test_the_end_of_the_association_ends_datagrams(serve, sockets, target_udp):
    server = serve(manner="end")
    running = sockets.keep(cat.Cat(*words(server, "--ptcl", "udp", *target_udp.getsockname())))
    running.say(b"x")
    code, _, error = running.wait()
    assert code == cat.FAILED and "the proxy ended the association" in error


# --------------------------------------------------------------------------------------------- --listen

def test_a_local_tcp_port_is_carried_one_association_per_connection(server, sockets):
    echo = sockets.echo()
    running = sockets.keep(cat.Cat(*words(server, "--listen", "127.0.0.1:0", "--print", *echo.address)))
    local = running.address()
    clients = [sockets.keep(socks.dial(local)) for _ in range(8)]
    for number, client in enumerate(clients):
        client.sendall(b"number %d" % number)
    for number, client in reversed(list(enumerate(clients))):
        client.shutdown(socket.SHUT_WR)
        assert socks.read_all(client) == b"number %d" % number
    assert len({r.source[1] for r in server.requests}) == len(clients)


def test_a_local_udp_port_is_carried_one_association_per_user(server, sockets, target_udp):
    running = sockets.keep(cat.Cat(*words(server, "--ptcl", "udp", "--listen", "127.0.0.1:0", "--print",
                                          *target_udp.getsockname())))
    local = running.address()
    users, relays = [sockets.keep(udp.udp_socket()) for _ in range(4)], []
    for number, user in enumerate(users):
        user.connect(local)
        user.send(b"question %d" % number)
        octets, relay = target_udp.recvfrom(65536)
        assert octets == b"question %d" % number
        relays.append(relay)
    for number, relay in reversed(list(enumerate(relays))):
        target_udp.sendto(b"answer %d" % number, relay)
        assert users[number].recv(65536) == b"answer %d" % number
    assert len(server.requests) == len(users) and server.strangers == 0


# ----------------------------------------------------------------------------------------------- --hold

def test_an_association_is_held_for_another_program_to_use(server, sockets):
    port = free_port()
    echo = sockets.echo()
    running = sockets.keep(cat.Cat(*words(server, "--hold", "--print", "--source", f"127.0.0.1:{port}",
                                          *echo.address)))
    bound = running.address()
    with socket.create_connection(bound, 30, ("127.0.0.1", port)) as sock:
        sock.sendall(b"hello")
        assert socks.read_exactly(sock, 5) == b"hello"
        running.end()
        assert running.wait()[0] == cat.DONE


@pytest.mark.parametrize("name, number", [("sctp", 132), ("dccp", 33), ("47", 47)])
def test_of_what_it_cannot_send_it_holds_the_association(server, sockets, name, number):
    running = sockets.keep(cat.Cat(*words(server, "--ptcl", name, "192.0.2.7", 0)))
    assert running.line() == "sockscat: carried by 127.0.0.1:9"
    assert server.requests[0].protocol == number
    assert server.requests[0].source == ("0.0.0.0", 0)
    running.end()
    assert running.wait()[0] == cat.DONE


def test_a_held_association_that_ends_is_a_failure(server, sockets):
    running = sockets.keep(cat.Cat(*words(server, "--hold", *sockets.closed_port())))
    running.line()
    server.close()
    code, _, error = running.wait()
    assert code == cat.FAILED and "the proxy ended the association" in error

"""sockscat connect and bind, through the real daemons."""

import hashlib
import socket
import subprocess
import time

import pytest

import cat
import socks
from targets import pattern, reset

LISTENERS = [{"listen": "127.0.0.1:0", "methods": ["username-password"]}]


@pytest.mark.parametrize("version, host", [
    ([], "127.0.0.1"), ([], "::1"), (["-5"], "127.0.0.1"), (["-4"], "127.0.0.1"), (["-4a"], "127.0.0.1"),
    (["--socks4a", "--user", "fred"], "127.0.0.1")])
def test_octets_go_both_ways_and_both_ends_are_passed_on(system, sockets, version, host):
    echo = sockets.echo(host)
    assert cat.run(cat.words(system.address, "connect", *version, *echo.address), b"hello") \
        == (cat.DONE, b"hello", "")
    system.access(command="connect", reason="closed")


def test_a_name_goes_as_a_name(start, sockets, dns):
    names = dns({"target.example": ["127.0.0.1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    echo = sockets.echo()
    for version in ("-5", "-4a"):
        words = cat.words(system.address, "connect", version, "target.example", echo.address[1])
        assert cat.run(words, b"hello") == (cat.DONE, b"hello", "")


@pytest.mark.parametrize("count", [0, 1, 65536, 30_000_000])
def test_bulk_arrives_whole_while_as_much_comes_back(system, sockets, count):
    octets = pattern(count)
    code, output, error = cat.run(cat.words(system.address, "connect", *sockets.echo().address), octets)
    assert (code, error) == (cat.DONE, "")
    assert hashlib.sha256(output).digest() == hashlib.sha256(octets).digest()


def test_the_end_of_input_is_passed_on_while_the_answer_goes_on(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", *target.getsockname())))
    running.say(b"question")
    running.end()
    sock = sockets.accept(target)
    assert socks.read_all(sock) == b"question"
    sock.sendall(b"answer")
    assert running.hear(6) == b"answer"
    sock.close()
    assert running.wait() == (cat.DONE, b"", "")


def test_the_end_of_the_answer_is_passed_on_while_input_goes_on(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", *target.getsockname())))
    sock = sockets.accept(target)
    sock.sendall(b"all there is")
    sock.shutdown(socket.SHUT_WR)
    assert running.hear(12) == b"all there is"
    assert running.process.stdout.read(1) == b""
    running.say(b"still here")
    assert socks.read_exactly(sock, 10) == b"still here"
    running.end()
    assert socks.read_all(sock) == b""
    assert running.wait() == (cat.DONE, b"", "")


def test_a_reset_is_a_failure_even_when_input_is_silent(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", *target.getsockname())))
    sock = sockets.accept(target)
    sock.sendall(b"x")
    running.hear(1)
    reset(sock)
    code, _, error = running.wait()
    assert code == cat.FAILED and "reset" in error


def test_a_reset_after_the_answer_ended_is_noticed(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", *target.getsockname())))
    sock = sockets.accept(target)
    sock.shutdown(socket.SHUT_WR)
    assert running.process.stdout.read(1) == b""
    reset(sock)
    assert running.wait()[0] == cat.FAILED


def test_output_that_nobody_reads_any_more_ends_it(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", *target.getsockname())))
    sock = sockets.accept(target)
    running.process.stdout.close()
    sock.sendall(b"x" * 100_000)
    assert running.process.wait(60) == cat.FAILED


def test_output_that_stalls_does_not_stall_input(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", *target.getsockname())))
    sock = sockets.accept(target)
    sock.setblocking(False)
    with pytest.raises(BlockingIOError):        # until everything on the way is full
        while True:
            sock.send(bytes(1 << 20))
    time.sleep(0.5)
    sock.settimeout(30)
    for _ in range(50):
        running.say(b"still here")
        assert socks.read_exactly(sock, 10) == b"still here"


def test_print_tells_the_bound_address_first(system, sockets, target):
    words = cat.words(system.address, "connect", "--print", *target.getsockname())
    running = sockets.keep(cat.Cat(*words))
    peer = sockets.keep(target.accept()[0]).getpeername()
    assert running.address() == peer


def test_a_target_that_refuses_is_told(system, sockets):
    closed = sockets.closed_port()
    code, output, error = cat.run(cat.words(system.address, "connect", *closed))
    assert (code, output) == (cat.FAILED, b"")
    assert "connection refused (REP 5)" in error
    code, _, error = cat.run(cat.words(system.address, "connect", "-4", *closed))
    assert code == cat.FAILED and "rejected or failed (CD 91)" in error


def test_a_rule_that_denies_is_told(start, sockets):
    code, _, error = cat.run(cat.words(start(rules=[]).address, "connect", *sockets.closed_port()))
    assert code == cat.FAILED and "not allowed by ruleset (REP 2)" in error


# ------------------------------------------------------------------------------------------- passwords

def test_a_right_password_from_a_file_or_the_environment(start, sockets, tmp_path):
    system = start(users={"alice": "se cret"}, listeners=LISTENERS)
    echo = sockets.echo()
    path = tmp_path / "password"
    path.write_text("se cret\nanother line\n")
    words = cat.words(system.address, "connect", "--user", "alice", "--password-file", path, *echo.address)
    assert cat.run(words, b"hello")[:2] == (cat.DONE, b"hello")
    words = cat.words(system.address, "connect", "--user", "alice", *echo.address)
    assert cat.run(words, b"hello", SOCKSCAT_PASSWORD="se cret")[:2] == (cat.DONE, b"hello")
    assert len(system.access(user="alice")) > 0


def test_a_wrong_password_is_told(start, sockets):
    system = start(users={"alice": "secret"}, listeners=LISTENERS)
    words = cat.words(system.address, "connect", "--user", "alice", *sockets.closed_port())
    code, _, error = cat.run(words, SOCKSCAT_PASSWORD="wrong")
    assert code == cat.FAILED and "user name and password" in error


def test_no_password_where_one_is_wanted(start, sockets):
    system = start(users={"alice": "secret"}, listeners=LISTENERS)
    code, _, error = cat.run(cat.words(system.address, "connect", *sockets.closed_port()))
    assert code == cat.FAILED and "no method" in error


# ------------------------------------------------------------------------------------------------ bind

@pytest.mark.parametrize("version", ["-5", "-4"])
def test_bind_tells_where_it_listens_and_carries_one_connection(system, sockets, version):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "bind", version, "--print", "127.0.0.1")))
    bound = running.address()
    assert bound[0] == "127.0.0.1"
    peer = sockets.keep(socks.dial(bound))
    assert running.address() == peer.getsockname()
    running.say(b"to the peer")
    assert socks.read_exactly(peer, 11) == b"to the peer"
    peer.sendall(b"from the peer")
    assert running.hear(13) == b"from the peer"
    running.end()
    assert socks.read_all(peer) == b""
    peer.close()
    assert running.wait()[:2] == (cat.DONE, b"")


def test_bind_is_for_anybody_and_tells_people_in_a_sentence(start, sockets):
    system = start(rules=[{"allow": {"to": ["0.0.0.0/0"]}}])
    running = sockets.keep(cat.Cat(*cat.words(system.address, "bind")))
    line = running.line()
    assert line.startswith("sockscat: listening on 127.0.0.1:")
    sockets.keep(socks.dial(("127.0.0.1", int(line.rpartition(":")[2]))))


def test_bind_at_a_port_that_was_asked_for(system, sockets):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    running = sockets.keep(cat.Cat(*cat.words(system.address, "bind", "--port", port, "--print",
                                              "127.0.0.1")))
    assert running.address() == ("127.0.0.1", port)


def test_bind_whose_time_is_over_is_told(start, sockets):
    system = start(server={"timeouts": {"bind": "600ms"}})
    running = sockets.keep(cat.Cat(*cat.words(system.address, "bind", "--print", "127.0.0.1")))
    running.address()
    code, _, error = running.wait()
    assert code == cat.FAILED and "(REP " in error


# --------------------------------------------------------------------------------------------- --listen

def test_a_local_port_is_carried_for_many_at_once(system, sockets):
    echo = sockets.echo()
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", "--listen", "127.0.0.1:0",
                                              "--print", *echo.address)))
    local = running.address()
    clients = [sockets.keep(socks.dial(local)) for _ in range(20)]
    for number, client in enumerate(clients):
        client.sendall(b"number %d" % number)
    for number, client in reversed(list(enumerate(clients))):
        client.shutdown(socket.SHUT_WR)
        assert socks.read_all(client) == b"number %d" % number


def test_those_it_serves_do_not_outlive_it(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", "--listen", "127.0.0.1:0",
                                              "--print", *target.getsockname())))
    client = sockets.keep(socks.dial(running.address()))
    sock = sockets.accept(target)
    client.sendall(b"x")
    assert socks.read_exactly(sock, 1) == b"x"
    running.process.terminate()
    assert running.process.wait(30) == -15
    assert socks.read_all(sock) == socks.read_all(client) == b""


def test_a_local_user_that_resets_is_let_go_while_the_target_is_silent(system, sockets, target):
    running = sockets.keep(cat.Cat(*cat.words(system.address, "connect", "--listen", "127.0.0.1:0",
                                              "--print", *target.getsockname())))
    client = sockets.keep(socks.dial(running.address()))
    sock = sockets.accept(target)
    client.sendall(b"x")
    assert socks.read_exactly(sock, 1) == b"x"
    reset(client)
    assert socks.read_all(sock) == b""


def test_a_local_port_that_is_taken_is_told(system, sockets):
    taken = sockets.listener().getsockname()
    code, _, error = cat.run(cat.words(system.address, "connect", "--listen", "%s:%d" % taken, "h", 1))
    assert code == cat.FAILED and "in use" in error


def test_it_serves_as_a_proxy_command_of_ssh(system, sockets):
    """Both standard descriptors are one socket, as some callers have it."""
    echo = sockets.echo()
    ours, theirs = socket.socketpair()
    sockets.keep(ours)
    with subprocess.Popen([str(w) for w in cat.words(system.address, "connect", *echo.address)],
                          stdin=theirs, stdout=theirs, env=cat.environment()) as process:
        theirs.close()
        ours.sendall(b"SSH-2.0-x\r\n")
        assert socks.read_exactly(ours, 11) == b"SSH-2.0-x\r\n"
        ours.shutdown(socket.SHUT_WR)
        assert socks.read_all(ours) == b""
        assert process.wait(30) == cat.DONE

"""TRANSPARENT for TCP through socksd and relayd-tcp: connections that carry no SOCKS."""

import hashlib
import os
import socket
import threading

import pytest

import daemons
import socks
from transparent import Transparent

RULES = [{"allow": {"commands": ["transparent"], "to": ["127.0.0.0/8", "::1"]}}]


@pytest.fixture
def system(start):
    return start(rules=RULES)


def bound_socket(host="127.0.0.1"):
    """Not connected yet: its port is known."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.settimeout(30)
    sock.bind((host, 0))
    return sock


def ask(system, target, source, **options):
    return Transparent(system.address, target.getsockname(), socket.IPPROTO_TCP, source, **options)


def exchange(client, server):
    for one, other in ((client, server), (server, client)):
        one.sendall(b"ping")
        assert socks.read_exactly(other, 4) == b"ping"


@pytest.mark.parametrize("known", [True, False])
def test_a_connection_is_carried_and_ends_with_both_directions(system, sockets, known):
    target, client = sockets.listener(), sockets.keep(bound_socket())
    source = client.getsockname() if known else ("0.0.0.0", 0)
    with ask(system, target, source) as t:
        assert t.bound[0] == "127.0.0.1"
        client.connect(t.bound)
        server = sockets.keep(target.accept()[0])
        exchange(client, server)
        client.shutdown(socket.SHUT_WR)
        assert server.recv(1) == b""
        server.sendall(b"the other half")
        assert socks.read_exactly(client, 14) == b"the other half"
        server.close()
        assert client.recv(1) == b""
        assert t.closed(), "the control connection ends with the stream"
    record = system.access(command="transparent")
    assert (record["kind"], record["ptcl"], record["reason"]) == ("transparent", "6", "closed")
    assert record["source"] == "%s:%d" % client.getsockname()
    assert (record["octets_up"], record["octets_down"]) == ("4", "18")


def test_bulk_is_the_same_on_the_other_side(system, sockets):
    target, client = sockets.listener(), sockets.keep(bound_socket())
    octets = os.urandom(8 << 20)
    with ask(system, target, client.getsockname()) as t:
        client.connect(t.bound)
        server = sockets.keep(target.accept()[0])
        sender = threading.Thread(target=lambda: (client.sendall(octets), client.shutdown(socket.SHUT_WR)))
        sender.start()
        got = socks.read_all(server)
        sender.join()
    assert hashlib.sha256(got).digest() == hashlib.sha256(octets).digest()


def test_strangers_are_reset_and_the_client_is_served_after_them(system, sockets):
    target, client = sockets.listener(), sockets.keep(bound_socket())
    with ask(system, target, client.getsockname()) as t:
        for host in ("127.0.0.1", "127.0.0.2"):
            stranger = sockets.keep(bound_socket(host))
            with pytest.raises(ConnectionResetError):
                stranger.connect(t.bound)
                stranger.recv(1)
        client.connect(t.bound)
        exchange(client, sockets.keep(target.accept()[0]))
    metrics = system.relay.metrics()
    assert metrics['relayd_accepts_refused_total{reason="source_port"}'] == 1
    assert metrics['relayd_accepts_refused_total{reason="stranger"}'] == 1


def test_the_control_connection_is_what_it_lives_by(system, sockets):
    target, client = sockets.listener(), sockets.keep(bound_socket())
    t = ask(system, target, client.getsockname())
    client.connect(t.bound)
    server = sockets.keep(target.accept()[0])
    exchange(client, server)
    t.control.close()
    for end in (client, server):
        try:
            assert end.recv(1) == b""
        except ConnectionResetError:
            pass
    assert system.access(command="transparent")["reason"] == "control_closed"
    daemons.wait_until(lambda: system.relay.status()["load"]["associations"] == 0, "its end")


def test_an_unreachable_target_ends_it(system, sockets):
    target, client = sockets.listener(), sockets.keep(bound_socket())
    with ask(system, target, client.getsockname()) as t:
        target.close()
        with pytest.raises(ConnectionResetError):
            client.connect(t.bound)
            client.recv(1)
        assert t.closed()
    assert system.access(command="transparent")["reason"] == "target_reset"


def test_families_may_differ(system, sockets):
    target, client = sockets.keep(socket.create_server(("::1", 0), family=socket.AF_INET6)), \
        sockets.keep(bound_socket())
    target.settimeout(30)
    with ask(system, target, client.getsockname()) as t:
        client.connect(t.bound)
        exchange(client, sockets.keep(target.accept()[0]))


def test_both_protocols_have_their_relay(start, sockets):
    system = start(udp=1, rules=RULES)
    target = sockets.listener()
    for ptcl, reply in ((6, socks.SUCCEEDED), (17, socks.SUCCEEDED), (132, 9)):
        with Transparent(system.address, target.getsockname(), ptcl) as t:
            assert t.reply.code == reply


def test_one_after_another_where_the_relay_is_told_so(start, sockets):
    system = start(rules=RULES, relay={"relay": {"sequential": True}})
    target, first = sockets.listener(), bound_socket()
    source = first.getsockname()
    with ask(system, target, source) as t:
        for turn in range(2):
            client = first if turn == 0 else socket.socket()
            if turn:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                client.bind(source)
            client.settimeout(30)
            client.connect(t.bound)
            server = target.accept()[0]
            exchange(client, server)
            server.close()                  # the target closes first, so that the client's port is free
            assert client.recv(1) == b""
            client.close()

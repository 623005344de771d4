"""Only the peer that the client named may connect to its BIND."""

import socket

import pytest

import socks

ANY = [{"allow": {"to": ["127.0.0.1"]}}, {"allow": {"commands": ["bind"]}}]
VERSIONS = {4: (socks.open4, socks.read_reply4, socks.GRANTED4),
            5: (socks.open5, socks.read_reply5, socks.SUCCEEDED)}


def dial_from(source, address):
    return socket.create_connection(address, 30, (source, 0))


def gets_nothing(sock):
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:
        return True


def is_dropped(source, address):
    """The reset may come so early that connecting itself meets it."""
    try:
        with dial_from(source, address) as sock:
            return gets_nothing(sock)
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("version", VERSIONS)
def test_a_wrong_peer_is_dropped_and_the_right_one_accepted_later(system, sockets, version):
    opener, read_reply, granted = VERSIONS[version]
    client, first = opener(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    for _ in range(3):
        assert is_dropped("127.0.0.2", (first.host, first.port))
    right = sockets.keep(dial_from("127.0.0.1", (first.host, first.port)))
    assert read_reply(client) == (granted, *right.getsockname())
    right.sendall(b"it is me")
    assert socks.read_exactly(client, 8) == b"it is me"
    assert system.relay.metric("relayd_bind_peers_refused_total") == 3


def test_without_a_named_peer_anybody_may_come(start, sockets):
    system = start(rules=ANY)
    client, first = socks.open5(system.address, socks.BIND, "0.0.0.0", 0)
    sockets.keep(client)
    assert first.code == socks.SUCCEEDED
    peer = sockets.keep(dial_from("127.0.0.1", ("127.0.0.1", first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname())


def test_a_peer_that_the_rules_deny_is_refused_when_it_comes(start, sockets):
    """A BIND for any peer was allowed without knowing which; now it is known."""
    system = start(rules=ANY)
    client, first = socks.open5(system.address, socks.BIND, "0.0.0.0", 0)
    sockets.keep(client)
    denied = sockets.keep(dial_from("127.0.0.9", ("127.0.0.1", first.port)))
    assert socks.read_reply5(client).code == socks.DENIED
    assert gets_nothing(denied)
    assert system.access(command="bind")["reply"] == "denied"


def test_a_bind_that_the_rules_deny_listens_nowhere(start, sockets):
    system = start(rules=[{"deny": {"commands": ["bind"]}}, {"allow": {"to": ["127.0.0.0/8"]}}])
    client, reply = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    assert reply.code == socks.DENIED
    assert system.access(command="bind")["reason"] == "rule"
    assert system.relay.metric('relayd_associations_opened_total{kind="bind"}') == 0

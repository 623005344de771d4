"""BIND: two replies, then a relayed stream (RFC 1928 section 4; SOCKS 4)."""

import pytest

import socks

VERSIONS = {
    4: (socks.open4, socks.read_reply4, socks.GRANTED4),
    5: (socks.open5, socks.read_reply5, socks.SUCCEEDED),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_bind_gives_two_replies_and_then_a_stream(system, sockets, version):
    opener, read_reply, granted = VERSIONS[version]
    client, first = opener(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    assert first.code == granted and first.host == "127.0.0.1" and first.port != 0

    peer = sockets.keep(socks.dial((first.host, first.port)))
    second = read_reply(client)
    assert second == (granted, *peer.getsockname())
    peer.sendall(b"from the peer")
    assert socks.read_exactly(client, 13) == b"from the peer"
    client.sendall(b"to the peer")
    assert socks.read_exactly(peer, 11) == b"to the peer"
    peer.close()
    assert socks.read_all(client) == b""
    client.close()

    record = system.access(command="bind")
    assert (record["kind"], record["octets_up"], record["octets_down"]) == ("bind", "11", "13")
    assert record["target"] == "%s:%d" % (second.host, second.port)


def test_what_the_client_sends_ahead_goes_to_the_peer(system, sockets):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.BIND, "127.0.0.1", 0) + b"ahead")
    assert socks.read_exactly(client, 2) == b"\5\0"
    first = socks.read_reply5(client)
    client.sendall(b" of time")
    peer = sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_exactly(peer, 13) == b"ahead of time"
    assert socks.read_reply5(client).code == socks.SUCCEEDED


def test_bind_listens_for_one_peer_only(system, sockets):
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client).code == socks.SUCCEEDED
    with pytest.raises(ConnectionRefusedError):
        socks.dial((first.host, first.port))


def test_bind_over_ipv6(system, sockets):
    client, first = socks.open5(system.address, socks.BIND, "::1", 0)
    sockets.keep(client)
    assert first.code == socks.SUCCEEDED and first.host == "::1"
    peer = sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname()[:2])


def test_the_advertised_address_is_told(start, sockets):
    system = start(relay={"relay": {"advertise": ["203.0.113.7"]}})
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    assert (first.code, first.host) == (socks.SUCCEEDED, "203.0.113.7")
    sockets.keep(socks.dial(("127.0.0.1", first.port)))
    assert socks.read_reply5(client).code == socks.SUCCEEDED

"""A relay written from proto/N2.md alone joins socksd and serves CONNECT and BIND."""

import pytest

import socks
from daemons import StubRelay, wait_until


@pytest.fixture
def stub_system(start, tmp_path_factory):
    relay = StubRelay(tmp_path_factory.mktemp("s"))
    system = start(relays=0, urls=[relay.url])
    system.daemons.append(relay)
    return system


def test_connect(stub_system, sockets, target):
    client, reply = socks.open5(stub_system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    far = sockets.accept(target)
    assert reply == (socks.SUCCEEDED, *far.getpeername())
    held, = wait_until(stub_system.server.associations, "the association")
    assert (held["relay"], held["kind"]) == ("stub", "connect")
    client.sendall(b"there")
    assert socks.read_exactly(far, 5) == b"there"
    client.shutdown(1)
    assert socks.read_all(far) == b""
    far.sendall(b"and back")
    far.close()
    assert socks.read_all(client) == b"and back"
    wait_until(lambda: not stub_system.server.associations(), "its end")
    assert stub_system.server.metric('socksd_associations_ended_total{reason="closed"}') == 1


def test_bind(stub_system, sockets):
    client, first = socks.open5(stub_system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    assert first.code == socks.SUCCEEDED
    peer = sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname())
    peer.sendall(b"hello")
    assert socks.read_exactly(client, 5) == b"hello"


def test_refused(stub_system, sockets):
    client, reply = socks.open5(stub_system.address, socks.CONNECT, *sockets.closed_port())
    sockets.keep(client)
    assert reply.code == socks.REFUSED


def test_a_stub_beside_a_real_relay(start, sockets, target, tmp_path_factory):
    relay = StubRelay(tmp_path_factory.mktemp("s"))
    system = start(relays=1, urls=[relay.url])
    system.daemons.append(relay)
    used = set()
    for _ in range(100):
        client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
        sockets.keep(client)
        sockets.accept(target)
        assert reply.code == socks.SUCCEEDED
        used |= {a["relay"] for a in system.server.associations()}
        if used == {"stub", "relay-0"}:
            break
    assert used == {"stub", "relay-0"}

"""A relay written from proto/N2.md alone joins socksd and serves CONNECT, BIND and UDP ASSOCIATE."""

import pytest

import socks
import udp
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


def test_udp_associate(start, tmp_path_factory):
    relay = StubRelay(tmp_path_factory.mktemp("s"), arguments=["--kinds", "udp"])
    system = start(relays=0, urls=[relay.url])
    system.daemons.append(relay)
    with udp.udp_socket() as target, udp.udp_socket("127.0.0.2") as denied:
        with udp.Association(system.address) as a:
            outer = udp.exchange(a, target)
            assert udp.exchange(a, target, b"x" * 9000) == outer != a.bound
            a.send(("localhost", target.getsockname()[1]), b"to a name", name=True)
            assert target.recv(100) == b"to a name"
            denied.sendto(b"intruder", outer)
            udp.exchange(a, target)
            held, = system.server.associations()
            assert (held["relay"], held["kind"]) == ("stub", "udp-associate")
            client = a.sock.getsockname()
        record = system.access(command="udp-associate")
    assert record["source"] == f"{client[0]}:{client[1]}"
    assert (record["datagrams_up"], record["datagrams_down"]) == ("4", "3")
    wait_until(lambda: not system.server.associations(), "its end")


def test_udp_associate_is_denied_what_the_rules_of_socksd_deny(start, tmp_path_factory):
    relay = StubRelay(tmp_path_factory.mktemp("s"), arguments=["--kinds", "udp"])
    rules = [{"deny": {"to": ["127.0.0.2"]}}, {"allow": {"to": ["127.0.0.0/8"]}}]
    system = start(relays=0, urls=[relay.url], rules=rules)
    system.daemons.append(relay)
    with udp.udp_socket() as target, udp.udp_socket("127.0.0.2") as denied:
        with udp.Association(system.address) as a:
            a.send(denied.getsockname(), b"denied")
            udp.exchange(a, target)
            denied.settimeout(0)
            with pytest.raises(BlockingIOError):
                denied.recv(100)


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

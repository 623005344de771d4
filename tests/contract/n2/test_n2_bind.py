"""BIND: one expected peer, or none."""

import errno
import ipaddress
import socket
import time

import pytest

import n2wire
from n2wire import endpoint_address, is_closed, pb, verdict


@pytest.fixture(autouse=True)
def only_relays_that_bind(bind_server):
    """`bind_server` is `server`, and skips the test when the relay does not carry BIND."""


def bound(grant):
    return "127.0.0.1", grant.bound.port


def refuses(address):
    """Whether nobody listens there. Silence is not enough: a full queue is silent as well."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == errno.ECONNREFUSED


def is_dropped(sockets, address, source=None):
    """Whether the relay drops a peer that connects from `source`."""
    try:
        return is_closed(sockets.connect(address, source=source))
    except ConnectionResetError:
        return True                 # so quickly that connect has seen it already


def wait_until_refused(address, seconds=2):
    deadline = time.monotonic() + seconds
    while not refuses(address):
        assert time.monotonic() < deadline, "the relay still listens"
        time.sleep(0.1)


def test_a_bind_is_opened_at_once(server):
    answer = server.ask(server.bind_message())
    assert answer.open.state == pb.OPEN_OPENED
    assert endpoint_address(answer.open.bound)[0] == "127.0.0.1"


def test_a_bind_without_a_wanted_address_tells_one_that_a_peer_can_use(server, sockets):
    grant = server.open(server.bind_message(bind=("", 0)))
    assert not ipaddress.ip_address(grant.bound.ip).is_unspecified
    sockets.connect(endpoint_address(grant.bound))
    server.wait_event(grant.association, pb.EVENT_PEER)


def test_the_peer_is_told_and_joined_with_the_client(server, sockets):
    grant = server.open(server.bind_message())
    peer = sockets.connect(bound(grant))
    event = server.wait_event(grant.association, pb.EVENT_PEER)
    assert endpoint_address(event.peer) == peer.getsockname()
    client = sockets.keep(server.attach(grant, b"second reply|"))
    peer.sendall(b"from the peer")
    assert n2wire.read_exactly(client, 26) == b"second reply|from the peer"
    client.sendall(b"to the peer")
    assert peer.recv(100) == b"to the peer"
    client.shutdown(socket.SHUT_WR)
    assert peer.recv(100) == b""
    peer.close()
    counters = server.wait_ended(grant.association).counters
    assert (counters.octets_up, counters.octets_down) == (11, 13)


def test_what_the_peer_sent_before_the_leg_came_is_not_lost(server, sockets):
    grant = server.open(server.bind_message())
    peer = sockets.connect(bound(grant))
    peer.sendall(b"220 ready\r\n")
    server.wait_event(grant.association, pb.EVENT_PEER)
    client = sockets.keep(server.attach(grant))
    assert n2wire.read_exactly(client, 11) == b"220 ready\r\n"


def test_a_leg_that_comes_before_the_peer_is_not_kept(server, sockets):
    grant = server.open(server.bind_message())
    client = sockets.keep(server.attach(grant, b"too early"))
    assert n2wire.read_until_gone(client)[0] == b""


def test_listening_ends_with_the_first_peer(server, sockets):
    grant = server.open(server.bind_message())
    sockets.connect(bound(grant))
    server.wait_event(grant.association, pb.EVENT_PEER)
    wait_until_refused(bound(grant))


def test_only_one_of_two_peers_is_told(server, sockets):
    grant = server.open(server.bind_message())
    for _ in range(2):
        try:
            sockets.connect(bound(grant))
        except OSError:
            pass                    # the second one may find nobody listening any more
    server.wait_event(grant.association, pb.EVENT_PEER)
    time.sleep(0.1)
    peers = [e for e in server.events_of(grant.association) if e.type == pb.EVENT_PEER]
    assert len(peers) == 1


def test_another_peer_than_the_expected_one_is_dropped_and_listening_goes_on(server, sockets):
    grant = server.open(server.bind_message(("127.0.0.2", 0)))
    for _ in range(3):
        assert is_dropped(sockets, bound(grant), ("127.0.0.3", 0))
    assert server.events_of(grant.association) == []
    peer = sockets.connect(bound(grant), source=("127.0.0.2", 0))
    event = server.wait_event(grant.association, pb.EVENT_PEER)
    assert endpoint_address(event.peer) == peer.getsockname()
    client = sockets.keep(server.attach(grant))
    peer.sendall(b"me")
    assert client.recv(10) == b"me"


def test_the_port_of_the_expected_peer_is_not_compared(server, sockets):
    grant = server.open(server.bind_message(("127.0.0.2", 1)))
    sockets.connect(bound(grant), source=("127.0.0.2", 0))
    server.wait_event(grant.association, pb.EVENT_PEER)


@pytest.mark.parametrize("anybody", [("0.0.0.0", 0), ("", 0)], ids=["0.0.0.0", "no address"])
def test_the_unspecified_address_expects_anybody(server, sockets, anybody):
    grant = server.open(server.bind_message(anybody))
    sockets.connect(bound(grant), source=("127.0.0.3", 0))
    server.wait_event(grant.association, pb.EVENT_PEER)


def test_each_of_several_expected_peers_is_welcome(server, sockets):
    for ip in ("127.0.0.2", "127.0.0.3"):
        grant = server.open(server.bind_message(("127.0.0.2", 0), ("127.0.0.3", 0)))
        sockets.connect(bound(grant), source=(ip, 0))
        server.wait_event(grant.association, pb.EVENT_PEER)


def test_a_wanted_port_is_given(server, sockets):
    if "bind-port" not in server.who.features:
        pytest.skip("this relay has no BIND with a wanted port")
    with socket.create_server(("127.0.0.1", 0)) as finder:
        port = finder.getsockname()[1]
    grant = server.open(server.bind_message(bind=("127.0.0.1", port)))
    assert grant.bound.port == port
    sockets.connect(("127.0.0.1", port))
    server.wait_event(grant.association, pb.EVENT_PEER)


def test_a_wanted_port_that_is_taken_is_no_port(server, sockets):
    if "bind-port" not in server.who.features:
        pytest.skip("this relay has no BIND with a wanted port")
    occupant = sockets.listener()
    message = server.bind_message(bind=occupant.getsockname())
    assert verdict(server.ask(message)) == "NO_PORT"
    assert server.inventory() == {}


def test_two_binds_have_two_ports(server):
    grants = [server.open(server.bind_message()) for _ in range(10)]
    assert len({grant.bound.port for grant in grants}) == 10


def test_an_address_that_is_not_on_this_host_cannot_be_bound(server):
    assert verdict(server.ask(server.bind_message(bind=("192.0.2.77", 0)))) == "CANNOT_BIND"


def test_the_wait_for_a_peer_is_bounded(server):
    started = time.monotonic()
    message = server.bind_message(connect_ms=500)
    grant = server.open(message)
    event = server.wait_event(grant.association, pb.EVENT_FAILED)
    assert 0.45 <= time.monotonic() - started < 2
    assert verdict(event.failed) == "UNREACHABLE TIMED_OUT"
    wait_until_refused(bound(grant))
    assert server.inventory() == {}


def test_the_bound_of_the_wait_does_not_concern_a_peer_that_came(server, sockets):
    grant = server.open(server.bind_message(connect_ms=400))
    peer = sockets.connect(bound(grant))
    server.wait_event(grant.association, pb.EVENT_PEER)
    assert not is_closed(peer, 0.7)
    client = sockets.keep(server.attach(grant))
    client.sendall(b"in time")
    assert peer.recv(10) == b"in time"


def test_wrong_peers_do_not_prolong_the_wait(server, sockets):
    started = time.monotonic()
    grant = server.open(server.bind_message(("127.0.0.2", 0), connect_ms=500))
    for _ in range(3):
        assert is_dropped(sockets, bound(grant))
        time.sleep(0.1)
    server.wait_event(grant.association, pb.EVENT_FAILED)
    assert time.monotonic() - started < 2


def test_a_released_bind_listens_no_more(server):
    grant = server.open(server.bind_message(connect_ms=30000))
    server.release(grant.association)
    wait_until_refused(bound(grant))


def test_the_released_port_of_a_bind_with_a_peer_closes_the_peer(server, sockets):
    grant = server.open(server.bind_message(connect_ms=30000))
    peer = sockets.connect(bound(grant))
    server.wait_event(grant.association, pb.EVENT_PEER)
    server.release(grant.association)
    assert is_closed(peer)

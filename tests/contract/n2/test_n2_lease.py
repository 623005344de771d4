"""The lease: what a silent server loses, what it keeps, and what renews its lease."""

import socket
import time

from n2wire import end_name, is_closed, pb, verdict


def is_taken(address):
    """Whether somebody has this port. Unlike a connection, this does not make us the peer of a BIND."""
    with socket.socket() as probe:
        try:
            probe.bind(address)
        except OSError:
            return True
        return False


def test_an_ended_lease_ends_what_is_not_attached_and_nothing_else(
        new_server, target, sockets, silent, stream):
    lost, other = new_server(), new_server()
    running = stream(lost)
    opened = lost.open(lost.connect_message(target.getsockname(), connect_ms=30000))
    opened_far = sockets.accept(target)
    pending = lost.connect_message(silent, connect_ms=30000)
    lost.ask(pending)
    ended = [opened.association, pending.association]
    bind_address = None
    if pb.KIND_BIND in lost.who.kinds:
        grant = lost.open(lost.bind_message(connect_ms=30000))
        ended.append(grant.association)
        bind_address = ("127.0.0.1", grant.bound.port)
    others = other.open(other.connect_message(target.getsockname(), connect_ms=30000))
    others_far = sockets.accept(target)
    lease = lost.lease

    lost.stop_watching()
    lost.ask(pb.Inventory(limit=1))
    silent_since = time.monotonic()
    assert not is_closed(opened_far, lease * 0.8), "ended before the lease"
    assert bind_address is None or is_taken(bind_address), "the BIND has ended before the lease"
    assert is_closed(opened_far, lease * 0.2 + 1), "not ended with the lease"
    assert time.monotonic() - silent_since < lease + 1
    while bind_address and is_taken(bind_address):
        assert time.monotonic() - silent_since < lease + 1, "the BIND was not ended with the lease"
        time.sleep(0.01)

    # What is attached goes on, and so does everything of another server.
    running.client.sendall(b"on")
    assert running.target.recv(10) == b"on"
    running.target.sendall(b"and on")
    assert running.client.recv(10) == b"and on"
    assert not is_closed(others_far, 0.1)
    assert list(other.inventory()) == [others.association]

    # The same epoch comes back, and finds out.
    lost.must_hello()
    lost.start_watching()
    for association in ended:
        assert end_name(lost.wait_ended(association)) == "LEASE_LOST"
    assert set(lost.inventory()) == {running.grant.association}
    for association in ended:
        again = lost.connect_message(target.getsockname(), association=association)
        assert verdict(lost.ask(again)) == "EXPIRED"
    assert not [e for e in lost.events_of(running.grant.association) if e.type == pb.EVENT_ENDED]
    running.client.close()
    running.target.close()
    assert lost.wait_ended(running.grant.association)


def test_a_stream_that_ends_while_its_server_is_away_is_told_when_it_comes_back(server, stream):
    grant, client, target = stream(server)
    server.stop_watching()
    time.sleep(server.lease + 0.2)
    client.close()
    target.close()
    server.reconnect().must_hello().start_watching()
    assert server.wait_ended(grant.association)


def test_the_loss_of_the_connection_is_not_the_loss_of_the_lease(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    server.reconnect()
    time.sleep(server.lease * 0.4)
    server.must_hello().start_watching()
    time.sleep(server.lease * 0.7)
    client = sockets.keep(server.attach(grant))
    client.sendall(b"here")
    assert far.recv(10) == b"here"


def test_a_server_that_never_comes_back_loses_its_lease_though_its_connection_is_gone(
        server, target, sockets):
    server.open(server.connect_message(target.getsockname(), connect_ms=30000))
    far = sockets.accept(target)
    lease = server.lease
    server.close()
    assert is_closed(far, lease + 1)


def test_any_request_renews_the_lease(server, target, sockets):
    server.open(server.connect_message(target.getsockname(), connect_ms=30000))
    far = sockets.accept(target)
    server.stop_watching()
    # The pauses are so long that the lease ends if a single one of these does not renew it.
    for what in (pb.Inventory(limit=1), pb.Release(association=bytes(16)), pb.Hello(),
                 pb.Watch(wait_ms=0)):
        assert verdict(server.ask(what)) == "ACCEPTED"
        assert not is_closed(far, server.lease * 0.6), f"lost after {what}"

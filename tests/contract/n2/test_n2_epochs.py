"""Epochs of servers and of relays: who holds an id, what is retired, what a restart leaves."""

import time

import pytest

from n2wire import ControlServer, end_name, is_closed, pb, verdict

pytestmark = pytest.mark.relays("streams", "udp")


def hello_when_free(server, seconds):
    """Says Hello until it is no longer CONFLICT: a relay needs a moment to see a connection go."""
    deadline = time.monotonic() + seconds
    while True:
        said = verdict(server.hello())
        if said != "CONFLICT" or time.monotonic() > deadline:
            return said
        time.sleep(0.01)


@pytest.fixture
def successor(new_server):
    """The next life of a server: the same id, another epoch."""
    def make(server):
        return new_server(hello=False, server_id=server.server_id)
    return make


def test_a_second_epoch_is_a_conflict_while_the_first_one_lives(server, successor):
    assert verdict(successor(server).hello()) == "CONFLICT"
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_the_loser_of_a_conflict_cannot_call(server, successor):
    loser = successor(server)
    loser.hello()
    loser.relay_epoch = server.relay_epoch
    assert verdict(loser.ask(pb.Inventory(limit=1))) == "STALE"


def test_a_closed_connection_gives_the_id_free_before_the_lease_ends(server, successor):
    lease = server.lease
    server.close()
    assert hello_when_free(successor(server), lease / 2) == "ACCEPTED"


def test_an_ended_lease_gives_the_id_free_though_the_connection_is_open(quiet_server, successor):
    second = successor(quiet_server)
    time.sleep(quiet_server.lease + 0.3)
    assert verdict(second.hello()) == "ACCEPTED"
    assert verdict(quiet_server.ask(pb.Inventory(limit=1))) == "STALE"


def test_a_retired_epoch_is_stale_for_ever(server, successor):
    lease = server.lease
    server.close()
    second = successor(server)
    assert hello_when_free(second, lease / 2) == "ACCEPTED"
    for _ in range(2):
        with ControlServer(server.url, server_id=server.server_id, epoch=server.epoch) as revenant:
            assert verdict(revenant.hello()) == "STALE"
    assert verdict(second.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_a_retired_epoch_stays_stale_after_its_successor_has_gone(server, successor):
    lease = server.lease
    server.close()
    second = successor(server)
    assert hello_when_free(second, lease / 2) == "ACCEPTED"
    second.close()
    time.sleep(lease + 0.3)
    with ControlServer(server.url, server_id=server.server_id, epoch=server.epoch) as revenant:
        assert verdict(revenant.hello()) == "STALE"


@pytest.mark.relays("streams")
def test_retirement_ends_what_is_not_attached_and_leaves_the_streams(
        server, successor, target, sockets, silent, stream):
    running = stream(server)
    opened = server.open(server.connect_message(target.getsockname()))
    opened_far = sockets.accept(target)
    pending = server.connect_message(silent, connect_ms=30000)
    assert server.ask(pending).open.state == pb.OPEN_PENDING
    ended = [opened.association, pending.association]
    if pb.KIND_BIND in server.who.kinds:
        ended.append(server.open(server.bind_message(connect_ms=30000)).association)
    lease = server.lease
    server.close()

    heir = successor(server)
    assert hello_when_free(heir, lease / 2) == "ACCEPTED"
    heir.start_watching()
    for association in ended:
        assert end_name(heir.wait_ended(association)) == "LEASE_LOST"
    assert is_closed(opened_far)

    held = heir.inventory()
    assert set(held) == {running.grant.association}
    assert held[running.grant.association].state == pb.HELD_ATTACHED
    assert held[running.grant.association].server_epoch == server.epoch

    running.client.sendall(b"still here")
    assert running.target.recv(100) == b"still here"
    running.client.close()
    running.target.close()
    assert end_name(heir.wait_ended(running.grant.association)) in ("CLOSED", "TARGET_RESET")


@pytest.mark.relays("streams")
def test_the_new_epoch_may_release_a_stream_of_the_old_one(server, successor, stream):
    running = stream(server)
    running.client.sendall(b"12345")
    assert running.target.recv(100) == b"12345"
    lease = server.lease
    server.close()
    heir = successor(server)
    assert hello_when_free(heir, lease / 2) == "ACCEPTED"
    heir.start_watching()
    assert heir.release(running.grant.association).counters.octets_up == 5
    assert is_closed(running.client) and is_closed(running.target)


def test_call_ids_start_anew_with_a_new_epoch(server, successor):
    server.ask(pb.Inventory(limit=1), acked=1 << 40, call_id=1 << 40)
    lease = server.lease
    server.close()
    heir = successor(server)
    assert hello_when_free(heir, lease / 2) == "ACCEPTED"
    assert verdict(heir.ask(pb.Inventory(limit=1), call_id=5)) == "ACCEPTED"


def test_a_relay_that_was_killed_comes_back_with_another_epoch_and_nothing(
        own_relay, servers, target):
    relay = own_relay()
    server = servers(relay, watch=False)
    before = server.relay_epoch
    server.ask(server.any_message(target.getsockname()))
    relay.stop()
    relay.start()                   # the socket files of the first one are still there
    server.reconnect()
    assert verdict(server.ask(pb.Inventory(limit=1))) == "STALE"
    server.must_hello()
    assert server.relay_epoch not in (0, before)
    assert verdict(server.ask(pb.Inventory(limit=1), relay_epoch=before)) == "STALE"
    assert server.inventory() == {}

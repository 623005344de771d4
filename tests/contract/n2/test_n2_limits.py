"""Limits of an association, Update, and the quota of a server."""

import socket
import time

import pytest

from n2wire import end_name, is_closed, new_id, pb, verdict


def update(server, grant, revision, **limits):
    answer = server.ask(pb.Update(association=grant.association, revision=revision,
                                  limits=pb.Limits(**limits)))
    assert verdict(answer) == "ACCEPTED"
    return answer.update.revision


def test_a_stream_on_which_nothing_moves_ends_as_idle(server, stream):
    started = time.monotonic()
    grant, client, target = stream(server, idle_ms=400)
    assert end_name(server.wait_ended(grant.association)) == "IDLE"
    assert 0.35 <= time.monotonic() - started < 2
    assert is_closed(client) and is_closed(target)


def test_octets_in_either_direction_keep_a_stream_alive(server, stream):
    grant, client, target = stream(server, idle_ms=500)
    for sender, receiver in ((client, target), (target, client), (client, target)):
        time.sleep(0.3)
        sender.sendall(b".")
        assert receiver.recv(1) == b"."
    started = time.monotonic()
    assert end_name(server.wait_ended(grant.association)) == "IDLE"
    assert time.monotonic() - started > 0.4


def test_a_half_closed_stream_has_a_limit_of_its_own(server, stream):
    grant, client, target = stream(server, idle_ms=60000, half_closed_ms=400)
    time.sleep(0.6)
    assert not is_closed(target, 0.05), "the limit has counted before the half-close"
    started = time.monotonic()
    client.shutdown(socket.SHUT_WR)
    assert end_name(server.wait_ended(grant.association)) == "HALF_CLOSED_IDLE"
    assert 0.35 <= time.monotonic() - started < 2


def test_octets_keep_a_half_closed_stream_alive(server, stream):
    grant, client, target = stream(server, idle_ms=60000, half_closed_ms=500)
    client.shutdown(socket.SHUT_WR)
    for _ in range(3):
        time.sleep(0.3)
        target.sendall(b".")
        assert client.recv(1) == b"."
    assert end_name(server.wait_ended(grant.association)) == "HALF_CLOSED_IDLE"


def test_a_stream_ends_at_its_limit_of_octets_both_ways_together(server, stream):
    if "octet-limit" not in server.who.features:
        pytest.skip("this relay does not enforce a limit of octets")
    grant, client, target = stream(server, octets=1000)
    client.sendall(b"u" * 400)
    received = 0
    while received < 400:
        received += len(target.recv(1000))
    target.sendall(b"d" * 400)
    received = 0
    while received < 400:
        received += len(client.recv(1000))
    assert not is_closed(client, 0.1), "ended before the limit"
    client.sendall(b"u" * 300)      # neither direction alone is beyond the limit
    assert end_name(server.wait_ended(grant.association)) == "LIMIT"
    assert is_closed(client)


def test_no_limit_of_octets_is_no_limit(server, stream):
    grant, client, target = stream(server, octets=0)
    client.sendall(b"x" * 100000)
    received = 0
    while received < 100000:
        received += len(target.recv(65536))


# ------------------------------------------------------------------------------------------- Update

def test_an_update_changes_the_limits_of_a_running_stream(server, stream):
    grant, client, target = stream(server, idle_ms=60000)
    started = time.monotonic()
    assert update(server, grant, 1, idle_ms=400) == 1
    assert end_name(server.wait_ended(grant.association)) == "IDLE"
    assert time.monotonic() - started < 2


def test_an_update_may_lengthen_a_limit(server, stream):
    grant, client, target = stream(server, idle_ms=500)
    assert update(server, grant, 1, idle_ms=60000) == 1
    assert not is_closed(client, 1)


def test_a_revision_that_is_not_higher_is_ignored_and_told_so(server, stream):
    grant, client, target = stream(server, idle_ms=60000)
    assert update(server, grant, 5, idle_ms=60000) == 5
    assert update(server, grant, 5, idle_ms=100) == 5
    assert update(server, grant, 4, idle_ms=100) == 5
    assert update(server, grant, 0, idle_ms=100) == 5
    assert not is_closed(client, 0.5), "an old revision was carried out"
    assert update(server, grant, 4294967295, idle_ms=300) == 4294967295
    assert end_name(server.wait_ended(grant.association)) == "IDLE"


def test_an_update_before_attach_holds_for_the_stream(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    sockets.accept(target)
    assert update(server, grant, 1, idle_ms=400) == 1
    sockets.keep(server.attach(grant))
    assert end_name(server.wait_ended(grant.association)) == "IDLE"


@pytest.mark.relays("streams", "udp")
def test_an_update_of_an_unknown_association_is_expired(server):
    assert verdict(server.ask(pb.Update(association=new_id(), revision=1))) == "EXPIRED"


def test_an_update_of_an_association_that_has_ended_is_expired(server, stream):
    grant = stream(server).grant
    server.release(grant.association)
    assert verdict(server.ask(pb.Update(association=grant.association, revision=1))) == "EXPIRED"


def test_an_update_of_limits_that_make_no_sense_together_harms_nobody(server, stream):
    grant, client, target = stream(server)
    update(server, grant, 1, connect_ms=4294967295, idle_ms=4294967295, half_closed_ms=4294967295,
           octets=(1 << 64) - 1)
    client.sendall(b"on")
    assert target.recv(10) == b"on"


# -------------------------------------------------------------------------------------------- quota

@pytest.mark.relays("streams", "udp")
def test_beyond_its_quota_a_server_is_told_full_at_once(own_relay, servers, silent):
    """At a relay of its own: its capacity may be used up by this."""
    relay = own_relay()
    server = servers(relay)
    quota = server.who.capacity.quota
    if quota > 12000:
        pytest.skip(f"a quota of {quota} takes too long to fill")
    refused = []
    left = quota + 20
    while left:
        count = min(left, 1024)
        calls = [server.call(server.any_message(silent, connect_ms=60000)) for _ in range(count)]
        answers = server.exchange(*calls).answers
        refused += [verdict(a) for a in answers if a.HasField("refused")]
        left -= count
    assert refused == ["FULL"] * 20
    held = server.inventory()
    assert len(held) == quota

    # It is the quota of this server and of nobody else, and what is released may be used again.
    if server.who.capacity.associations > quota:
        other = servers(relay)
        assert verdict(other.ask(other.any_message(silent))) == "ACCEPTED"
    server.release(next(iter(held)))
    assert verdict(server.ask(server.any_message(silent))) == "ACCEPTED"
    assert verdict(server.ask(server.any_message(silent))) == "FULL"


def test_the_largest_limits_are_no_error(server, stream):
    largest = 4294967295
    grant, client, target = stream(server, connect_ms=largest, idle_ms=largest, half_closed_ms=largest,
                                   octets=(1 << 64) - 1)
    client.sendall(b"on")
    assert target.recv(10) == b"on"
    assert not is_closed(client, 0.2)

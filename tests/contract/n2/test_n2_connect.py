"""CONNECT from the Open to the ENDED event."""

import hashlib
import os
import socket
import threading
import time

import pytest

import n2wire
from n2wire import end_name, endpoint, endpoint_address, is_closed, pb, read_to_end, verdict


def test_bytes_go_both_ways_and_half_close_is_forwarded(server, stream):
    client, target = stream(server)[1:]
    client.sendall(b"question")
    assert target.recv(100) == b"question"
    target.sendall(b"answer")
    assert client.recv(100) == b"answer"
    client.shutdown(socket.SHUT_WR)
    assert target.recv(100) == b"", "the client's end of stream was not forwarded"
    target.sendall(b"after the client's end")
    assert client.recv(100) == b"after the client's end"
    target.close()
    assert client.recv(100) == b""


def test_the_target_may_end_first(server, stream):
    client, target = stream(server)[1:]
    target.sendall(b"all")
    target.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == b"all"
    client.sendall(b"more from the client")
    client.close()
    assert read_to_end(target) == b"more from the client"


def test_ended_says_closed_and_counts_the_octets(server, stream):
    grant, client, target = stream(server)
    started = time.monotonic()
    client.sendall(b"x" * 300)
    n2wire.read_exactly(target, 300)
    target.sendall(b"y" * 70000)
    n2wire.read_exactly(client, 70000)
    time.sleep(0.1)
    client.close()
    assert read_to_end(target) == b""
    target.close()
    event = server.wait_ended(grant.association)
    assert end_name(event) == "CLOSED"
    assert event.counters.octets_up == 300
    assert event.counters.octets_down == 70000
    assert 100 <= event.counters.duration_ms <= (time.monotonic() - started) * 1000 + 1000
    assert grant.association not in server.inventory()


def test_an_association_ends_once(server, stream):
    grant, client, target = stream(server)
    client.close()
    target.close()
    server.wait_ended(grant.association)
    server.release(grant.association)
    server.watch()
    ends = [e for e in server.events_of(grant.association)
            if e.type in (pb.EVENT_ENDED, pb.EVENT_FAILED)]
    assert len(ends) == 1


def test_a_reset_of_the_client_is_reported_and_reaches_the_target(server, stream):
    grant, client, target = stream(server)
    client.sendall(b"a")
    target.recv(1)
    n2wire.reset(client)
    assert end_name(server.wait_ended(grant.association)) == "CLIENT_RESET"
    assert is_closed(target)


def test_a_reset_of_the_target_is_reported_and_reaches_the_client(server, stream):
    grant, client, target = stream(server)
    client.sendall(b"a")
    target.recv(1)
    n2wire.reset(target)
    assert end_name(server.wait_ended(grant.association)) == "TARGET_RESET"
    assert is_closed(client)


def test_the_reply_comes_before_anything_else_and_early_payload_reaches_the_target(
        server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    far.sendall(b"the target speaks first")
    time.sleep(0.05)
    client = sockets.keep(server.attach(grant, b"REPLY|", b"early|"))
    client.sendall(b"late")
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(far) == b"early|late"
    far.close()
    assert read_to_end(client) == b"REPLY|the target speaks first"


def test_what_the_client_sent_before_its_leg_came_is_not_lost(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    client, leg = sockets.pair()
    client.sendall(b"sent before")
    client.shutdown(socket.SHUT_WR)
    server.legs.send(pb.Legs(version=1, attaches=[server.attach_message(grant)]), [leg])
    leg.close()
    assert read_to_end(far) == b"sent before"
    far.sendall(b"heard")
    far.close()
    assert read_to_end(client) == b"heard"


def test_a_target_that_spoke_and_closed_before_the_leg_came_is_delivered(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    far.sendall(b"12:34:56")
    far.shutdown(socket.SHUT_WR)
    time.sleep(0.05)
    client = sockets.keep(server.attach(grant, b"OK|"))
    assert read_to_end(client) == b"OK|12:34:56"


def test_the_largest_reply_and_early_payload_are_carried(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    reply, early = os.urandom(1024), os.urandom(16 * 1024)
    client = sockets.keep(server.attach(grant, reply, early))
    assert n2wire.read_exactly(client, len(reply)) == reply
    assert n2wire.read_exactly(far, len(early)) == early


def test_megabytes_arrive_unchanged_in_both_directions_at_once(server, stream):
    grant, client, target = stream(server)
    size = 8 << 20
    data = {client: os.urandom(size), target: os.urandom(size)}

    def send(sock):
        sock.sendall(data[sock])
        sock.shutdown(socket.SHUT_WR)

    threads = [threading.Thread(target=send, args=(sock,)) for sock in data]
    got = {}

    def receive(sock):
        got[sock] = read_to_end(sock)

    threads += [threading.Thread(target=receive, args=(sock,)) for sock in data]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert hashlib.sha256(got[client]).digest() == hashlib.sha256(data[target]).digest()
    assert hashlib.sha256(got[target]).digest() == hashlib.sha256(data[client]).digest()
    counters = server.wait_ended(grant.association).counters
    assert (counters.octets_up, counters.octets_down) == (size, size)


def test_a_client_that_does_not_read_holds_up_its_own_stream_only(server, stream):
    slow, quick = stream(server), stream(server)
    slow.target.setblocking(False)
    try:
        while True:
            slow.target.send(b"z" * 65536)
    except BlockingIOError:
        pass                        # every buffer on the way is full now
    started = time.monotonic()
    quick.client.sendall(b"ping")
    assert quick.target.recv(10) == b"ping"
    assert verdict(server.ask(pb.Inventory(limit=10))) == "ACCEPTED"
    assert time.monotonic() - started < 1


def test_opened_names_both_ends_of_the_outer_connection(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    assert endpoint_address(grant.bound) == far.getpeername()
    assert endpoint_address(grant.peer) == target.getsockname()
    if server.who.engines:
        assert grant.engine in server.who.engines


def test_every_association_has_a_ticket_of_its_own(server, target):
    tickets = {server.open(server.connect_message(target.getsockname())).ticket for _ in range(20)}
    assert len(tickets) == 20


def test_a_wanted_local_address_is_used(server, target, sockets):
    message = server.connect_message(target.getsockname())
    message.bind.CopyFrom(endpoint("127.0.0.77", 0))
    grant = server.open(message)
    far = sockets.accept(target)
    assert far.getpeername()[0] == "127.0.0.77"
    assert endpoint_address(grant.bound) == far.getpeername()


def test_a_local_address_that_is_not_on_this_host_cannot_be_bound(server, target, no_arrival):
    message = server.connect_message(target.getsockname())
    message.bind.CopyFrom(endpoint("192.0.2.77", 0))
    assert verdict(server.open_refused(message)) == "CANNOT_BIND"
    no_arrival(target)


def test_an_ipv6_destination_is_reached_when_the_relay_says_that_it_can(server, sockets):
    if 6 not in server.who.families:
        pytest.skip("this relay does not carry IPv6")
    try:
        listener = sockets.listener("::1")
    except OSError:
        pytest.skip("this host has no IPv6 on loopback")
    grant = server.open(server.connect_message(listener.getsockname()[:2]))
    sockets.accept(listener)
    assert endpoint_address(grant.peer) == listener.getsockname()[:2]


# ------------------------------------------------------------------------- failures, several targets

def test_a_port_where_nobody_listens_is_refused_with_its_cause(server, closed_port):
    message = server.connect_message(closed_port)
    assert verdict(server.open_refused(message)) == "UNREACHABLE REFUSED"
    assert message.association not in server.inventory()


def test_an_open_to_a_silent_address_is_pending_at_once(server, silent):
    message = server.connect_message(silent, connect_ms=30000)
    started = time.monotonic()
    answer = server.ask(message)
    assert time.monotonic() - started < 0.5
    assert answer.open.state == pb.OPEN_PENDING
    held = server.inventory()[message.association]
    assert (held.kind, held.state) == (pb.KIND_CONNECT, pb.HELD_PENDING)


def test_a_silent_address_times_out_after_connect_ms(server, silent):
    started = time.monotonic()
    message = server.connect_message(silent, connect_ms=600)
    assert verdict(server.open_refused(message)) == "UNREACHABLE TIMED_OUT"
    assert 0.55 <= time.monotonic() - started < 2
    assert message.association not in server.inventory()


def test_connect_ms_bounds_all_attempts_together(server, silent):
    started = time.monotonic()
    message = server.connect_message(*[silent] * 6, connect_ms=600)
    assert verdict(server.open_refused(message)) == "UNREACHABLE TIMED_OUT"
    assert time.monotonic() - started < 2


def test_the_first_of_two_good_destinations_is_taken(server, target, sockets):
    second = sockets.listener()
    for _ in range(5):
        grant = server.open(server.connect_message(target.getsockname(), second.getsockname()))
        assert endpoint_address(grant.peer) == target.getsockname()


def test_a_refused_destination_is_followed_by_the_next_one(server, closed_port, target):
    grant = server.open(server.connect_message(closed_port, closed_port, target.getsockname()))
    assert endpoint_address(grant.peer) == target.getsockname()


def test_a_silent_destination_does_not_hold_up_the_next_one(server, silent, target):
    started = time.monotonic()
    grant = server.open(server.connect_message(silent, target.getsockname()))
    assert time.monotonic() - started < 1.5
    assert endpoint_address(grant.peer) == target.getsockname()


def test_all_destinations_refused_is_refused(server, closed_port):
    message = server.connect_message(*[closed_port] * 4)
    assert verdict(server.open_refused(message)) == "UNREACHABLE REFUSED"


def test_a_silent_and_a_refused_destination_fail_when_the_time_is_over(server, silent, closed_port):
    message = server.connect_message(silent, closed_port, connect_ms=700)
    refusal = server.open_refused(message)
    assert verdict(refusal) in ("UNREACHABLE TIMED_OUT", "UNREACHABLE REFUSED")


def test_attempts_that_are_no_longer_wanted_are_given_up(server, silent_listener, target, no_arrival):
    """The losers of a race, and the attempts of an association that was released."""
    silent = silent_listener.getsockname()
    released = server.connect_message(silent, connect_ms=30000)
    server.ask(released)
    server.release(released.association)
    server.open(server.connect_message(silent, target.getsockname()))
    # There is room in the queue now: a SYN that is sent again, after a second, would arrive.
    silent_listener.accept()[0].close()
    no_arrival(silent_listener, 1.5)


def test_an_outer_connection_reset_before_the_leg_came_resets_the_client(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    n2wire.reset(sockets.accept(target))
    time.sleep(0.1)
    known = grant.association in server.inventory()
    client = sockets.keep(server.attach(grant, to_client=b"success"))
    octets, was_reset = n2wire.read_until_gone(client)
    assert octets == b"", "success was announced for a dead stream"
    # When the relay had noticed before, the leg belongs to an unknown association and is just closed.
    assert was_reset or not known
    event = server.wait_event(grant.association, pb.EVENT_ENDED, pb.EVENT_FAILED)
    if event.type == pb.EVENT_ENDED:
        assert end_name(event) in ("TARGET_RESET", "CLOSED")


# ------------------------------------------------------------------------------------------- other

def test_two_servers_may_use_the_same_association_id_unharmed(new_server, target):
    """Ids are drawn by servers; one that guesses or repeats another's id must not touch it."""
    mine, other = new_server(), new_server()
    grant = mine.open(mine.connect_message(target.getsockname()))
    assert verdict(other.ask(pb.Update(association=grant.association, revision=1))) == "EXPIRED"
    other.release(grant.association)
    assert other.inventory() == {}
    assert grant.association in mine.inventory()

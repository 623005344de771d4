"""Watch: parking, events, their delivery until they are received, and what is always told."""

import time

import pytest

import n2wire
from n2wire import end_name, pb, verdict

pytestmark = pytest.mark.relays("streams", "udp")


def collect(server, until, after_seq=0):
    """Watches by hand from `after_seq` until `until(events)` holds; the events are not received."""
    deadline = time.monotonic() + 5
    while True:
        events = server.watch(after_seq=after_seq, wait_ms=100).events
        if until(events):
            return list(events)
        assert time.monotonic() < deadline, f"the events did not come: {events}"
        time.sleep(0.01)            # there are events already, so the Watch is not parked


def lock(client):
    """Makes an event."""
    client.send(("127.0.0.1", 9), b"first")


@pytest.fixture
def eventful(quiet_server, target, sockets, udp_client):
    """A server for which the relay keeps at least three events, and those events."""
    server = quiet_server
    if pb.KIND_CONNECT not in server.who.kinds:
        for _ in range(3):
            lock(udp_client(at=server))
        return server, collect(server, lambda e: len(e) == 3)
    messages = [server.connect_message(target.getsockname()) for _ in range(3)]
    answers = server.exchange(*[server.call(m) for m in messages]).answers
    pending = sum(a.open.state == pb.OPEN_PENDING for a in answers)
    opened = {m.association: a.open for m, a in zip(messages, answers)
              if a.open.state == pb.OPEN_OPENED}
    for event in collect(server, lambda e: len(e) >= pending) if pending else ():
        opened[event.association] = event.opened
    for message in messages:
        far = sockets.accept(target)
        answer = opened[message.association]
        grant = n2wire.Grant(message.association, answer.ticket, answer.bound, answer.peer, "")
        server.attach(grant).close()
        far.close()
    events = collect(server, lambda e: sum(x.type == pb.EVENT_ENDED for x in e) == 3)
    return server, events


def test_a_watch_always_tells_load_and_state(quiet_server, silent):
    empty = quiet_server.watch(wait_ms=0)
    assert empty.state == pb.RELAY_READY
    assert empty.last_seq == 0
    assert not empty.gap
    capacity = quiet_server.who.capacity.associations
    assert empty.load.capacity == capacity
    for _ in range(3):
        quiet_server.ask(quiet_server.any_message(silent, connect_ms=30000))
    assert quiet_server.watch(wait_ms=0).load.associations >= 3


def test_a_watch_that_does_not_want_to_wait_is_answered_at_once(quiet_server):
    started = time.monotonic()
    quiet_server.watch(wait_ms=0)
    assert time.monotonic() - started < 0.2


def test_a_watch_without_events_is_parked_until_wait_ms_has_passed(quiet_server):
    started = time.monotonic()
    answer = quiet_server.watch(wait_ms=200)
    assert 0.18 <= time.monotonic() - started < 0.5
    assert not answer.events


def test_a_watch_is_parked_for_a_third_of_the_lease_at_most(quiet_server):
    third = quiet_server.lease / 3
    started = time.monotonic()
    quiet_server.watch(wait_ms=600000)
    assert third - 0.05 <= time.monotonic() - started < third + 0.3


@pytest.mark.relays("streams")
def test_a_parked_watch_returns_when_an_event_arises(server, stream, quiet_server):
    running = stream(server)
    server.stop_watching()
    sent = server.send_watch(after_seq=server.after_seq, wait_ms=10000)
    time.sleep(0.05)
    assert not server.req.has_reply(sent[1]), "the Watch was not parked"
    started = time.monotonic()
    running.client.close()
    running.target.close()
    answer = server.receive_watch(sent)
    assert time.monotonic() - started < server.lease / 4
    assert [e.association for e in answer.events] == [running.grant.association]


def test_other_calls_are_answered_while_a_watch_is_parked(quiet_server):
    sent = quiet_server.send_watch(wait_ms=300)
    assert verdict(quiet_server.ask(pb.Inventory(limit=1))) == "ACCEPTED"
    assert not quiet_server.req.has_reply(sent[1])
    quiet_server.receive_watch(sent)


def test_a_newer_watch_has_the_older_one_answered_at_once_and_without_events(quiet_server):
    older = quiet_server.send_watch(wait_ms=10000)
    time.sleep(0.05)
    newer = quiet_server.send_watch(wait_ms=10000)
    assert not quiet_server.receive_watch(older, 0.2).events
    assert not quiet_server.req.has_reply(newer[1])
    quiet_server.receive_watch(newer)


def test_events_are_numbered_from_one(eventful):
    _, events = eventful
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


def test_events_are_given_again_until_they_are_received(eventful):
    server, events = eventful
    for _ in range(2):
        assert list(server.watch(after_seq=0).events) == events
    assert list(server.watch(after_seq=1).events) == events[1:]
    last = events[-1].seq
    answer = server.watch(after_seq=last)
    assert not answer.events
    assert answer.last_seq == last


def test_received_events_do_not_come_back(eventful):
    server, events = eventful
    server.watch(after_seq=events[-1].seq)
    assert not server.watch(after_seq=events[-1].seq, wait_ms=100).events


def test_events_survive_a_lost_connection(eventful):
    server, events = eventful
    server.reconnect().must_hello()
    assert list(server.watch(after_seq=0).events) == events


@pytest.mark.relays("udp")
def test_a_parked_watch_returns_when_a_datagram_locks(quiet_server, udp_client):
    client = udp_client(at=quiet_server)
    sent = quiet_server.send_watch(wait_ms=10000)
    time.sleep(0.05)
    assert not quiet_server.req.has_reply(sent[1]), "the Watch was not parked"
    lock(client)
    assert [e.association for e in quiet_server.receive_watch(sent).events] == [client.association]


@pytest.mark.relays("streams")
def test_the_numbers_go_on_after_events_were_received(eventful, target, sockets):
    server, events = eventful
    last = events[-1].seq
    server.watch(after_seq=last)
    server.after_seq = last
    server.start_watching()
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    client = server.attach(grant)
    client.close()
    far.close()
    server.wait_ended(grant.association)
    assert [e.seq for e in server.events] == list(range(last + 1, last + 1 + len(server.events)))


def test_every_server_has_events_of_its_own(eventful, new_server):
    other = new_server(watch=False)
    answer = other.watch(after_seq=0)
    assert not answer.events
    assert answer.last_seq == 0


def test_a_watch_that_is_parked_when_its_connection_closes_harms_nobody(new_server):
    server, other = new_server(watch=False), new_server()
    server.send_watch(wait_ms=10000)
    server.reconnect().must_hello()
    assert not server.watch(wait_ms=50).events
    assert verdict(other.ask(pb.Inventory(limit=1))) == "ACCEPTED"


@pytest.mark.parametrize("after_seq", [1000, 1 << 63, (1 << 64) - 1])
def test_a_watch_from_beyond_the_last_event_harms_nobody(quiet_server, after_seq):
    answer = quiet_server.ask(pb.Watch(after_seq=after_seq, wait_ms=50))
    assert verdict(answer) in ("ACCEPTED", "BAD")
    assert not answer.watch.events
    assert verdict(quiet_server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


@pytest.mark.relays("streams")
def test_an_event_of_a_pending_open_carries_the_whole_answer(quiet_server, silent, target, sockets):
    message = quiet_server.connect_message(silent, target.getsockname())
    assert quiet_server.ask(message).open.state == pb.OPEN_PENDING
    event = collect(quiet_server, bool)[0]
    assert (event.type, event.association) == (pb.EVENT_OPENED, message.association)
    far = sockets.accept(target)
    assert n2wire.endpoint_address(event.opened.bound) == far.getpeername()
    assert n2wire.endpoint_address(event.opened.peer) == target.getsockname()


@pytest.mark.relays("streams")
def test_ended_events_name_the_reason(eventful):
    _, events = eventful
    assert {end_name(e) for e in events if e.type == pb.EVENT_ENDED} <= {"CLOSED", "TARGET_RESET",
                                                                       "CLIENT_RESET"}

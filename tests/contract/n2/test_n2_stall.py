"""Many Opens that hang: they are answered at once and keep nobody else waiting."""

import statistics
import time

from n2wire import new_id, pb, verdict


def round_trips(server, count):
    """The times that some small calls take, in seconds."""
    times = []
    for _ in range(count):
        started = time.monotonic()
        assert verdict(server.ask(pb.Release(association=new_id()))) == "ACCEPTED"
        times.append(time.monotonic() - started)
    return times


def test_a_thousand_opens_to_a_silent_address_slow_nobody_down(new_server, silent, target, sockets):
    stalled, other = new_server(), new_server()
    count = min(1000, stalled.who.capacity.quota)
    before = round_trips(other, 50)

    calls = [stalled.call(stalled.connect_message(silent, connect_ms=30000)) for _ in range(count)]
    started = time.monotonic()
    answers = stalled.exchange(*calls).answers
    assert time.monotonic() - started < 1, "an answer has waited for the network"
    assert {verdict(a) for a in answers} <= {"ACCEPTED", "FULL"}
    assert sum(1 for a in answers if a.open.state == pb.OPEN_PENDING) > 0

    during = round_trips(other, 200)
    assert max(during) < 1
    assert statistics.median(during) < 20 * statistics.median(before) + 0.05
    started = time.monotonic()
    other.open(other.connect_message(target.getsockname()))
    sockets.accept(target)
    assert time.monotonic() - started < 1

    releases = [stalled.call(pb.Release(association=call.open.association)) for call in calls]
    started = time.monotonic()
    assert {verdict(a) for a in stalled.exchange(*releases).answers} == {"ACCEPTED"}
    assert time.monotonic() - started < 1
    assert stalled.inventory() == {}

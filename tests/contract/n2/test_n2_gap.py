"""More events than a relay keeps: it says so, and the server takes an Inventory."""

import time

import n2wire
from n2wire import pb, verdict

ROOM = 16384


def overflow(server, silent, already=0):
    """Makes events until the relay says that it has lost some. The last answer is returned.

    A CONNECT to a silent address that may take one millisecond is surely PENDING and then FAILED:
    one event for every Open.
    """
    batch = min(512, server.who.capacity.quota)
    made = already
    while made < already + ROOM + 2 * batch:
        calls = [server.call(server.connect_message(silent, connect_ms=1)) for _ in range(batch)]
        answers = server.exchange(*calls, acked=calls[0].id).answers
        assert {verdict(a) for a in answers} == {"ACCEPTED"}
        made += batch
        deadline = time.monotonic() + 5
        while True:
            answer = server.watch(after_seq=already, wait_ms=0)
            if answer.last_seq >= made:
                break
            assert time.monotonic() < deadline, f"{made} events were due, {answer.last_seq} came"
            time.sleep(0.002)
        if answer.gap:
            return answer
    raise AssertionError("events were dropped or kept without a bound, and no gap was told")


def test_lost_events_are_told_until_the_server_is_past_them(quiet_server, silent, target):
    server = quiet_server
    held = server.connect_message(target.getsockname(), connect_ms=20000)
    first = server.ask(held)
    already = 1 if first.open.state == pb.OPEN_PENDING else 0
    while server.watch(after_seq=0).last_seq < already:
        time.sleep(0.01)
    server.watch(after_seq=already)

    answer = overflow(server, silent, already)
    last_dropped = answer.events[0].seq - 1
    assert last_dropped > already
    assert answer.last_seq - last_dropped <= ROOM
    assert len(answer.events) <= n2wire.MAX_EVENTS

    # It is told again as long as the server has not said that it is past the loss.
    assert server.watch(after_seq=already).gap
    assert server.watch(after_seq=last_dropped - 1).gap
    # The answer to the first Watch beyond the loss may tell it for the last time.
    server.watch(after_seq=last_dropped)
    after = server.watch(after_seq=last_dropped)
    assert not after.gap
    assert after.events[0].seq == last_dropped + 1

    # The rest comes in pieces, without holes.
    seq = last_dropped
    while seq < answer.last_seq:
        piece = server.watch(after_seq=seq)
        assert not piece.gap
        assert piece.events[0].seq == seq + 1
        seq = piece.events[-1].seq
    inventory = server.inventory_page()
    assert [h.association for h in inventory.held] == [held.association]
    assert inventory.as_of_seq == answer.last_seq

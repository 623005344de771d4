"""An opened association that gets no leg ends. Slow: the shortest wait there is takes ten seconds."""

import time

from n2wire import end_name, is_closed, pb


def test_an_association_without_a_leg_ends_after_ten_seconds_at_the_earliest(
        server, target, sockets):
    started = time.monotonic()
    connect = server.open(server.connect_message(target.getsockname(), connect_ms=100))
    far = sockets.accept(target)
    waiting = [connect.association]
    if pb.KIND_BIND in server.who.kinds:
        bind = server.open(server.bind_message(connect_ms=9000))
        sockets.connect(("127.0.0.1", bind.bound.port))
        server.wait_event(bind.association, pb.EVENT_PEER)
        waiting.append(bind.association)
    assert not is_closed(far, started + 9.7 - time.monotonic()), "ended too early"
    assert set(server.inventory()) == set(waiting)
    assert is_closed(far, 3)
    for association in waiting:
        assert end_name(server.wait_ended(association)) == "ATTACH_TIMEOUT"
    assert server.inventory() == {}

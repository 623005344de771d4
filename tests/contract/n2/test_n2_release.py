"""Release ends an association in every state."""

import time

from n2wire import is_closed, pb


def check_events(server, association):
    """The answer to a Release is the last that is heard of it."""
    time.sleep(0.1)
    for event in server.events_of(association):
        assert event.type not in (pb.EVENT_FAILED, pb.EVENT_ENDED)


def test_a_released_stream_is_cut_and_its_octets_are_told(server, stream):
    grant, client, target = stream(server)
    client.sendall(b"u" * 1234)
    received = 0
    while received < 1234:
        received += len(target.recv(65536))
    target.sendall(b"ddd")
    assert client.recv(10) == b"ddd"
    time.sleep(0.05)
    counters = server.release(grant.association).counters
    assert (counters.octets_up, counters.octets_down) == (1234, 3)
    assert 50 <= counters.duration_ms < 5000
    assert is_closed(client)
    assert is_closed(target)
    assert server.inventory() == {}
    check_events(server, grant.association)


def test_a_released_stream_is_cut_though_a_side_does_not_read(server, stream):
    grant, client, target = stream(server)
    target.setblocking(False)
    try:
        while True:
            target.send(b"z" * 65536)
    except BlockingIOError:
        pass                        # every buffer on the way is full now
    started = time.monotonic()
    assert server.release(grant.association).HasField("counters")
    assert time.monotonic() - started < 1
    assert server.inventory() == {}


def test_a_released_association_without_a_leg_closes_the_outer_connection(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    assert server.release(grant.association).HasField("counters")
    assert is_closed(far)
    assert server.inventory() == {}
    check_events(server, grant.association)


def test_a_released_pending_open_is_given_up(server, silent):
    message = server.connect_message(silent, connect_ms=400)
    server.ask(message)
    assert server.release(message.association).HasField("counters")
    assert server.inventory() == {}
    time.sleep(0.5)                 # its time would be over now
    check_events(server, message.association)


def test_a_release_frees_one_association_only(server, target):
    grants = [server.open(server.connect_message(target.getsockname())) for _ in range(3)]
    server.release(grants[1].association)
    assert set(server.inventory()) == {grants[0].association, grants[2].association}

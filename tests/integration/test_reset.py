"""A reset on one side is a reset on the other, never a clean end."""

import time

import socks
from targets import pattern, reset, saw_reset


def test_a_client_that_resets_resets_the_target(system, connect):
    client, target = connect(system)
    client.sendall(b"then")
    assert target.recv(4) == b"then"
    reset(client)
    assert saw_reset(target)
    record = system.access(reason="client_reset")
    assert record["octets_up"] == "4"


def test_a_target_that_resets_resets_the_client(system, connect):
    client, target = connect(system)
    target.sendall(b"then")
    assert client.recv(4) == b"then"
    reset(target)
    assert saw_reset(client)
    record = system.access(reason="target_reset")
    assert record["octets_down"] == "4"


def test_a_reset_while_the_other_side_does_not_read_ends_it_at_once(system, connect):
    client, target = connect(system)
    target.setblocking(False)
    block = pattern(1 << 20)
    stalled = 0
    while stalled < 5:                          # until every buffer on the way is full
        try:
            target.send(block)
            stalled = 0
        except BlockingIOError:
            stalled += 1
            time.sleep(0.05)
    reset(client)
    target.settimeout(30)
    assert saw_reset(target)
    assert system.access(reason="client_reset")


def test_a_target_that_resets_at_once_leaves_no_client_waiting(system, sockets):
    service = sockets.resetting()
    for _ in range(20):
        client = sockets.keep(socks.dial(system.address))
        client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *service.address))
        saw_reset(client)                       # or an orderly end, if the relay saw it while it dialled
        client.close()
    system.assert_clean()
    ended = system.records("access")
    assert len(ended) == 20
    assert {r["reason"] for r in ended} <= {"target_reset", "refused"}

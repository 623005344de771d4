"""A relay that is dead, stopped or silent forwards nothing once its lease is over."""

import signal
import time

import pytest

from nat_world import UDP, MARK
from test_nat_teardown import Stream, exchange

LEASE = 1500


@pytest.fixture
def flow(world):
    """A driver with a short lease, and an association that is being used."""
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease(LEASE)
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(), world.target_udp()
    peer = exchange(near, far)
    streams = [Stream(near, ("10.1.0.1", 30000)), Stream(far, peer)]
    yield d, near
    for s in streams:
        s.stop()


def passes(world, near):
    """Whether packets go either way just now."""
    near.setblocking(False)
    try:
        while near.recv(100):
            pass
    except BlockingIOError:
        pass
    before = world.seen()
    time.sleep(0.3)
    try:
        back = bool(near.recv(100))
    except BlockingIOError:
        back = False
    return world.seen() != before, back


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_nothing_passes_once_the_lease_is_over(world, flow, number):
    d, near = flow
    assert passes(world, near) == (True, True)
    d.signal(number)
    time.sleep(LEASE / 1000 + 1)
    assert passes(world, near) == (False, False)


def test_a_lease_is_as_long_as_it_was_last_said_to_be(world, flow):
    d, near = flow
    for _ in range(6):
        time.sleep(LEASE / 3000)
        d.lease(LEASE)
    assert passes(world, near) == (True, True), "longer than any one of them"
    time.sleep(LEASE / 1000)
    assert passes(world, near) == (False, False)
    assert d.stats()["lapsed"] > 0
    d.lease(LEASE)
    assert passes(world, near) == (True, True), "it may come back"
    d.lease(0)
    assert passes(world, near) == (False, False), "ended by word"


def test_each_server_has_its_own_lease(world, flow):
    d, near = flow
    d.lease(60000, tag=2)
    d.add("b", "10.1.0.2:40001", "10.1.0.1:30000", "10.2.0.2:54", UDP, tag=2)
    other, far = world.client_udp(("10.1.0.2", 40001)), world.target_udp(("10.2.0.2", 54))
    d.lease(0)
    assert passes(world, near) == (False, False)
    exchange(other, far)


def test_what_was_killed_is_flushed_by_the_next_one(world, flow):
    d, near = flow
    d.lease(60000)
    d.signal(signal.SIGKILL)
    assert passes(world, near) == (True, True), "the lease still runs"
    world.driver()
    assert passes(world, near) == (False, False), "the new one knows nothing of it"
    assert not world.tracked(f"-m {MARK:#x}/0xffff0000")


def test_a_new_one_may_reuse_the_key(world, flow):
    d, near = flow
    d.signal(signal.SIGKILL)
    other = world.target_udp(("10.2.0.3", 53))
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    world.target.nft("table inet old { chain in { type filter hook input priority 0;\n"
                     "ip daddr 10.2.0.2 udp dport 53 counter\n}\n}")
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.3:53", UDP)
    assert other.recv(100) == b"x"
    time.sleep(0.3)
    assert "counter packets 0" in world.target.sh("nft list table inet old")


def test_two_of_one_id_do_not_live_side_by_side(world, flow):
    _, near = flow
    world.driver(expect="failed")
    assert passes(world, near) == (True, True), "the first one is as it was"

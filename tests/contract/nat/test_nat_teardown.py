"""The end of an association is the end of its packets."""

import threading
import time

import pytest

from nat_world import UDP


@pytest.fixture
def ready(world):
    """A driver with one UDP association, and its two ends."""
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    return d, world.client_udp(), world.target_udp()


def exchange(near, far):
    near.sendto(b"q", ("10.1.0.1", 30000))
    data, peer = far.recvfrom(100)
    far.sendto(b"a", peer)
    assert near.recv(100) == b"a"
    return peer


class Stream(threading.Thread):
    """Sends a datagram every millisecond until it is stopped."""

    def __init__(self, sock, to):
        super().__init__(daemon=True)
        self._sock, self._to, self._stop_now = sock, to, threading.Event()
        self.start()

    def run(self):
        while not self._stop_now.wait(0.001):
            try:
                self._sock.sendto(b"x", self._to)
            except OSError:
                pass

    def stop(self):
        self._stop_now.set()
        self.join()


def test_a_running_flow_stops_at_once_both_ways(world, ready):
    d, near, far = ready
    peer = exchange(near, far)
    up, down = Stream(near, ("10.1.0.1", 30000)), Stream(far, peer)
    time.sleep(0.2)
    d.tell("remove a")
    time.sleep(0.05)                    # what the driver needs to read it, and an iteration
    before = world.seen()
    near.setblocking(False)
    with pytest.raises(BlockingIOError):
        while near.recv(100):
            pass
    time.sleep(0.5)
    assert world.seen() == before, "packets passed after the end"
    with pytest.raises(BlockingIOError):
        near.recv(100)
    d.expect("removed a")
    up.stop()
    down.stop()
    assert not [line for line in world.tracked("-p udp") if "src=10.1.0.2 dst=10.1.0.1" in line]


def test_a_key_that_is_used_again_reaches_the_new_target_only(world, ready):
    d, near, far = ready
    exchange(near, far)
    stream = Stream(near, ("10.1.0.1", 30000))      # it never stops sending
    other = world.target_udp(("10.2.0.3", 53))
    for turn in range(10):
        d.remove("a")
        far.setblocking(False)
        other.setblocking(False)
        for sock in (far, other):
            with pytest.raises(BlockingIOError):
                while sock.recv(100):
                    pass
        target, wrong = (other, far) if turn % 2 == 0 else (far, other)
        address = "10.2.0.3:53" if turn % 2 == 0 else "10.2.0.2:53"
        d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", address, UDP)
        target.settimeout(5)
        assert target.recv(100) == b"x"
        with pytest.raises(BlockingIOError):
            wrong.recv(100)
    stream.stop()


def test_a_key_is_not_free_before_it_is_reported_free(world, ready):
    d, near, far = ready
    exchange(near, far)
    d.tell("remove a")
    d.add("b", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.3:53", UDP, result="taken")
    d.expect("removed a")
    d.add("b", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.3:53", UDP)


def test_final_counts_are_exact(world, ready):
    d, near, far = ready
    for _ in range(100):
        exchange(near, far)
    counts = d.remove("a")
    assert counts == {"packets_out": 100, "octets_out": 2900, "packets_in": 100, "octets_in": 2900}


def test_an_established_tcp_connection_is_cut(world):
    d = world.driver()
    listener = world.listener()
    d.hold("10.1.0.1:30000")
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:80")
    near = world.dial(("10.1.0.1", 30000))
    far = world.keep(listener.accept()[0])
    near.sendall(b"before")
    assert far.recv(100) == b"before"
    d.remove("a")
    before = world.seen()
    near.sendall(b"after")
    far.settimeout(1)
    with pytest.raises(TimeoutError):
        far.recv(100)
    assert world.seen() == before


def test_removed_before_it_was_added_is_removed(world, ready):
    d = ready[0]
    d.tell("add b 17 10.1.0.2:40001 10.1.0.1:30000 10.2.0.2:53 1\nremove b")
    d.expect("removed b")
    d.silent("added b", 0.2)
    assert d.stats()["entries"] == 1


def test_a_clean_end_leaves_nothing_behind(world, ready):
    d, near, far = ready
    exchange(near, far)
    d.close()
    assert "relayd" not in world.relay.sh("nft list ruleset")
    assert not world.tracked("-p udp")

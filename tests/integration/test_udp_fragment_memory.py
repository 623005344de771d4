"""What waits for its last fragment has so much memory, all associations together."""

import pytest

import udp
import udp_checks
from daemons import wait_until

LAST = 0x80
LARGE = b"x" * 50000
BYTES = "relayd_fragment_bytes"


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


@pytest.fixture
def system(start):
    return udp_checks.begin(start, relay={"fragment-memory": "128KiB"})


def test_beyond_it_is_dropped_and_room_is_used_again(system, sockets, target):
    crowd = [sockets.keep(udp.Association(system.address)) for _ in range(5)]
    where = target.getsockname()
    with udp_checks.dropping(system.relay, fragment_memory=3):
        for a in crowd:
            a.send(where, LARGE, frag=1)
    assert 100000 <= system.relay.metric(BYTES) <= 128 * 1024
    for a in crowd:
        udp.exchange(a, target, b"stands alone") if a in crowd[2:] else a.send(where, b"end", frag=2 | LAST)
        if a in crowd[:2]:
            assert udp_checks.got(target) == LARGE + b"end"
    assert system.relay.metric(BYTES) == 0
    with udp_checks.dropping(system.relay):
        crowd[4].send(where, LARGE, frag=1)
        crowd[4].send(where, b"end", frag=2 | LAST)
        assert udp_checks.got(target) == LARGE + b"end"


def test_one_association_cannot_have_more_than_a_datagram(system, target):
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, fragment=100):
            for _ in range(50):
                a.send(target.getsockname(), LARGE, frag=1)
                a.send(target.getsockname(), LARGE, frag=2)
            udp.exchange(a, target)
        assert system.relay.metric(BYTES) == 0


def test_it_is_given_back_with_the_association(system, target):
    with udp.Association(system.address) as a:
        a.send(target.getsockname(), LARGE, frag=1)
        a.send(target.getsockname(), b"more", frag=2)
        wait_until(lambda: system.relay.metric(BYTES) > 0, "fragments")
    wait_until(lambda: system.relay.metric(BYTES) == 0, "memory that is given back")
    assert not system.relay.associations()


def test_fragments_that_end_with_the_association_are_in_its_record(system, target):
    with udp.Association(system.address) as a:
        for n in (1, 2, 3):
            a.send(target.getsockname(), b"x", frag=n)
        wait_until(lambda: system.relay.metric("relayd_fragments_total") == 3, "fragments")
    assert system.access(command="udp-associate")["dropped"] == "3"


def test_fragments_that_end_with_the_association_are_counted_by_the_relay(system, target):
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, fragment=3):
            for n in (1, 2, 3):
                a.send(target.getsockname(), b"x", frag=n)
            wait_until(lambda: system.relay.metric("relayd_fragments_total") == 3, "fragments")
            a.close()

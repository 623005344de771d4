"""Both ways to move datagrams keep the same promises."""

import pytest

import targets
import udp
import udp_checks


@pytest.fixture(params=["plain", "batch"])
def system(request, start):
    system = udp_checks.begin(start, relay={"engines": [request.param]})
    system.engine = request.param
    return system


def test_the_engine_that_was_asked_for_moves_them(system, sockets):
    target = sockets.keep(udp.udp_socket())
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        assert system.relay.associations()[0]["engine"] == system.engine
    assert system.relay.status()["engines"] == [system.engine]
    assert system.relay.metric('relayd_bytes_total{engine="%s"}' % system.engine) > 0


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_sizes_and_octets(system, sockets, host, hint):
    target = sockets.keep(udp.udp_socket(host))
    sizes = [0, 1, 2, 1, 0, 511, 512, 513, 1472, 1473, 9000, 32767, 32768, 65000]
    with udp.Association(system.address, hint) as a, udp_checks.dropping(system.relay):
        for number, size in enumerate(sizes):
            udp.exchange(a, target, targets.pattern(size, number))
    record = system.access(command="udp-associate")
    assert (record["datagrams_up"], record["octets_up"]) == (str(len(sizes)), str(sum(sizes)))
    assert (record["datagrams_down"], record["octets_down"]) == (str(len(sizes)), str(sum(sizes) + 3 * len(sizes)))


def test_bursts_of_equal_size_keep_bounds_and_order(system, sockets):
    """What the kernel may put together, and take apart again, both ways."""
    target = sockets.keep(udp.udp_socket())
    with udp.Association(system.address) as a:
        outer = udp.exchange(a, target)
        for size in (1, 100, 1200):
            burst = [bytes([n]) * size for n in range(40)] + [b"short"[:size]]
            for payload in burst:
                a.send(target.getsockname(), payload)
            assert [udp_checks.got(target) for _ in burst] == burst
            for payload in burst:
                target.sendto(payload, outer)
            assert [a.recv()[2] for _ in burst] == burst


def test_bursts_of_all_sorts_within_one(system, sockets):
    """Good ones to two targets, denied ones, broken ones, names: each is treated by itself, in order."""
    targets_ = [sockets.keep(udp.udp_socket(host)) for host in ("127.0.0.1", "127.0.0.2")]
    with udp.Association(system.address) as a:
        udp.exchange(a, targets_[0])
        udp.exchange(a, targets_[1])
        with udp_checks.dropping(system.relay, denied=60, header=30):
            for n in range(30):
                a.send(targets_[0].getsockname(), b"%02d" % n)
                a.send(("10.0.0.1", 99), b"%02d" % n)       # as long as the one before: one run
                a.send(targets_[1].getsockname(), b"%02d" % n)
                a.send_raw(b"\0\0\0\7" + b"y" * 8)
                a.send(("10.0.0.1", 99), b"%02d" % n)
            for target in targets_:
                assert [udp_checks.got(target) for _ in range(30)] == [b"%02d" % n for n in range(30)]


def test_many_associations_at_once(system, sockets):
    target = sockets.keep(udp.udp_socket())
    crowd = [sockets.keep(udp.Association(system.address, True)) for _ in range(30)]
    for turn in range(3):
        for number, a in enumerate(crowd):
            a.send(target.getsockname(), b"%d %d" % (number, turn))
        for _ in crowd:
            octets, outer = target.recvfrom(100)
            target.sendto(octets, outer)
        for number, a in enumerate(crowd):
            assert a.recv() == (*target.getsockname(), b"%d %d" % (number, turn))

"""The largest datagrams there are pass both ways; what does not fit behind its header is dropped, alone."""

import pytest

import targets
import udp
import udp_checks

LARGEST = 65507                 # payload of UDP over IPv4
HEADER = {"127.0.0.1": 10, "::1": 22}


@pytest.fixture(params=HEADER)
def target(request, sockets):
    return sockets.keep(udp.udp_socket(request.param))


def room(target):
    """Payload that fits behind the target's header in the largest datagram."""
    return LARGEST - HEADER[target.getsockname()[0]]


@pytest.mark.parametrize("engine", ["plain", "batch"])
def test_the_largest_pass_both_ways(start, target, engine):
    system = udp_checks.begin(start, relay={"engines": [engine]})
    most = room(target)
    up, down = targets.pattern(most, 1), targets.pattern(most, 2)
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay):
        for _ in range(3):
            a.send(target.getsockname(), up)
            octets, outer = target.recvfrom(1 << 17)
            assert octets == up
            target.sendto(down, outer)
            assert a.recv() == (*target.getsockname()[:2], down)
    record = system.access(command="udp-associate")
    assert (record["octets_up"], record["octets_down"]) == (str(3 * most), str(3 * most))


@pytest.mark.parametrize("engine", ["plain", "batch"])
def test_one_octet_more_from_a_target_is_dropped_alone(start, target, engine):
    system = udp_checks.begin(start, relay={"engines": [engine]})
    most = room(target)
    with udp.Association(system.address) as a:
        outer = udp.exchange(a, target)
        with udp_checks.dropping(system.relay, too_long=3):
            for size in (most + 1, LARGEST - 1, LARGEST):
                target.sendto(b"x" * size, outer)
            target.sendto(b"fits", outer)
            assert a.recv()[2] == b"fits"
    assert system.access(command="udp-associate")["dropped"] == "3"


def test_a_client_over_ipv6_may_send_more_than_an_ipv4_target_can_get(start, sockets):
    """The largest datagram of IPv6 less the header for IPv4: ten octets too many."""
    system = udp_checks.begin(start, listeners=[{"listen": "[::1]:0"}])
    target = sockets.keep(udp.udp_socket())
    with udp.Association(system.address) as a:
        udp.exchange(a, target, b"before")
        a.send(target.getsockname(), b"x" * 65517)
        a.send(target.getsockname(), b"y" * LARGEST)
        assert udp_checks.got(target) == b"y" * LARGEST
        udp.exchange(a, target, b"behind")
    metrics = system.relay.metrics()
    assert metrics['relayd_engine_errors_total{error="send_failed"}'] + \
        metrics['relayd_drops_total{reason="too_long"}'] == 1


def test_many_largest_at_once_keep_their_octets(start, sockets):
    """What the buffers do not hold is lost as a whole."""
    system = udp_checks.begin(start)
    target = sockets.keep(udp.udp_socket())
    sent = {targets.pattern(LARGEST - 10, n) for n in range(20)}
    with udp.Association(system.address) as a:
        for octets in sent:
            a.send(target.getsockname(), octets)
        a.send(target.getsockname(), b"the end")
        assert udp_checks.got(target) in sent
        target.settimeout(0.2)
        try:
            while (octets := udp_checks.got(target)) != b"the end":
                assert octets in sent
        except TimeoutError:
            pass

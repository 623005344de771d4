"""A relay without descriptors: what needs one is refused or dropped and counted, the rest goes on."""

import resource

import pytest

import socks
import udp
import udp_checks
from daemons import wait_until

LIMIT = ("prlimit", "--nofile=64:64")


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


class Starved:
    """No descriptor is left, until it is fed."""

    def __init__(self, relay):
        self._pid = relay.pid
        self._before = resource.prlimit(relay.pid, resource.RLIMIT_NOFILE)
        self._limit = None
        wait_until(lambda: self._take(relay.descriptors()), "a relay that is at rest")

    def _take(self, held):
        """Up to the lowest that is free. False: that has changed, as a reader of its pages was still there."""
        free = next(n for n in range(len(held) + 1) if n not in held)
        before, self._limit = self._limit, free
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, (free, self._before[1]))
        return before == free

    def feed(self):
        resource.prlimit(self._pid, resource.RLIMIT_NOFILE, self._before)


def test_without_a_socket_towards_targets_datagrams_are_dropped(start, sockets, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a, udp.Association(system.address, True) as b:
        udp.exchange(b, target)
        starved = Starved(system.relay)
        reason = 'relayd_drops_total{reason="no_socket"}'
        for _ in range(5):
            a.send(target.getsockname(), b"x")
            udp.exchange(b, target, b"has one")
        starved.feed()
        wait_until(lambda: system.relay.metric(reason) == 5, "five drops")
        udp.exchange(a, target, b"now it has one, too")
    assert system.access(dropped=5)["datagrams_up"] == "1"
    assert udp_checks.nothing_waits(target)


def test_the_log_goes_on_and_a_reload_fails_cleanly(start, sockets, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        starved = Starved(system.relay)
        assert udp_checks.reload(system.relay)["event"] == "reload_failed"
        udp.exchange(a, target)
        starved.feed()
        assert udp_checks.reload(system.relay)["event"] == "reloaded"
        udp.exchange(a, target)


def test_an_association_without_a_client_port_is_refused_as_full_and_the_next_one_is_not(start, sockets, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        starved = Starved(system.relay)
        b = sockets.keep(udp.Association(system.address))
        assert b.reply.code == socks.GENERAL_FAILURE and b.closed()
        udp.exchange(a, target)
        starved.feed()
        c = sockets.keep(udp.Association(system.address))
        udp.exchange(c, target)
    assert udp.counts(system.relay, "relayd_refusals_total", "reason") == {"full": 1}
    assert system.access(reason="refused_by_relay")["reply"] == "overloaded"


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::1", "127.0.0.9"])
def test_what_is_protected_stays_so(start, sockets, target, host):
    """Whether an address is the host's own is not asked in vain: what is not known is protected."""
    system = udp_checks.begin(start, rules=[{"allow": {"to": [*udp_checks.LOCAL, "0.0.0.0/8"]}}])
    six = sockets.keep(udp.udp_socket("::1"))
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        udp.exchange(a, six)
        with udp_checks.dropping(system.relay, protected=1):
            starved = Starved(system.relay)
            a.send((host, a.bound[1]), b"x")
            udp.exchange(a, target)
            starved.feed()


def test_a_name_that_cannot_be_asked_for_holds_up_nothing(start, dns, target):
    system = udp_checks.begin(start, names=dns({"four.example": ["127.0.0.1"]}))
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        with udp_checks.dropping(system.relay, name=3):
            starved = Starved(system.relay)
            for _ in range(3):
                a.send(("four.example", target.getsockname()[1]), b"x")
                udp.exchange(a, target)
            starved.feed()
        udp.exchange(a, target, name="four.example")


def test_it_is_full_before_it_runs_out(start, sockets, target):
    """Every association it has taken can have its sockets."""
    first, last = udp.free_range(3)
    system = udp_checks.begin(start, relay={"ports": f"{first}-{last}"}, relay_prefix=LIMIT)
    six = sockets.keep(udp.udp_socket("::1"))
    crowd = []
    while len(crowd) < 100:
        a = sockets.keep(udp.Association(system.address, True))
        if a.reply.code != socks.SUCCEEDED:
            break
        crowd.append(a)
    assert a.reply.code == socks.GENERAL_FAILURE
    assert 0 < len(crowd) == system.relay.status()["limits"]["associations"]
    with udp_checks.dropping(system.relay):
        for a in crowd:
            udp.exchange(a, target)
            udp.exchange(a, six)
    assert system.relay.status()["load"]["outer_sockets"] == 2 * len(crowd)
    status, body = system.relay.get("/readyz")
    assert status == 503 and "full" in body
    crowd[0].close()
    wait_until(lambda: system.relay.get("/readyz")[0] == 200, "room")
    udp.exchange(sockets.keep(udp.Association(system.address, True)), target)


def test_where_no_more_ports_can_be_opened_those_that_are_open_are_shared(start, sockets, target):
    """Up to the capacity that it tells."""
    system = udp_checks.begin(start, relay_prefix=LIMIT)
    capacity = system.relay.status()["limits"]["associations"]
    assert system.relay.metric('relayd_client_ports{state="limit"}') < capacity
    crowd = [sockets.keep(udp.Association(system.address, True)) for _ in range(capacity)]
    assert [a.reply.code for a in crowd] == [socks.SUCCEEDED] * capacity
    for a in crowd:
        udp.exchange(a, target)

"""FRAG: put together in order, and in no other; whatever does not fit is dropped and counted."""

import pytest

import targets
import udp
import udp_checks

LAST = 0x80
LARGEST = 65507


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def numbered(count):
    return [(n, b"%d." % n) for n in range(1, count)] + [(count | LAST, b"end")], \
        b"".join(b"%d." % n for n in range(1, count)) + b"end"


WHOLE, WHOLE_PAYLOAD = numbered(127)

# What is sent (FRAG, payload), what arrives, how many fragments are dropped.
CASES = {
    "one alone": ([(1 | LAST, b"a")], [b"a"], 0),
    "in order": ([(1, b"a"), (2, b"b"), (3 | LAST, b"c")], [b"abc"], 0),
    "twice": ([(1, b"a"), (2 | LAST, b"b"), (1, b"c"), (2 | LAST, b"d")], [b"ab", b"cd"], 0),
    "all there can be": (WHOLE, [WHOLE_PAYLOAD], 0),
    "more than there can be": ([(n, b"x") for n in range(1, 128)] + [(1 | LAST, b"y")], [b"y"], 127),
    "duplicates": ([(1, b"a"), (1, b"x"), (2, b"b"), (2, b"x"), (3 | LAST, b"c")], [b"abc"], 2),
    "a duplicate that is the last": ([(1, b"a"), (2, b"b"), (2 | LAST, b"x"), (3 | LAST, b"c")], [b"abc"], 1),
    "a gap": ([(1, b"a"), (3, b"c"), (2, b"b"), (3 | LAST, b"c")], [], 4),
    "no beginning": ([(2, b"b"), (3 | LAST, b"c")], [], 2),
    "backwards": ([(3 | LAST, b"c"), (2, b"b"), (1, b"a"), (2 | LAST, b"d")], [b"ad"], 2),
    "begun anew": ([(1, b"a"), (2, b"b"), (1, b"c"), (2 | LAST, b"d")], [b"cd"], 2),
    "begun anew by one alone": ([(1, b"a"), (2, b"b"), (1 | LAST, b"c")], [b"c"], 2),
    "one that stands alone between": ([(1, b"a"), (2, b"b"), (0, b"alone"), (3 | LAST, b"c")], [b"alone"], 3),
    "the last, without a number": ([(1, b"a"), (LAST, b"x"), (2 | LAST, b"b")], [b"ab"], 1),
    "empty ones": ([(1, b""), (2, b""), (3 | LAST, b"")], [b""], 0),
    "the largest": ([(1, b"a" * 40000), (2 | LAST, b"b" * (LARGEST - 40000))],
                    [b"a" * 40000 + b"b" * (LARGEST - 40000)], 0),
    "one octet too large": ([(1, b"a" * 40000), (2 | LAST, b"b" * (LARGEST - 39999)), (3 | LAST, b"c")], [], 3),
    "too large, before the last": ([(1, b"a" * 60000), (2, b"b" * 10000), (1 | LAST, b"c")], [b"c"], 2),
}


@pytest.mark.parametrize("case", CASES)
def test_sequences(start, target, case):
    sent, arrives, dropped = CASES[case]
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        udp.exchange(a, target, b"before")
        with udp_checks.dropping(system.relay, **{"fragment": dropped} if dropped else {}):
            for frag, payload in sent:
                a.send(target.getsockname(), payload, frag=frag)
            assert [udp_checks.got(target) for _ in arrives] == arrives
            udp.exchange(a, target, b"behind")
        metrics = system.relay.metrics()
        assert metrics["relayd_fragments_total"] == sum(frag != 0 for frag, _ in sent)
        assert metrics["relayd_fragment_bytes"] == 0
    record = system.access(command="udp-associate")
    assert (record["datagrams_up"], record["dropped"]) == (str(2 + len(arrives)), str(dropped))


def test_another_destination_ends_what_waits(start, sockets, target):
    system = udp_checks.begin(start)
    other = sockets.keep(udp.udp_socket())
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, fragment=3):
            a.send(target.getsockname(), b"a", frag=1)
            a.send(other.getsockname(), b"b", frag=2 | LAST)
            a.send(target.getsockname(), b"c", frag=1)
            a.send(other.getsockname(), b"d", frag=1 | LAST)
            assert udp_checks.got(other) == b"d"
            udp.exchange(a, target, b"behind")


def test_two_associations_do_not_mix(start, sockets, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address, True) as a, udp.Association(system.address, True) as b:
        with udp_checks.dropping(system.relay):
            for frag in (1, 2, 3 | LAST):
                for association, word in ((a, b"a"), (b, b"b")):
                    association.send(target.getsockname(), word * 3, frag=frag)
            assert {udp_checks.got(target) for _ in range(2)} == {b"a" * 9, b"b" * 9}
        assert system.relay.metric("relayd_reassembled_total") == 2


def test_what_was_put_together_is_judged_as_one(start, sockets):
    system = udp_checks.begin(start, rules=[{"allow": {"to": ["127.0.0.2"]}}])
    allowed, denied = (sockets.keep(udp.udp_socket(host)) for host in ("127.0.0.2", "127.0.0.3"))
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, denied=1, protected=1):
            for where in (denied.getsockname(), allowed.getsockname(), ("127.0.0.2", a.bound[1])):
                for frag in (1, 2, 3 | LAST):
                    a.send(where, b"x", frag=frag)
            assert udp_checks.got(allowed) == b"xxx"
    assert udp_checks.nothing_waits(denied)


def test_a_name_is_resolved_for_what_was_put_together(start, dns, target):
    system = udp_checks.begin(start, names=dns({"four.example": ["127.0.0.1"]}))
    octets = targets.pattern(60000)
    where = ("four.example", target.getsockname()[1])
    with udp.Association(system.address) as a:
        for _ in range(2):
            a.send(where, octets[:30000], frag=1)
            a.send(where, octets[30000:], frag=2 | LAST)
            a.send(where, b"behind it")
            assert [udp_checks.got(target), udp_checks.got(target)] == [octets, b"behind it"]


def test_what_waits_too_long_is_dropped(start, target):
    """The one test that waits for the timer, which has five seconds at least."""
    system = udp_checks.begin(start, relay={"fragment-timeout": "5s"})
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, timeout=30, fragment=2):
            a.send(target.getsockname(), b"a", frag=1)
            a.send(target.getsockname(), b"b", frag=2)
        assert system.relay.metric("relayd_fragment_bytes") == 0
        with udp_checks.dropping(system.relay, fragment=1):
            a.send(target.getsockname(), b"c", frag=3 | LAST)
            udp.exchange(a, target)


def test_switched_off_each_is_dropped(start, target):
    system = udp_checks.begin(start, relay={"fragments": False})
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, fragment=4):
            for frag in (1, 2 | LAST, 1 | LAST, LAST):
                a.send(target.getsockname(), b"x", frag=frag)
            udp.exchange(a, target, b"FRAG 0")
        assert system.relay.metric("relayd_reassembled_total") == 0
    assert system.access(command="udp-associate")["datagrams_up"] == "1"

"""SIGHUP of socksd: associations that run have the new rules, for what they send and what comes back."""

import pytest

import udp
import udp_checks
from daemons import wait_until

A, B = "127.0.0.2", "127.0.0.3"
ALLOW_A, ALLOW_B = {"allow": {"to": [A]}}, {"allow": {"to": [B]}}


@pytest.fixture
def ends(sockets):
    return [sockets.keep(udp.udp_socket(host)) for host in (A, B)]


def test_what_is_forbidden_now_is_dropped_and_what_is_allowed_now_passes(start, ends):
    at_a, at_b = ends
    system = udp_checks.begin(start, rules=[ALLOW_A])
    with udp.Association(system.address) as a:
        udp.exchange(a, at_a)
        for rules, allowed, denied in [([ALLOW_B], at_b, at_a), ([ALLOW_A], at_a, at_b),
                                       ([ALLOW_A, {"deny": {}}], at_a, at_b), ([ALLOW_B], at_b, at_a)]:
            udp_checks.reload_rules(system, rules)
            with udp_checks.dropping(system.relay, denied=2):
                a.send(denied.getsockname(), b"x")
                udp.exchange(a, allowed)
                a.send(denied.getsockname(), b"x")
        assert system.relay.metric("relayd_rule_sets") == 1, "the old ones are gone"
    record = system.access(command="udp-associate")
    assert (record["reason"], record["datagrams_up"], record["dropped"]) == ("control_closed", "5", "8")
    assert udp_checks.nothing_waits(at_a) and udp_checks.nothing_waits(at_b)


def test_who_is_no_longer_allowed_may_not_answer_either(start, ends):
    at_a, at_b = ends
    system = udp_checks.begin(start, rules=[ALLOW_A, ALLOW_B])
    with udp.Association(system.address) as a:
        outer = udp.exchange(a, at_a)
        assert udp.exchange(a, at_b) == outer
        udp_checks.reload_rules(system, [ALLOW_B])
        with udp_checks.dropping(system.relay, peer=2):
            at_a.sendto(b"late", outer)
            at_a.sendto(b"later", outer)
            at_b.sendto(b"may", outer)
            assert a.recv() == (*at_b.getsockname(), b"may")
        udp_checks.reload_rules(system, [ALLOW_A, ALLOW_B])
        with udp_checks.dropping(system.relay, peer=1):
            at_a.sendto(b"not before it is sent to again", outer)
        udp.exchange(a, at_a)
    assert system.access(command="udp-associate")["dropped"] == "3"


@pytest.mark.parametrize("filtering", ["address-dependent", "endpoint-independent"])
def test_nothing_allowed_is_nothing_in_nor_out(start, ends, filtering):
    system = udp_checks.begin(start, rules=[ALLOW_A], relay={"filtering": filtering})
    with udp.Association(system.address) as a:
        outer = udp.exchange(a, ends[0])
        udp_checks.reload_rules(system, [{"deny": {}}])
        with udp_checks.dropping(system.relay, peer=1, denied=1):
            ends[0].sendto(b"x", outer)
            a.send(ends[0].getsockname(), b"x")
        assert a.silent(0.05)
        assert len(system.relay.associations()) == 1


def test_names_are_judged_anew(start, sockets, dns):
    names = dns({"www.example": [A]})
    target = sockets.keep(udp.udp_socket(A))
    system = udp_checks.begin(start, names=names, rules=[ALLOW_A])
    with udp.Association(system.address) as a:
        udp.exchange(a, target, name="www.example")
        udp_checks.reload_rules(system, [{"deny": {"to": ["www.example"]}}, ALLOW_A])
        with udp_checks.dropping(system.relay, denied=2):
            for _ in range(2):
                a.send(("www.example", target.getsockname()[1]), b"x")
            udp.exchange(a, target)


def test_an_association_that_was_not_used_yet_has_them_too(start, ends):
    system = udp_checks.begin(start, rules=[ALLOW_A])
    with udp.Association(system.address) as a:
        udp_checks.reload_rules(system, [ALLOW_B])
        with udp_checks.dropping(system.relay, denied=1):
            a.send(ends[0].getsockname(), b"x")
            udp.exchange(a, ends[1])


@pytest.mark.parametrize("text", ["rules: [\n", "rules: 7\n", "",
                                  "listeners:\n  - listen: 127.0.0.1:0\nnonsense: 1\n"])
def test_a_broken_file_changes_nothing(start, ends, text):
    system = udp_checks.begin(start, rules=[ALLOW_A])
    with udp.Association(system.address) as a:
        udp.exchange(a, ends[0])
        assert udp_checks.reload(system.server, text)["event"] == "reload_failed"
        with udp_checks.dropping(system.relay, denied=1):
            udp.exchange(a, ends[0])
            a.send(ends[1].getsockname(), b"x")
        assert system.relay.metric(udp_checks.UPDATES) == 0


def test_hundreds_are_told(start, sockets, ends):
    at_a, at_b = ends
    system = udp_checks.begin(start, rules=[ALLOW_A])
    crowd = [sockets.keep(udp.Association(system.address, True)) for _ in range(300)]
    for a in crowd:
        udp.exchange(a, at_a)
    udp_checks.reload_rules(system, [ALLOW_B])
    with udp_checks.dropping(system.relay, denied=len(crowd)):
        for a in crowd:
            a.send(at_a.getsockname(), b"x")
            udp.exchange(a, at_b)
    assert {a["dropped"] for a in system.relay.associations("?limit=1000")} == {1}
    assert system.relay.metric("relayd_rule_sets") == 1


def test_many_reloads_in_a_row_end_with_the_last_rules(start, sockets, ends):
    at_a, at_b = ends
    system = udp_checks.begin(start, rules=[ALLOW_A])
    crowd = [sockets.keep(udp.Association(system.address, True)) for _ in range(20)]
    for turn in range(10):
        udp_checks.reload(system.server, system.server.config | {"rules": [ALLOW_A, {"deny": {"ports": [turn + 1]}}]})
    udp_checks.reload(system.server, system.server.config | {"rules": [ALLOW_B]})

    def reached(a):
        a.send(at_b.getsockname(), b"x")
        at_b.settimeout(0.05)
        try:
            return udp_checks.got(at_b)
        except TimeoutError:
            return None
    for a in crowd:
        wait_until(lambda a=a: reached(a), "the last rules")
        with udp_checks.dropping(system.relay, denied=1):
            a.send(at_a.getsockname(), b"x")

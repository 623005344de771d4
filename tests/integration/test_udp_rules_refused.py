"""A reload brings rules that are too long for a relay: whom they are for is not left with the old ones."""

import pytest

import socks
import udp
import udp_checks

LOCAL = {"allow": {"to": udp_checks.LOCAL}}
# More octets than a relay takes.
LONG = {"allow": {"to": ["%060d.example" % n for n in range(9000)]}}
USERS = {"alice": "secret of alice", "bob": "secret of bob"}
LISTENERS = [{"listen": "127.0.0.1:0", "methods": ["username-password"]}]


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def reload_rules(system, rules):
    assert udp_checks.reload(system.server, system.server.config | {"rules": rules})["event"] == "reloaded"


def ended(system):
    return {reason: n for reason, n in udp.counts(system.server, "socksd_associations_ended_total", "reason").items()
            if reason != "control_closed"}


def test_it_ends_by_that_name_with_its_counters(start, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        for _ in range(3):
            udp.exchange(a, target, b"12345")
        reload_rules(system, [LOCAL, LONG])
        assert a.closed()
        record = system.access(command="udp-associate")
        assert (record["prog"], record["reason"], record["relay"]) == ("socksd", "rules_refused", "udp-0")
        assert (record["datagrams_up"], record["datagrams_down"], record["dropped"]) == ("3", "3", "0")
        assert (record["octets_up"], record["octets_down"]) == ("15", "24")
        assert record["source"] == "%s:%d" % a.sock.getsockname()
        a.send(target.getsockname(), b"behind the end")
    assert ended(system) == {"rules_refused": 1}, "the relay is not lost"
    assert not system.relay.associations() and system.relay.metric("relayd_rule_sets") == 0
    assert len(system.server.log.records("rules_long")) == 1, "whoever reloaded was told"
    assert len(system.server.log.records("update_refused")) == 1
    assert udp_checks.nothing_waits(target)


def test_new_ones_are_refused_until_there_are_other_rules(start, target):
    system = udp_checks.begin(start)
    reload_rules(system, [LOCAL, LONG])
    with udp.Association(system.address) as a:
        assert a.reply.code == socks.GENERAL_FAILURE
    reload_rules(system, [LOCAL])
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
    assert system.server.relays()[0]["state"] == "ready"
    assert ended(system) == {}


def test_who_has_other_rules_is_not_concerned(start, sockets, target):
    system = udp_checks.begin(start, users=USERS, listeners=LISTENERS, rules=[LOCAL])
    alice, bob = [sockets.keep(udp.Association(system.address, True, user=u, password=p)) for u, p in USERS.items()]
    for a in (alice, bob):
        udp.exchange(a, target)
    reload_rules(system, [{"allow": LONG["allow"] | {"users": ["alice"]}}, LOCAL])
    assert alice.closed()
    assert system.access(command="udp-associate", user="alice")["reason"] == "rules_refused"
    udp.exchange(bob, target)
    assert [a["state"] for a in system.relay.associations()] == ["locked"]


def test_many_end_and_those_that_come_with_shorter_rules_live(start, sockets, target):
    system = udp_checks.begin(start)
    crowd = [sockets.keep(udp.Association(system.address)) for _ in range(30)]
    reload_rules(system, [LOCAL, LONG])
    for a in crowd:
        assert a.closed()
    assert ended(system) == {"rules_refused": len(crowd)}
    reload_rules(system, [LOCAL])
    with udp.Association(system.address) as a:
        udp.exchange(a, target)

"""Associations of several users at one relay: each is judged by its own rules."""

import udp
import udp_checks

A, B = "127.0.0.2", "127.0.0.3"
USERS = {"alice": "a", "bob": "b", "carol": "c"}
RULES = [{"allow": {"users": ["alice"], "to": [A]}}, {"allow": {"groups": ["staff"], "to": [B]}}]
LISTENERS = [{"listen": "127.0.0.1:0", "methods": ["username-password"]}]


def begin(start, groups):
    return udp_checks.begin(start, rules=RULES, users=USERS, listeners=LISTENERS,
                            server={"groups": groups})


def log_in(system, user):
    return udp.Association(system.address, user=user, password=USERS[user])


def test_each_has_the_rules_of_its_user(start, sockets):
    at_a, at_b = (sockets.keep(udp.udp_socket(host)) for host in (A, B))
    system = begin(start, {"staff": ["bob"]})
    with log_in(system, "alice") as alice, log_in(system, "bob") as bob:
        for _ in range(3):
            with udp_checks.dropping(system.relay, denied=2):
                alice.send(at_b.getsockname(), b"x")
                bob.send(at_a.getsockname(), b"x")
            udp.exchange(alice, at_a)
            udp.exchange(bob, at_b)
        assert system.relay.metric("relayd_rule_sets") == 2
    for user in ("alice", "bob"):
        record = system.access(user=user)
        assert (record["datagrams_up"], record["dropped"], record["command"]) == ("3", "3", "udp-associate")
    assert udp_checks.nothing_waits(at_a) and udp_checks.nothing_waits(at_b)


def test_equal_rules_are_held_once(start, sockets):
    system = begin(start, {"staff": ["bob", "carol"]})
    crowd = [sockets.keep(log_in(system, user)) for user in ("bob", "carol") * 10]
    assert len(crowd) == system.relay.metric('relayd_associations_active{state="unlocked"}')
    assert system.relay.metric("relayd_rule_sets") == 1


def test_a_user_who_joins_a_group_while_its_association_runs(start, sockets):
    at_a, at_b = (sockets.keep(udp.udp_socket(host)) for host in (A, B))
    system = begin(start, {"staff": ["bob"]})
    with log_in(system, "alice") as alice, log_in(system, "bob") as bob:
        udp.exchange(alice, at_a)
        udp.exchange(bob, at_b)
        with udp_checks.dropping(system.relay, denied=1):
            alice.send(at_b.getsockname(), b"x")
        udp_checks.reload_rules(system, RULES, groups={"staff": ["alice"]})
        udp.exchange(alice, at_b)
        udp.exchange(alice, at_a)
        with udp_checks.dropping(system.relay, denied=1):
            bob.send(at_b.getsockname(), b"x")
    assert udp_checks.nothing_waits(at_b)

"""What a name server says, and how often it is asked."""

import pytest

import fakedns
import udp
import udp_checks

QUERIES = "relayd_name_queries_total"
EVERYTHING = [{"allow": {"to": udp_checks.LOCAL}}]


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


@pytest.fixture
def names(dns):
    return dns({"four.example": ["127.0.0.1"], "broken.example": fakedns.SERVFAIL, "empty.example": []})


def send_all(a, target, name, count):
    for _ in range(count):
        a.send((name, target.getsockname()[1]), b"x", name=True)


@pytest.mark.parametrize("name", ["nowhere.example", "empty.example", "broken.example"])
def test_what_does_not_resolve_is_dropped(start, names, target, name):
    system = udp_checks.begin(start, names=names, rules=EVERYTHING)
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, name=3):
            send_all(a, target, name, 3)
        udp.exchange(a, target, name="four.example")
    assert system.access(command="udp-associate")["dropped"] == "3"


def test_a_name_that_does_not_exist_is_remembered(start, names, target):
    system = udp_checks.begin(start, names=names, rules=EVERYTHING)
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, name=1):
            send_all(a, target, "nowhere.example", 1)
        with udp_checks.dropping(system.relay, name=20):
            send_all(a, target, "nowhere.example", 20)
        assert system.relay.metric(QUERIES) == 1


def test_a_failure_is_not_remembered(start, names, target):
    system = udp_checks.begin(start, names=names, rules=EVERYTHING)
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, name=1):
            send_all(a, target, "broken.example", 1)
        names.names["broken.example"] = ["127.0.0.1"]
        udp.exchange(a, target, name="broken.example")


def test_many_datagrams_cause_one_query(start, names, target):
    system = udp_checks.begin(start, names=names, rules=EVERYTHING)
    with udp.Association(system.address) as a, udp.Association(system.address) as b:
        send_all(a, target, "four.example", 10)
        assert [udp_checks.got(target) for _ in range(10)] == [b"x"] * 10
        for association in (a, b):
            for name in ("four.example", "FOUR.example", "four.example."):
                udp.exchange(association, target, name=name)
        assert system.relay.metric(QUERIES) == 1
        assert system.relay.metric("relayd_name_cache_entries") == 1
    assert sorted(names.asked) == ["four.example"] * 2, "once for each family"


def test_without_a_cache_answers_are_right_too(start, names, target):
    system = udp_checks.begin(start, names=names, rules=EVERYTHING,
                              resolver=udp_checks.RESOLVER | {"cache-entries": 0})
    with udp.Association(system.address) as a, udp.Association(system.address) as b:
        for association in (a, b, a):
            udp.exchange(association, target, name="four.example")
    assert system.relay.metric("relayd_name_cache_entries") == 0

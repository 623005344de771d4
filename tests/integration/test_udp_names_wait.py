"""A name that is being asked for holds up nothing but what is sent to it; that waits within bounds."""

import pytest

import fakedns
import udp
import udp_checks
from daemons import wait_until

SLOW = "slow.example"
NAMES = {SLOW: fakedns.SILENCE, "four.example": ["127.0.0.1"]}


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


@pytest.fixture
def held(sockets):
    """A name server that answers when it is let go."""
    return sockets.keep(udp_checks.HeldDNS({"four.example": ["127.0.0.1"], "other.example": ["127.0.0.1"]}))


PATIENT = {"timeout": "30s", "tries": 1}


def waiting(relay):
    return relay.metric("relayd_names_waiting")


def wait_for(relay, count):
    wait_until(lambda: waiting(relay) == count, f"{count} datagrams that wait")


def test_other_datagrams_flow_meanwhile(start, dns, target):
    system = udp_checks.begin(start, names=dns(dict(NAMES)))
    port = target.getsockname()[1]
    with udp.Association(system.address) as a, udp.Association(system.address) as b:
        with udp_checks.dropping(system.relay, name=5):
            for n in range(5):
                a.send((SLOW, port), b"%d" % n)
            wait_for(system.relay, 5)
            for _ in range(5):
                udp.exchange(a, target, b"by address")
                udp.exchange(a, target, b"by name", name="four.example")
                udp.exchange(b, target, b"another association")
        udp.exchange(a, target, b"behind")
        assert waiting(system.relay) == 0 == system.relay.metric("relayd_names_bytes")
    assert system.access(dropped=5)["datagrams_up"] == "11"
    assert udp_checks.nothing_waits(target)


def test_a_name_server_that_nobody_is_holds_up_nothing_either(start, sockets, target):
    closed = sockets.closed_port()
    system = start(relays=0, udp=1, udp_relay={"resolver": {"servers": ["%s:%d" % closed], "timeout": "200ms",
                                                            "tries": 1}})
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay, name=3):
        for _ in range(3):
            a.send(("four.example", target.getsockname()[1]), b"x")
        udp.exchange(a, target)


def test_what_waits_leaves_in_its_order(start, held, target):
    system = udp_checks.begin(start, names=held, resolver=PATIENT)
    port = target.getsockname()[1]
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay):
        for n in range(10):
            a.send(("four.example", port), b"%d" % n)
        wait_for(system.relay, 10)
        held.let_go()
        assert [udp_checks.got(target) for _ in range(10)] == [b"%d" % n for n in range(10)]
        udp.exchange(a, target, b"behind", name="four.example")
    assert system.access(command="udp-associate")["datagrams_up"] == "11"


def test_an_association_has_its_share_of_the_queue_whatever_the_names(start, held, target):
    system = udp_checks.begin(start, names=held, resolver=PATIENT, relay={"pending": 3})
    port = target.getsockname()[1]
    with udp.Association(system.address) as a, udp.Association(system.address) as b:
        with udp_checks.dropping(system.relay, name_queue=7):
            for n in range(5):
                a.send(("four.example", port), b"4-%d" % n)
                a.send(("other.example", port), b"o-%d" % n)
        assert waiting(system.relay) == 3
        b.send(("four.example", port), b"another's")
        wait_for(system.relay, 4)
        held.let_go()
        assert {udp_checks.got(target) for _ in range(4)} == {b"4-0", b"4-1", b"o-0", b"another's"}
        udp.exchange(a, target, b"behind", name="other.example")
    assert system.access(dropped=7)


def test_all_associations_together_have_so_much_memory(start, held, target):
    system = udp_checks.begin(start, names=held, resolver=PATIENT, relay={"pending-memory": "128KiB"})
    port = target.getsockname()[1]
    large = b"x" * 60000
    with udp.Association(system.address) as a, udp.Association(system.address) as b:
        with udp_checks.dropping(system.relay, name_queue=3):
            for association in (a, b, b, b, a):
                association.send(("four.example", port), large)
        assert waiting(system.relay) == 2
        assert 120000 <= system.relay.metric("relayd_names_bytes") <= 128 * 1024
        held.let_go()
        assert [udp_checks.got(target) for _ in range(2)] == [large, large]
        assert waiting(system.relay) == 0 == system.relay.metric("relayd_names_bytes")
        udp.exchange(b, target, large, name="four.example")


def test_a_few_cannot_take_the_memory_that_another_needs(start, sockets, held, target):
    """Nobody holds more than is left for others: 256 KiB have place for eight of these."""
    system = udp_checks.begin(start, names=held, resolver=PATIENT, relay={"pending-memory": "256KiB"})
    large = b"x" * 30000
    with udp_checks.dropping(system.relay, name_queue=11):
        for has in (4, 2, 1):
            greedy = sockets.keep(udp.Association(system.address))
            before = waiting(system.relay)
            for _ in range(6):
                greedy.send(("other.example", 9), large)
            wait_for(system.relay, before + has)
    with udp.Association(system.address) as a:
        a.send(("four.example", target.getsockname()[1]), large)
        wait_for(system.relay, 8)
        held.let_go()
        assert udp_checks.got(target) == large
    wait_for(system.relay, 0)
    assert system.relay.metric("relayd_names_bytes") == 0


@pytest.fixture
def closed_while_waiting(start, held, target):
    """The system behind that; the name server has answered since."""
    system = udp_checks.begin(start, names=held, resolver=PATIENT)
    with udp.Association(system.address) as a:
        for n in range(5):
            a.send(("four.example", target.getsockname()[1]), b"%d" % n)
        wait_for(system.relay, 5)
    wait_until(lambda: not system.relay.associations(), "the end")
    assert waiting(system.relay) == 0 == system.relay.metric("relayd_names_bytes")
    held.let_go()
    wait_until(lambda: system.relay.metric("relayd_name_cache_entries") == 1, "the answer that nobody waits for")
    return system


def test_an_association_that_ends_takes_along_what_waits(closed_while_waiting, target):
    system = closed_while_waiting
    record = system.access(command="udp-associate")
    assert (record["datagrams_up"], record["dropped"]) == ("0", "5")
    with udp.Association(system.address) as b:
        udp.exchange(b, target, b"only this", name="four.example")
    assert udp_checks.nothing_waits(target)


def test_what_was_taken_along_is_counted_by_the_relay_too(closed_while_waiting):
    assert sum(udp.counts(closed_while_waiting.relay, "relayd_drops_total", "reason").values()) == 5


def test_rules_that_change_meanwhile_decide(start, held, target):
    system = udp_checks.begin(start, names=held, resolver=PATIENT)
    with udp.Association(system.address) as a:
        for n in range(3):
            a.send(("four.example", target.getsockname()[1]), b"%d" % n)
        wait_for(system.relay, 3)
        udp_checks.reload_rules(system, [{"allow": {"to": ["127.0.0.9"]}}])
        with udp_checks.dropping(system.relay, denied=3):
            held.let_go()
    assert udp_checks.nothing_waits(target)


def test_hundreds_of_names_that_are_never_answered(start, dns, target):
    """More than may wait; each association has its share, and addresses go on."""
    names = dns({f"n{i}.example": fakedns.SILENCE for i in range(200)})
    system = udp_checks.begin(start, names=names)
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, name=16, name_queue=184):
            for i in range(200):
                a.send((f"n{i}.example", 9), b"x")
            udp.exchange(a, target)

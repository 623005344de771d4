"""Two relays on one host: what leaves one of them is nobody's at the other."""

import pytest

import socks
import udp
import udp_checks


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def pair(start, same_range):
    """Two systems with a relay each."""
    first, last = udp.free_range(20)
    ranges = [f"{first}-{last}"] * 2 if same_range else [f"{first}-{first + 9}", f"{first + 10}-{last}"]
    return [udp_checks.begin(start, relay={"ports": ports}) for ports in ranges]


def forged(target):
    """A datagram that the other relay could take for its client's."""
    return udp.header(*target.getsockname()) + b"forged"


@pytest.mark.parametrize("hint", [None, True], ids=["unlocked", "locked"])
def test_with_the_same_range_each_protects_the_ports_of_the_other(start, sockets, target, hint):
    one, two = pair(start, True)
    a, victim = sockets.keep(udp.Association(one.address)), sockets.keep(udp.Association(two.address, hint))
    with udp_checks.dropping(one.relay, protected=3), udp_checks.dropping(two.relay):
        for _ in range(3):
            a.send(victim.bound, forged(target))
        udp.exchange(victim, target)
    assert udp_checks.nothing_waits(target)


def test_a_client_of_another_address_is_not_captured(start, sockets, target):
    one, two = pair(start, False)
    a = sockets.keep(udp.Association(one.address))
    victim = sockets.keep(udp.Association(two.address, source="127.0.0.2"))
    with udp_checks.dropping(two.relay, stranger=1):
        a.send(victim.bound, forged(target))
    udp.exchange(victim, target)
    assert udp_checks.nothing_waits(target)


def test_a_locked_association_is_not_captured(start, sockets, target):
    one, two = pair(start, False)
    a = sockets.keep(udp.Association(one.address))
    victim = sockets.keep(udp.Association(two.address, True))
    with udp_checks.dropping(two.relay, source_port=1):
        a.send(victim.bound, forged(target))
    udp.exchange(victim, target)
    assert udp_checks.nothing_waits(target)


def test_two_of_one_server_that_share_a_range(start, sockets, target):
    """As they do by default: so relays of one host protect each other without being told."""
    system = start(relays=0, udp=2, udp_relay={"relay": {"ports": "%d-%d" % udp.free_range(40)}})
    crowd = [sockets.keep(udp.Association(system.address)) for _ in range(8)]
    assert all(a.reply.code == socks.SUCCEEDED for a in crowd)
    held = [len(relay.associations()) for relay in system.relays]
    assert sum(held) == 8 and min(held) > 0
    for a in crowd:
        for b in crowd:
            a.send(b.bound, forged(target))
        udp.exchange(a, target)
    drops = [udp.counts(relay, "relayd_drops_total", "reason") for relay in system.relays]
    assert sum(d["protected"] for d in drops) == 64
    assert all(d.keys() == {"protected"} for d in drops)

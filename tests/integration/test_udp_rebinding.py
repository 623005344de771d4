"""A name that is allowed leads no datagram to an address that is not."""

import pytest

import udp
import udp_checks
from daemons import wait_until

SPECIAL = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.100.100.200", "0.0.0.0",
           "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
           "224.0.0.1", "255.255.255.255", "ff02::1", "::"]


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def test_names_that_lead_to_special_addresses_are_denied(start, dns, target):
    names = dns({f"n{i}.example.net": [address] for i, address in enumerate(SPECIAL)})
    system = udp_checks.begin(start, names=names, rules=[{"allow": {"to": ["*.example.net"]}}])
    with udp.Association(system.address) as a:
        for i, address in enumerate(SPECIAL):
            with udp_checks.dropping(system.relay, denied=1):
                a.send((f"n{i}.example.net", target.getsockname()[1]), address.encode())
    assert len(set(names.asked)) == len(SPECIAL)
    record = system.access(command="udp-associate")
    assert (record["datagrams_up"], record["dropped"]) == ("0", str(len(SPECIAL)))
    assert udp_checks.nothing_waits(target)


def test_of_a_mixed_answer_only_what_is_allowed_is_sent_to(start, sockets, dns, target):
    names = dns({"mixed.example.net": ["127.0.0.1", "127.0.0.9", "10.0.0.1"]})
    system = udp_checks.begin(start, names=names, rules=[{"allow": {"to": ["127.0.0.9"]}}])
    allowed = sockets.keep(udp.udp_socket("127.0.0.9", target.getsockname()[1]))
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay):
        for _ in range(3):
            udp.exchange(a, allowed, name="mixed.example.net")
    assert udp_checks.nothing_waits(target)


def test_a_name_whose_address_changes_is_judged_anew(start, sockets, dns, target):
    """TTL 0: what it led to is forgotten within a second or so."""
    names = dns({"turns.example.net": ["127.0.0.9"]}, ttl=0)
    system = udp_checks.begin(start, names=names, rules=[{"allow": {"to": ["127.0.0.9"]}}])
    port = target.getsockname()[1]
    allowed = sockets.keep(udp.udp_socket("127.0.0.9", port))
    denied = 'relayd_drops_total{reason="denied"}'
    with udp.Association(system.address) as a:
        udp.exchange(a, allowed, name="turns.example.net")
        names.names["turns.example.net"] = ["127.0.0.1"]

        def is_denied():
            a.send(("turns.example.net", port), b"x")
            return system.relay.metric(denied)
        wait_until(is_denied, "the new answer")
    assert udp_checks.nothing_waits(target)


def test_a_name_that_leads_to_the_relay_itself_is_protected(start, dns, target):
    system = udp_checks.begin(start, names=dns({"me.example.net": ["127.0.0.1", "::1"]}))
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        with udp_checks.dropping(system.relay, protected=1):
            a.send(("me.example.net", a.bound[1]), b"x")

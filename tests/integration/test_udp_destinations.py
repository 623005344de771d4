"""Datagrams go to IPv4 and IPv6 addresses and to names; the reply says by address who has sent it."""

import select

import pytest

import udp
import udp_checks

NAMES = {"four.example": ["127.0.0.1"], "six.example": ["::1"], "both.example": ["127.0.0.1", "::1"]}


@pytest.fixture
def both(sockets):
    """Sockets with one port at 127.0.0.1 and ::1."""
    while True:
        four = sockets.keep(udp.udp_socket())
        try:
            return {4: four, 6: sockets.keep(udp.udp_socket("::1", four.getsockname()[1]))}
        except OSError:
            continue


def start_with_names(start, dns, **options):
    return udp_checks.begin(start, names=dns(dict(NAMES)), **options)


def answer_at_either(association, both, payload):
    """Whoever gets it answers; the address that the client is told."""
    ready, _, _ = select.select(list(both.values()), [], [], 30)
    octets, outer = ready[0].recvfrom(65536)
    assert octets == payload
    ready[0].sendto(b"re:" + payload, outer)
    host, port, octets = association.recv()
    assert (host, port) == ready[0].getsockname()[:2] and octets == b"re:" + payload
    return host


def test_addresses_and_names_within_one_association(start, dns, both):
    system = start_with_names(start, dns)
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay):
        for _ in range(2):
            udp.exchange(a, both[4], b"address 4")
            udp.exchange(a, both[6], b"address 6")
            udp.exchange(a, both[4], b"name 4", name="four.example")
            udp.exchange(a, both[6], b"name 6", name="six.example")
        assert system.relay.status()["load"]["outer_sockets"] == 2
    record = system.access(command="udp-associate")
    assert (record["datagrams_up"], record["datagrams_down"], record["dropped"]) == ("8", "8", "0")


@pytest.mark.parametrize("name", ["both.example", "localhost", "LocalHost", "x.localhost", "both.EXAMPLE."])
def test_a_name_with_both_families_is_reached_at_one_address_and_stays_there(start, dns, both, name):
    system = start_with_names(start, dns)
    with udp.Association(system.address) as a:
        told = set()
        for payload in (b"1", b"2", b"3"):
            a.send((name, both[4].getsockname()[1]), payload, name=True)
            told.add(answer_at_either(a, both, payload))
        assert len(told) == 1


@pytest.mark.parametrize("first", [4, 6])
def test_of_both_addresses_that_which_was_sent_to_before_is_taken(start, dns, both, first):
    system = start_with_names(start, dns)
    with udp.Association(system.address) as a:
        udp.exchange(a, both[first], b"by address")
        udp.exchange(a, both[first], b"by name", name="both.example")


@pytest.mark.parametrize("text, version", [(b"127.0.0.1", 4), (b"::1", 6), (b"[::1]", 6),
                                           (b"::ffff:127.0.0.1", 4)])
def test_an_address_as_a_name_is_that_address(start, dns, both, text, version):
    names = dns({})
    system = udp_checks.begin(start, names=names)
    both[version].settimeout(5)
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay):
        udp.exchange(a, both[version], name=text)
    assert names.asked == []


def test_an_ipv4_mapped_address_is_ipv4(start, both):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        a.send(("::ffff:127.0.0.1", both[4].getsockname()[1]), b"mapped")
        octets, outer = both[4].recvfrom(100)
        assert octets == b"mapped"
        both[4].sendto(b"back", outer)
        assert a.recv() == ("127.0.0.1", both[4].getsockname()[1], b"back")


def test_a_client_over_ipv6_has_all_of_it_too(start, dns, both):
    system = start_with_names(start, dns, listeners=[{"listen": "[::1]:0"}])
    with udp.Association(system.address) as a:
        assert a.bound[0] == "::1"
        udp.exchange(a, both[4])
        udp.exchange(a, both[6])
        udp.exchange(a, both[4], name="four.example")
        udp.exchange(a, both[6], name="six.example")


def test_a_family_that_is_not_served_is_dropped(start, dns, both):
    system = start_with_names(start, dns, relay={"bind": ["127.0.0.1"]})
    with udp.Association(system.address) as a:
        udp.exchange(a, both[4])
        with udp_checks.dropping(system.relay, family=2):
            a.send(both[6].getsockname(), b"no")
            a.send(("six.example", both[6].getsockname()[1]), b"no", name=True)
        udp.exchange(a, both[4], name="both.example")


def test_the_reply_tells_the_true_sender_not_who_was_asked(start, sockets):
    """Another port of an address that was sent to."""
    system = udp_checks.begin(start)
    target, other = (sockets.keep(udp.udp_socket()) for _ in range(2))
    with udp.Association(system.address) as a:
        outer = udp.exchange(a, target)
        other.sendto(b"from elsewhere", outer)
        assert a.recv() == (*other.getsockname(), b"from elsewhere")

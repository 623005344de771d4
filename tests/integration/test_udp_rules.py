"""Every datagram is judged by itself: the first rule that fits decides, the default is to deny."""

import pytest

import socks
import udp
import udp_checks

A, B = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def ends(sockets):
    """Sockets at both addresses."""
    return [sockets.keep(udp.udp_socket(host)) for host in (A, B)]


def assert_judged(system, association, allowed, denied):
    """These targets get what is sent to them, those do not; it is counted."""
    with udp_checks.dropping(system.relay, **{"denied": 2 * len(denied)} if denied else {}):
        for _ in range(2):
            for target in denied:
                association.send(target.getsockname(), b"forbidden")
            for target in allowed:
                udp.exchange(association, target, b"allowed")
    assert all(udp_checks.nothing_waits(target) for target in denied)


ALLOW_A, DENY_A = {"allow": {"to": [A]}}, {"deny": {"to": [A]}}
ALLOW_BOTH, DENY_BOTH = {"allow": {"to": ["127.0.0.0/8"]}}, {"deny": {"to": ["127.0.0.0/8"]}}
NONE = {"deny": {}}


@pytest.mark.parametrize("rules, allowed", [
    ([DENY_A, ALLOW_BOTH], B),
    ([ALLOW_A, DENY_BOTH, ALLOW_BOTH], A),
    ([ALLOW_A], A),
    ([ALLOW_A, NONE, ALLOW_BOTH], A),
    ([{"deny": {"to": ["127.0.0.2/31"]}}, ALLOW_BOTH], ""),
    ([{"allow": {"to": ["127.0.0.2/31"]}}], A + B),
    ([{"deny": {"to": [A], "commands": ["connect", "bind"]}}, ALLOW_BOTH], A + B),
    ([{"deny": {"to": [A], "commands": ["udp-associate"]}}, ALLOW_BOTH], B),
    ([{"allow": {"to": [A], "commands": ["connect", "bind"]}}, {"allow": {"to": [B]}}], B),
    ([{"deny": {"to": [A], "from": ["127.0.0.1"]}}, ALLOW_BOTH], B),
    ([{"deny": {"to": [A], "from": ["127.0.0.9"]}}, ALLOW_BOTH], A + B),
    ([{"deny": {"to": [A], "users": ["alice"]}}, ALLOW_BOTH], A + B),
], ids=str)
def test_the_first_rule_that_fits_decides(start, ends, rules, allowed):
    system = udp_checks.begin(start, rules=rules)
    with udp.Association(system.address) as a:
        hosts = [(t, t.getsockname()[0]) for t in ends]
        assert_judged(system, a, [t for t, h in hosts if h in allowed], [t for t, h in hosts if h not in allowed])


def test_ports(start, ends):
    one, two = ends[0], ends[1]
    system = udp_checks.begin(start, rules=[{"allow": {"to": udp_checks.LOCAL, "ports": [one.getsockname()[1]]}}])
    with udp.Association(system.address) as a:
        assert_judged(system, a, [one], [two] if two.getsockname()[1] != one.getsockname()[1] else [])


def test_networks_of_ipv6(start, sockets):
    six, four = sockets.keep(udp.udp_socket("::1")), sockets.keep(udp.udp_socket())
    system = udp_checks.begin(start, rules=[{"allow": {"to": ["::1"]}}])
    with udp.Association(system.address) as a:
        assert_judged(system, a, [six], [four])


def test_an_ipv4_address_within_another_is_denied_with_it(start, sockets):
    """NAT64, 6to4 and mapped spellings of what is denied."""
    system = udp_checks.begin(start, rules=[{"deny": {"to": ["8.8.8.0/24"]}}, {"allow": {"to": udp_checks.LOCAL}},
                                            {"allow": {}}])
    target = sockets.keep(udp.udp_socket())
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay, denied=4):
        for host in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"):
            a.send((host, 53), b"x")
        udp.exchange(a, target)


@pytest.mark.parametrize("rules", [[{"allow": {}}], [{"allow": {"to": ["0.0.0.0/0", "::/0"]}}]], ids=str)
def test_special_purpose_addresses_need_a_rule_that_names_them(start, dns, rules):
    names = dns({})
    system = udp_checks.begin(start, rules=rules, names=names)
    hosts = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "172.16.0.1", "192.168.0.1", "100.64.0.1", "0.0.0.0",
             "192.0.2.1", "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
             "fd00::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::",
             "localhost", "x.localhost", b"127.0.0.1"]
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, denied=len(hosts)):
            for host in hosts:
                a.send((host, 9), b"x", name=isinstance(host, bytes))
        assert system.relay.metric("relayd_outer_sockets") == 0
    assert names.asked == []
    assert system.access(command="udp-associate")["dropped"] == str(len(hosts))


def test_names_by_pattern_and_a_denied_one_causes_no_query(start, sockets, dns):
    hosts = ["good.example", "www.good.example", "bad.example", "www.bad.example", "other.example"]
    names = dns({name: ["127.0.0.2"] for name in hosts})
    target = sockets.keep(udp.udp_socket(A))
    system = udp_checks.begin(start, names=names, rules=[
        {"deny": {"to": ["bad.example", "*.bad.example"]}},
        {"allow": {"to": ["good.example", "*.good.example", A]}},
        {"deny": {"to": ["127.0.0.0/8"]}}])
    port = target.getsockname()[1]
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, denied=3):
            for name in ("bad.example", "www.BAD.example.", "a.b.bad.example"):
                a.send((name, port), b"x")
        assert names.asked == []
        udp.exchange(a, target, name="good.example")
        udp.exchange(a, target, name="WWW.good.example")
    assert set(names.asked) == {"good.example", "www.good.example"}


def test_a_name_may_be_allowed_where_its_address_is_not(start, sockets, dns):
    """Special-purpose addresses need a rule that names them, so: a name that is allowed, the address denied."""
    target = sockets.keep(udp.udp_socket(A))
    system = udp_checks.begin(start, names=dns({"by.example": [A]}), rules=[
        {"deny": {"to": ["other.example"]}}, {"allow": {"to": ["by.example"]}}, {"allow": {"to": [B]}}])
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, denied=2):
            a.send(target.getsockname(), b"x")
            a.send(("by.example", target.getsockname()[1]), b"x")
    assert udp_checks.nothing_waits(target)


def test_rules_for_connect_are_no_rules_for_datagrams(start, sockets):
    """And the other way round, within one system."""
    stream = sockets.listener(A)
    far = sockets.keep(udp.udp_socket(A))
    near = sockets.keep(udp.udp_socket(B))
    system = start(relays=1, udp=1, rules=[{"allow": {"commands": ["connect"], "to": [A]}},
                                           {"allow": {"commands": ["udp-associate"], "to": [B]}}])
    udp_relay = next(r for r in system.relays if r.program == "relayd-udp")
    client, reply = socks.open5(system.address, socks.CONNECT, *stream.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED
    client, reply = socks.open5(system.address, socks.CONNECT, *near.getsockname())
    sockets.keep(client)
    assert reply.code == socks.DENIED
    with udp.Association(system.address) as a:
        with udp_checks.dropping(udp_relay, denied=1):
            a.send(far.getsockname(), b"x")
        udp.exchange(a, near)

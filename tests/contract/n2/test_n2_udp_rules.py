"""Rules for datagrams: what fits, what is allowed, what an Update changes, what is malformed."""

import ipaddress
import socket

import pytest

import n2wire
from n2wire import (allow, datagram_rules, deny, network, new_id, nothing_came, pb, rule, verdict,
                    wait_until)

pytestmark = pytest.mark.relays("udp")


@pytest.fixture
def judge(udp_client, sockets):
    """Sends to each of these (ip, port) and says which were allowed. A port of 0 stands for a free one."""
    def judged(rules, *addresses, names=()):
        targets = [sockets.udp(ip, port) for ip, port in addresses]
        client = udp_client(*rules)
        for target in targets:
            client.send(target, b"judged")
        settle(client, len(targets))
        allowed = [not nothing_came(target) for target in targets]
        assert client.counters().datagrams_up == sum(allowed)
        return allowed
    return judged


def settle(client, count):
    """Waits until so many datagrams were relayed or dropped. They are on their sockets then."""
    def settled():
        counters = client.counters()
        return counters if counters.datagrams_up + counters.dropped >= count else None
    return wait_until(settled, f"{count} datagrams that are dealt with")


def one_ip(judge, *rules, ip="127.0.0.1"):
    return judge(rules, (ip, 0))[0]


# ------------------------------------------------------------------------------------------ the order

def test_without_rules_nothing_is_allowed(judge):
    assert not judge([None], ("127.0.0.1", 0))[0]


def test_without_a_rule_that_fits_it_is_denied(judge):
    assert judge([allow("127.0.0.2")], ("127.0.0.1", 0), ("127.0.0.2", 0)) == [False, True]


def test_an_empty_list_allows_nothing(server, sockets):
    message = server.udp_message()
    message.rules.CopyFrom(datagram_rules())
    answer = server.ask(message)
    client, target = sockets.udp(), sockets.udp()
    client.sendto(b"\0\0\0\1" + socket.inet_aton("127.0.0.1")
                  + target.getsockname()[1].to_bytes(2, "big") + b"x",
                  n2wire.endpoint_address(answer.open.bound))
    server.wait_event(message.association, pb.EVENT_LOCKED)
    wait_until(lambda: server.inventory()[message.association].counters.dropped, "its end")
    assert nothing_came(target)


def test_the_first_rule_that_fits_decides(judge):
    addresses = ("127.0.0.1", 0), ("127.0.0.2", 0)
    assert judge([deny("127.0.0.1"), allow()], *addresses) == [False, True]
    assert judge([allow("127.0.0.1"), deny(), allow()], *addresses) == [True, False]


def test_the_last_of_4096_rules_is_reached(judge):
    others = [deny(f"10.{i >> 8}.{i & 255}.0/24") for i in range(4095)]
    assert one_ip(judge, *others, allow())


# --------------------------------------------------------------------------------- networks and ports

@pytest.mark.parametrize("text, fits", [
    ("127.0.0.1", True), ("127.0.0.0/31", True), ("127.0.0.0/8", True), ("0.0.0.0/0", True),
    ("127.0.0.0/32", False), ("127.0.0.2/31", False), ("128.0.0.0/1", False), ("0.0.0.0/1", True),
    ("::ffff:127.0.0.0/104", True), ("::ffff:127.0.0.1", True), ("::ffff:128.0.0.0/97", False),
    ("::ffff:0.0.0.0/96", True), ("::/0", False), ("::/64", False), ("::1", False),
])
def test_a_network_holds_the_addresses_behind_its_bits(judge, text, fits):
    assert one_ip(judge, allow(text)) == fits
    assert one_ip(judge, deny(text), allow()) == (not fits)


def test_networks_of_ipv6_hold_addresses_of_ipv6(server, judge):
    if 6 not in server.who.families:
        pytest.skip("this relay has no IPv6")
    for text, fits in (("::1", True), ("::/0", True), ("::/127", True), ("::2/127", False),
                       ("0.0.0.0/0", False)):
        assert one_ip(judge, allow(text), ip="::1") == fits, text


def test_one_network_of_many_is_enough(judge):
    assert one_ip(judge, allow("10.0.0.0/8", "name.example", "127.0.0.1", "192.0.2.0/24"))


def test_ports_are_spans_with_both_ends(judge, sockets):
    probes = [sockets.udp() for _ in range(3)]
    low, middle, high = sorted(probe.getsockname()[1] for probe in probes)
    for probe in probes:
        probe.close()
    addresses = [("127.0.0.1", port) for port in (low, middle, high)]
    assert judge([allow(ports=[(middle, middle)])], *addresses) == [False, True, False]
    for rules, allowed in (
            ([allow(ports=[(low, middle)])], [True, True, False]),
            ([allow(ports=[(low, low), (high, 65535)])], [True, False, True]),
            ([deny(ports=[(middle, high)]), allow()], [True, False, False]),
            ([allow("127.0.0.2", ports=[(low, high)])], [False, False, False]),
            ([allow(ports=[(0, 65535)])], [True, True, True])):
        for sock in sockets._kept:
            sock.close()
        assert judge(rules, *addresses) == allowed


@pytest.mark.parametrize("change", [
    lambda r: r.ClearField("any_destination"),
    lambda r: r.ClearField("any_port"),
], ids=["no destination", "no port"])
def test_a_rule_without_destination_or_port_fits_nothing(judge, change):
    hollow, hollow_deny = allow(), deny()
    change(hollow)
    change(hollow_deny)
    assert not one_ip(judge, hollow)
    assert one_ip(judge, hollow_deny, allow())


def test_beside_any_the_lists_mean_nothing(judge):
    made = allow()
    made.networks.append(network("10.0.0.0/8"))
    made.names.append("name.example")
    made.ports.add(first=9, last=9)
    assert one_ip(judge, made)


# ----------------------------------------------------------------------------------- special addresses

def test_a_special_purpose_address_is_denied_unless_its_rule_opens_it(judge):
    assert not one_ip(judge, rule(True))
    assert not one_ip(judge, rule(True, "127.0.0.1")), "its networks do not open it"
    assert one_ip(judge, rule(True, opens_special=True))
    assert one_ip(judge, rule(True, special=["127.0.0.0/8"]))
    assert one_ip(judge, rule(True, special=["10.0.0.0/8", "127.0.0.1"]))
    assert one_ip(judge, rule(True, special=["::ffff:127.0.0.0/104"]))
    assert not one_ip(judge, rule(True, special=["127.0.0.2", "10.0.0.0/8", "::/0"]))


def test_no_later_rule_is_asked_when_one_has_not_opened_it(judge):
    assert not one_ip(judge, rule(True), rule(True, opens_special=True))
    assert one_ip(judge, rule(True, "10.0.0.0/8"), rule(True, opens_special=True))


def test_special_networks_do_not_make_a_rule_fit(judge):
    assert not one_ip(judge, rule(True, "10.0.0.0/8", special=["127.0.0.0/8"]))


def test_in_a_rule_that_denies_they_mean_nothing(judge):
    assert not one_ip(judge, rule(False, special=["127.0.0.0/8"]), allow())
    assert not one_ip(judge, rule(False, opens_special=True), allow())
    assert one_ip(judge, rule(False, "10.0.0.0/8", special=["127.0.0.0/8"]), allow())


def test_a_special_address_of_ipv6_is_denied_too(server, judge):
    if 6 not in server.who.families:
        pytest.skip("this relay has no IPv6")
    assert not one_ip(judge, rule(True), ip="::1")
    assert not one_ip(judge, rule(True, special=["::2"]), ip="::1")
    assert one_ip(judge, rule(True, special=["::1"]), ip="::1")
    assert one_ip(judge, rule(True, opens_special=True), ip="::1")


SPECIAL = """
    0.0.0.1 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.255.255.255 169.254.0.0
    169.254.255.255 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.255 192.0.2.0 192.0.2.255 192.88.99.0
    192.88.99.255 192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.0 198.51.100.255
    203.0.113.0 203.0.113.255 224.0.0.0 239.255.255.255 240.0.0.0 255.255.255.255
    2001:: 2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff 2001:db8:: 2001:db8:ffff:ffff:ffff:ffff:ffff:ffff
    3fff:: 3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff ::2 100:: fc00:: fdff::1 fe80::1 fec0::1 ff02::1
    1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 4000:: 64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1
    64:ff9b::e000:1 2002:7f00:1:: 2002:a00:1::1 2002:c0a8:101:: ::ffff:10.0.0.1""".split()


def test_every_special_purpose_range_is_closed(udp_client, udp_target):
    """To their first and last addresses. What is not special is not sent to here: it may be real."""
    client = udp_client(allow("127.0.0.1", special=["127.0.0.1"]), rule(True))
    for text in SPECIAL:
        address = ipaddress.ip_address(text)
        client.send_raw(b"\0\0\0" + (b"\1" if address.version == 4 else b"\4") + address.packed
                        + b"\0\x09special")
    client.exchange(udp_target)
    counters = client.counters()
    assert (counters.datagrams_up, counters.dropped) == (1, len(SPECIAL))


# ------------------------------------------------------------------------------------------------ names

def by_name(client, target, name="localhost", payload=b"by name"):
    octets = name if isinstance(name, bytes) else name.encode()
    client.send_raw(b"\0\0\0\3" + bytes([len(octets)]) + octets
                    + target.getsockname()[1].to_bytes(2, "big") + payload)


def name_allowed(udp_client, target, *rules, name="localhost"):
    client = udp_client(*rules)
    by_name(client, target, name)
    counters = settle(client, 1)
    allowed = not nothing_came(target)
    assert counters.datagrams_up == allowed
    if allowed:
        target.recv(100)
    return allowed


FOUR = deny("::/0")                 # localhost may be ::1 too, where nobody listens


@pytest.mark.parametrize("name", ["localhost", "LocalHost", "localhost."])
def test_a_name_fits_without_case_and_without_a_dot_at_the_end(udp_client, udp_target, name):
    assert name_allowed(udp_client, udp_target, FOUR, allow("localhost"), name=name)
    assert not name_allowed(udp_client, udp_target, FOUR, deny("localhost"), allow(), name=name)


@pytest.mark.parametrize("wanted", ["host", ".localhost", "a.localhost", "localhos", ".host", "xlocalhost"])
def test_another_name_does_not_fit(udp_client, udp_target, wanted):
    assert not name_allowed(udp_client, udp_target, FOUR, allow(wanted))
    assert name_allowed(udp_client, udp_target, FOUR, deny(wanted), allow())


def test_what_lies_under_a_name_fits_the_name_with_a_dot(udp_client, udp_target):
    """Nothing under localhost need have an address here, so that it is seen by what is denied."""
    for name in ("a.localhost", "b.a.localhost"):
        assert not name_allowed(udp_client, udp_target, deny(".localhost"), allow(), name=name)


def test_a_name_is_not_allowed_by_an_address_that_is_not_its_own(udp_client, udp_target):
    assert not name_allowed(udp_client, udp_target, allow("10.0.0.0/8"))


def test_a_name_may_be_allowed_by_its_address(udp_client, udp_target):
    assert name_allowed(udp_client, udp_target, allow("127.0.0.1"))


def test_an_address_is_not_allowed_by_its_name(judge):
    assert not one_ip(judge, allow("localhost"))


def test_a_name_that_is_allowed_may_still_be_denied_by_its_address(udp_client, udp_target):
    rules = deny("127.0.0.0/8", "::1"), allow("localhost")
    assert not name_allowed(udp_client, udp_target, *rules)
    assert name_allowed(udp_client, udp_target, FOUR, *reversed(rules))


def test_an_address_of_a_name_that_is_special_is_denied(udp_client, udp_target):
    assert not name_allowed(udp_client, udp_target, rule(True, "localhost"))
    assert name_allowed(udp_client, udp_target, FOUR, rule(True, "localhost", special=["127.0.0.1"]))


def test_rules_for_another_port_are_passed_over_for_a_name(udp_client, udp_target):
    port = udp_target.getsockname()[1]
    assert name_allowed(udp_client, udp_target, FOUR, deny("localhost", ports=[(0, port - 1)]),
                        allow("localhost", ports=[(port, port)]))
    assert not name_allowed(udp_client, udp_target, FOUR, allow("localhost", ports=[(0, port - 1)]))


def test_deny_of_all_addresses_denies_each_name(udp_client, udp_target):
    assert not name_allowed(udp_client, udp_target, deny("0.0.0.0/0", "::/0"), allow())


@pytest.mark.parametrize("wanted", ["a" * 63 + ".example", "xn--bcher-kva.example", "_sip._udp.example",
                                    "bücher.example", ".example", "1.example.x1", "-a-.example",
                                    ".".join(["a" * 63] * 3 + ["a" * 61])])
def test_names_of_every_form_are_taken(server, wanted):
    message = server.udp_message(allow(wanted))
    assert verdict(server.ask(message)) == "ACCEPTED"


# ----------------------------------------------------------------------------------------------- Update

def test_an_update_replaces_the_rules(udp_client, udp_target, sockets):
    one, two = sockets.udp(), sockets.udp("127.0.0.2")
    client = udp_client(allow("127.0.0.1"))
    client.exchange(one)
    assert client.update(allow("127.0.0.2")).update.revision == 1
    client.send(one, b"denied now")
    client.exchange(two)
    assert nothing_came(one)
    assert client.counters().dropped == 1


def test_an_update_without_rules_keeps_them(udp_client, udp_target):
    client = udp_client(deny("127.0.0.2"), allow())
    assert client.update(idle_ms=60000).update.revision == 1
    client.send(("127.0.0.2", 9), b"denied still")
    client.exchange(udp_target)
    assert client.counters().dropped == 1


def test_an_update_with_an_empty_list_denies_everything(server, udp_client, udp_target):
    client = udp_client()
    client.exchange(udp_target)
    answer = server.ask(pb.Update(association=client.association, revision=1, rules=datagram_rules()))
    assert answer.update.revision == 1
    client.send(udp_target, b"denied now")
    settle(client, 2)
    assert nothing_came(udp_target)


def test_an_update_before_the_first_datagram_holds(udp_client, udp_target):
    client = udp_client(deny())
    client.update(allow())
    client.exchange(udp_target)


def test_an_old_revision_is_ignored_and_told_so(udp_client, udp_target):
    client = udp_client()
    assert client.update(allow(), revision=7).update.revision == 7
    for revision in (7, 6, 0):
        assert client.update(deny(), revision=revision).update.revision == 7
    client.exchange(udp_target)


def test_who_was_sent_to_answers_only_if_the_new_rules_allow_it(udp_client, sockets):
    one, two = sockets.udp(), sockets.udp("127.0.0.2")
    client = udp_client()
    outer = client.exchange(one)
    assert client.exchange(two) == outer
    client.update(allow("127.0.0.2"))
    one.sendto(b"no longer", outer)
    two.sendto(b"still", outer)
    assert client.receive() == (*two.getsockname(), b"still")
    assert client.counters().dropped == 1


def from_outside(counters):
    return counters.datagrams_down + counters.dropped


@pytest.mark.parametrize("by_name", [False, True], ids=["by address", "by name"])
def test_who_was_sent_to_is_judged_by_its_address_and_port_then(udp_client, udp_target, by_name):
    port = udp_target.getsockname()[1]
    client = udp_client()
    for revision, (rules, answers) in enumerate((
            ([allow("127.0.0.1")], True), ([allow(ports=[(port, port)])], True),
            ([allow("localhost")], False), ([allow(ports=[(port - 1, port - 1)])], False))):
        client.update(FOUR, allow(), revision=2 * revision + 1)
        client.send(("localhost" if by_name else "127.0.0.1", port), b"first", name=by_name)
        octets, outer = udp_target.recvfrom(100)
        assert octets == b"first"
        client.update(*rules, revision=2 * revision + 2)
        before = client.counters()
        udp_target.sendto(b"answer", outer)
        wait_until(lambda: from_outside(client.counters()) > from_outside(before), "the answer's fate")
        assert nothing_came(client.sock) != answers, rules
        if answers:
            assert client.receive()[2] == b"answer"


def test_who_may_answer_no_longer_may_again_when_it_is_sent_to_again(udp_client, sockets):
    one = sockets.udp()
    client = udp_client()
    client.exchange(one)
    client.update(deny(), revision=1)
    client.update(allow(), revision=2)
    client.exchange(one)


def test_an_update_of_one_association_leaves_the_others(udp_client, udp_target):
    one, two = udp_client(), udp_client()
    one.update(deny())
    two.exchange(udp_target)
    one.send(udp_target, b"denied")
    settle(one, 1)
    assert nothing_came(udp_target)


def test_an_update_of_rules_for_an_unknown_association_is_expired(server):
    update = pb.Update(association=new_id(), revision=1, rules=datagram_rules(allow()))
    assert verdict(server.ask(update)) == "EXPIRED"


# ------------------------------------------------------------------------------------------- malformed

def with_network(ip, bits):
    return rule_with(networks=[pb.Network(ip=ip, bits=bits)])


def with_special(ip, bits):
    return rule_with(any_destination=True, special=[pb.Network(ip=ip, bits=bits)])


def with_ports(first, last):
    return rule_with(any_destination=True, any_port=False, ports=[pb.PortSpan(first=first, last=last)])


def rule_with(any_port=True, **fields):
    return pb.DatagramRule(allow=True, any_port=any_port, **fields)


def of_networks(make):
    return {
        **{f"{len(ip)} octets": [make(ip, 0)] for ip in (b"", b"1", b"123", b"12345", bytes(15), bytes(17))},
        "33 bits of IPv4": [make(bytes(4), 33)],
        "129 bits of IPv6": [make(bytes(16), 129)],
        "too many bits by far": [make(bytes(4), 4294967295)],
        "a bit behind the bits of IPv4": [make(b"\x7f\0\0\1", 31)],
        "bits behind no bits": [make(b"\x80\0\0\0", 0)],
        "a bit behind the bits of IPv6": [make(bytes(15) + b"\1", 127)],
    }


NAMES = ["", ".", "..", "a.", "a..b", "..a", "A", "EXAMPLE.net", "a b", "a/b", "*", "*.example", "a\n",
         "x" * 64, ("a" * 63 + ".") * 4 + "a", "127.0.0.1", "example.1", "1", "[::1]", "::1", "a:b", "a@b"]

MALFORMED = {
    "4097 rules": [rule_with(any_destination=True)] * 4097,
    **{f"network: {name}": rules for name, rules in of_networks(with_network).items()},
    **{f"special: {name}": rules for name, rules in of_networks(with_special).items()},
    "ports the wrong way round": [with_ports(2, 1)],
    "a first port beyond all": [with_ports(65536, 65536)],
    "a last port beyond all": [with_ports(1, 65536)],
    "a last port far beyond all": [with_ports(0, 4294967295)],
    **{f"the name {name[:24]!r}": [rule_with(names=[name])] for name in NAMES},
    "the last of many": [rule_with(any_destination=True)] * 50 + [with_ports(2, 1)],
    "the second item": [rule_with(names=["good.example", "Bad.example"])],
    "in a rule that denies": [pb.DatagramRule(any_port=True, names=["A"])],
    "beside any destination": [rule_with(any_destination=True, names=["A"])],
    "beside any port": [rule_with(any_destination=True, ports=[pb.PortSpan(first=2, last=1)])],
    "65537 ports": [rule_with(any_destination=True, ports=[pb.PortSpan(first=1, last=1)] * 65537)],
}


@pytest.mark.parametrize("rules", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_rules_are_bad_in_an_open_and_in_an_update(server, udp_client, udp_target, rules):
    message = server.udp_message(*rules)
    assert verdict(server.ask(message)) == "BAD"
    assert message.association not in server.inventory()

    client = udp_client()
    assert verdict(client.update(*rules, revision=3, octets=1)) == "BAD"
    assert client.update(revision=2).update.revision == 2, "a refusal has changed the revision"
    client.exchange(udp_target)     # nor has it changed the rules or the limits

    message.rules.CopyFrom(datagram_rules(allow()))
    assert verdict(server.ask(message)) == "ACCEPTED"
    server.release(message.association)


def test_rules_of_almost_512_kib_are_taken(server, udp_client, udp_target):
    names = [f"host-{i:05}.{'x' * 40}.example" for i in range(4000)]
    rules = [allow(*names[i:i + 4]) for i in range(0, len(names), 4)]
    made = datagram_rules(*rules, allow())
    while made.ByteSize() < 500000:
        made.rules.insert(0, allow(*names[:40]))
    assert made.ByteSize() <= 512 * 1024
    udp_client(*made.rules).exchange(udp_target)

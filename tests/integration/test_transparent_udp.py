"""TRANSPARENT for UDP through socksd and relayd-udp: packets that carry no header."""

import socket

import pytest

import daemons
import socks
import transparent
import udp
from transparent import Transparent

RULES = [{"allow": {"commands": ["transparent"], "to": ["127.0.0.0/8", "::1"]}}]


@pytest.fixture
def system(start):
    return start(relays=0, udp=1, rules=RULES)


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


@pytest.fixture
def client(sockets):
    return sockets.keep(udp.udp_socket())


def ping(client, bound, target, octets=b"ping"):
    """There and back; where the relay sent from."""
    client.sendto(octets, bound)
    got, outer = target.recvfrom(65536)
    assert got == octets
    target.sendto(b"re:" + octets, outer)
    back, sender = client.recvfrom(65536)
    assert (back, sender) == (b"re:" + octets, bound)
    return outer


def nothing(sock, timeout=0.3):
    sock.settimeout(timeout)
    with pytest.raises(socket.timeout):
        sock.recvfrom(65536)
    sock.settimeout(30)


@pytest.mark.parametrize("size", [0, 1, 1400, 65000])
def test_packets_go_both_ways_and_leave_a_record(system, target, client, size):
    with Transparent(system.address, target.getsockname(), source=client.getsockname()) as t:
        assert t.bound[0] == "127.0.0.1" and t.bound[1] != 0
        ping(client, t.bound, target, b"x" * size)
    record = system.access(command="transparent")
    assert (record["kind"], record["ptcl"], record["reason"]) == ("transparent", "17", "control_closed")
    assert record["source"] == "%s:%d" % client.getsockname()
    assert record["destination"] == "%s:%d" % target.getsockname()
    assert (record["octets_up"], record["octets_down"]) == (str(size), str(size + 3))


def test_a_port_that_is_not_known_is_learned_and_then_fixed(system, target, client, sockets):
    other = sockets.keep(udp.udp_socket())
    with Transparent(system.address, target.getsockname(), source=("127.0.0.1", 0)) as t:
        ping(client, t.bound, target)
        other.sendto(b"late", t.bound)
        nothing(target)
    assert system.access(command="transparent")["source"] == "%s:%d" % client.getsockname()
    udp.wait_drops(system.relay, source_port=1)


def test_a_known_source_is_fixed_from_the_start(system, target, client, sockets):
    other, foreign = sockets.keep(udp.udp_socket()), sockets.keep(udp.udp_socket("127.0.0.2"))
    with Transparent(system.address, target.getsockname(), source=client.getsockname()) as t:
        other.sendto(b"another port", t.bound)
        foreign.sendto(b"another address", t.bound)
        nothing(target)
        ping(client, t.bound, target)
    udp.wait_drops(system.relay, source_port=1, stranger=1)


def test_only_the_target_may_answer(system, target, client, sockets):
    near, far = sockets.keep(udp.udp_socket()), sockets.keep(udp.udp_socket("127.0.0.3"))
    with Transparent(system.address, target.getsockname(), source=client.getsockname()) as t:
        outer = ping(client, t.bound, target)
        near.sendto(b"another port of its address", outer)
        far.sendto(b"another address", outer)
        nothing(client)
    udp.wait_drops(system.relay, peer=2)


@pytest.mark.parametrize("source, kinds", [
    (("0.0.0.0", 0), {}), (("::", 0), {}), (("127.0.0.1", 0), {}), (("::ffff:127.0.0.1", 0), {}),
    (("localhost", 0), {"source_name": True})])
def test_what_stands_for_the_clients_own_address(system, target, client, source, kinds):
    with Transparent(system.address, target.getsockname(), source=source, **kinds) as t:
        ping(client, t.bound, target)


@pytest.mark.parametrize("source", [("127.0.0.9", 5000), ("::1", 5000), ("192.0.2.1", 0)])
def test_a_foreign_source_is_refused(system, target, source):
    with Transparent(system.address, target.getsockname(), source=source) as t:
        assert t.reply.code == socks.DENIED
        assert t.closed()
    assert system.access(command="transparent")["reason"] == "foreign_source"


@pytest.mark.parametrize("name, code, reason", [
    ("elsewhere.example", socks.DENIED, "foreign_source"),
    ("nowhere.example", socks.HOST_UNREACHABLE, "name_not_found")])
def test_a_source_by_name_has_to_lead_to_the_client(start, dns, target, name, code, reason):
    names = dns({"elsewhere.example": ["127.0.0.9"]})
    system = start(relays=0, udp=1, rules=RULES, server={"resolver": {"servers": [names.address]}})
    with Transparent(system.address, target.getsockname(), source=(name, 0), source_name=True) as t:
        assert t.reply.code == code
        assert t.closed()
    assert system.access(command="transparent")["reason"] == reason


def test_a_target_by_name_is_resolved_once_and_judged(start, client, target):
    system = start(relays=0, udp=1, rules=[{"allow": {"to": ["127.0.0.0/8"]}}])     # not ::1
    with Transparent(system.address, ("localhost", target.getsockname()[1]), name=True,
                     source=client.getsockname()) as t:
        ping(client, t.bound, target)


def test_families_may_differ(system, client, sockets):
    target = sockets.keep(udp.udp_socket("::1"))
    with Transparent(system.address, target.getsockname(), source=client.getsockname()) as t:
        assert t.bound[0] == "127.0.0.1"
        ping(client, t.bound, target)


@pytest.mark.parametrize("ptcl", [0, 1, 6, 33, 132, 136, 255])
def test_a_protocol_that_nobody_serves(system, target, ptcl):
    with Transparent(system.address, target.getsockname(), ptcl=ptcl) as t:
        assert t.reply.code == transparent.PROTOCOL_UNSUPPORTED
        assert t.closed()
    assert system.access(command="transparent")["reply"] == "protocol_unsupported"


@pytest.mark.parametrize("host, port, options, code", [
    ("127.0.0.1", 0, {}, socks.GENERAL_FAILURE), ("0.0.0.0", 53, {}, socks.GENERAL_FAILURE),
    ("::", 53, {}, socks.GENERAL_FAILURE), ("127.0.0.1", 53, {"reserved": 1}, socks.GENERAL_FAILURE)])
def test_requests_that_make_no_sense(system, host, port, options, code):
    with Transparent(system.address, (host, port), **options) as t:
        assert t.reply.code == code
        assert t.closed()


@pytest.mark.parametrize("where", [10, 11, 12])
def test_an_address_type_that_is_none(system, sockets, where):
    octets = bytearray(transparent.request("127.0.0.1", 53, 17, "127.0.0.1", 5000))
    octets[3 if where == 10 else 11] = 8 if where < 12 else 2
    sock = socks.greet5(system.address)
    sockets.keep(sock)
    sock.sendall(octets)
    assert socks.read_reply5(sock).code == socks.ADDRESS_UNSUPPORTED


def test_rules_are_those_for_the_command(start, target):
    system = start(relays=0, udp=1, rules=[{"allow": {"commands": ["connect", "udp-associate"],
                                                      "to": ["127.0.0.0/8"]}}])
    with Transparent(system.address, target.getsockname()) as t:
        assert t.reply.code == socks.DENIED


def test_it_ends_with_its_control_connection_at_once(system, target, client):
    t = Transparent(system.address, target.getsockname(), source=client.getsockname())
    ping(client, t.bound, target)
    t.control.close()
    daemons.wait_until(lambda: system.relay.status()["load"]["associations"] == 0, "its end")
    client.sendto(b"too late", t.bound)
    nothing(target)


def test_never_used_it_is_ended_and_its_control_connection_closed(start, target):
    system = start(relays=0, udp=1, rules=RULES, udp_relay={"relay": {"unused-timeout": "300ms"}})
    with Transparent(system.address, target.getsockname()) as t:
        assert t.closed()
    assert system.access(command="transparent")["reason"] == "unused"


def ranges(count):
    """(configuration, ports): so many that nobody else has."""
    first, last = udp.free_range(count + 1)
    return {"relay": {"ports": f"{first}-{first}", "transparent-ports": f"{first + 1}-{last}"}}, \
        set(range(first + 1, last + 1))


def test_hundreds_share_one_port(start, target, sockets):
    config, ports = ranges(1)
    system = start(relays=0, udp=1, rules=RULES, udp_relay=config)
    crowd = []
    for _ in range(300):
        client = sockets.keep(udp.udp_socket())
        t = Transparent(system.address, target.getsockname(), source=client.getsockname())
        sockets.keep(t.control)
        crowd.append((client, t))
    assert {t.bound[1] for _, t in crowd} == ports
    for client, t in crowd:
        ping(client, t.bound, target, b"%d" % client.getsockname()[1])


def test_a_source_that_is_taken_gets_another_port_or_none(start, target, client):
    config, ports = ranges(2)
    system = start(relays=0, udp=1, rules=RULES, udp_relay=config)
    source = client.getsockname()
    with Transparent(system.address, target.getsockname(), source=source) as a, \
            Transparent(system.address, target.getsockname(), source=source) as b, \
            Transparent(system.address, target.getsockname(), source=source) as c:
        assert {a.bound[1], b.bound[1]} == ports
        assert c.reply.code == socks.GENERAL_FAILURE
        ping(client, a.bound, target)
        ping(client, b.bound, target)


def test_our_own_ports_and_listeners_are_no_target(system, client):
    with Transparent(system.address, ("127.0.0.1", system.port)) as t:
        assert t.reply.code == socks.DENIED
    with Transparent(system.address, ("127.0.0.1", 21030)) as t:        # of transparent-ports
        assert t.reply.code == socks.DENIED


def test_a_lost_relay_closes_the_control_connection(start, target, client):
    system = start(relays=0, udp=1, rules=RULES, udp_relay={"n2": {"lease": "1s"}})
    with Transparent(system.address, target.getsockname(), source=client.getsockname()) as t:
        ping(client, t.bound, target)
        system.relay.kill()
        assert t.closed()
    assert system.access(command="transparent")["reason"] == "relay_lost"

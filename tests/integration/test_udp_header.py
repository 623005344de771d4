"""The header in front of a datagram: what is no header is dropped and counted, and harms nothing."""

import struct

import pytest

import udp
import udp_checks


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def headers(target):
    host, port = target.getsockname()
    return {"ipv4": udp.header(host, port), "ipv6": udp.header("::1", port),
            "name": udp.header("some.name.example", port, name=True)}


def assert_dropped(system, target, datagrams, **reasons):
    """All of them are, and what comes before and behind them is not."""
    with udp.Association(system.address) as a:
        udp.exchange(a, target, b"before")
        with udp_checks.dropping(system.relay, **reasons):
            for datagram in datagrams:
                a.send_raw(datagram)
            udp.exchange(a, target, b"behind")
    record = system.access(command="udp-associate")
    assert record["dropped"] == str(len(datagrams)) == str(sum(reasons.values()))
    assert record["datagrams_up"] == "2"
    assert udp_checks.nothing_waits(target)


def test_every_other_atyp_is_dropped(start, target):
    rest = socketaddr(target)
    bad = [struct.pack("!HBB", 0, 0, kind) + rest for kind in range(256) if kind not in (1, 3, 4)]
    assert_dropped(udp_checks.begin(start), target, bad, header=253)


def socketaddr(target):
    return udp.header(*target.getsockname())[4:] + b"payload that is long enough for any of them"


@pytest.mark.parametrize("kind", ["ipv4", "ipv6", "name"])
def test_a_header_cut_short_anywhere_is_dropped(start, target, kind):
    header = headers(target)[kind]
    short = [header[:n] for n in range(len(header))]
    assert_dropped(udp_checks.begin(start), target, short, header=len(short))


def test_reserved_octets_that_are_not_zero(start, target):
    bad = [udp.header(*target.getsockname(), reserved=r) + b"x" for r in (1, 0x100, 0xffff)]
    assert_dropped(udp_checks.begin(start), target, bad, header=3)


def test_names_that_are_none(start, target):
    port = target.getsockname()[1]
    bad = [udp.header(name, port, name=True) + b"x" for name in (b"", b"\0", b"local\0host", b"localhost\0")]
    assert_dropped(udp_checks.begin(start), target, bad, header=4)


def test_names_that_no_host_can_have_are_denied_without_a_query(start, target, dns):
    names = dns({})
    system = udp_checks.begin(start, names=names, rules=[{"allow": {"to": udp_checks.LOCAL}}, {"allow": {}}])
    port = target.getsockname()[1]
    bad = [udp.header(name, port, name=True) + b"x" for name in
           (b"a..b", b".", b".example", b"a b.example", b"a/b.example", b"a\\.example", b"\r\n.example",
            b"a" * 64 + b"=.example")]
    assert_dropped(system, target, bad, denied=len(bad))
    assert names.asked == []


@pytest.mark.parametrize("name", [b"x" * 255, (b"x" * 63 + b".") * 3 + b"y" * 63, b"\xff" * 255, b"." * 255])
def test_the_longest_names_are_dropped_and_no_more(start, target, dns, name):
    system = udp_checks.begin(start, names=dns({}))
    with udp.Association(system.address) as a:
        udp.exchange(a, target, b"before")
        a.send((name, target.getsockname()[1]), b"payload", name=True)
        udp.exchange(a, target, b"behind")
    record = system.access(command="udp-associate")
    assert (record["datagrams_up"], record["dropped"]) == ("2", "1")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_header_alone_is_an_empty_datagram(start, sockets, host):
    system = udp_checks.begin(start)
    target = sockets.keep(udp.udp_socket(host))
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay):
        for _ in range(3):
            udp.exchange(a, target, b"")
    assert system.access(command="udp-associate")["octets_up"] == "0"


def test_an_empty_answer_is_a_header_alone(start, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        a.send(target.getsockname(), b"")
        octets, outer = target.recvfrom(10)
        assert octets == b""
        target.sendto(b"", outer)
        assert a.recv() == (*target.getsockname(), b"")


def test_port_0_is_no_destination(start, target, dns):
    system = udp_checks.begin(start, names=dns({"four.example": ["127.0.0.1"]}))
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        with udp_checks.dropping(system.relay, protected=3):
            for host in ("127.0.0.1", "::1", "four.example"):
                a.send((host, 0), b"x")
        udp.exchange(a, target)


def test_what_is_no_header_does_not_make_the_port_known(start, sockets, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        stray = sockets.keep(udp.udp_socket())
        with udp_checks.dropping(system.relay, header=3):
            for octets in (b"", b"\0\0\0", b"\0\0\0\2" + b"x" * 20):
                stray.sendto(octets, a.bound)
        assert udp.locks(system.relay) == {}
        udp.exchange(a, target)

"""The first valid datagram of the client's address fixes the port; nothing else does."""

import struct

import pytest

import socks
import udp

ADDRESS = socks.address5("127.0.0.1") + b"\0\x35"
BAD = {
    "empty": b"",
    "one octet": b"\0",
    "cut in RSV": b"\0\0",
    "cut before ATYP": b"\0\0\0",
    "cut before the address": b"\0\0\0\1",
    "cut in an IPv4 address": b"\0\0\0\1\x7f\0\0",
    "cut before the port": b"\0\0\0" + ADDRESS[:-2],
    "cut in the port": b"\0\0\0" + ADDRESS[:-1],
    "cut in an IPv6 address": b"\0\0\0\4" + bytes(15),
    "cut before an IPv6 port": b"\0\0\0\4" + bytes(16),
    "cut before a name": b"\0\0\0\3",
    "an empty name": b"\0\0\0\3\0\0\x35",
    "cut in a name": b"\0\0\0\3\x09localhos",
    "cut behind a name": b"\0\0\0\3\x09localhost\0",
    "NUL in a name": b"\0\0\0\3\x09local\0ost\0\x35payload",
    "RSV 1": b"\0\1\0" + ADDRESS,
    "RSV 0x100": b"\1\0\0" + ADDRESS,
    "RSV of ones": b"\xff\xff\0" + ADDRESS,
    "ATYP 0": b"\0\0\0\0" + ADDRESS[1:],
    "ATYP 2": b"\0\0\0\2" + ADDRESS[1:],
    "ATYP 5": b"\0\0\0\5" + ADDRESS[1:],
    "ATYP 255": b"\0\0\0\xff" + ADDRESS[1:],
    "a request": socks.request5(socks.UDP_ASSOCIATE, "127.0.0.1", 53),
}


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def state(system):
    [association] = system.relay.associations()
    return association["state"], association["client"]


def test_a_datagram_without_a_good_header_locks_nothing(start, sockets, target):
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address))
    other = sockets.keep(udp.udp_socket())
    for count, (what, octets) in enumerate(BAD.items(), 1):
        other.sendto(octets, a.bound)
        udp.wait_drops(system.relay, header=count)
        assert state(system) == ("unlocked", "127.0.0.1:0"), what
    udp.exchange(a, target)
    assert state(system) == ("locked", "%s:%d" % a.sock.getsockname())
    assert udp.locks(system.relay) == {"learned": 1}

    for count, octets in enumerate(BAD.values(), 1):        # the client's own are dropped as well
        a.send_raw(octets)
        udp.wait_drops(system.relay, header=len(BAD) + count)
    udp.exchange(a, target)
    source = "%s:%d" % a.sock.getsockname()
    a.close()
    record = system.access(reason="control_closed")
    assert record["source"] == source
    assert (record["dropped"], record["datagrams_up"]) == (str(len(BAD)), "2")


def test_after_the_lock_another_port_of_the_same_address_is_nobody(start, sockets, target):
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, target)
    other = sockets.keep(udp.udp_socket())
    for count, octets in enumerate((udp.header(*target.getsockname()) + b"theft", b"", b"\0"), 1):
        other.sendto(octets, a.bound)
        udp.wait_drops(system.relay, source_port=count)
    udp.exchange(a, target, b"the next one")
    a.close()
    assert system.access(reason="control_closed")["dropped"] == "0", "they were not this one's"


def test_a_datagram_that_the_rules_forbid_is_valid(start, sockets, target):
    """It is dropped, and it has shown the client's port."""
    system = start(relays=0, udp=1, rules=[{"deny": {"to": ["127.0.0.2"]}},
                                           {"allow": {"to": ["127.0.0.0/8"]}}])
    a = sockets.keep(udp.Association(system.address))
    a.send(("127.0.0.2", 53), b"x")
    udp.wait_drops(system.relay, denied=1)
    assert state(system)[0] == "locked"
    other = sockets.keep(udp.udp_socket())
    other.sendto(udp.header(*target.getsockname()) + b"x", a.bound)
    udp.wait_drops(system.relay, denied=1, source_port=1)
    udp.exchange(a, target)


def test_nothing_reaches_a_client_that_is_not_locked(start, sockets, target):
    """What its own targets' addresses send to the relay's port for clients is a client's datagram."""
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address))
    target.sendto(b"unasked, and no header", a.bound)
    udp.wait_drops(system.relay, header=1)
    udp.exchange(a, target)


def send_run(sock, to, datagrams):
    """As one run: the relay may receive them together (UDP_GRO)."""
    [size] = {len(d) for d in datagrams}
    sol_udp, udp_segment = 17, 103
    sock.sendmsg([b"".join(datagrams)], [(sol_udp, udp_segment, struct.pack("=H", size))], 0, to)


@pytest.mark.parametrize("engine", ["batch", "plain"])
def test_a_valid_one_behind_a_bad_one_in_one_run_locks(start, sockets, target, engine):
    system = start(relays=0, udp=1, udp_relay={"relay": {"engines": [engine]}})
    a = sockets.keep(udp.Association(system.address))
    head = udp.header(*target.getsockname())
    send_run(a.sock, a.bound, [b"\1" + head[1:] + b"bad!", head + b"good", head + b"last"])
    assert [target.recvfrom(100)[0] for _ in range(2)] == [b"good", b"last"]
    udp.wait_drops(system.relay, header=1)
    assert udp.locks(system.relay) == {"learned": 1}

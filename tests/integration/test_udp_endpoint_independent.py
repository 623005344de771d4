"""Receive first, by configuration: anybody whom the rules allow may send to an association."""

import pytest

import udp
from daemons import wait_until

OPEN = {"relay": {"filtering": "endpoint-independent"}}


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def test_strangers_are_let_in_as_the_rules_say(start, sockets, target):
    system = start(relays=0, udp=1, udp_relay=OPEN, rules=[{"deny": {"to": ["127.0.0.9"]}},
                                                           {"allow": {"to": ["127.0.0.0/8"]}}])
    welcome, denied, unnamed = (sockets.keep(udp.udp_socket(h)) for h in ("127.0.0.2", "127.0.0.9", "::1"))
    a = sockets.keep(udp.Association(system.address))
    assert system.relay.status()["load"]["outer_sockets"] == 0, "before it has sent there is no way in"
    a.send(target.getsockname(), b"opens it")
    _, outer = target.recvfrom(100)
    denied.sendto(b"x", outer)
    udp.wait_drops(system.relay, peer=1)
    welcome.sendto(b"hello", outer)
    assert a.recv() == (*welcome.getsockname(), b"hello")
    a.send(welcome.getsockname(), b"hello yourself")
    assert welcome.recvfrom(100) == (b"hello yourself", outer)

    a.send(unnamed.getsockname()[:2], b"x")     # the rules do not name it
    udp.wait_drops(system.relay, peer=1, denied=1)
    assert system.relay.status()["load"]["outer_sockets"] == 1
    a.close()
    assert system.access(reason="control_closed")["dropped"] == "2"


def test_where_it_is_sent_to_does_not_matter(start, sockets, target):
    """A datagram to a port where nobody listens opens it for all of that family."""
    system = start(relays=0, udp=1, udp_relay=OPEN, rules=[{"allow": {"to": ["127.0.0.0/8", "::1"]}}])
    first = sockets.keep(udp.udp_socket())
    nowhere = first.getsockname()
    first.close()
    four, six = (sockets.keep(udp.udp_socket(h)) for h in ("127.0.0.2", "::1"))
    a = sockets.keep(udp.Association(system.address, True))
    outer_six = udp.exchange(a, six)
    a.send(nowhere, b"x")
    wait_until(lambda: system.relay.status()["load"]["outer_sockets"] == 2, "the other socket")
    port_of = dict(outer_ports(system))
    four.sendto(b"unasked", ("127.0.0.1", port_of[4]))
    assert a.recv() == (*four.getsockname(), b"unasked")
    other = sockets.keep(udp.udp_socket("::1"))
    other.sendto(b"unasked", outer_six)
    assert a.recv() == (*other.getsockname()[:2], b"unasked")


def outer_ports(system):
    """(4 or 6, port) of the relay's UDP sockets towards targets: outside of its range for clients."""
    inodes = {text[8:-1] for text in system.relay.descriptors().values() if text.startswith("socket:[")}
    for family, name in ((4, "udp"), (6, "udp6")):
        with open(f"/proc/{system.relay.pid}/net/{name}") as table:
            for line in table.readlines()[1:]:
                fields = line.split()
                port = int(fields[1].rpartition(":")[2], 16)
                if fields[9] in inodes and port >= 32768:
                    yield family, port


def test_not_so_by_default(start, sockets, target):
    system = start(relays=0, udp=1)
    stranger = sockets.keep(udp.udp_socket("127.0.0.2"))
    a = sockets.keep(udp.Association(system.address))
    outer = udp.exchange(a, target)
    stranger.sendto(b"x", outer)
    udp.wait_drops(system.relay, peer=1)

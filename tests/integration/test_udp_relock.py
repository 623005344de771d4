"""A NAT that changes the client's port: off by default; on, once in an interval, and counted."""

import pytest

import udp
from daemons import wait_until


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def moved(a, sockets):
    """The client's datagrams come from a new port from now on; the socket it had."""
    old = sockets.keep(a.sock)
    a.sock = sockets.keep(udp.udp_socket(old.getsockname()[0]))
    return old


def send_until_taken(a, target):
    """From a new port, until the interval is over; how many were dropped before."""
    sent = 0

    def taken():
        nonlocal sent
        a.send(target.getsockname(), b"%d" % sent)
        sent += 1
        target.settimeout(0.05)
        try:
            octets, _ = target.recvfrom(100)
        except TimeoutError:
            return False
        finally:
            target.settimeout(30)
        assert octets == b"%d" % (sent - 1), "none of those before was kept"
        return True
    wait_until(taken, "the new port to be taken")
    return sent - 1


def test_by_default_never(start, sockets, target):
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, target)
    old = moved(a, sockets)
    a.send(target.getsockname(), b"moved")
    udp.wait_drops(system.relay, source_port=1)
    a.sock = old
    udp.exchange(a, target)
    assert udp.locks(system.relay) == {"learned": 1}


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
def test_once_in_an_interval(start, sockets, target, hint):
    system = start(relays=0, udp=1, udp_relay={"relay": {"relock": "1s", "port-rest": "10s"}})
    first = {"hinted" if hint else "learned": 1}
    a = sockets.keep(udp.Association(system.address, hint))
    udp.exchange(a, target)
    old = moved(a, sockets)
    dropped = send_until_taken(a, target)
    assert dropped > 0, "the interval began with the lock"
    assert udp.locks(system.relay) == {**first, "relocked": 1}
    udp.wait_drops(system.relay, source_port=dropped)

    newest = moved(a, sockets)                  # too early again
    a.send(target.getsockname(), b"too early")
    udp.wait_drops(system.relay, source_port=dropped + 1)
    a.sock, newest = newest, a.sock
    udp.exchange(a, target)                     # the replies go to the new port
    a.sock, current = old, a.sock
    a.send(target.getsockname(), b"from where it was")
    udp.wait_drops(system.relay, source_port=dropped + 1, late=1)
    a.sock = current
    source = "%s:%d" % current.getsockname()
    [held] = system.relay.associations()
    assert held["client"] == source
    assert udp.locks(system.relay) == {**first, "relocked": 1}
    a.close()
    assert system.access(reason="control_closed")["source"] == source


def test_only_a_valid_datagram_of_the_same_address_moves_it(start, sockets, target):
    system = start(relays=0, udp=1, udp_relay={"relay": {"relock": "1ms"}})
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, target)
    other = sockets.keep(udp.udp_socket())
    stranger = sockets.keep(udp.udp_socket("127.0.0.2"))
    other.sendto(b"\0\0\0\1\x7f", a.bound)
    stranger.sendto(udp.header(*target.getsockname()) + b"x", a.bound)
    udp.wait_drops(system.relay, source_port=1, stranger=1)
    udp.exchange(a, target)
    assert udp.locks(system.relay) == {"learned": 1}


def test_not_where_it_could_be_another_association_of_the_address(start, sockets, target):
    """Two hinted associations on one port: whose a third port would be, nobody can tell."""
    first, last = udp.free_range(1)
    system = start(relays=0, udp=1, udp_relay={"relay": {"relock": "1ms", "ports": f"{first}-{last}"}})
    one, two = (sockets.keep(udp.Association(system.address, True)) for _ in range(2))
    assert one.bound == two.bound
    udp.exchange(one, target)
    udp.exchange(two, target)
    third = sockets.keep(udp.udp_socket())
    third.sendto(udp.header(*target.getsockname()) + b"x", one.bound)
    udp.wait_drops(system.relay, source_port=1)
    udp.exchange(one, target)
    udp.exchange(two, target)
    assert udp.locks(system.relay) == {"hinted": 2}

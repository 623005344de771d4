"""Only the client's own address may send: what comes from another is dropped and counted."""

import pytest

import udp


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def header(target):
    return udp.header(*target.getsockname())


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
def test_another_address_gets_nothing_through_before_or_after_the_lock(start, sockets, target, hint):
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address, hint))
    stranger = sockets.keep(udp.udp_socket("127.0.0.2"))
    stranger.sendto(header(target) + b"before", a.bound)
    udp.wait_drops(system.relay, stranger=1)
    assert udp.exchange(a, target, b"mine"), "it has not taken the association's place"
    stranger.sendto(header(target) + b"after", a.bound)
    stranger.sendto(b"", a.bound)
    udp.wait_drops(system.relay, stranger=3)
    udp.exchange(a, target, b"mine still")      # and the target reads nothing else
    assert udp.locks(system.relay) == {"hinted" if hint else "learned": 1}


def test_the_same_port_of_another_address_is_another(start, sockets, target):
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, target)
    twin = sockets.keep(udp.udp_socket("127.0.0.2", a.sock.getsockname()[1]))
    twin.sendto(header(target) + b"twin", a.bound)
    udp.wait_drops(system.relay, stranger=1)
    udp.exchange(a, target)


def test_the_client_is_who_holds_the_control_connection(start, sockets, target):
    """The association of 127.0.0.2 is not for 127.0.0.1, which another association is for."""
    system = start(relays=0, udp=1)
    first = sockets.keep(udp.Association(system.address, source="127.0.0.2"))
    second = sockets.keep(udp.Association(system.address))
    second.sock.sendto(header(target) + b"not mine", first.bound)
    first.sock.sendto(header(target) + b"not mine", second.bound)
    udp.wait_drops(system.relay, stranger=2)
    assert udp.exchange(first, target) != udp.exchange(second, target), "each has a socket of its own"


def test_what_comes_to_a_port_that_nobody_has_is_dropped(start, sockets, target):
    """The port of an association that is another client's, from one that has none at all."""
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address, source="127.0.0.2"))
    alone = sockets.keep(udp.udp_socket())
    alone.sendto(header(target) + b"x", a.bound)
    udp.wait_drops(system.relay, stranger=1)
    a.close()
    assert system.access(reason="control_closed")["dropped"] == "0", "it was not this one's"

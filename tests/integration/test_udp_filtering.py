"""Who may send to an association: by default the addresses that its client has sent to, from any port."""

import pytest

import udp
from daemons import wait_until


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
def test_an_address_that_was_never_sent_to_is_kept_out(start, sockets, target, hint):
    system = start(relays=0, udp=1)
    stranger = sockets.keep(udp.udp_socket("127.0.0.2", target.getsockname()[1]))
    neighbour = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address, hint))
    outer = udp.exchange(a, target)
    stranger.sendto(b"let me in", outer)
    udp.wait_drops(system.relay, peer=1)
    neighbour.sendto(b"another port of it", outer)
    assert a.recv() == (*neighbour.getsockname(), b"another port of it"), "with its own port"
    udp.exchange(a, stranger)                   # now the client has sent to it
    stranger.sendto(b"again", outer)
    assert a.recv() == (*stranger.getsockname(), b"again")
    a.close()
    record = system.access(reason="control_closed")
    assert (record["dropped"], record["datagrams_down"]) == ("1", "4")


def test_each_association_has_its_own(start, sockets, target):
    system = start(relays=0, udp=1)
    elsewhere = sockets.keep(udp.udp_socket("127.0.0.2"))
    a, b = (sockets.keep(udp.Association(system.address)) for _ in range(2))
    outer_a, outer_b = udp.exchange(a, target), udp.exchange(b, elsewhere)
    target.sendto(b"x", outer_b)
    elsewhere.sendto(b"x", outer_a)
    udp.wait_drops(system.relay, peer=2)
    udp.exchange(a, target)
    udp.exchange(b, elsewhere)


def test_what_was_not_sent_lets_nobody_in(start, sockets, target):
    """A datagram that the rules forbade."""
    system = start(relays=0, udp=1, rules=[{"deny": {"to": ["127.0.0.2"]}},
                                           {"allow": {"to": ["127.0.0.0/8"]}}])
    denied = sockets.keep(udp.udp_socket("127.0.0.2"))
    a = sockets.keep(udp.Association(system.address))
    outer = udp.exchange(a, target)
    a.send(denied.getsockname(), b"x")
    udp.wait_drops(system.relay, denied=1)
    denied.sendto(b"y", outer)
    udp.wait_drops(system.relay, denied=1, peer=1)
    udp.exchange(a, target)


def test_after_a_while_it_is_kept_out_again(start, sockets, target):
    """What comes from there does not prolong it; what is sent there does."""
    system = start(relays=0, udp=1, udp_relay={"relay": {"peer-timeout": "1s"}})
    a = sockets.keep(udp.Association(system.address))
    outer = udp.exchange(a, target)

    def kept_out():
        target.sendto(b"more", outer)
        return udp.counts(system.relay, "relayd_drops_total", "reason").get("peer")
    wait_until(kept_out, "its time to be over")
    a.sock.settimeout(0.1)
    with pytest.raises(TimeoutError):           # what it was let in for
        while True:
            assert a.recv(0.1)[2] == b"more"
    assert udp.exchange(a, target) == outer
    target.sendto(b"welcome back", outer)
    assert a.recv()[2] == b"welcome back"

"""Two clients behind one address: neither can take what is the other's."""

import pytest

import socks
import udp

HOLDERS = 40


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def test_an_unlocked_port_is_never_given_out_again(start, sockets, target):
    """Whatever else comes from that address, hinted or not, gets another port."""
    first, last = udp.free_range(20)
    system = start(relays=0, udp=1, udp_relay={"relay": {"ports": f"{first}-{last}"}})
    a = sockets.keep(udp.Association(system.address))
    others = [sockets.keep(udp.Association(system.address, i % 2 == 0)) for i in range(HOLDERS)]
    given = [b.bound for b in others if b.reply.code == socks.SUCCEEDED]
    assert len(given) > HOLDERS // 2 and a.bound not in given
    for b in others:                            # and what they send there is taken for nobody's
        if b.reply.code == socks.SUCCEEDED:
            b.send(target.getsockname(), b"theirs")
            assert target.recvfrom(100)[0] == b"theirs"
    udp.exchange(a, target, b"mine")


def test_the_first_datagram_is_the_first_ones(start, sockets, target):
    """Both unlocked, the later one sends first: each gets its own replies."""
    system = start(relays=0, udp=1)
    a, b = (sockets.keep(udp.Association(system.address)) for _ in range(2))
    assert a.bound != b.bound
    assert udp.exchange(b, target, b"b") != udp.exchange(a, target, b"a")
    assert udp.locks(system.relay) == {"learned": 2}


def lying(system, sockets, victim):
    """An association whose request names the port of another client of the same address."""
    liar = sockets.keep(udp.Association(system.address, victim.sock.getsockname()))
    assert liar.reply.code == socks.SUCCEEDED
    return liar


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
@pytest.mark.parametrize("when", ["unused", "in use"])
def test_a_lying_hint_captures_nothing(start, sockets, target, hint, when):
    """The liar gets a port on which the other sends nothing."""
    first, last = udp.free_range(2)
    system = start(relays=0, udp=1, udp_relay={"relay": {"ports": f"{first}-{last}"}})
    a = sockets.keep(udp.Association(system.address, hint))
    if when == "in use":
        udp.exchange(a, target, b"before")
    liar = lying(system, sockets, a)
    assert liar.bound != a.bound
    liar.send(target.getsockname(), b"from the liar's own port")
    udp.wait_drops(system.relay, source_port=1)
    outer = udp.exchange(a, target, b"mine")
    assert outer == udp.exchange(a, target, b"mine again")
    source = "%s:%d" % a.sock.getsockname()
    held = {h["bound"]: h for h in system.relay.associations()}
    assert held["%s:%d" % a.bound]["client"] == source
    assert held["%s:%d" % liar.bound]["datagrams_up"] == 0
    assert held["%s:%d" % liar.bound]["datagrams_down"] == 0


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
def test_where_there_is_no_other_port_the_liar_gets_none(start, sockets, target, hint):
    first, last = udp.free_range(1)
    system = start(relays=0, udp=1, udp_relay={"relay": {"ports": f"{first}-{last}"}})
    a = sockets.keep(udp.Association(system.address, hint))
    for _ in range(3):
        with udp.Association(system.address, a.sock.getsockname()) as liar:
            assert liar.reply.code == socks.GENERAL_FAILURE
    udp.exchange(a, target)


def test_a_liar_that_was_first_does_not_keep_the_victim_out(start, sockets, target):
    system = start(relays=0, udp=1)
    client = sockets.keep(udp.udp_socket())
    liar = sockets.keep(udp.Association(system.address, client.getsockname()))
    a = sockets.keep(udp.Association(system.address, True, sock=client))
    assert a.bound != liar.bound
    udp.exchange(a, target)
    liar.send(target.getsockname(), b"x")
    udp.wait_drops(system.relay, source_port=1)

"""What comes late for an association that has ended reaches nobody: not its successor, not a target."""

import pytest

import socks
import udp
from daemons import wait_until


def end(system, a):
    """Its control connection is closed; its socket stays."""
    a.control.close()
    wait_until(lambda: not system.relay.associations(), "its end")


def rested(system):
    wait_until(lambda: system.relay.metric("relayd_client_ports_resting") == 0, "the rest to be over")


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
def test_first_it_is_late_then_a_stranger_s(start, sockets, hint):
    """A new association of the same address is there all the time, on another port."""
    first, last = udp.free_range(2)
    system = start(relays=0, udp=1, udp_relay={
        "relay": {"ports": f"{first}-{last}", "port-rest": "1s"}})
    target = sockets.keep(udp.udp_socket())
    # Another address's, one on each port, so that both stay open.
    others = [sockets.keep(udp.Association(system.address, source="127.0.0.2")) for _ in range(2)]
    old = sockets.keep(udp.Association(system.address, hint))
    udp.exchange(old, target)
    old.control.close()
    wait_until(lambda: len(system.relay.associations()) == 2, "its end")
    fresh = sockets.keep(udp.Association(system.address))
    assert fresh.bound != old.bound
    old.send(target.getsockname(), b"late")
    udp.wait_drops(system.relay, late=1)
    udp.exchange(fresh, target)
    rested(system)
    old.send(target.getsockname(), b"very late")
    udp.wait_drops(system.relay, late=1, stranger=1)
    for a in (fresh, *others):
        udp.exchange(a, target)


def test_a_port_that_rests_is_not_given_out(start, sockets):
    first, last = udp.free_range(1)
    system = start(relays=0, udp=1, udp_relay={
        "relay": {"ports": f"{first}-{last}", "port-rest": "1s"}})
    target = sockets.keep(udp.udp_socket())
    old = sockets.keep(udp.Association(system.address))
    udp.exchange(old, target)
    end(system, old)
    for hint in (None, old.sock.getsockname()):
        with udp.Association(system.address, hint) as refused:
            assert refused.reply.code == socks.GENERAL_FAILURE, hint
    assert system.server.metric('socksd_relay_refusals_total{reason="no_port"}') == 2
    old.send(target.getsockname(), b"late")
    udp.wait_drops(system.relay, late=1)
    other = sockets.keep(udp.Association(system.address, True))     # another key, another client
    udp.exchange(other, target)
    other.close()
    rested(system)
    fresh = sockets.keep(udp.Association(system.address))
    assert fresh.bound == old.bound
    udp.exchange(fresh, target)


def test_one_that_ended_unlocked_leaves_its_whole_port_at_rest(start, sockets):
    """Nobody can tell which client port its datagrams come from."""
    first, last = udp.free_range(1)
    system = start(relays=0, udp=1, udp_relay={
        "relay": {"ports": f"{first}-{last}", "port-rest": "1s"}})
    target = sockets.keep(udp.udp_socket())
    old = sockets.keep(udp.Association(system.address))
    end(system, old)
    for hint in (None, True):
        with udp.Association(system.address, hint) as refused:
            assert refused.reply.code == socks.GENERAL_FAILURE, hint
    old.send(target.getsockname(), b"late")
    udp.wait_drops(system.relay, late=1)
    elsewhere = sockets.keep(udp.Association(system.address, source="127.0.0.2"))
    udp.exchange(elsewhere, target)             # of another address: not concerned


def test_what_a_target_sends_late_goes_nowhere(start, sockets):
    """The socket towards targets is gone with its association."""
    system = start(relays=0, udp=1)
    target = sockets.keep(udp.udp_socket())
    old = sockets.keep(udp.Association(system.address))
    outer = udp.exchange(old, target)
    end(system, old)
    fresh = sockets.keep(udp.Association(system.address, True, sock=old.sock))
    target.sendto(b"late", outer)
    udp.exchange(fresh, target)                 # reads nothing before its own answer
    assert system.relay.status()["load"]["outer_sockets"] == 1

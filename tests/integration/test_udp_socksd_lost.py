"""socksd is gone: so are the control connections, and the relay drops their associations."""

import udp
from daemons import wait_until


def test_killed_the_relay_drops_them_with_the_lease(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "600ms"}, "relay": {"port-rest": "10s"}})
    target = sockets.keep(udp.udp_socket())
    learned, hinted, silent = (sockets.keep(udp.Association(system.address, h)) for h in (None, True, None))
    udp.exchange(learned, target)
    udp.exchange(hinted, target)
    system.server.kill()
    assert all(a.closed() for a in (learned, hinted, silent))
    wait_until(lambda: not system.relay.associations(), "the lease to end")
    assert udp.counts(system.relay, "relayd_associations_ended_total", "reason") == {"lease_lost": 3}
    assert system.relay.metric("relayd_leases_lost_total") == 1
    for count, a in enumerate((learned, hinted, silent), 1):
        a.send(target.getsockname(), b"late")
        udp.wait_drops(system.relay, late=count)


def test_until_then_they_go_on(start, sockets):
    """The relay needs no server to move datagrams."""
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "10m"}})
    target = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address))
    system.server.kill()
    udp.exchange(a, target)                     # even its port is learned
    assert len(system.relay.associations()) == 1


def test_its_successor_ends_them_at_once(start, sockets):
    """A new epoch of the server: the control connections of the old one are gone."""
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "10m"}})
    target = sockets.keep(udp.udp_socket())
    old = sockets.keep(udp.Association(system.address))
    udp.exchange(old, target)
    system.server.kill()
    system.restart_server()
    wait_until(lambda: not system.relay.associations(), "the old one's end")
    assert udp.counts(system.relay, "relayd_associations_ended_total", "reason") == {"lease_lost": 1}
    new = sockets.keep(udp.Association(system.address, sock=old.sock))
    udp.exchange(new, target)
    new.control.close()
    assert system.access(reason="control_closed")["datagrams_up"] == "1"

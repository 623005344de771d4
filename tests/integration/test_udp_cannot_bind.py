"""An address that is not this host's: the relay cannot bind, which is not the same as having no port."""

import socks
import udp


def test_it_is_told_apart_from_no_port(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"relay": {"bind": ["192.0.2.1"]}})
    for hint in (None, True):
        a = sockets.keep(udp.Association(system.address, hint))
        assert a.reply == (socks.GENERAL_FAILURE, "0.0.0.0", 0)
        assert a.closed()
    metrics = system.server.metrics()
    assert metrics['socksd_relay_refusals_total{reason="cannot_bind"}'] == 2
    assert metrics['socksd_relay_refusals_total{reason="no_port"}'] == 0
    record = system.access(command="udp-associate")
    assert (record["prog"], record["reason"]) == ("socksd", "refused_by_relay")
    assert system.relay.metric('relayd_client_ports{state="open"}') == 0


def test_another_relay_that_can_serves(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"relay": {"bind": ["192.0.2.1"]}})
    good = system.add_udp_relay("udp-good")
    system.server.kill()
    system.restart_server(relays=[{"url": r.url} for r in system.relays])
    target = sockets.keep(udp.udp_socket())
    for _ in range(8):
        udp.exchange(sockets.keep(udp.Association(system.address)), target)
    assert len(good.associations()) == 8

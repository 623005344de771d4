"""SIGTERM of socksd: it waits for its control connections; told again, or at its deadline, it ends them."""

import pytest

import socks
import udp
from daemons import wait_until


def draining(start, sockets, target, drain="10m"):
    system = start(relays=0, udp=1, server={"timeouts": {"drain": drain}},
                   udp_relay={"n2": {"lease": "10m"}, "relay": {"port-rest": "10s"}})
    a, silent = (sockets.keep(udp.Association(system.address)) for _ in range(2))
    udp.exchange(a, target)
    system.server.terminate()
    system.server.log.wait("draining")
    return system, a, silent


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def test_it_waits_for_them(start, sockets, target):
    system, a, silent = draining(start, sockets, target)
    with pytest.raises(ConnectionError):
        socks.dial(system.address)
    udp.exchange(a, target)
    udp.exchange(silent, target)
    assert system.server.alive()
    a.close()
    udp.exchange(silent, target)
    assert system.server.alive()
    silent.close()
    assert system.server.wait() == 0
    assert [r["reason"] for r in system.records("access")] == ["control_closed"] * 2
    wait_until(lambda: not system.relay.associations(), "the relay to be told")
    assert udp.counts(system.relay, "relayd_associations_ended_total", "reason") == {"released": 2}


@pytest.mark.parametrize("how", ["told again", "deadline"])
def test_then_it_ends_them(start, sockets, target, how):
    system, a, silent = draining(start, sockets, target, "10m" if how == "told again" else "500ms")
    if how == "told again":
        udp.exchange(a, target)
        system.server.terminate()
    assert a.closed() and silent.closed()
    assert system.server.wait() == 0
    records = system.records("access")
    assert [(r["prog"], r["reason"]) for r in records] == [("socksd", "stopped")] * 2
    wait_until(lambda: not system.relay.associations(), "the relay to be told")
    assert udp.counts(system.relay, "relayd_associations_ended_total", "reason") == {"released": 2}, \
        "nobody waited for the lease"
    a.send(target.getsockname(), b"late")
    udp.wait_drops(system.relay, late=1)

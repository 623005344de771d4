"""A relay that is gone or stands still takes its associations with it: their control connections close."""

import signal

import socks
import udp
from daemons import wait_until

LOST = 'socksd_associations_ended_total{reason="relay_lost"}'


def used(system, sockets, target):
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, target)
    return a


def check_lost(system, a):
    client, source = ("%s:%d" % s.getsockname() for s in (a.control, a.sock))
    assert a.closed()
    record = system.access(client=client)
    assert (record["prog"], record["reason"], record["relay"]) == ("socksd", "relay_lost", "udp-0")
    assert record.get("source", source) == source, "if the relay has lived to tell"
    assert "octets_up" not in record, "nobody knows"


def test_killed(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "1s"}})
    target = sockets.keep(udp.udp_socket())
    a = used(system, sockets, target)
    system.relay.kill()
    check_lost(system, a)
    metrics = system.server.metrics()
    assert (metrics[LOST], metrics["socksd_controls"]) == (1, 0)
    assert metrics["socksd_associations_active"] == 0
    system.restart_relay(system.relay)
    system.server.wait_relays(1)
    used(system, sockets, target)


def test_restarted_before_its_lease_was_over(start, sockets):
    """Its new epoch says that all it held is gone; nobody waits for the lease."""
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "10m"}})
    target = sockets.keep(udp.udp_socket())
    a = used(system, sockets, target)
    system.relay.kill()
    system.restart_relay(system.relay)
    check_lost(system, a)
    system.server.wait_relays(1)
    used(system, sockets, target)


def test_stopped_for_longer_than_its_lease(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "600ms"}, "relay": {"port-rest": "10s"}})
    target = sockets.keep(udp.udp_socket())
    a = used(system, sockets, target)
    system.relay.signal(signal.SIGSTOP)
    try:
        check_lost(system, a)
        assert system.server.log.wait("relay_lease_lost")["held"] == "1"
        assert system.server.metric(LOST) == 1
    finally:
        system.relay.signal(signal.SIGCONT)
    wait_until(lambda: not system.relay.associations(), "the relay to drop it")
    a.send(target.getsockname(), b"into the void")
    udp.wait_drops(system.relay, late=1)
    # By its clock the lease is over, too; what socksd says meanwhile may reach it first.
    ended = udp.counts(system.relay, "relayd_associations_ended_total", "reason")
    assert ended in ({"lease_lost": 1}, {"released": 1})
    system.server.wait_relays(1)
    used(system, sockets, target)


def test_stopped_for_less_nothing_happens(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "10s"}})
    target = sockets.keep(udp.udp_socket())
    a = used(system, sockets, target)
    system.relay.signal(signal.SIGSTOP)
    a.send(target.getsockname(), b"wait")
    assert a.silent(0.2)
    system.relay.signal(signal.SIGCONT)
    assert target.recvfrom(100)[0] == b"wait"
    udp.exchange(a, target)


def test_a_client_that_leaves_meanwhile_is_not_forgotten(start, sockets):
    """Its control connection ends while the relay cannot be asked: one record, and the relay drops it."""
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "1s"}})
    target = sockets.keep(udp.udp_socket())
    a = used(system, sockets, target)
    system.relay.signal(signal.SIGSTOP)
    a.control.close()
    wait_until(lambda: system.server.metric("socksd_controls") == 0, "socksd to notice")
    assert system.access(command="udp-associate")["reason"] == "control_closed"
    system.relay.signal(signal.SIGCONT)
    wait_until(lambda: not any(system.counts().values()), "empty daemons")
    assert len(system.records("access")) == 1


def test_those_of_another_relay_go_on(start, sockets):
    system = start(relays=0, udp=2, udp_relay={"n2": {"lease": "1s"}})
    target = sockets.keep(udp.udp_socket())
    crowd = []
    while not all(r.associations() for r in system.relays):
        crowd.append(used(system, sockets, target))
        assert len(crowd) < 200
    victim, survivor = system.relays
    alive = {h["client"] for h in survivor.associations()}
    victim.kill()
    for a in crowd:
        if "%s:%d" % a.sock.getsockname() in alive:
            udp.exchange(a, target)
        else:
            assert a.closed()
    assert len(system.records("access", reason="relay_lost")) == len(crowd) - len(alive)
    for _ in range(4):
        a = used(system, sockets, target)
        assert a.reply.code == socks.SUCCEEDED

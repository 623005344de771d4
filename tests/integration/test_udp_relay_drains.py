"""SIGTERM drains a relay: its associations go on until the deadline, new ones go elsewhere."""

import socks
import udp
from daemons import wait_until


def used(system, sockets, target):
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, target)
    return a


def test_no_client_sees_that_one_of_two_drains(start, sockets):
    system = start(relays=0, udp=2)
    target = sockets.keep(udp.udp_socket())
    crowd = []
    while not all(r.associations() for r in system.relays):
        crowd.append(used(system, sockets, target))
        assert len(crowd) < 200
    leaving, staying = system.relays
    leaving.terminate()
    crowd += [used(system, sockets, target) for _ in range(20)]     # at once: socksd may not know yet
    held = int(leaving.log.wait("draining")["associations"])
    system.server.wait_relays(1, "draining")
    crowd += [used(system, sockets, target) for _ in range(20)]
    assert len(leaving.associations()) == held, "nothing new was opened there"
    for a in crowd:
        udp.exchange(a, target)
    assert leaving.alive(), "it waits for its associations"
    for a in crowd:
        a.close()
    assert leaving.wait() == 0
    wait_until(lambda: len(system.records("access", reason="control_closed")) == len(crowd), "records")
    assert len(system.records("access")) == len(crowd)
    assert staying.alive()


def test_its_deadline_ends_what_is_left(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"drain-timeout": "700ms", "n2": {"lease": "1s"}})
    target = sockets.keep(udp.udp_socket())
    a, silent = used(system, sockets, target), sockets.keep(udp.Association(system.address))
    system.relay.terminate()
    system.relay.log.wait("draining")
    udp.exchange(a, target)
    assert a.closed() and silent.closed()
    assert system.relay.wait() == 0
    assert system.relay.log.wait("drain_deadline")["associations"] == "2"
    wait_until(lambda: len(system.records("access", reason="drain_deadline")) == 2, "two records")
    assert sorted(r["datagrams_up"] for r in system.records("access")) == ["0", "2"]


def test_a_second_sigterm_ends_it_now(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"n2": {"lease": "1s"}})
    a = used(system, sockets, sockets.keep(udp.udp_socket()))
    system.relay.terminate()
    system.relay.log.wait("draining")
    system.relay.terminate()
    assert a.closed()
    assert system.relay.wait() == 0
    assert system.access(command="udp-associate")["reason"] == "drain_deadline"


def test_where_there_is_no_other_a_new_client_is_refused(start, sockets):
    system = start(relays=0, udp=1, server={"timeouts": {"connect": "300ms"}})
    target = sockets.keep(udp.udp_socket())
    a = used(system, sockets, target)
    system.relay.terminate()
    system.server.wait_relays(1, "draining")
    refused = sockets.keep(udp.Association(system.address))
    assert refused.reply == (socks.GENERAL_FAILURE, "0.0.0.0", 0)
    assert system.access(command="udp-associate")["reply"] == "overloaded"
    udp.exchange(a, target)
    a.close()
    assert system.relay.wait() == 0


def test_one_that_holds_nothing_ends_at_once(start):
    system = start(relays=0, udp=1)
    system.relay.terminate()
    assert system.relay.wait() == 0
    assert system.relay.log.wait("stopped")

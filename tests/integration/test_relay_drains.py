"""SIGTERM drains a relay: its streams go on, new ones go elsewhere, and no client sees it."""

import pytest

import socks
from daemons import wait_until


def serve(system, sockets, target):
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED, reply
    return client, sockets.accept(target)


def used_by_all(system, sockets, target):
    """Streams, at least one per relay."""
    pairs = []
    while not all(r.associations() for r in system.relays):
        pairs.append(serve(system, sockets, target))
        assert len(pairs) < 200
    return pairs


def test_no_client_sees_that_one_of_two_relays_drains(start, sockets, target):
    system = start(relays=2)
    pairs = used_by_all(system, sockets, target)
    leaving, staying = system.relays
    leaving.terminate()
    held = len(leaving.associations())
    for _ in range(20):                         # at once: socksd may not know yet
        pairs.append(serve(system, sockets, target))
    system.server.wait_relays(1, "draining")
    for _ in range(20):
        pairs.append(serve(system, sockets, target))
    assert len(leaving.associations()) == held, "nothing new was opened there"
    status, body = leaving.get("/readyz")
    assert status == 503 and "draining" in body
    assert leaving.metric("relayd_draining") == 1

    for client, far in pairs:
        client.sendall(b"still here")
        assert socks.read_exactly(far, 10) == b"still here"
    assert leaving.alive(), "it waits for its streams"
    for client, far in pairs:
        client.close()
        far.close()
    assert leaving.wait() == 0
    assert leaving.log.wait("draining")["why"] == "SIGTERM"
    assert {r["reason"] for r in leaving.log.records("access")} == {"closed"}
    assert staying.alive()


def test_a_relay_that_holds_nothing_ends_at_once(system):
    system.relay.terminate()
    assert system.relay.wait() == 0
    assert system.relay.log.wait("stopped")


def test_a_second_sigterm_ends_a_relay_now(system, connect):
    client, target = connect(system)
    system.relay.terminate()
    system.relay.log.wait("draining")
    client.sendall(b"x")
    assert socks.read_exactly(target, 1) == b"x"
    system.relay.terminate()
    assert system.relay.wait() == 0
    record = system.access(command="connect")
    assert record["reason"] == "drain_deadline" and record["octets_up"] == "1"
    with pytest.raises((ConnectionError, EOFError)):
        socks.read_exactly(client, 1)


def test_the_drain_has_a_deadline(start, connect):
    system = start(relay={"drain-timeout": "300ms"})
    connect(system)
    system.relay.terminate()
    assert system.relay.wait() == 0
    assert system.relay.log.wait("drain_deadline")["associations"] == "1"


def test_a_waiting_bind_keeps_a_draining_relay(system, sockets):
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    system.relay.terminate()
    system.relay.log.wait("draining")
    peer = sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname())
    peer.sendall(b"late but fine")
    assert socks.read_exactly(client, 13) == b"late but fine"
    client.close()
    peer.close()
    assert system.relay.wait() == 0


def test_drained_and_gone_it_is_taken_for_gone(system):
    system.relay.terminate()
    system.relay.wait()
    wait_until(lambda: system.server.get("/readyz")[0] == 503, "socksd to notice")

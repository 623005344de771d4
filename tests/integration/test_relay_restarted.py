"""A relay that comes back with a new epoch is used again."""

import os

import socks
from daemons import wait_until


def test_a_relay_that_was_killed_is_used_again(system, connect):
    for _ in range(3):
        epoch = system.server.relays()[0]["epoch"]
        system.relay.kill()
        system.restart_relay(system.relay)
        wait_until(lambda: system.server.relays()[0]["epoch"] != epoch, "the new epoch")
        system.server.wait_relays(1)
        client, target = connect(system)
        client.sendall(b"again")
        assert socks.read_exactly(target, 5) == b"again"
        client.close()
        target.close()
    wait_until(lambda: not any(system.counts().values()), "empty daemons")


def test_a_relay_that_was_stopped_gently_leaves_no_socket_and_is_used_again(system, connect):
    system.relay.terminate()
    assert system.relay.wait() == 0
    left = [f for f in os.listdir(system.directory) if f.startswith("relay-0.")]
    assert sorted(left) == ["relay-0.log", "relay-0.yaml"]
    status, body = system.server.get("/readyz")
    assert status == 503 and "relay" in body

    # A client that comes meanwhile waits, and is served.
    fresh = system.restart_relay(system.relay)
    client, target = connect(system)
    client.close()
    target.close()
    assert system.access(relay=fresh.name)["reason"] == "closed"
    assert system.server.get("/readyz")[0] == 200


def test_a_client_that_comes_while_no_relay_is_there_waits_for_one(system, sockets, target):
    system.relay.kill()
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *target.getsockname()))
    assert socks.read_exactly(client, 2) == b"\5\0"
    wait_until(lambda: system.server.get("/readyz")[0] == 503, "no relay")
    system.restart_relay(system.relay)
    assert socks.read_reply5(client).code == socks.SUCCEEDED

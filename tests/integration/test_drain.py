"""SIGTERM drains socksd: nobody new, those that are there to their end, then it goes."""

import pytest

import socks
from daemons import wait_until


def test_an_idle_socksd_ends_at_once(system):
    system.server.terminate()
    assert system.server.wait() == 0
    assert system.server.log.wait("draining")["why"] == "SIGTERM"


def test_new_clients_are_refused_and_the_handshake_that_runs_is_served(system, sockets, target):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0))
    assert socks.read_exactly(client, 2) == b"\5\0"
    system.server.terminate()
    system.server.log.wait("draining")
    with pytest.raises(ConnectionRefusedError):
        socks.dial(system.address)
    status, body = system.server.get("/readyz")
    assert status == 503 and "draining" in body
    assert system.server.get("/livez")[0] == 200
    assert system.server.status()["state"] == "draining"
    assert system.server.metric("socksd_draining") == 1

    client.sendall(socks.request5(socks.CONNECT, *target.getsockname()))
    assert socks.read_reply5(client).code == socks.SUCCEEDED
    far = sockets.accept(target)
    assert system.server.wait() == 0, "the client is the relay's now"
    client.sendall(b"still served")
    assert socks.read_exactly(far, 12) == b"still served"


def test_a_request_that_waits_for_its_target_is_waited_for(start, sockets, silent):
    system = start(server={"timeouts": {"connect": "1s"}})
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *silent))
    assert socks.read_exactly(client, 2) == b"\5\0"
    system.server.terminate()
    assert socks.read_reply5(client).code == socks.TTL_EXPIRED
    client.close()
    assert system.server.wait() == 0


def test_a_waiting_bind_is_waited_for(system, sockets):
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    system.server.terminate()
    system.server.log.wait("draining")
    peer = sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname())
    assert system.server.wait() == 0


def test_a_second_sigterm_ends_it_now(system, sockets):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0))
    assert socks.read_exactly(client, 2) == b"\5\0"
    system.server.terminate()
    system.server.log.wait("draining")
    system.server.terminate()
    assert system.server.wait() == 0
    assert socks.read_all(client) == b""
    assert system.server.log.wait("stopping")["sessions"] == "1"


def test_the_drain_has_a_deadline(start, sockets):
    system = start(server={"timeouts": {"drain": "400ms", "handshake": "1m"}})
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0))
    assert socks.read_exactly(client, 2) == b"\5\0"
    system.server.terminate()
    assert system.server.wait() == 0
    assert system.server.log.wait("stopping")["why"] == "drain deadline"


def test_streams_outlive_socksd_and_are_recorded(system, connect):
    client, target = connect(system)
    system.server.terminate()
    assert system.server.wait() == 0
    target.sendall(b"after")
    assert socks.read_exactly(client, 5) == b"after"
    client.close()
    target.close()
    assert system.access(octets_down=5)["reason"] == "closed"
    wait_until(lambda: not any(system.counts().values()), "an empty relay")

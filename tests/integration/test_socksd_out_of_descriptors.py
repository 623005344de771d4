"""socksd with 64 descriptors: it stops accepting before it runs out, says so once, and goes on."""

import pytest

import socks
from daemons import wait_until

LIMIT = ("prlimit", "--nofile=64:64")


@pytest.fixture
def narrow(start):
    return start(server_prefix=LIMIT, server={"timeouts": {"handshake": "30s"}},
                 listeners=[{"listen": "127.0.0.1:0", "defer-accept": False}])


def test_every_client_is_served_in_the_end(narrow, sockets):
    """Many more clients in their handshake at once than there are descriptors."""
    echo = sockets.echo()
    limit = narrow.server.metric("socksd_sessions_limit")
    assert 8 <= limit < 64
    clients = [sockets.keep(socks.dial(narrow.address)) for _ in range(200)]
    wait_until(lambda: narrow.server.metric("socksd_sessions_active") == limit, "no more than the limit")
    paused = narrow.wait_record("accept_paused")
    assert (paused["level"], paused["why"]) == ("warn", "sessions")
    assert not narrow.server.status()["accepting"]
    assert len(narrow.server.descriptors()) < 64

    for client in clients:
        client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *echo.address) + b"hello")
    for client in clients:
        assert socks.read_exactly(client, 2) == b"\5\0"
        assert socks.read_reply5(client).code == socks.SUCCEEDED
        assert socks.read_exactly(client, 5) == b"hello"
        client.close()
    assert narrow.server.metric("socksd_connections_total") == 200
    assert narrow.server.metric("socksd_accept_pauses_total") >= 1
    assert len(narrow.records("accept_paused")) == 1, "said once"
    assert narrow.server.status()["accepting"]


def test_clients_that_leave_make_room(narrow, sockets, target):
    limit = int(narrow.server.metric("socksd_sessions_limit"))
    silent = [sockets.keep(socks.dial(narrow.address)) for _ in range(limit)]
    wait_until(lambda: narrow.server.metric("socksd_sessions_active") == limit, "a full house")
    waiting = sockets.keep(socks.dial(narrow.address))
    waiting.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *target.getsockname()))
    for client in silent:
        client.close()
    assert socks.read_exactly(waiting, 2) == b"\5\0"
    assert socks.read_reply5(waiting).code == socks.SUCCEEDED


def test_streams_take_no_descriptor_of_socksd(narrow, sockets, target):
    pairs = []
    for _ in range(120):
        client, reply = socks.open5(narrow.address, socks.CONNECT, *target.getsockname())
        pairs.append((sockets.keep(client), sockets.accept(target)))
        assert reply.code == socks.SUCCEEDED
    wait_until(lambda: narrow.server.metric("socksd_sessions_active") == 0, "no session")
    wait_until(lambda: len(narrow.server.descriptors()) <= narrow.server.at_rest + 1, "no descriptor more")
    assert narrow.server.metric("socksd_associations_active") == 120


def test_the_status_answers_while_accepting_rests(narrow, sockets):
    limit = int(narrow.server.metric("socksd_sessions_limit"))
    for _ in range(limit + 20):
        sockets.keep(socks.dial(narrow.address))
    narrow.wait_record("accept_paused")
    assert narrow.server.get("/livez")[0] == 200
    assert narrow.server.get("/readyz")[0] == 200

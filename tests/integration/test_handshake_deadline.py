"""The handshake has one absolute deadline; a stream has none of it."""

import select
import time

import pytest

import socks

HANDSHAKE = {"timeouts": {"handshake": "800ms"}}


@pytest.fixture
def system(start):
    return start(server=HANDSHAKE, listeners=[{"listen": "127.0.0.1:0", "defer-accept": False}])


def ended(client):
    """All that still comes, and then the end, which may be a reset when something was unread."""
    try:
        return socks.read_all(client)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("said", [b"", b"\5", b"\5\1\0", b"\5\1\0\5\1\0\3", b"\4\1\0\1", b"\4"],
                         ids=["nothing", "a version", "a greeting", "half a request", "half of 4",
                              "the version of 4"])
def test_a_client_that_stops_in_the_middle_is_cut(system, sockets, said):
    client = sockets.keep(socks.dial(system.address))
    began = time.monotonic()
    client.sendall(said)
    ended(client)
    assert time.monotonic() - began >= 0.7
    assert system.wait_record("handshake_failed")["reason"] == "timeout"
    assert system.server.metric('socksd_sessions_ended_total{end="handshake_timeout"}') == 1


def test_a_client_that_sends_an_octet_now_and_then_is_cut(system, sockets):
    client = sockets.keep(socks.dial(system.address))
    octets = socks.request4(socks.CONNECT, "127.0.0.1", 80, b"u" * 200)
    sent = 0
    with pytest.raises(ConnectionError):
        for octet in octets:
            client.sendall(bytes([octet]))
            sent += 1
            time.sleep(0.1)
            if readable(client) and not client.recv(1):
                raise ConnectionError("ended")
    assert 4 < sent < 30
    assert system.wait_record("handshake_failed")["reason"] == "timeout"


def readable(sock):
    return bool(select.select([sock], [], [], 0)[0])


def test_the_deadline_covers_authentication(start, sockets):
    system = start(server=HANDSHAKE, users={"alice": "secret"},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(socks.USERPASS))
    assert socks.read_exactly(client, 2) == b"\5\2"
    assert ended(client) == b""
    assert system.wait_record("handshake_failed")["reason"] == "timeout"


def test_a_stream_lives_longer_than_the_deadline(system, connect):
    client, target = connect(system)
    time.sleep(1.2)
    client.sendall(b"alive")
    assert socks.read_exactly(target, 5) == b"alive"
    time.sleep(0.8)
    target.sendall(b"still")
    assert socks.read_exactly(client, 5) == b"still"
    assert not system.records("handshake_failed")


def test_a_request_lives_longer_than_the_deadline(system, sockets, silent):
    """It has a deadline of its own."""
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *silent))
    assert socks.read_exactly(client, 2) == b"\5\0"
    time.sleep(1.2)
    assert not readable(client)
    assert not system.records("handshake_failed")


def test_silent_clients_stop_nobody(system, sockets, connect):
    for _ in range(100):
        sockets.keep(socks.dial(system.address))
    client, target = connect(system)
    client.sendall(b"through")
    assert socks.read_exactly(target, 7) == b"through"

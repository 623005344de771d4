"""A failure reply is read by its client although it had sent more than we read (PROTOCOL 14.2 rule 8)."""

import time

import pytest

import socks
from targets import pattern

MORE = pattern(200_000)


def settle(client):
    """Lets a reset arrive, if one is on its way: it would make the kernel forget the reply."""
    time.sleep(0.3)
    return client


@pytest.mark.parametrize("version", ["4", "5"])
def test_the_reply_arrives_though_input_is_unread(system, sockets, version):
    closed = sockets.closed_port()
    client = sockets.keep(socks.dial(system.address))
    if version == "4":
        client.sendall(socks.request4(socks.CONNECT, *closed) + MORE)
        assert socks.read_reply4(settle(client)).code == socks.REJECTED4
    else:
        client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *closed) + MORE)
        assert socks.read_exactly(settle(client), 2) == b"\5\0"
        assert socks.read_reply5(client).code == socks.REFUSED
    assert socks.read_all(client) == b""


@pytest.mark.parametrize("said, answer", [
    (b"\5\1\0" + b"\5\6\0\1" + b"\7\x0f" * 10, b"\5\0\5\7"),
    (b"\5\1\0" + b"\5\1\0\x09" + b"what?" * 100, b"\5\0\5\x08"),
    (b"\5\1\x09" + b"and so on" * 100, b"\5\xff"),
    (b"\4\7\0\x50\x7f\0\0\1\0" + b"and so on" * 100, b"\0\x5b"),
])
def test_what_the_handshake_refuses_is_answered_though_input_is_unread(system, sockets, said, answer):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(said + MORE)
    assert socks.read_all(settle(client))[:len(answer)] == answer


def test_a_client_that_goes_on_sending_is_not_read_for_ever(system, sockets):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *sockets.closed_port()))
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            client.sendall(MORE)
    system.access(reply="refused")

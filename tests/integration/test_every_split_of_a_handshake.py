"""A handshake may arrive in any pieces: the real daemon must not care."""

import fcntl
import struct
import termios
import time

import pytest

import socks

USERS = {"alice": "secret"}


def burst(kind, host, port):
    """Everything that a client says before its payload, and the octets of the answer to it."""
    request = socks.request5(socks.CONNECT, host, port)
    return {
        "4": (socks.request4(socks.CONNECT, host, port, b"someone"), 8),
        "4a": (socks.request4a(socks.CONNECT, "localhost", port, b"someone"), 8),
        "5": (socks.greeting5(0) + request, 2 + 10),
        "5 name": (socks.greeting5(0) + socks.request5(socks.CONNECT, "localhost", port), 2 + 10),
        "5 password": (socks.greeting5(2) + socks.userpass("alice", "secret") + request, 2 + 2 + 10),
    }[kind]


KINDS = ["4", "4a", "5", "5 name", "5 password"]


@pytest.fixture
def both(start):
    """A system with a listener per method."""
    system = start(users=USERS, listeners=[
        {"listen": "127.0.0.1:0"}, {"listen": "127.0.0.1:0", "methods": ["username-password"]}])
    system.addresses = system.server.listeners()
    return system


def exchange(system, sockets, kind, echo, pieces):
    octets, answer = burst(kind, *echo.address)
    client = sockets.keep(socks.dial(system.addresses[1 if kind == "5 password" else 0]))
    for piece in pieces(octets):
        client.sendall(piece)
        yield_to_the_daemon(client)
    socks.read_exactly(client, answer)
    client.sendall(b"hello")
    assert socks.read_exactly(client, 5) == b"hello"
    client.close()


def yield_to_the_daemon(client):
    """Waits until what was sent has been acknowledged, so that the next piece arrives by itself."""
    for _ in range(200):
        if struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, b"\0\0\0\0"))[0] == 0:
            break
    time.sleep(0.001)


@pytest.mark.parametrize("kind", KINDS)
def test_a_handshake_may_be_split_anywhere(both, sockets, kind):
    echo = sockets.echo()
    length = len(burst(kind, *echo.address)[0])
    for at in range(1, length):
        exchange(both, sockets, kind, echo, lambda octets: (octets[:at], octets[at:]))
    ended = both.server.metrics()['socksd_sessions_ended_total{end="handed_over"}']
    assert ended == length - 1
    for _ in range(length - 1):
        both.access(octets_up=5, octets_down=5, reason="closed")


@pytest.mark.parametrize("kind", KINDS)
def test_a_handshake_may_come_one_octet_at_a_time(both, sockets, kind):
    exchange(both, sockets, kind, sockets.echo(),
             lambda octets: [octets[i:i + 1] for i in range(len(octets))])
    assert both.access(octets_up=5)["reason"] == "closed"

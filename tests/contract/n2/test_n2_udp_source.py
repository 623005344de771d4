"""Whose datagrams an association takes: those of one source, which is known from the start or learned."""

import pytest

import n2wire
from n2wire import nothing_came, pb

pytestmark = pytest.mark.relays("udp")


def locked_events(client):
    return [e for e in client.server.events_of(client.association) if e.type == pb.EVENT_LOCKED]


def test_the_first_datagram_locks_and_the_server_is_told_from_where(server, udp_client, udp_target):
    client = udp_client()
    client.exchange(udp_target)
    event = server.wait_event(client.association)
    assert event.type == pb.EVENT_LOCKED
    assert n2wire.endpoint_address(event.peer) == client.sock.getsockname()
    client.exchange(udp_target)
    client.exchange(udp_target)
    assert len(locked_events(client)) == 1


def test_another_port_of_the_same_address_finds_nobody(udp_client, udp_target, sockets):
    client = udp_client()
    client.exchange(udp_target)
    thief = sockets.udp(client.ip)
    client.send(udp_target, b"stolen", sock=thief)
    client.exchange(udp_target)
    assert nothing_came(udp_target, thief)
    assert len(locked_events(client)) == 1
    assert client.counters().datagrams_up == 2


def test_another_address_neither_locks_nor_is_relayed(server, udp_client, udp_target, sockets):
    client = udp_client()
    stranger = sockets.udp("127.0.0.2")
    client.send(udp_target, b"before", sock=stranger)
    client.exchange(udp_target)
    client.send(udp_target, b"after", sock=stranger)
    client.exchange(udp_target)
    assert nothing_came(udp_target, stranger)
    event = server.wait_event(client.association, pb.EVENT_LOCKED)
    assert n2wire.endpoint_address(event.peer) == client.sock.getsockname()


def test_the_same_port_of_another_address_finds_nobody(udp_client, udp_target, sockets):
    client = udp_client()
    client.exchange(udp_target)
    stranger = sockets.udp("127.0.0.2", client.sock.getsockname()[1])
    client.send(udp_target, b"stolen", sock=stranger)
    client.exchange(udp_target)
    assert nothing_came(udp_target)


UNREADABLE = {
    "nothing": b"",
    "one octet": b"\0",
    "no address": b"\0\0\0\1",
    "a short IPv4 address": b"\0\0\0\1\x7f\0\0",
    "no port": b"\0\0\0\1\x7f\0\0\1\0",
    "a short IPv6 address": b"\0\0\0\4" + bytes(15),
    "IPv6 without a port": b"\0\0\0\4" + bytes(17),
    "no length of a name": b"\0\0\0\3",
    "an empty name": b"\0\0\0\3\0\0\x35payload",
    "a short name": b"\0\0\0\3\x0alocal",
    "a name without a port": b"\0\0\0\3\x09localhost\0",
    "address type 0": b"\0\0\0\0\x7f\0\0\1\0\x35payload",
    "address type 2": b"\0\0\0\2\x7f\0\0\1\0\x35payload",
    "address type 5": b"\0\0\0\5\x7f\0\0\1\0\x35payload",
    "address type 255": b"\0\0\0\xff\x7f\0\0\1\0\x35payload",
    "RSV 1": b"\0\1\0\1\x7f\0\0\1\0\x35payload",
    "RSV 256": b"\1\0\0\1\x7f\0\0\1\0\x35payload",
    "noise": bytes(range(255, 200, -1)),
}


@pytest.mark.parametrize("octets", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_a_datagram_that_cannot_be_read_does_not_lock(server, udp_client, udp_target, sockets, octets):
    client = udp_client()
    client.send_raw(octets, sock=sockets.udp(client.ip))
    client.exchange(udp_target)
    event = server.wait_event(client.association, pb.EVENT_LOCKED)
    assert n2wire.endpoint_address(event.peer) == client.sock.getsockname()
    assert len(locked_events(client)) == 1
    assert client.counters().dropped == 0, "it was nobody's"


def test_a_datagram_that_is_denied_locks_all_the_same(server, udp_client, udp_target):
    """It says where the client sends from; the rules say where it may send to."""
    client = udp_client(n2wire.deny("127.0.0.9"), n2wire.allow())
    client.send(("127.0.0.9", 9), b"denied")
    assert n2wire.endpoint_address(
        server.wait_event(client.association, pb.EVENT_LOCKED).peer) == client.sock.getsockname()
    client.exchange(udp_target)


def test_datagrams_that_cannot_be_read_are_not_relayed_and_counted(udp_client, udp_target):
    client = udp_client()
    client.exchange(udp_target)
    for octets in UNREADABLE.values():
        client.send_raw(octets)
    client.exchange(udp_target)
    counters = client.counters()
    assert (counters.datagrams_up, counters.dropped) == (2, len(UNREADABLE))


# ---------------------------------------------------------------------------------------------- hints

def test_a_truthful_hint_locks_from_the_start(udp_client, udp_target, sockets):
    client = udp_client(hint=True)
    client.send(udp_target, b"stolen", sock=sockets.udp(client.ip))
    client.exchange(udp_target)
    assert nothing_came(udp_target)
    assert client.counters().datagrams_up == 1
    assert not locked_events(client), "the server knew it before"


def test_a_truthful_hint_in_the_spelling_of_ipv6_is_truthful(udp_client, udp_target, sockets):
    sock = sockets.udp()
    client = udp_client(sock=sock, hint=("::ffff:127.0.0.1", sock.getsockname()[1]))
    client.send(udp_target, b"stolen", sock=sockets.udp())
    client.exchange(udp_target)
    assert nothing_came(udp_target)


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "127.0.0.2", "192.0.2.1", "::1", ""],
                         ids=lambda ip: ip or "no address")
def test_a_hint_of_another_address_is_ignored(server, udp_client, udp_target, sockets, ip):
    client = udp_client(client="127.0.0.1", hint=(ip, sockets.udp().getsockname()[1]))
    client.exchange(udp_target)
    event = server.wait_event(client.association, pb.EVENT_LOCKED)
    assert n2wire.endpoint_address(event.peer) == client.sock.getsockname()


def test_a_hint_without_a_port_is_ignored(server, udp_client, udp_target):
    client = udp_client(client="127.0.0.1", hint=("127.0.0.1", 0))
    client.exchange(udp_target)
    assert server.wait_event(client.association, pb.EVENT_LOCKED)


def test_the_port_of_the_client_means_nothing(server, udp_client, udp_target):
    """It is that of its control connection."""
    client = udp_client()
    assert client.message.client.port not in (0, client.sock.getsockname()[1])
    client.exchange(udp_target)
    for port in (0, 65535):
        message = server.udp_message()
        message.client.port = port
        assert n2wire.verdict(server.ask(message)) == "ACCEPTED"

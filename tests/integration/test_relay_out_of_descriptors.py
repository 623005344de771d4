"""A relay with 64 descriptors: it refuses with FULL before it runs out, and clients are told."""

import pathlib
import socket

import pytest

import socks
from daemons import wait_until

LIMIT = ("prlimit", "--nofile=64:64")


def fill(system, sockets, target, most=100):
    """Streams until a client is refused: (streams, the reply to that client)."""
    pairs = []
    while len(pairs) < most:
        client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
        sockets.keep(client)
        if reply.code != socks.SUCCEEDED:
            return pairs, reply
        pairs.append((client, sockets.accept(target)))
    return pairs, None


def test_a_full_relay_is_told_and_room_is_used_again(start, sockets, target):
    system = start(relay_prefix=LIMIT)
    capacity = system.relay.status()["limits"]["associations"]
    pairs, reply = fill(system, sockets, target)
    assert reply.code == socks.GENERAL_FAILURE
    assert 0 < len(pairs) == capacity
    record = system.access(reply="overloaded")
    assert record["reason"] == "refused_by_relay"
    assert system.server.metric('socksd_relay_refusals_total{reason="full"}') >= 1
    assert len(system.relay.descriptors()) < 64
    status, body = system.relay.get("/readyz")
    assert status == 503 and "full" in body

    for client, far in pairs:
        client.sendall(b"unharmed")
        assert socks.read_exactly(far, 8) == b"unharmed"
    for sock in pairs[0]:
        sock.close()
    wait_until(lambda: system.relay.get("/readyz")[0] == 200, "room")
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED


def test_what_does_not_fit_into_one_relay_goes_to_another(start, sockets, target):
    system = start(relays=2, relay_prefix=LIMIT)
    capacity = sum(r.status()["limits"]["associations"] for r in system.relays)
    pairs, reply = fill(system, sockets, target)
    assert reply.code == socks.GENERAL_FAILURE
    assert len(pairs) == capacity


def test_a_configured_limit_holds_too(start, sockets, target):
    system = start(relay={"relay": {"associations": 3}})
    pairs, reply = fill(system, sockets, target)
    assert len(pairs) == 3 and reply.code == socks.GENERAL_FAILURE
    assert system.relay.metric("relayd_associations_limit") == 3


@pytest.mark.parametrize("command", [socks.CONNECT, socks.BIND])
def test_ephemeral_ports_that_are_all_taken_are_told(start, sockets, netns, command):
    """EADDRNOTAVAIL and EADDRINUSE are no verdict on the destination."""
    netns.run(lambda: pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("41000 41003"))
    system = start(prefix=netns.prefix, listeners=[{"listen": "127.0.0.1:1080"}])

    def run():
        sockets.listener("127.0.0.1", 2000)
        codes = []
        for port in range(50000, 50012):        # our own ports are outside the range
            client = sockets.keep(socket.socket())
            client.bind(("127.0.0.1", port))
            client.connect(system.address)
            client.sendall(socks.greeting5(0) + socks.request5(command, "127.0.0.1",
                                                               2000 if command == socks.CONNECT else 0))
            assert socks.read_exactly(client, 2) == b"\5\0"
            codes.append(socks.read_reply5(client).code)
        return codes
    codes = netns.run(run)
    assert codes[0] == socks.SUCCEEDED
    assert codes[-1] == socks.GENERAL_FAILURE
    assert system.relay.metric('relayd_refusals_total{reason="no_port"}') >= 1

"""A relay gives every descriptor back, whatever was done with it."""

import os
import time

import pytest

import n2wire
from n2wire import ControlServer, pb

ROUNDS = 30


@pytest.fixture
def own(own_relay):
    relay = own_relay()
    if not os.path.isdir(f"/proc/{relay.process.pid}/fd"):
        pytest.skip("descriptors of a process cannot be counted here")
    return relay


def count(relay):
    return len(os.listdir(f"/proc/{relay.process.pid}/fd"))


def settled(relay, bound, seconds=5):
    """The number of descriptors, as soon as it is down to `bound` or the time is over."""
    deadline = time.monotonic() + seconds
    while count(relay) > bound and time.monotonic() < deadline:
        time.sleep(0.02)
    return count(relay)


@pytest.fixture
def measured(own, servers, target, sockets):
    """A server with a leg channel, and how many descriptors the relay has after the first stream.

    What a relay allocates once and keeps (a pipe for its engine, say) is there by then.
    """
    server = servers(own)
    one_stream(server, target, sockets)
    time.sleep(0.2)
    return own, server, count(own)


def one_stream(server, target, sockets):
    grant = server.open(server.connect_message(target.getsockname()))
    far = sockets.accept(target)
    client = server.attach(grant, b"r", b"e")
    client.sendall(b"x" * 100000)
    client.close()
    far.close()
    server.wait_ended(grant.association)


def test_streams_give_their_descriptors_back(measured, target, sockets):
    relay, server, before = measured
    for _ in range(ROUNDS):
        one_stream(server, target, sockets)
    # A relay may keep some spare pipes; it may not keep one for every stream.
    assert settled(relay, before + 4) <= before + 4


def test_failed_and_released_opens_give_their_descriptors_back(
        measured, target, closed_port, silent):
    relay, server, before = measured
    for _ in range(ROUNDS):
        server.open_refused(server.connect_message(closed_port, closed_port))
        server.open_refused(server.connect_message(silent, silent, connect_ms=1))
        server.release(server.open(server.connect_message(target.getsockname())).association)
        pending = server.connect_message(silent, silent, connect_ms=30000)
        server.ask(pending)
        server.release(pending.association)
        if pb.KIND_BIND in server.who.kinds:
            server.release(server.open(server.bind_message()).association)
    assert settled(relay, before + 2) <= before + 2


def test_races_between_destinations_give_their_descriptors_back(measured, target, closed_port, silent):
    relay, server, before = measured
    for _ in range(5):
        messages = [server.connect_message(closed_port, silent, target.getsockname(), silent)
                    for _ in range(5)]
        answers = server.exchange(*[server.call(m) for m in messages]).answers
        for message, answer in zip(messages, answers):
            assert not isinstance(server.outcome(message, answer), pb.Refusal)
            server.release(message.association)
    assert settled(relay, before + 2) <= before + 2


def test_refused_legs_give_their_descriptors_back(measured, target, sockets):
    relay, server, before = measured
    for number in range(ROUNDS):
        client, leg = n2wire.tcp_pair()
        ghost = n2wire.Grant(os.urandom(16), os.urandom(32), None, None, None)
        attach = server.attach_message(ghost)
        message = [pb.Legs(version=1, attaches=[attach]), pb.Legs(version=2, attaches=[attach]),
                   b"\xff\xff", pb.Legs(version=1)][number % 4]
        server.legs.send(message, [leg] * (1 + number % 3))
        leg.close()
        assert n2wire.is_closed(client)
        client.close()
    assert settled(relay, before + 2) <= before + 2


def test_closed_connections_give_their_descriptors_back(measured):
    relay, _, before = measured
    for number in range(ROUNDS):
        with ControlServer(relay.url) as visitor:
            if number % 3 == 0:
                visitor.must_hello()
            elif number % 3 == 1:
                visitor.must_hello()
                visitor.send_watch(wait_ms=10000)
                visitor.legs.send(pb.Legs(version=1))
            else:
                visitor.req.send_half(b"x" * 100, 30)
    assert settled(relay, before + 2) <= before + 2

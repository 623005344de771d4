"""Draining: no new work, what runs goes on, and the relay exits when nothing is left."""

import time

import pytest

import n2wire
from n2wire import pb, verdict


def wait_exit(relay, seconds):
    deadline = time.monotonic() + seconds
    while relay.alive():
        assert time.monotonic() < deadline, "the relay has not exited"
        time.sleep(0.01)
    return relay.process.returncode


@pytest.fixture
def relay(own_relay):
    return own_relay()


@pytest.mark.relays("streams", "udp")
def test_an_idle_relay_exits_when_it_is_told_to_drain(relay):
    relay.drain()
    assert wait_exit(relay, 3) == 0


def test_a_parked_watch_hears_of_draining_at_once(relay, servers, stream):
    server = servers(relay)
    stream(server)
    server.stop_watching()
    sent = server.send_watch(after_seq=server.after_seq, wait_ms=10000)
    time.sleep(0.05)
    relay.drain()
    assert server.receive_watch(sent, server.lease / 5).state == pb.RELAY_DRAINING


def test_a_draining_relay_refuses_new_work_and_keeps_the_old(relay, servers, target, sockets, stream):
    server = servers(relay)
    running = stream(server)
    waiting = server.open(server.connect_message(target.getsockname(), connect_ms=30000))
    far = sockets.accept(target)
    relay.drain()
    deadline = time.monotonic() + 3
    while server.watch(wait_ms=0).state != pb.RELAY_DRAINING:
        assert time.monotonic() < deadline, "the relay does not say that it is draining"
        time.sleep(0.01)

    assert verdict(server.ask(server.connect_message(target.getsockname()))) == "DRAINING"
    assert verdict(server.ask(server.bind_message())) in ("DRAINING", "UNSUPPORTED")
    assert set(server.inventory()) == {running.grant.association, waiting.association}
    running.client.sendall(b"on")
    assert running.target.recv(10) == b"on"
    client = sockets.keep(server.attach(waiting))
    client.sendall(b"joined")
    assert far.recv(10) == b"joined"
    assert relay.alive()

    running.client.close()
    running.target.close()
    time.sleep(0.2)
    assert relay.alive(), "the relay has left a stream behind"
    client.sendall(b"last")
    assert far.recv(10) == b"last"
    server.stop_watching()
    client.close()
    far.close()
    assert wait_exit(relay, 3) == 0


def test_a_draining_relay_still_answers_a_new_server(relay, servers, stream):
    stream(servers(relay))
    relay.drain()
    time.sleep(0.1)
    newcomer = servers(relay, watch=False)
    assert newcomer.watch(wait_ms=0).state == pb.RELAY_DRAINING
    assert relay.alive()
    with n2wire.Req(relay.url) as req:
        assert verdict(newcomer.hello(req)) == "ACCEPTED"

"""A relay that misbehaves costs its clients a true reply at worst, never silence."""

import signal

import pytest

import socks
from daemons import StubRelay, wait_until
from targets import saw_reset

CONNECT_TIMEOUT = {"timeouts": {"connect": "4s"}}


@pytest.fixture
def stub(start, tmp_path_factory):
    """Starts a system with a stub relay that misbehaves, and maybe a good relay beside it."""
    def make(word, relays):
        directory = tmp_path_factory.mktemp("s")
        relay = StubRelay(directory, misbehave=[word])
        system = start(relays=relays, urls=[relay.url], server=CONNECT_TIMEOUT, ready=relays)
        system.daemons.append(relay)
        wait_until(lambda: relays == 0 or {"relay-0"} & {r["id"] for r in system.server.relays()
                                                         if r["state"] == "ready"}, "the good relay")
        return system
    return make


@pytest.mark.parametrize("word", ["silent-open", "refuse-draining", "refuse-full", "die-on-open",
                                  "garbage-reply", "huge-reply", "wrong-epoch", "slow"])
def test_clients_are_served_by_the_relay_that_behaves(stub, sockets, target, word):
    system = stub(word, relays=1)
    waiting = []
    for _ in range(6):
        client = sockets.keep(socks.dial(system.address))
        client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *target.getsockname()))
        waiting.append(client)
    for client in waiting:
        assert socks.read_exactly(client, 2) == b"\5\0"
        assert socks.read_reply5(client).code == socks.SUCCEEDED
        sockets.accept(target)


@pytest.mark.parametrize("word, reason", [
    ("refuse-draining", "refused_by_relay"), ("refuse-full", "refused_by_relay"),
    ("die-on-open", "no_relay"), ("garbage-reply", "no_relay"), ("huge-reply", "no_relay"),
    ("wrong-epoch", "no_relay"),
])
@pytest.mark.parametrize("version", [4, 5])
def test_without_another_relay_the_client_is_told(stub, sockets, target, word, reason, version):
    system = stub(word, relays=0)
    opener, code = {4: (socks.open4, socks.REJECTED4), 5: (socks.open5, socks.GENERAL_FAILURE)}[version]
    client, reply = opener(system.address, socks.CONNECT, *target.getsockname())
    assert reply.code == code
    assert socks.read_all(sockets.keep(client)) == b""
    record = system.access(command="connect")
    assert (record["reply"], record["reason"]) == ("overloaded", reason)


def test_a_relay_that_dies_with_the_leg_ends_the_client(stub, sockets, target):
    """It had the client's socket already: what is left is to end, and to record the loss."""
    system = stub("die-on-attach", relays=0)
    system.server.wait_relays(1)
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *target.getsockname()))
    saw_reset(client)                           # an end of either kind, but an end
    wait_until(lambda: not system.daemons[-1].alive(), "the relay to die")
    assert system.server.status()["load"]["sessions"] == 0


@pytest.mark.parametrize("version", [4, 5])
def test_a_relay_that_stands_still_is_given_up(start, sockets, target, version):
    system = start(server={"timeouts": {"connect": "1500ms"}})
    system.relay.signal(signal.SIGSTOP)
    opener, code = {4: (socks.open4, socks.REJECTED4), 5: (socks.open5, socks.GENERAL_FAILURE)}[version]
    client, reply = opener(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    system.relay.signal(signal.SIGCONT)
    assert reply.code == code
    record = system.access(command="connect")
    assert (record["reply"], record["reason"]) == ("overloaded", "relay_silent")


def test_of_two_relays_one_of_which_stands_still_the_other_serves(start, sockets, target):
    system = start(relays=2)
    system.relays[0].signal(signal.SIGSTOP)
    for _ in range(4):
        client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
        sockets.keep(client)
        assert reply.code == socks.SUCCEEDED
    system.relays[0].signal(signal.SIGCONT)


def test_an_answer_that_is_lost_is_made_good_by_the_event(stub, sockets, target):
    """The relay did what it was asked and only its answer never came."""
    system = stub("silent-open", relays=0)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED


def test_a_slow_relay_is_waited_for(stub, sockets, target):
    system = stub("slow", relays=0)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED


def test_a_relay_that_never_answers_a_watch_holds_no_client(stub, sockets, target):
    """What comes of an Open is told by Watch: its client is told in time that nothing came."""
    system = stub("never-watch", relays=0)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    assert reply.code == socks.TTL_EXPIRED
    assert socks.read_all(sockets.keep(client)) == b""

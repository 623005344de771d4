"""The ways in which the stub relay misbehaves when it is told to: tests of servers rely on them."""

import time

import pytest

import n2wire
from n2wire import BadReply, ReplyTimeout, pb, verdict

@pytest.fixture
def misbehaving(stub_command, start_relay, servers):
    """Starts a stub that misbehaves, and a control server at it that has said Hello."""
    def start(*words):
        options = " ".join(f"--misbehave {word}" for word in words)
        relay = start_relay(f"{stub_command} --lease 3000 {options}")
        return relay, servers(relay, watch=False)
    return start


def wait_exit(relay):
    deadline = time.monotonic() + 5
    while relay.alive():
        assert time.monotonic() < deadline, "the stub is still there"
        time.sleep(0.01)


def open_message(server):
    return server.connect_message(("127.0.0.1", 9))


@pytest.mark.parametrize("word, expected", [("refuse-draining", "DRAINING"), ("refuse-full", "FULL")])
def test_every_open_is_refused(misbehaving, word, expected):
    _, server = misbehaving(word)
    assert verdict(server.ask(open_message(server))) == expected


def test_silent_open_answers_everything_else(misbehaving):
    _, server = misbehaving("silent-open")
    with pytest.raises(ReplyTimeout):
        server.ask(open_message(server), timeout=0.3)
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_die_on_open_dies_on_an_open_only(misbehaving):
    relay, server = misbehaving("die-on-open")
    server.watch(wait_ms=0)
    with pytest.raises(n2wire.ConnectionLost):
        server.ask(open_message(server))
    wait_exit(relay)


def test_die_on_attach_dies_on_a_leg_only(misbehaving, target):
    relay, server = misbehaving("die-on-attach")
    server.start_watching()
    grant = server.open(server.connect_message(target.getsockname()))
    assert relay.alive()
    server.attach(grant).close()
    wait_exit(relay)


def test_wrong_epoch_answers_everything_but_hello_with_another_epoch(misbehaving):
    _, server = misbehaving("wrong-epoch")
    reply = server.exchange(server.call(pb.Inventory(limit=1)))
    assert reply.relay_epoch != server.relay_epoch
    assert verdict(reply.answers[0]) == "ACCEPTED"


def test_garbage_reply_is_no_reply(misbehaving):
    _, server = misbehaving("garbage-reply")
    request = server.request([server.call(open_message(server))])
    assert len(server.req.request(request.SerializeToString())) == 64
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_huge_reply_is_over_a_mebibyte(misbehaving):
    _, server = misbehaving("huge-reply")
    request = server.request([server.call(open_message(server))])
    octets = server.req.request(request.SerializeToString())
    assert len(octets) > n2wire.MAX_MESSAGE
    with pytest.raises(BadReply):
        server.finish(request, octets)


def test_slow_takes_a_second(misbehaving):
    _, server = misbehaving("slow")
    started = time.monotonic()
    assert verdict(server.ask(open_message(server))) == "ACCEPTED"
    assert 0.9 < time.monotonic() - started < 2


def test_never_watch_answers_everything_else(misbehaving):
    _, server = misbehaving("never-watch")
    with pytest.raises(ReplyTimeout):
        server.watch(wait_ms=0, timeout=0.3)
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_two_words_hold_together(misbehaving):
    _, server = misbehaving("refuse-full", "never-watch")
    assert verdict(server.ask(open_message(server))) == "FULL"
    with pytest.raises(ReplyTimeout):
        server.watch(wait_ms=0, timeout=0.3)

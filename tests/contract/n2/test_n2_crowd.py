"""Many servers at one relay: it may say FULL, and it must never be silent.

In a file of its own, with a relay of its own: what a relay keeps of so many servers is not given back.
"""

import time

import pytest

from n2wire import ReplyTimeout, pb, verdict


ANY = pytest.mark.relays("streams", "udp")


@pytest.fixture
def crowded_relay(own_relay):
    return own_relay()


@ANY
def test_many_parked_watches_leave_the_relay_listening(crowded_relay, servers):
    witness = servers(crowded_relay, watch=False)
    crowd = []
    for _ in range(400):
        server = servers(crowded_relay, hello=False)
        said = verdict(server.hello())
        assert said in ("ACCEPTED", "FULL")
        if said == "FULL":
            break                   # no more servers; those that there are will do
        crowd.append(server)
    assert len(crowd) >= 8

    sent = []
    for server in crowd:
        request = server.request([server.call(pb.Watch(wait_ms=10000))])
        sent.append(server.req.send(request.SerializeToString()))
    started = time.monotonic()
    reply = witness.exchange(witness.call(pb.Inventory(limit=1)), timeout=1)
    assert verdict(reply) in ("ACCEPTED", "FULL")
    assert time.monotonic() - started < 1
    for server, request_id in zip(crowd, sent):
        try:
            reply = pb.Reply.FromString(server.req.receive(request_id, 2))
        except ReplyTimeout:
            pytest.fail("a Watch was neither answered nor refused")
        assert verdict(reply) in ("ACCEPTED", "FULL")

    # The crowd is served or turned away by now, and there is room again.
    assert verdict(witness.hello()) == "ACCEPTED"
    assert verdict(witness.ask(pb.Inventory(limit=1))) == "ACCEPTED"


@ANY
def test_many_idle_connections_leave_the_relay_listening(crowded_relay, servers):
    """Connections that never say Hello."""
    idle = [servers(crowded_relay, hello=False) for _ in range(200)]
    assert len(idle) == 200
    started = time.monotonic()
    server = servers(crowded_relay, watch=False)
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"
    assert time.monotonic() - started < 1

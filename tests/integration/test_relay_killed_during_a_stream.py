"""A relay that is killed takes its streams with it; both ends learn it, and socksd records the loss."""

import signal

import socks
from daemons import wait_until
from targets import saw_reset


def test_both_ends_learn_it_and_the_loss_is_recorded(system, connect):
    client, target = connect(system)
    client.sendall(b"x")
    assert socks.read_exactly(target, 1) == b"x"
    name = "%s:%d" % client.getsockname()
    wait_until(lambda: system.server.associations(), "the association")
    system.relay.kill()
    saw_reset(client)                           # an end of either kind, but an end
    saw_reset(target)

    fresh = system.restart_relay(system.relay)
    record = system.access(client=name)
    assert (record["prog"], record["reason"]) == ("socksd", "relay_lost")
    assert record["destination"] == "%s:%d" % target.getsockname()
    assert system.server.metric('socksd_associations_ended_total{reason="relay_lost"}') == 1
    wait_until(lambda: not system.server.associations(), "no association")
    assert system.server.log.wait("relay_restarted")["relay"] == fresh.name


def test_a_relay_that_does_not_come_back_is_given_up_with_its_lease(start, connect):
    system = start(relay={"n2": {"lease": "1s"}})
    client, _ = connect(system)
    name = "%s:%d" % client.getsockname()
    system.relay.kill()
    assert system.access(client=name)["reason"] == "relay_lost"
    assert system.server.log.wait("relay_lease_lost")["held"] == "1"
    assert system.server.associations() == []
    assert system.server.status()["load"]["associations"] == 0


def test_a_relay_that_only_stands_still_keeps_its_streams(start, connect):
    """Silence is not death: what is attached may go on, and does."""
    system = start(relay={"n2": {"lease": "600ms"}})
    client, target = connect(system)
    wait_until(system.server.associations, "the association")
    system.relay.signal(signal.SIGSTOP)
    system.server.log.wait("relay_lease_lost")
    assert len(system.server.associations()) == 1
    system.relay.signal(signal.SIGCONT)
    client.sendall(b"still here")
    assert socks.read_exactly(target, 10) == b"still here"
    client.close()
    target.close()
    assert system.access(octets_up=10)["reason"] == "closed"


def test_streams_of_another_relay_go_on(start, connect):
    system = start(relays=2)
    pairs = []
    while {r.name for r in system.relays if r.associations()} != {"relay-0", "relay-1"}:
        pairs.append(connect(system))
        assert len(pairs) < 200, "both relays are used"
    victim = system.relays[0]
    doomed = {a["client"] for a in victim.associations()}
    assert 0 < len(doomed) < len(pairs)
    victim.kill()
    for client, target in pairs:
        if "%s:%d" % client.getsockname() in doomed:
            saw_reset(client)
            continue
        client.sendall(b"alive")
        assert socks.read_exactly(target, 5) == b"alive"

"""A relay that is killed takes its streams with it; both ends learn it, and socksd records the loss."""

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

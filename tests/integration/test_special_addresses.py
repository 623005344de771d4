"""Special-purpose addresses are denied unless a rule names their network as an address."""

import pytest

import socks

EVERYTHING = [{"allow": {}}]


@pytest.mark.parametrize("rules", [EVERYTHING, [{"allow": {"to": ["0.0.0.0/0", "::/0"]}}]],
                         ids=["allow all", "allow the whole families"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "localhost"])
def test_a_rule_for_everything_opens_no_special_address(start, sockets, target, rules, host):
    system = start(rules=rules)
    client, reply = socks.open5(system.address, socks.CONNECT, host, target.getsockname()[1])
    sockets.keep(client)
    assert reply.code == socks.DENIED
    assert system.access(reply="denied")["reason"] == "special_address"


def test_a_rule_that_names_the_network_opens_it(start, sockets, target):
    system = start(rules=[{"allow": {"to": ["127.0.0.0/8"]}}])
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client).close()
    sockets.accept(target).close()
    assert reply.code == socks.SUCCEEDED
    assert system.access(reason="closed")["rule"] == "1"

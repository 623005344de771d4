"""What no rule allows is denied; the first rule that matches decides."""

import pytest

import socks


@pytest.mark.parametrize("rules, rule, reason", [
    ([], "0", "default"),
    ([{"allow": {"to": ["127.0.0.2"]}}], "0", "default"),
    ([{"allow": {"to": ["127.0.0.0/8"], "ports": [1]}}], "0", "default"),
    ([{"allow": {"to": ["127.0.0.0/8"], "commands": ["bind"]}}], "0", "default"),
    ([{"allow": {"to": ["127.0.0.0/8"], "from": ["127.0.0.2"]}}], "0", "default"),
    ([{"deny": {"to": ["127.0.0.1"]}}, {"allow": {"to": ["127.0.0.0/8"]}}], "1", "rule"),
])
def test_what_is_not_allowed_is_denied(start, sockets, target, rules, rule, reason):
    system = start(rules=rules)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    assert reply.code == socks.DENIED
    assert socks.read_all(sockets.keep(client)) == b""
    record = system.access(destination="%s:%d" % target.getsockname())
    assert (record["rule"], record["reason"]) == (rule, reason)
    name = 'socksd_requests_total{version="socks5",command="connect",reply="denied"}'
    assert system.server.metric(name) == 1
    target.settimeout(0.1)
    with pytest.raises(TimeoutError):
        target.accept()


def test_the_first_rule_that_matches_decides(start, sockets, target):
    system = start(rules=[{"deny": {"ports": [1]}}, {"allow": {"to": ["127.0.0.1"]}},
                          {"deny": {"to": ["127.0.0.0/8"]}}])
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client).close()
    sockets.accept(target).close()
    assert reply.code == socks.SUCCEEDED
    assert system.access(reason="closed")["rule"] == "2"

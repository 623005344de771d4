"""A request for an association that could send nothing is refused at once."""

import pytest

import socks
import udp
import udp_checks

USERS = {"alice": "a", "bob": "b"}


@pytest.mark.parametrize("rules, reason", [
    ([], "default"),
    ([{"deny": {}}, {"allow": {"to": ["127.0.0.0/8"]}}], "rule"),
    ([{"allow": {"commands": ["connect", "bind"], "to": ["127.0.0.0/8"]}}], "default"),
    ([{"deny": {"commands": ["udp-associate"]}}, {"allow": {"to": ["127.0.0.0/8"]}}], "rule"),
    ([{"deny": {"from": ["127.0.0.1"]}}, {"allow": {"to": ["127.0.0.0/8"]}}], "rule"),
    ([{"allow": {"users": ["alice"], "to": ["127.0.0.0/8"]}}], "default"),
], ids=str)
@pytest.mark.parametrize("hint", [None, True], ids=["zeros", "hinted"])
def test_it_is_denied_and_the_relay_hears_nothing(start, sockets, rules, reason, hint):
    system = udp_checks.begin(start, rules=rules)
    a = sockets.keep(udp.Association(system.address, hint))
    assert a.reply == (socks.DENIED, "0.0.0.0", 0)
    assert a.closed()
    record = system.access(command="udp-associate")
    assert (record["reply"], record["reason"]) == ("denied", reason)
    assert system.relay.metric('relayd_n2_calls_total{call="open"}') == 0


def test_the_other_user_is_let_in(start, sockets):
    system = udp_checks.begin(start, rules=[{"allow": {"users": ["alice"], "to": ["127.0.0.0/8"]}}], users=USERS,
                              listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])
    target = sockets.keep(udp.udp_socket())
    bob = sockets.keep(udp.Association(system.address, user="bob", password="b"))
    assert bob.reply.code == socks.DENIED
    with udp.Association(system.address, user="alice", password="a") as alice:
        udp.exchange(alice, target)


def test_where_the_client_will_send_from_is_not_judged(start, sockets):
    """It is no destination (RFC 1928 section 6)."""
    system = udp_checks.begin(start, rules=[{"deny": {"to": ["127.0.0.1"]}}, {"allow": {"to": ["127.0.0.2"]}}])
    target = sockets.keep(udp.udp_socket("127.0.0.2"))
    with udp.Association(system.address, True) as a:
        udp.exchange(a, target)

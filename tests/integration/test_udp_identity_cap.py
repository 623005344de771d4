"""Associations whose client's port is not known are capped per identity; another is not affected."""

import socks
import udp
from daemons import wait_until

USERS = {"alice": "a", "bob": "b"}
LISTENERS = [{"listen": "127.0.0.1:0", "methods": ["username-password", "none"]}]
FULL = 'socksd_relay_refusals_total{reason="full"}'


def system_with_cap(start, cap):
    return start(relays=0, udp=1, udp_relay={"relay": {"unlocked": cap}}, users=USERS, listeners=LISTENERS)


def associate(system, sockets, user=None, hint=None, source=None):
    return sockets.keep(udp.Association(system.address, hint, source, user, user and USERS[user]))


def code(*arguments, **options):
    return associate(*arguments, **options).reply.code


def test_one_user_s_unused_ones_are_bounded_and_another_s_go_on(start, sockets):
    system = system_with_cap(start, 3)
    target = sockets.keep(udp.udp_socket())
    alice = [associate(system, sockets, "alice") for _ in range(3)]
    for source in (None, "127.0.0.2"):
        refused = associate(system, sockets, "alice", source=source)
        assert (refused.reply.code, refused.reply.port) == (socks.GENERAL_FAILURE, 0)
        assert refused.closed()
    assert system.relay.metric('relayd_refusals_total{reason="full"}') == 2
    assert system.server.metric(FULL) == 2
    for record in system.records("access", user="alice"):
        assert (record["reply"], record["reason"]) == ("overloaded", "refused_by_relay")
    assert len(system.records("access", user="alice")) == 2

    udp.exchange(associate(system, sockets, "bob"), target)
    assert code(system, sockets, "alice", hint=True) == socks.SUCCEEDED, "a truthful hint is not capped"
    assert code(system, sockets, "alice") == socks.GENERAL_FAILURE

    udp.exchange(alice[0], target)              # known now: there is room for one more
    assert code(system, sockets, "alice") == socks.SUCCEEDED
    assert code(system, sockets, "alice") == socks.GENERAL_FAILURE
    alice[1].close()                            # and so there is when one has ended
    wait_until(lambda: code(system, sockets, "alice") == socks.SUCCEEDED, "room")
    assert code(system, sockets, "alice") == socks.GENERAL_FAILURE


def test_without_a_user_the_address_is_the_identity(start, sockets):
    system = system_with_cap(start, 2)
    assert [code(system, sockets) for _ in range(3)] == [socks.SUCCEEDED] * 2 + [socks.GENERAL_FAILURE]
    assert [code(system, sockets, source="127.0.0.2") for _ in range(3)] == \
        [socks.SUCCEEDED] * 2 + [socks.GENERAL_FAILURE]
    assert code(system, sockets, "alice") == socks.SUCCEEDED
    assert system.server.metric(FULL) == 2


def test_no_cap_where_none_is_wanted(start, sockets):
    system = system_with_cap(start, 0)
    assert {code(system, sockets) for _ in range(70)} == {socks.SUCCEEDED}

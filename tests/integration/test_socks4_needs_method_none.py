"""SOCKS 4 has no authentication: where `none` is not offered it is refused, whatever it claims."""

import socks


def test_socks4_is_refused_where_none_is_not_offered(start, sockets, target):
    system = start(users={"alice": "secret"},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])
    client, reply = socks.open4(system.address, socks.CONNECT, *target.getsockname(), b"alice")
    assert reply.code == socks.REJECTED4
    assert socks.read_all(sockets.keep(client)) == b""
    assert system.wait_record("handshake_failed")["reason"] == "dialect_disabled"


def test_a_socks4_user_id_is_recorded_and_matches_no_user(start, sockets, target):
    system = start(users={"alice": "secret"},
                   rules=[{"allow": {"users": ["alice"], "to": ["127.0.0.0/8"]}}])
    client, reply = socks.open4(system.address, socks.CONNECT, *target.getsockname(), b"alice")
    sockets.keep(client)
    assert reply.code == socks.REJECTED4
    record = system.access(userid="alice")
    assert record["reply"] == "denied" and "user" not in record


def test_a_method_that_is_not_offered_is_refused(start, sockets):
    system = start(users={"alice": "secret"},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(socks.NONE))
    assert socks.read_all(client) == b"\5\xff"
    assert system.wait_record("handshake_failed")["reason"] == "no_acceptable_method"

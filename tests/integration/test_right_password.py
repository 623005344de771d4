"""Username and password: who knows the password is served, under the name that the record tells."""

import pytest

import socks

LISTENERS = [{"listen": "127.0.0.1:0", "methods": ["username-password"]}]


def test_the_right_password_is_admitted_and_the_user_recorded(start, sockets, target):
    system = start(users={"alice": "secret"}, listeners=LISTENERS)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname(),
                                user="alice", password="secret")
    sockets.keep(client).close()
    sockets.accept(target).close()
    assert reply.code == socks.SUCCEEDED
    assert system.access(user="alice")["reason"] == "closed"
    assert system.server.metric('socksd_auth_total{method="username-password",result="right"}') == 1


def test_the_preferred_method_of_the_listener_is_chosen(start, sockets):
    system = start(users={"alice": "secret"},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password", "none"]}])
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(socks.NONE, 1, socks.USERPASS))
    assert socks.read_exactly(client, 2) == bytes([5, socks.USERPASS])


def test_rules_know_the_user(start, sockets, target):
    system = start(users={"alice": "a", "bob": "b"}, listeners=LISTENERS,
                   rules=[{"allow": {"users": ["alice"], "to": ["127.0.0.0/8"]}}])
    _, reply = opened = socks.open5(system.address, socks.CONNECT, *target.getsockname(),
                                    user="bob", password="b")
    sockets.keep(opened[0])
    assert reply.code == socks.DENIED
    assert system.access(user="bob")["reply"] == "denied"
    _, reply = opened = socks.open5(system.address, socks.CONNECT, *target.getsockname(),
                                    user="alice", password="a")
    sockets.keep(opened[0])
    assert reply.code == socks.SUCCEEDED


@pytest.mark.parametrize("password", ["p" * 255, "with spaces \t", "pässwörd", ":;'\"$y$"])
def test_passwords_may_hold_what_they_like(start, sockets, target, password):
    system = start(users={"u" * 255: password}, listeners=LISTENERS)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname(),
                                user="u" * 255, password=password)
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED

"""Who does not know the password learns nothing: wrong password and unknown user look alike."""

import time

import pytest

import socks

LISTENERS = [{"listen": "127.0.0.1:0", "methods": ["username-password"]}]
SLOWED = 0.24                   # the first failure holds the answer back for 250 ms


def attempt(sockets, system, user, password):
    """What the client sees: all octets until the end, and how long that took."""
    client = sockets.keep(socks.dial(system.address))
    began = time.monotonic()
    client.sendall(socks.greeting5(socks.USERPASS) + socks.userpass(user, password))
    said, took = socks.read_all(client), time.monotonic() - began
    client.close()
    return said, took


def test_a_wrong_password_and_an_unknown_user_get_the_same_slow_answer(start, sockets):
    system = start(users={"alice": "secret"}, listeners=LISTENERS)
    wrong = attempt(sockets, system, "alice", "guess")
    unknown = attempt(sockets, system, "nobody", "secret")
    assert wrong[0] == unknown[0] == b"\5\2\1\1"
    assert wrong[1] >= SLOWED and unknown[1] >= SLOWED

    for user in ("alice", "nobody"):
        assert system.wait_record("auth_failed", user=user)["level"] == "warn"
    assert len(system.records("auth_failed")) == 2
    assert system.server.metric('socksd_auth_total{method="username-password",result="wrong"}') == 2


def test_each_further_failure_is_slower(start, sockets):
    system = start(users={"alice": "secret"}, listeners=LISTENERS)
    first = attempt(sockets, system, "alice", "one")[1]
    second = attempt(sockets, system, "alice", "two")[1]
    assert first >= SLOWED and second >= 2 * SLOWED


def test_the_right_password_passes_after_wrong_ones(start, sockets, target):
    system = start(users={"alice": "secret"}, listeners=LISTENERS)
    attempt(sockets, system, "alice", "guess")
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname(),
                                user="alice", password="secret")
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED


def test_no_password_is_in_any_log(start, sockets, target):
    system = start(users={"alice": "right-word-4711"}, listeners=LISTENERS,
                   server={"log": {"level": "debug"}}, relay={"log": {"level": "debug"}})
    attempt(sockets, system, "alice", "wrong-word-0815")
    attempt(sockets, system, "nobody", "wrong-word-0815")
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname(),
                                user="alice", password="right-word-4711")
    sockets.keep(client).close()
    sockets.accept(target).close()
    assert reply.code == socks.SUCCEEDED
    system.access(user="alice")
    system.close()
    for name, text in system.logs():
        for secret in ("right-word", "wrong-word", "saltsalt"):
            assert secret not in text, name


def test_a_request_behind_a_wrong_password_is_not_carried_out(start, sockets, target):
    system = start(users={"alice": "secret"}, listeners=LISTENERS)
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(socks.USERPASS) + socks.userpass("alice", "guess")
                   + socks.request5(socks.CONNECT, *target.getsockname()) + b"payload")
    assert socks.read_all(client) == b"\5\2\1\1"
    target.settimeout(0.2)
    with pytest.raises(TimeoutError):
        target.accept()

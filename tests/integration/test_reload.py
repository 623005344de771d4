"""SIGHUP: everything is read and checked first, then it counts for new requests; sessions are kept."""

import copy

import pytest

import socks
from daemons import wait_until


def reload(system, config=None):
    def done():
        log = system.server.log
        return len(log.records("reloaded") + log.records("reload_failed"))
    if config is not None:
        system.server.write_config(config)
    before = done()
    system.server.hang_up()
    wait_until(lambda: done() > before, "the reload")


def ask(system, sockets, address, **options):
    client, reply = socks.open5(system.address, socks.CONNECT, *address, **options)
    sockets.keep(client)
    return reply.code


def test_rules_change_for_new_requests_and_sessions_are_kept(system, sockets, target, connect):
    client, far = connect(system)
    config = copy.deepcopy(system.server.config)
    config["rules"] = [{"deny": {}}]
    reload(system, config)
    assert ask(system, sockets, target.getsockname()) == socks.DENIED
    client.sendall(b"kept")
    assert socks.read_exactly(far, 4) == b"kept"
    assert system.server.log.wait("reloaded")["rules"] == "1"

    config["rules"] = [{"allow": {"to": ["127.0.0.0/8"]}}]
    reload(system, config)
    assert ask(system, sockets, target.getsockname()) == socks.SUCCEEDED


def test_users_change_and_a_remembered_password_is_forgotten(start, sockets, target):
    system = start(users={"alice": "old"}, listeners=[{"listen": "127.0.0.1:0",
                                                       "methods": ["username-password"]}])
    where = target.getsockname()
    assert ask(system, sockets, where, user="alice", password="old") == socks.SUCCEEDED
    system.write_users({"alice": "new", "bob": "b"})
    reload(system)
    assert ask(system, sockets, where, user="alice", password="new") == socks.SUCCEEDED
    assert ask(system, sockets, where, user="bob", password="b") == socks.SUCCEEDED
    with pytest.raises(AssertionError):
        ask(system, sockets, where, user="alice", password="old")
    system.wait_record("auth_failed", user="alice")


def test_a_handshake_that_runs_meanwhile_goes_on(system, sockets, target):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0))
    assert socks.read_exactly(client, 2) == b"\5\0"
    for _ in range(3):
        reload(system)
    client.sendall(socks.request5(socks.CONNECT, *target.getsockname()))
    assert socks.read_reply5(client).code == socks.SUCCEEDED


@pytest.mark.parametrize("text, where", [
    ("listeners: [\n", ":2:1"),
    ("listeners:\n  - listen: 127.0.0.1:0\nnonsense: 1\n", ":3:1"),
    ("listeners:\n  - listen: somewhere\n", ":2:13"),
    ("", ""),
])
def test_a_broken_file_changes_nothing_and_says_where(system, sockets, target, text, where):
    system.server.write_config(text)
    reload(system)
    error = system.server.log.wait("reload_failed")
    assert error["level"] == "error"
    assert f"{system.server.config_path}{where}" in error["error"]
    assert ask(system, sockets, target.getsockname()) == socks.SUCCEEDED


def test_a_broken_user_file_changes_nothing(start, sockets, target):
    system = start(users={"alice": "a"}, listeners=[{"listen": "127.0.0.1:0",
                                                     "methods": ["username-password"]}])
    (system.directory / "users").write_text("alice:a\n")
    reload(system)
    assert "users:1:7" in system.server.log.wait("reload_failed")["error"]
    assert ask(system, sockets, target.getsockname(), user="alice", password="a") == socks.SUCCEEDED


def test_a_thousand_reloads_leak_nothing(system):
    before = len(system.server.descriptors())
    for _ in range(100):
        for _ in range(10):
            system.server.hang_up()
        system.server.get("/livez")
    system.server.log.wait("reloaded")
    system.server.get("/livez")
    assert len(system.server.descriptors()) <= before + 1


def test_a_relay_reloads_too(system, sockets):
    config = system.relay.config_path.read_text()
    config = config.replace('"relay": {', '"relay": {"advertise": ["203.0.113.9"], "ports": "23000-23099", ')
    system.relay.config_path.write_text(config)
    system.relay.hang_up()
    assert "pipes" in system.relay.log.wait("reloaded")["kept"]
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    assert first.host == "203.0.113.9"
    assert 23000 <= first.port <= 23099
    system.relay.config_path.write_text("relay: 7")
    system.relay.hang_up()
    assert ":1:8" in system.relay.log.wait("reload_failed")["error"]

"""A client may leave in each phase, gently or not: nothing is held, and what was asked is recorded."""

import pytest

import fakedns
import socks
from daemons import wait_until
from targets import reset

LEAVE = {"FIN": lambda sock: sock.close(), "RST": reset}


@pytest.fixture(params=LEAVE)
def leave(request):
    return LEAVE[request.param]


@pytest.mark.parametrize("said, expected", [
    (b"", b""), (b"\5", b""), (b"\5\2\0", b""), (b"\5\1\0", b"\5\0"), (b"\5\1\0\5\1\0\1\x7f", b"\5\0"),
    (b"\4", b""), (b"\4\1\0\x50\x7f\0\0\1us", b""),
], ids=["at once", "version", "half a greeting", "greeting", "half a request", "4 version", "4 half"])
def test_during_the_handshake(start, leave, said, expected):
    system = start(listeners=[{"listen": "127.0.0.1:0", "defer-accept": False}])
    client = socks.dial(system.address)
    client.sendall(said)
    assert socks.read_exactly(client, len(expected)) == expected
    leave(client)
    wait_until(lambda: system.server.metric('socksd_sessions_ended_total{end="client_gone"}') == 1,
               "its end")
    system.assert_clean()


def test_during_authentication(start, leave):
    system = start(users={"alice": "secret"},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])
    client = socks.dial(system.address)
    client.sendall(socks.greeting5(socks.USERPASS) + socks.userpass("alice", "wrong"))
    assert socks.read_exactly(client, 2) == b"\5\2"
    leave(client)
    system.assert_clean()
    assert system.server.metric("socksd_sessions_active") == 0


def test_while_a_name_is_resolved(start, dns, leave):
    names = dns({"silent.example.net": fakedns.SILENCE})
    system = start(server={"resolver": {"servers": [names.address], "timeout": "500ms", "tries": 1}})
    client = socks.dial(system.address)
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, "silent.example.net", 80))
    assert socks.read_exactly(client, 2) == b"\5\0"
    wait_until(lambda: names.asked, "the question")
    leave(client)
    system.assert_clean()
    assert system.access(destination="silent.example.net:80")


def test_while_the_target_is_silent(start, silent, leave):
    system = start(server={"timeouts": {"connect": "1s"}})
    client = socks.dial(system.address)
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *silent))
    assert socks.read_exactly(client, 2) == b"\5\0"
    wait_until(lambda: system.relay.status()["load"]["associations"] == 1, "the Open")
    leave(client)
    system.assert_clean()
    assert system.access(command="connect")


def test_a_reset_while_the_target_is_silent_ends_the_dialling_at_once(start, silent):
    system = start(server={"timeouts": {"connect": "1m"}})
    client = socks.dial(system.address)
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *silent))
    assert socks.read_exactly(client, 2) == b"\5\0"
    wait_until(lambda: system.relay.status()["load"]["associations"] == 1, "the Open")
    reset(client)
    assert system.access(command="connect")["reason"] == "client_gone"
    system.assert_clean()


def test_while_it_is_told_why_not(system, sockets, leave):
    client, reply = socks.open5(system.address, socks.CONNECT, *sockets.closed_port())
    assert reply.code == socks.REFUSED
    leave(client)
    system.assert_clean()


def test_during_the_stream(system, connect, leave):
    client, target = connect(system)
    leave(client)
    try:
        assert socks.read_all(target) == b""
    except ConnectionResetError:
        pass
    target.close()
    assert system.access(command="connect")["reason"] in ("closed", "client_reset")
    system.assert_clean()

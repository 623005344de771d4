"""Lengths of 0 and 255, where a length is: user, password, name."""

import pytest

import socks


@pytest.fixture
def guarded(start):
    return start(users={"alice": "secret"},
                 listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])


@pytest.mark.parametrize("user, password", [
    ("", ""), ("alice", ""), ("", "secret"), ("a" * 255, "p" * 255), ("alice", "s" * 255), ("u" * 255, ""),
])
def test_user_and_password_of_0_and_255_octets_are_just_wrong(guarded, sockets, user, password):
    client = sockets.keep(socks.dial(guarded.address))
    client.sendall(socks.greeting5(2) + socks.userpass(user, password))
    assert socks.read_all(client) == b"\5\2\1\1"
    record = guarded.wait_record("auth_failed")
    assert record["user"] == user


def test_a_name_of_no_octets(system, sockets):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + b"\5\1\0\3\0\0\x50")
    said = socks.read_all(client)
    assert said[:2] == b"\5\0" and said[2] == 5 and said[3] != 0


def test_a_name_of_255_octets(start, sockets, dns):
    names = dns()
    system = start(server={"resolver": {"servers": [names.address]}})
    name = ".".join(["n" * 63] * 4)             # 255 octets with its dots: longer than DNS allows
    client, reply = socks.open5(system.address, socks.CONNECT, name, 80)
    sockets.keep(client)
    assert reply.code in (socks.HOST_UNREACHABLE, socks.DENIED)
    assert names.asked == []
    assert name[:40] in system.access(command="connect")["destination"]


def test_the_longest_name_that_dns_has(start, sockets, target, dns):
    name = ".".join(["n" * 63, "n" * 63, "n" * 63, "n" * 61])           # 253 octets
    names = dns({name: ["127.0.0.1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    client, reply = socks.open5(system.address, socks.CONNECT, name, target.getsockname()[1])
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED


@pytest.mark.parametrize("length", [0, 1, 255])
def test_socks4_user_ids(system, sockets, target, length):
    client, reply = socks.open4(system.address, socks.CONNECT, *target.getsockname(), b"u" * length)
    sockets.keep(client).close()
    sockets.accept(target).close()
    assert reply.code == socks.GRANTED4
    assert system.access(command="connect").get("userid", "") == "u" * length


@pytest.mark.parametrize("octets", [b"u" * 100_000, b"\0" + b"n" * 100_000, b"u" * 300 + b"\0"],
                         ids=["user id", "name", "a little too long"])
def test_endless_socks4_strings_are_refused(system, sockets, octets):
    ip = b"\0\0\0\1"
    client = sockets.keep(socks.dial(system.address))
    try:
        client.sendall(b"\4\1\0\x50" + ip + octets)
    except ConnectionError:
        pass                                    # refused before all of it was sent
    try:
        assert socks.read_all(client)[:2] == bytes([0, socks.REJECTED4])
    except ConnectionResetError:
        pytest.fail("the reply was reset away")
    assert system.wait_record("handshake_failed")["reason"] == "too_long"


def test_port_0_cannot_be_connected_to(system, sockets):
    client, reply = socks.open5(system.address, socks.CONNECT, "127.0.0.1", 0)
    sockets.keep(client)
    assert reply.code != socks.SUCCEEDED
    assert system.wait_record("handshake_failed")["reason"] == "bad_message"

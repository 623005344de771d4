"""Names and user ids with NUL, CR, LF and worse: the log stays one record per line."""

import pytest

import socks
from daemons import parse_logfmt

HOSTILE = [b"a\r\nevent=access", b"a\nb", b"a\rb", b"a\tb", b'a"b', b"a=b c=d", b"a\\x00b", b"\xff\xfe\x80",
           b"\x1b[31mred", "bidi\u202egnp".encode(), b"%n%s%x", b"../../etc/passwd", b"a b"]
IDS = range(len(HOSTILE))


def check(system):
    system.close()
    for name, text in system.logs():
        for line in text.split("\n")[:-1]:
            parse_logfmt(line)
            assert all(32 <= ord(c) < 127 or ord(c) > 160 for c in line), (name, line)
            assert "\u202e" not in line


@pytest.mark.parametrize("name", HOSTILE, ids=IDS)
@pytest.mark.parametrize("version", ["4a", "5"])
def test_hostile_names_are_one_record(start, dns, name, version):
    names = dns()
    system = start(server={"resolver": {"servers": [names.address]}})
    opener = {"4a": socks.open4a, "5": socks.open5}[version]
    client, reply = opener(system.address, socks.CONNECT, name, 80)
    client.close()
    assert reply.code in (socks.REJECTED4, socks.HOST_UNREACHABLE, socks.DENIED)
    system.access(command="connect")
    assert len(system.records("access")) == 1
    check(system)


@pytest.mark.parametrize("userid", HOSTILE, ids=IDS)
def test_hostile_user_ids_are_one_record(system, sockets, target, userid):
    """And they pass the relay, which writes the record."""
    client, reply = socks.open4(system.address, socks.CONNECT, *target.getsockname(), userid)
    assert reply.code == socks.GRANTED4
    client.close()
    sockets.accept(target).close()
    record = system.access(command="connect")
    assert record["prog"] == "relayd-tcp" and "userid" in record
    assert len(system.records("access")) == 1
    check(system)


@pytest.mark.parametrize("user", [*HOSTILE, b"with\0nul"], ids=range(len(HOSTILE) + 1))
def test_hostile_user_names_are_one_record(start, sockets, user):
    system = start(users={"alice": "secret"},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(2) + socks.userpass(user, b"secret\r\nlevel=error"))
    assert socks.read_all(client) == b"\5\2\1\1"
    client.close()
    system.wait_record("auth_failed")
    assert len(system.records("auth_failed")) == 1
    check(system)


def test_nul_in_a_name_is_refused(system, sockets):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, b"localhost\0.example.net", 80))
    said = socks.read_all(client)
    assert said[:2] == b"\5\0" and said[3] != 0
    client.close()
    check(system)


@pytest.mark.parametrize("name", ["0x7f.1", "2130706433", "127.1", "017700000001", "127.0.0.1.",
                                  "::1%lo", "[::1]", "localhost", "LOCALHOST.", "a.localhost"])
def test_odd_spellings_of_loopback_reach_nothing_that_is_not_allowed(start, sockets, target, dns, name):
    names = dns()
    system = start(rules=[{"allow": {}}], server={"resolver": {"servers": [names.address]}})
    client, reply = socks.open5(system.address, socks.CONNECT, name, target.getsockname()[1], name=True)
    sockets.keep(client)
    assert reply.code in (socks.HOST_UNREACHABLE, socks.DENIED)
    nobody_comes(target)


def test_a_leading_zero_is_no_way_around(system, sockets, target):
    """Some read 0177 as octal, some as decimal: what counts is the address that is dialled."""
    client, reply = socks.open5(system.address, socks.CONNECT, "0177.0.0.1", target.getsockname()[1],
                                name=True)
    sockets.keep(client)
    assert reply.code in (socks.HOST_UNREACHABLE, socks.DENIED)
    nobody_comes(target)


def nobody_comes(target):
    target.settimeout(0.1)
    with pytest.raises(TimeoutError):
        target.accept()

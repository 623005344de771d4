"""What is no SOCKS, or no SOCKS that is spoken here, gets a clear end."""

import pytest

import socks


def end_of(sockets, system, octets):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(octets)
    return socks.read_all(client)


@pytest.mark.parametrize("octets", [b"\0", b"\1\0", b"\6\0\0", b"GET / HTTP/1.1\r\n\r\n", b"\x16\3\1\2\0",
                                    b"\xff" * 100], ids=["0", "1", "6", "HTTP", "TLS", "255"])
def test_an_unknown_version_is_closed_without_a_word(system, sockets, octets):
    assert end_of(sockets, system, octets) == b""
    record = system.wait_record("handshake_failed")
    assert (record["reason"], record["version"]) == ("bad_version", str(octets[0]))


def test_no_methods_at_all(system, sockets):
    assert end_of(sockets, system, b"\5\0") == b"\5\xff"
    assert system.wait_record("handshake_failed")["reason"] == "no_acceptable_method"


def test_255_methods_one_of_which_is_good(system, sockets, target):
    client = sockets.keep(socks.dial(system.address))
    client.sendall(b"\5\xff" + bytes(range(254, -1, -1)))
    assert socks.read_exactly(client, 2) == b"\5\0"
    client.sendall(socks.request5(socks.CONNECT, *target.getsockname()))
    assert socks.read_reply5(client).code == socks.SUCCEEDED


def test_255_methods_none_of_which_is_good(system, sockets):
    assert end_of(sockets, system, b"\5\xff" + bytes([9] * 255)) == b"\5\xff"


@pytest.mark.parametrize("command", [0, 5, 0x0c, 0x80, 0xff])
def test_an_unknown_command_of_5(system, sockets, command):
    said = end_of(sockets, system, socks.greeting5(0) + bytes([5, command, 0, 1, 127, 0, 0, 1, 0, 80]))
    assert said[:4] == bytes([5, 0, 5, socks.COMMAND_UNSUPPORTED])
    assert system.wait_record("handshake_failed")["reason"] == "bad_command"


def test_udp_associate_without_a_relay_for_it(system, sockets):
    said = end_of(sockets, system, socks.greeting5(0) + socks.request5(socks.UDP_ASSOCIATE, "0.0.0.0", 0))
    assert said[:4] == bytes([5, 0, 5, socks.COMMAND_UNSUPPORTED])
    assert system.access(command="udp-associate")["reply"] == "command_unsupported"


@pytest.mark.parametrize("command", [0, 3, 9, 0xff])
def test_an_unknown_command_of_4(system, sockets, command):
    said = end_of(sockets, system, bytes([4, command, 0, 80, 127, 0, 0, 1, 0]))
    assert said[:2] == bytes([0, socks.REJECTED4]) and len(said) == 8


@pytest.mark.parametrize("kind", [0, 2, 5, 8, 0xff])
def test_an_unknown_address_type(system, sockets, kind):
    said = end_of(sockets, system, socks.greeting5(0) + bytes([5, 1, 0, kind, 127, 0, 0, 1, 0, 80]))
    assert said[:4] == bytes([5, 0, 5, socks.ADDRESS_UNSUPPORTED])
    assert system.wait_record("handshake_failed")["reason"] == "bad_address_type"


def test_a_request_of_another_version(system, sockets):
    said = end_of(sockets, system, socks.greeting5(0) + bytes([4, 1, 0, 1, 127, 0, 0, 1, 0, 80]))
    assert said[:2] == b"\5\0" and said[3:4] != b"\0"
    assert system.wait_record("handshake_failed")


@pytest.mark.parametrize("reserved", [1, 0x80, 0xff])
def test_a_reserved_octet_that_is_set_is_overlooked(system, sockets, target, reserved):
    host, port = target.getsockname()
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + bytes([5, 1, reserved]) + socks.address5(host)
                   + port.to_bytes(2, "big"))
    assert socks.read_exactly(client, 2) == b"\5\0"
    assert socks.read_reply5(client).code == socks.SUCCEEDED


@pytest.mark.parametrize("dialects, octets, said", [
    (["socks5"], b"\4\1\0\x50\x7f\0\0\1\0", bytes([0, 91]) + bytes(6)),
    (["socks4"], b"\5\1\0", b"\5\xff"),
])
def test_a_dialect_that_is_not_spoken_here(start, sockets, dialects, octets, said):
    system = start(listeners=[{"listen": "127.0.0.1:0", "dialects": dialects}])
    assert end_of(sockets, system, octets) == said
    assert system.wait_record("handshake_failed")["reason"] == "dialect_disabled"

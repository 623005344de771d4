"""A name without an address: the client is told, and the record says which kind of failure it was."""

import pytest

import fakedns
import socks

NAMES = {"empty.example.net": [], "broken.example.net": fakedns.SERVFAIL,
         "silent.example.net": fakedns.SILENCE}


@pytest.mark.parametrize("name, word, reason", [
    ("unknown.example.net", "name_not_found", "name_not_found"),
    ("empty.example.net", "name_not_found", "name_not_found"),
    ("broken.example.net", "host_unreachable", "name_server_failed"),
    ("silent.example.net", "host_unreachable", "name_server_timed_out"),
])
@pytest.mark.parametrize("version", ["4a", "5"])
def test_a_name_without_an_address_is_told(start, sockets, dns, name, word, reason, version):
    names = dns(NAMES)
    system = start(server={"resolver": {"servers": [names.address], "timeout": "100ms", "tries": 1}})
    opener, code = {"4a": (socks.open4a, socks.REJECTED4),
                    "5": (socks.open5, socks.HOST_UNREACHABLE)}[version]
    client, reply = opener(system.address, socks.CONNECT, name, 80)
    assert reply.code == code
    assert socks.read_all(sockets.keep(client)) == b""
    record = system.access(destination=f"{name}:80")
    assert (record["reply"], record["reason"]) == (word, reason)
    assert name in names.asked


def test_a_name_server_that_is_not_there_is_told(start, sockets):
    system = start(server={"resolver": {"servers": ["127.0.0.1:1"], "timeout": "100ms", "tries": 1}})
    client, reply = socks.open5(system.address, socks.CONNECT, "www.example.net", 80)
    sockets.keep(client)
    assert reply.code == socks.HOST_UNREACHABLE
    assert system.access(destination="www.example.net:80")["reason"].startswith("name_server_")

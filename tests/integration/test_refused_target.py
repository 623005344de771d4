"""A target that refuses is told as that."""

import pytest

import socks


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connection_refused_is_told(system, sockets, host):
    address = sockets.closed_port(host)
    client, reply = socks.open5(system.address, socks.CONNECT, *address)
    assert reply == (socks.REFUSED, "0.0.0.0", 0)
    assert socks.read_all(sockets.keep(client)) == b""
    record = system.access(reply="refused")
    assert (record["reason"], record["prog"]) == ("refused", "socksd")
    assert system.relay.metric('relayd_unreachable_total{cause="refused"}') == 1


def test_socks4_says_rejected(system, sockets):
    client, reply = socks.open4(system.address, socks.CONNECT, *sockets.closed_port())
    assert reply.code == socks.REJECTED4
    assert socks.read_all(sockets.keep(client)) == b""
    assert system.access(reply="refused")["version"] == "socks4"

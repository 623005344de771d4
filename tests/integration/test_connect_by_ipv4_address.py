"""CONNECT to an IPv4 address works with SOCKS 4 and 5, and the access record tells of it."""

import pytest

import socks


@pytest.mark.parametrize("version", [4, 5])
def test_connect_by_ipv4_address_reaches_the_target(system, sockets, target, version):
    host, port = target.getsockname()
    opener, granted = {4: (socks.open4, socks.GRANTED4), 5: (socks.open5, socks.SUCCEEDED)}[version]
    client, reply = opener(system.address, socks.CONNECT, host, port)
    sockets.keep(client)
    far = sockets.accept(target)
    assert reply.code == granted
    assert (reply.host, reply.port) == far.getpeername()      # BND is the relay's outer address

    client.sendall(b"there")
    assert socks.read_exactly(far, 5) == b"there"
    far.sendall(b"back again")
    assert socks.read_exactly(client, 10) == b"back again"
    name = "%s:%d" % client.getsockname()
    client.close()
    far.close()

    record = system.access(client=name)
    assert record["prog"] == "relayd-tcp"
    assert record["destination"] == record["target"] == f"{host}:{port}"
    assert record["version"] == f"socks{version}"
    assert (record["octets_up"], record["octets_down"], record["reason"]) == ("5", "10", "closed")
    assert record["relay"] == "relay-0" and record["command"] == "connect"

"""A name that is allowed leads to no address that is not: decided on the address that is dialled."""

import pytest

import socks

BY_NAME = [{"allow": {"to": ["*.example.net"]}}]
SPECIAL = ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.100.100.200", "0.0.0.0",
           "::1", "fe80::1", "fd00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]


@pytest.mark.parametrize("address", SPECIAL)
def test_a_name_that_leads_to_a_special_address_is_denied(start, sockets, dns, address):
    names = dns({"rebind.example.net": [address]})
    system = start(server={"resolver": {"servers": [names.address]}}, rules=BY_NAME)
    client, reply = socks.open5(system.address, socks.CONNECT, "rebind.example.net", 80)
    sockets.keep(client)
    assert reply.code == socks.DENIED
    record = system.access(destination="rebind.example.net:80")
    assert (record["reply"], record["reason"]) == ("denied", "special_address")
    assert names.asked


def test_of_a_mixed_answer_only_the_allowed_addresses_are_dialled(start, sockets, dns):
    names = dns({"mixed.example.net": ["127.0.0.1", "127.0.0.9"]})
    system = start(server={"resolver": {"servers": [names.address]}},
                   rules=[{"allow": {"to": ["127.0.0.9"]}}])
    first = sockets.listener("127.0.0.1")
    port = first.getsockname()[1]
    second = sockets.listener("127.0.0.9", port)
    client, reply = socks.open5(system.address, socks.CONNECT, "mixed.example.net", port)
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED
    assert sockets.accept(second)
    first.settimeout(0.2)
    with pytest.raises(TimeoutError):
        first.accept()

"""CONNECT to a name: socksd resolves it, the relay dials what it resolved to."""

import pytest

import socks

OPENERS = {
    "4a": lambda *a: socks.open4a(*a),
    "5": lambda *a: socks.open5(*a, name=True),
}


@pytest.mark.parametrize("version", OPENERS)
def test_a_name_is_resolved_and_reached(start, sockets, target, dns, version):
    names = dns({"www.example.net": ["127.0.0.1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    port = target.getsockname()[1]
    client, reply = OPENERS[version](system.address, socks.CONNECT, "www.Example.net", port)
    sockets.keep(client)
    far = sockets.accept(target)
    assert reply.code in (socks.SUCCEEDED, socks.GRANTED4)
    client.sendall(b"by name")
    assert socks.read_exactly(far, 7) == b"by name"
    client.close()
    far.close()

    record = system.access(destination=f"www.Example.net:{port}")
    assert (record["target"], record["octets_up"]) == (f"127.0.0.1:{port}", "7")
    assert set(names.asked) == {"www.example.net"}


@pytest.mark.parametrize("version", OPENERS)
def test_an_address_written_as_a_name_causes_no_query(start, sockets, target, dns, version):
    names = dns()
    system = start(server={"resolver": {"servers": [names.address]}})
    host, port = target.getsockname()
    client, reply = OPENERS[version](system.address, socks.CONNECT, host, port)
    sockets.keep(client)
    sockets.accept(target)
    assert reply.code in (socks.SUCCEEDED, socks.GRANTED4)
    assert names.asked == []


def test_a_name_that_is_asked_for_twice_is_remembered(start, sockets, target, dns):
    names = dns({"www.example.net": ["127.0.0.1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    for _ in range(2):
        client, reply = socks.open5(system.address, socks.CONNECT, "www.example.net",
                                    target.getsockname()[1])
        sockets.keep(client)
        sockets.accept(target)
        assert reply.code == socks.SUCCEEDED
    assert system.server.metric("socksd_dns_cache_hits_total") == 1
    assert len(names.asked) <= 2                # A and AAAA, once


def test_the_next_address_of_a_name_is_tried_when_the_first_refuses(start, sockets, dns):
    names = dns({"both.example.net": ["::1", "127.0.0.1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    target = sockets.listener("127.0.0.1")      # and nobody listens on ::1
    client, reply = socks.open5(system.address, socks.CONNECT, "both.example.net",
                                target.getsockname()[1])
    sockets.keep(client)
    far = sockets.accept(target)
    assert reply == (socks.SUCCEEDED, *far.getpeername())


def test_a_socks4_client_gets_zeros_for_a_bound_address_that_is_ipv6(start, sockets, dns):
    names = dns({"six.example.net": ["::1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    target = sockets.listener("::1")
    client, reply = socks.open4a(system.address, socks.CONNECT, "six.example.net",
                                 target.getsockname()[1])
    sockets.keep(client)
    far = sockets.accept(target)
    assert reply == (socks.GRANTED4, "0.0.0.0", far.getpeername()[1])

"""Nobody is connected to our own listeners, whatever the rules say and however they are spelled."""

import pytest

import socks

ALL = [{"allow": {"to": ["127.0.0.0/8", "::1", "0.0.0.0/8", "::"]}}, {"allow": {}}]
SPELLINGS = ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::", "localhost", "127.0.0.1 as a name"]


def ask(system, sockets, spelling, port):
    host, _, as_name = spelling.partition(" ")
    client, reply = socks.open5(system.address, socks.CONNECT, host, port, name=bool(as_name))
    sockets.keep(client)
    return reply.code


def assert_denied(system, sockets, spelling, port, reason):
    code = ask(system, sockets, spelling, port)
    if spelling == "localhost" and code == socks.REFUSED:
        return                  # its other address, ::1, was dialled; nobody listens there
    assert code == socks.DENIED
    assert system.access(reply="denied")["reason"] == reason


@pytest.fixture
def free_port(sockets):
    port = sockets.closed_port()[1]
    sockets.close()
    return port


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_listener_of_socksd_is_no_destination(start, sockets, spelling):
    system = start(rules=ALL)
    assert_denied(system, sockets, spelling, system.port, "own_listener")
    assert system.server.metric("socksd_connections_total") == 1


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_status_listener_of_socksd_is_no_destination(start, sockets, spelling, free_port):
    system = start(rules=ALL, server={"status": {"listen": [f"127.0.0.1:{free_port}"]}})
    assert_denied(system, sockets, spelling, free_port, "own_listener")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_status_listener_of_a_relay_is_no_destination(start, sockets, spelling, free_port):
    system = start(rules=ALL, relay={"status": {"listen": [f"127.0.0.1:{free_port}"]}})
    assert_denied(system, sockets, spelling, free_port, "policy")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_listener_for_all_addresses_is_no_destination_at_any(start, sockets, spelling):
    system = start(rules=ALL, listeners=[{"listen": "0.0.0.0:0", "insecure": True}])
    system.address = ("127.0.0.1", system.port)
    assert_denied(system, sockets, spelling, system.port, "own_listener")


def test_another_port_of_the_same_address_is_a_destination(start, sockets, target):
    system = start(rules=ALL)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED

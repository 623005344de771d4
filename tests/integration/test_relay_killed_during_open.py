"""A relay that is killed while it dials: the request is tried elsewhere, or answered truly."""

import pytest

import socks
from daemons import wait_until


def test_the_request_is_tried_at_another_relay(start, pending):
    system = start(relays=2)
    client = pending.ask(system)
    first = system.busy_relay()
    first.kill()
    second = system.busy_relay()
    assert second is not first
    assert system.server.metric("socksd_relay_retries_total") == 1
    pending.let_in()
    assert socks.read_reply5(client).code == socks.SUCCEEDED
    assert [a["state"] for a in second.associations()] == ["relaying"]


def test_the_same_relay_is_tried_when_it_is_back(system, pending):
    client = pending.ask(system)
    system.relay.kill()
    system.restart_relay(system.relay)
    system.busy_relay()
    pending.let_in()
    assert socks.read_reply5(client).code == socks.SUCCEEDED


@pytest.mark.parametrize("version", [4, 5])
def test_without_any_relay_the_client_is_told(start, sockets, silent, version):
    system = start(server={"timeouts": {"connect": "2s"}})
    client = sockets.keep(socks.dial(system.address))
    if version == 4:
        client.sendall(socks.request4(socks.CONNECT, *silent))
    else:
        client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *silent))
        assert socks.read_exactly(client, 2) == b"\5\0"
    system.busy_relay().kill()
    if version == 4:
        assert socks.read_reply4(client).code == socks.REJECTED4
    else:
        assert socks.read_reply5(client).code == socks.GENERAL_FAILURE
    assert socks.read_all(client) == b""
    record = system.access(command="connect")
    assert (record["reply"], record["reason"]) == ("overloaded", "no_relay")
    client.close()
    wait_until(lambda: not any(system.counts().values()), "an empty socksd")

"""A relay that is killed while it dials: the request is tried elsewhere, or answered truly."""

import pytest

import socks
from daemons import wait_until


def ask(system, sockets, address):
    """A client whose request is in the hands of a relay that still dials."""
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *address))
    assert socks.read_exactly(client, 2) == b"\5\0"
    return client


def busy_relay(system):
    def find():
        return [r for r in system.relays if r.alive() and r.status()["load"]["associations"]]
    return wait_until(find, "a relay that dials")[0]


def let_in(listener, sockets):
    """Until now it answered no SYN; from now on it does."""
    sockets.accept(listener)
    listener.listen(64)


def test_the_request_is_tried_at_another_relay(start, sockets, silent_listener):
    system = start(relays=2)
    client = ask(system, sockets, silent_listener.getsockname())
    first = busy_relay(system)
    first.kill()
    second = busy_relay(system)
    assert second is not first
    assert system.server.metric("socksd_relay_retries_total") == 1
    let_in(silent_listener, sockets)
    assert socks.read_reply5(client).code == socks.SUCCEEDED
    assert [a["state"] for a in second.associations()] == ["relaying"]


def test_the_same_relay_is_tried_when_it_is_back(start, sockets, silent_listener):
    system = start()
    client = ask(system, sockets, silent_listener.getsockname())
    relay = busy_relay(system)
    relay.kill()
    relay = system.restart_relay(relay)
    assert busy_relay(system) is relay
    let_in(silent_listener, sockets)
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
    busy_relay(system).kill()
    if version == 4:
        assert socks.read_reply4(client).code == socks.REJECTED4
    else:
        assert socks.read_reply5(client).code == socks.GENERAL_FAILURE
    assert socks.read_all(client) == b""
    record = system.access(command="connect")
    assert (record["reply"], record["reason"]) == ("overloaded", "no_relay")
    client.close()
    wait_until(lambda: not any(system.counts().values()), "an empty socksd")

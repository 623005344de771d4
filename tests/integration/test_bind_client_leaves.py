"""A client that leaves while its BIND waits leaves no listening port behind."""

import pytest

import socks
from daemons import wait_until
from targets import reset


@pytest.mark.parametrize("leave", [lambda s: s.close(), reset], ids=["FIN", "RST"])
def test_the_port_is_closed_when_the_client_leaves(system, leave):
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    assert first.code == socks.SUCCEEDED
    leave(client)
    record = system.access(command="bind")
    assert (record["reply"], record["reason"]) == ("succeeded", "client_gone")
    wait_until(lambda: not any(system.counts().values()), "the relay to let go")
    with pytest.raises(ConnectionRefusedError):
        socks.dial((first.host, first.port))


def test_when_the_relay_is_killed_the_waiting_client_is_told(system, sockets):
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    assert first.code == socks.SUCCEEDED
    system.relay.kill()
    system.restart_relay(system.relay)
    assert socks.read_reply5(client).code == socks.GENERAL_FAILURE
    record = system.access(command="bind")
    assert (record["prog"], record["reason"]) == ("socksd", "relay_lost")

"""A relay that dies between its answer to Open and the client's leg: never silence.

socksd stands still (SIGSTOP) while the relay connects and is killed. Whatever of it socksd then finds
in its buffers, the client is served by the other relay, or by none and told so."""

import signal

import socks
from daemons import wait_until


def parked(relay):
    return [a for a in relay.associations() if a["state"] == "parked"]


def stage(system, pending):
    """Returns the client and the relay, which is dead by now."""
    client = pending.ask(system)
    relay = system.busy_relay()
    system.server.signal(signal.SIGSTOP)
    pending.let_in()
    wait_until(lambda: parked(relay), "the relay to have connected")
    relay.kill()
    system.server.signal(signal.SIGCONT)
    return client, relay


def test_the_request_is_tried_at_another_relay(start, pending):
    system = start(relays=2)
    client, relay = stage(system, pending)
    assert socks.read_reply5(client).code == socks.SUCCEEDED
    other = next(r for r in system.relays if r is not relay)
    assert [a["state"] for a in other.associations()] == ["relaying"]
    assert system.server.metric("socksd_relay_retries_total") >= 1


def test_without_another_relay_the_client_is_told(start, pending):
    system = start(server={"timeouts": {"connect": "4s"}})
    client, _ = stage(system, pending)
    assert socks.read_reply5(client).code == socks.GENERAL_FAILURE
    assert socks.read_all(client) == b""
    assert system.access(command="connect")["reply"] == "overloaded"

"""A relay that dies between its answer to Open and the client's leg: never silence.

socksd stands still (SIGSTOP) while the relay connects and is killed. Whatever of it socksd then finds
in its buffers, the client is served by the other relay, or by none and told so."""

import signal

import socks
from daemons import wait_until
from test_relay_killed_during_open import ask, busy_relay, let_in


def parked(relay):
    return [a for a in relay.associations() if a["state"] == "parked"]


def stage(system, sockets, silent_listener):
    """Returns the client and the relay, which is dead by now."""
    client = ask(system, sockets, silent_listener.getsockname())
    relay = busy_relay(system)
    system.server.signal(signal.SIGSTOP)
    let_in(silent_listener, sockets)
    wait_until(lambda: parked(relay), "the relay to have connected")
    relay.kill()
    system.server.signal(signal.SIGCONT)
    return client, relay


def test_the_request_is_tried_at_another_relay(start, sockets, silent_listener):
    system = start(relays=2)
    client, relay = stage(system, sockets, silent_listener)
    assert socks.read_reply5(client).code == socks.SUCCEEDED
    other = next(r for r in system.relays if r is not relay)
    assert [a["state"] for a in other.associations()] == ["relaying"]
    assert system.server.metric("socksd_relay_retries_total") >= 1


def test_without_another_relay_the_client_is_told(start, sockets, silent_listener):
    system = start(server={"timeouts": {"connect": "4s"}})
    client, _ = stage(system, sockets, silent_listener)
    assert socks.read_reply5(client).code == socks.GENERAL_FAILURE
    assert socks.read_all(client) == b""
    assert system.access(command="connect")["reply"] == "overloaded"

"""A client may send greeting, password, request and payload at once: nothing of it is lost."""

import pytest

import socks
from targets import pattern

PAYLOAD = pattern(500)


@pytest.mark.parametrize("kind", ["4", "4a", "5", "5 with a password"])
def test_a_burst_with_early_payload_is_delivered_intact(start, sockets, target, kind):
    system = start(users={"alice": "secret"},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password", "none"]}])
    host, port = target.getsockname()
    request = socks.request5(socks.CONNECT, host, port)
    burst, answers = {
        "4": (socks.request4(socks.CONNECT, host, port), 8),
        "4a": (socks.request4a(socks.CONNECT, host, port), 8),
        "5": (socks.greeting5(0) + request, 12),
        "5 with a password": (socks.greeting5(0, 2) + socks.userpass("alice", "secret") + request, 14),
    }[kind]
    client = sockets.keep(socks.dial(system.address))
    client.sendall(burst + PAYLOAD)
    far = sockets.accept(target)
    assert socks.read_exactly(far, len(PAYLOAD)) == PAYLOAD

    far.sendall(PAYLOAD[::-1])                  # the replies come first, then what the target says
    assert socks.read_exactly(client, answers + len(PAYLOAD))[answers:] == PAYLOAD[::-1]
    client.close()
    far.close()
    record = system.access(octets_up=len(PAYLOAD))
    assert record["octets_down"] == str(len(PAYLOAD))


def test_a_burst_that_ends_with_fin_is_relayed_to_its_end(system, sockets, target):
    """FIN behind the payload is a half-close, not the end (PROTOCOL 14.2 rule 7)."""
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *target.getsockname()) + PAYLOAD)
    client.shutdown(1)
    far = sockets.accept(target)
    assert socks.read_all(far) == PAYLOAD
    far.sendall(b"the answer")
    far.close()
    assert socks.read_all(client)[12:] == b"the answer"
    assert system.access(octets_up=len(PAYLOAD))["reason"] == "closed"

"""Early payload beyond what socksd buffers stays in the client's socket, and the relay finds it."""

import threading

import pytest

import socks
from targets import pattern

PAYLOAD = pattern(3_000_000)


@pytest.mark.parametrize("delay_dns", [False, True], ids=["at once", "while a name is resolved"])
def test_early_payload_larger_than_every_buffer_arrives_intact(start, sockets, dns, delay_dns):
    names = dns({"later.example.net": ["127.0.0.1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    sink = sockets.sink()
    host, port = sink.address
    client = sockets.keep(socks.dial(system.address))
    request = socks.request5(socks.CONNECT, "later.example.net" if delay_dns else host, port)
    sender = threading.Thread(target=client.sendall, args=(socks.greeting5(0) + request + PAYLOAD,))
    sender.start()
    assert socks.read_exactly(client, 2) == b"\5\0"
    assert socks.read_reply5(client).code == socks.SUCCEEDED
    sender.join()
    client.shutdown(1)
    assert socks.read_all(client) == b""

    record = system.access(octets_up=len(PAYLOAD))
    assert record["reason"] == "closed"
    assert sink.received == [PAYLOAD]

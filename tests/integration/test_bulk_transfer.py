"""Much data, both ways at once, arrives octet for octet, whatever engine moves it."""

import hashlib
import threading

import pytest

import socks
from targets import pattern

UP, DOWN = pattern(24_000_000, 3), pattern(24_000_000, 4)


def send(sock, octets):
    sock.sendall(octets)
    sock.shutdown(1)


@pytest.mark.parametrize("engines, used", [(["splice", "copy"], "splice"), (["copy"], "copy")])
def test_both_directions_arrive_octet_for_octet(start, connect, engines, used):
    system = start(relay={"relay": {"engines": engines}})
    client, target = connect(system)
    received = {}

    def receive(name, sock):
        received[name] = socks.read_all(sock)
    threads = [threading.Thread(target=send, args=(client, UP)),
               threading.Thread(target=send, args=(target, DOWN)),
               threading.Thread(target=receive, args=("down", client)),
               threading.Thread(target=receive, args=("up", target))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hashlib.sha256(received["up"]).digest() == hashlib.sha256(UP).digest()
    assert hashlib.sha256(received["down"]).digest() == hashlib.sha256(DOWN).digest()
    record = system.access(reason="closed")
    assert (int(record["octets_up"]), int(record["octets_down"])) == (len(UP), len(DOWN))
    assert system.relay.metric(f'relayd_bytes_total{{engine="{used}"}}') >= (len(UP) + len(DOWN)) / 2

"""Many connections, one after another and at once, leave nothing behind."""

import threading

import pytest

import socks
from daemons import wait_until
from targets import pattern, reset


def test_a_thousand_connections_one_after_another(system, sockets):
    echo = sockets.echo()
    for number in range(1000):
        if number % 3 == 0:
            client, reply = socks.open4(system.address, socks.CONNECT, *echo.address)
        else:
            client, reply = socks.open5(system.address, socks.CONNECT, *echo.address)
        assert reply.code in (socks.SUCCEEDED, socks.GRANTED4)
        client.sendall(b"hello")
        assert socks.read_exactly(client, 5) == b"hello"
        if number % 5 == 0:
            reset(client)
        else:
            client.close()
    system.assert_clean()
    assert system.server.metric("socksd_associations_total") == 1000
    wait_until(lambda: len(system.records("access")) == 1000, "a record of each")
    ended = {k: v for k, v in system.server.metrics().items() if k.startswith("socksd_associations_ended")}
    assert sum(ended.values()) == 1000


@pytest.mark.parametrize("relays", [1, 2])
def test_many_clients_at_once(start, sockets, relays):
    system = start(relays=relays)
    echo = sockets.echo()
    payload = pattern(100_000)
    failures = []

    def work(number):
        try:
            for _ in range(10):
                client, reply = socks.open5(system.address, socks.CONNECT, *echo.address)
                assert reply.code == socks.SUCCEEDED, reply
                sender = threading.Thread(target=client.sendall, args=(payload,))
                sender.start()
                assert socks.read_exactly(client, len(payload)) == payload
                sender.join()
                client.close()
        except Exception as failure:            # shown below
            failures.append((number, failure))
    threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    system.assert_clean()
    assert len(system.records("access", octets_up=100_000, octets_down=100_000)) == 160


def test_memory_does_not_grow_with_connections(system, sockets):
    """After a warm-up, ten times as many connections need no more memory. A sanitizer keeps what was
    freed for a while, so there is room for that."""
    echo = sockets.echo()

    def run(count):
        for _ in range(count):
            client, _ = socks.open5(system.address, socks.CONNECT, *echo.address)
            client.close()
    run(200)
    before = [d.memory() for d in system.daemons]
    run(1500)
    after = [d.memory() for d in system.daemons]
    for daemon, b, a in zip(system.daemons, before, after):
        assert a - b < 24 << 20, f"{daemon.name}: {b} -> {a}"

"""A reader that does not read stops the writer; memory stays bounded; then everything arrives."""

import hashlib
import threading
import time

import pytest

from daemons import wait_until
from targets import pattern

BLOCK = pattern(1 << 20)
BLOCKS = 64
STALL = 10                      # seconds
GROWTH = 16 << 20               # a sanitizer's allocator is no miser
DIGEST = hashlib.sha256(BLOCK * BLOCKS).digest()


def pour(sock, poured):
    for _ in range(BLOCKS):
        sock.sendall(BLOCK)
        poured.append(1)
    sock.shutdown(1)


def drink(sock):
    digest = hashlib.sha256()
    while chunk := sock.recv(1 << 20):
        digest.update(chunk)
    return digest.digest()


@pytest.mark.slow
@pytest.mark.parametrize("engines", [["splice", "copy"], ["copy"]], ids=["splice", "copy"])
def test_a_reader_that_sleeps_costs_no_memory_and_loses_nothing(start, connect, engines):
    system = start(relay={"relay": {"engines": engines}})
    pairs = [connect(system), connect(system)]
    ways = [(pairs[0][0], pairs[0][1]), (pairs[1][1], pairs[1][0])]     # one up, one down
    before = system.relay.memory()
    threads, poured = [], ([], [])
    for (writer, _), count in zip(ways, poured):
        writer.settimeout(120)
        threads.append(threading.Thread(target=pour, args=(writer, count)))
        threads[-1].start()

    counts = None

    def stalled():
        nonlocal counts
        last, counts = counts, [len(c) for c in poured]
        time.sleep(0.5)
        return last == counts
    wait_until(stalled, "the writers to be stopped")
    assert all(c < BLOCKS for c in counts)
    worst, until = 0, time.monotonic() + STALL
    while time.monotonic() < until:
        metrics = system.relay.metrics()
        assert metrics["relayd_buffers_bytes"] <= 4 * 65536
        worst = max(worst, system.relay.memory() - before)
        time.sleep(0.25)
    assert worst < GROWTH
    assert [len(c) for c in poured] == counts, "the writers were stopped, and stayed so"

    for _, reader in ways:
        assert drink(reader) == DIGEST
    for thread in threads:
        thread.join()
    moved = system.relay.metrics()[f'relayd_bytes_total{{engine="{engines[0]}"}}']
    assert moved >= 0.5 * 2 * BLOCKS * len(BLOCK)
    for client, far in pairs:
        client.close()
        far.close()
    for way in ({"octets_up": BLOCKS << 20}, {"octets_down": BLOCKS << 20}):
        assert system.access(**way)["reason"] == "closed"

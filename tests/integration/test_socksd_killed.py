"""socksd never moves payload: killed in the middle of a transfer, it takes nothing down with it."""

import threading

import pytest

import socks
from daemons import wait_until
from targets import pattern

PAYLOAD = pattern(16_000_000, 5)


def send(sock):
    sock.sendall(PAYLOAD)
    sock.shutdown(1)


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_transfer_goes_on_to_its_end_octet_for_octet(system, connect, direction):
    client, target = connect(system)
    writer, reader = (client, target) if direction == "up" else (target, client)
    thread = threading.Thread(target=send, args=(writer,))
    thread.start()
    received = socks.read_exactly(reader, 1_000_000)
    assert thread.is_alive(), "the transfer is in its middle"
    name = "%s:%d" % client.getsockname()
    system.server.kill()

    received += socks.read_all(reader)
    thread.join()
    assert received == PAYLOAD
    reader.sendall(b"thanks")                   # and the other direction lives, too
    assert socks.read_exactly(writer, 6) == b"thanks"
    client.close()
    target.close()
    record = system.access(client=name)
    assert record["prog"] == "relayd-tcp" and record["reason"] == "closed"
    assert record["destination"] == record["target"]
    assert int(record[f"octets_{direction}"]) == len(PAYLOAD)
    wait_until(lambda: system.relay.status()["load"]["associations"] == 0, "the relay to be empty")


def test_what_no_relay_had_taken_over_is_closed(start, sockets, silent):
    """A request that was still being carried out ends with socksd; the relay gives up its dialling."""
    system = start(relay={"n2": {"lease": "1s"}})
    client = sockets.keep(socks.dial(system.address))
    client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *silent))
    assert socks.read_exactly(client, 2) == b"\5\0"
    wait_until(lambda: system.relay.status()["load"]["associations"] == 1, "the Open")
    system.server.kill()
    assert socks.read_all(client) == b""
    wait_until(lambda: system.relay.status()["load"]["associations"] == 0, "the lease to end")
    assert system.relay.metric("relayd_leases_lost_total") == 1


def test_its_successor_serves_and_the_old_streams_go_on(system, connect):
    old_client, old_target = connect(system)
    system.server.kill()
    system.restart_server()
    new_client, new_target = connect(system)
    for client, far in ((old_client, old_target), (new_client, new_target)):
        client.sendall(b"one")
        assert socks.read_exactly(far, 3) == b"one"
        far.sendall(b"two")
        assert socks.read_exactly(client, 3) == b"two"
        client.close()
        far.close()
    wait_until(lambda: len(system.relay.log.records("access", octets_up=3, octets_down=3)) == 2,
               "two records")
    wait_until(lambda: not any(system.counts().values()), "both daemons to be empty")

"""A target that answers nothing costs its own client time, and nobody else."""

import time

import pytest

import socks


@pytest.mark.parametrize("version", [4, 5])
def test_a_silent_target_is_told_as_timed_out_in_time(start, sockets, silent, version):
    system = start(server={"timeouts": {"connect": "700ms"}})
    began = time.monotonic()
    opener, code = {4: (socks.open4, socks.REJECTED4), 5: (socks.open5, socks.TTL_EXPIRED)}[version]
    client, reply = opener(system.address, socks.CONNECT, *silent)
    sockets.keep(client)
    assert reply.code == code
    assert time.monotonic() - began >= 0.69
    record = system.access(reply="timed_out")
    assert int(record["duration_ms"]) >= 690


def test_many_clients_of_a_silent_target_delay_nobody(start, sockets, target, silent):
    system = start(server={"timeouts": {"connect": "3s"}})
    waiting = []
    for _ in range(200):
        client = sockets.keep(socks.dial(system.address))
        client.sendall(socks.greeting5(0) + socks.request5(socks.CONNECT, *silent))
        waiting.append(client)
    for _ in range(20):
        client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
        assert reply.code == socks.SUCCEEDED
        client.close()
        sockets.accept(target).close()
    assert not system.records(reply="timed_out"), "the others were served while these waited"
    for client in waiting:
        assert socks.read_exactly(client, 2) == b"\5\0"
        assert socks.read_reply5(client).code == socks.TTL_EXPIRED
    assert system.relay.metric('relayd_unreachable_total{cause="timed_out"}') <= 200


def test_the_second_address_is_tried_while_the_first_is_silent(start, sockets, dns, silent):
    """RFC 8305: a further attempt every 250 ms."""
    target = sockets.listener("::1", silent[1])
    names = dns({"both.example.net": ["127.0.0.1", "::1"]})
    system = start(server={"resolver": {"servers": [names.address]}})
    client, reply = socks.open5(system.address, socks.CONNECT, "both.example.net", silent[1])
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED and reply.host == "::1"
    assert sockets.accept(target)

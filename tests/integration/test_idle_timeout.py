"""A stream without an octet for too long is ended, one with activity is not."""

import time

import socks
from targets import saw_reset


def test_an_idle_stream_is_reset_on_both_sides(start, connect):
    system = start(server={"timeouts": {"idle": "600ms"}})
    client, target = connect(system)
    client.sendall(b"x")
    assert socks.read_exactly(target, 1) == b"x"
    began = time.monotonic()
    assert saw_reset(client) and saw_reset(target)
    assert time.monotonic() - began >= 0.5
    assert system.access(reason="idle_timeout")["octets_up"] == "1"


def test_activity_in_one_direction_keeps_a_stream(start, connect):
    system = start(server={"timeouts": {"idle": "600ms"}})
    client, target = connect(system)
    for _ in range(10):
        target.sendall(b"tick")
        assert socks.read_exactly(client, 4) == b"tick"
        time.sleep(0.2)
    client.close()
    target.close()
    assert system.access(octets_down=40)["reason"] == "closed"


def test_a_half_closed_stream_has_a_limit_of_its_own(start, connect):
    system = start(relay={"relay": {"half-closed-timeout": "1s"}})
    client, target = connect(system)
    client.shutdown(1)
    assert socks.read_all(target) == b""
    assert saw_reset(client)
    assert system.access(reason="half_closed_timeout")

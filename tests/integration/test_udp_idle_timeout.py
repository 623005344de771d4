"""An association without a relayed datagram for a while is ended, and its control connection closed."""

import time

import pytest

import udp

UNUSED = "1h"                                   # is another limit, and must not be what ends it
LIMITS = {"of the relay": {"udp_relay": {"relay": {"idle-timeout": "1s", "unused-timeout": UNUSED}}},
          "of the server": {"udp_relay": {"relay": {"unused-timeout": UNUSED}},
                            "server": {"timeouts": {"idle": "1s"}}}}


@pytest.mark.parametrize("whose", LIMITS)
def test_silence_ends_it_traffic_of_either_direction_does_not(start, sockets, whose):
    system = start(relays=0, udp=1, **LIMITS[whose])
    target = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address))
    outer = udp.exchange(a, target)
    for _ in range(6):                          # longer than the limit
        time.sleep(0.2)
        target.sendto(b"down", outer)
        assert a.recv()[2] == b"down"
    assert a.closed(10)
    record = system.access(command="udp-associate")
    assert (record["reason"], record["datagrams_down"]) == ("idle_timeout", "7")
    assert int(record["duration_ms"]) >= 2000
    assert system.relay.metric('relayd_associations_ended_total{reason="idle_timeout"}') == 1
    assert system.server.metric('socksd_associations_ended_total{reason="idle_timeout"}') == 1


def test_what_is_dropped_does_not_keep_it(start, sockets):
    system = start(relays=0, udp=1, **LIMITS["of the relay"])
    target = sockets.keep(udp.udp_socket())
    stranger = sockets.keep(udp.udp_socket("127.0.0.2"))
    a = sockets.keep(udp.Association(system.address))
    outer = udp.exchange(a, target)
    for _ in range(200):
        a.send_raw(b"\0\0\0\1\x7f")
        a.send(("192.0.2.1", 53), b"denied")
        stranger.sendto(b"not asked", outer)
        try:
            assert a.closed(timeout=0.05)
            break
        except TimeoutError:
            pass
    assert system.access(command="udp-associate", timeout=1)["reason"] == "idle_timeout"
    dropped = udp.counts(system.relay, "relayd_drops_total", "reason")
    assert dropped["header"] > 5 and dropped["denied"] > 5 and dropped["peer"] > 5

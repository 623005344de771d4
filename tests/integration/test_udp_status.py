"""What a relay of datagrams tells of itself, and who asks without end stops nobody."""

import json
import socket

import pytest

import udp
import udp_checks
from daemons import wait_until


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def test_the_status_and_the_association(start, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        [unlocked] = system.relay.associations()
        assert (unlocked["state"], unlocked["client"]) == ("unlocked", "127.0.0.1:0")
        udp.exchange(a, target, b"12345")
        with udp_checks.dropping(system.relay, header=1):
            a.send_raw(b"")
        [held] = system.relay.associations()
        [ours] = system.server.associations()
        assert held["id"] == ours["id"] == unlocked["id"]
        assert (held["kind"], held["state"], held["server"]) == ("udp-associate", "locked", "socksd-test")
        assert held["client"] == "%s:%d" % a.sock.getsockname() and held["bound"] == "%s:%d" % a.bound
        assert [held[k] for k in ("datagrams_up", "datagrams_down", "octets_up", "octets_down", "dropped",
                                  "peers")] == [1, 1, 5, 8, 1, 1]
        status = system.relay.status()
        assert (status["program"], status["id"], status["state"]) == ("relayd-udp", "udp-0", "ready")
        assert status["engines"] == [held["engine"]]
        load = status["load"]
        assert [load[k] for k in ("associations", "used", "client_ports", "outer_sockets")] == [1, 1, 1, 1]
    wait_until(lambda: not system.relay.associations(), "the end")
    metrics = system.relay.metrics()
    assert metrics['relayd_associations_ended_total{reason="released"}'] == 1
    assert metrics['relayd_ended_octets_total{direction="up"}'] == 5
    assert metrics['relayd_ended_octets_total{direction="down"}'] == 8


def test_associations_are_filtered_and_paged(start, sockets, target):
    system = udp_checks.begin(start)
    crowd = [sockets.keep(udp.Association(system.address, source=f"127.0.0.{2 + i % 2}")) for i in range(6)]
    for a in crowd[:3]:
        udp.exchange(a, target)
    assert len(system.relay.associations("?state=locked")) == 3
    assert len(system.relay.associations("?state=unlocked")) == 3
    assert len(system.relay.associations("?client=127.0.0.2")) == 3
    assert system.relay.associations("?client=127.0.0.9") == []
    seen, after = [], ""
    while True:
        page = json.loads(system.relay.get(f"/associations?limit=4{after}")[1])
        seen += [a["id"] for a in page["associations"]]
        if "next" not in page:
            break
        after = f"&after={page['next']}"
    assert len(seen) == 6 == len(set(seen))


def test_the_metrics_agree_with_the_record(start, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        for size in (0, 1, 1000, 30000):
            udp.exchange(a, target, b"x" * size)
        with udp_checks.dropping(system.relay, denied=2):
            for _ in range(2):
                a.send(("10.0.0.1", 9), b"x")
    record, metrics = system.access(command="udp-associate"), system.relay.metrics()
    for direction in ("up", "down"):
        of = '{direction="%s"}' % direction
        assert metrics["relayd_datagrams_total" + of] == int(record[f"datagrams_{direction}"])
        assert metrics["relayd_datagram_octets_total" + of] == int(record[f"octets_{direction}"])
    assert record["dropped"] == "2"


def test_readers_that_never_read_stop_nobody(start, target):
    system = udp_checks.begin(start)
    readers = []
    for _ in range(20):
        reader = socket.socket(socket.AF_UNIX)
        reader.connect(system.relay.status_path)
        reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        readers.append(reader)
    with udp.Association(system.address) as a:
        for _ in range(5):
            udp.exchange(a, target)
    for reader in readers:
        reader.close()


def test_a_scraper_in_a_hurry_leaks_nothing(start, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        for _ in range(100):
            assert system.relay.get("/metrics")[0] == system.relay.get("/associations")[0] == 200
            udp.exchange(a, target)
    system.assert_clean()

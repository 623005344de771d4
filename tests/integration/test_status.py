"""The status sockets: probes, metrics that promtool likes, and what is going on."""

import json
import shutil
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

import socks
import udp
from daemons import wait_until


@pytest.fixture
def busy(system, connect):
    """A system with one stream."""
    system.pair = connect(system)
    return system


@pytest.fixture
def busy_udp(start, sockets):
    """A system with one association, and a relay for streams besides."""
    system = start(udp=1)
    system.udp_relay = next(r for r in system.relays if r.program == "relayd-udp")
    target = sockets.keep(udp.udp_socket())
    system.association = sockets.keep(udp.Association(system.address))
    udp.exchange(system.association, target)
    return system


def check_metrics(daemon):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    text = daemon.get("/metrics")[1]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("which", ["server", "relay"])
def test_promtool_likes_the_metrics(busy, which):
    check_metrics(getattr(busy, which))


@pytest.mark.parametrize("which", ["server", "udp_relay"])
def test_promtool_likes_the_metrics_of_datagrams(busy_udp, which):
    check_metrics(getattr(busy_udp, which))


def test_the_probes_of_a_relay_of_datagrams(busy_udp):
    relay = busy_udp.udp_relay
    assert relay.get("/livez")[0] == relay.get("/readyz")[0] == 200
    assert relay.get("/nothing")[0] == 404
    assert relay.status()["program"] == "relayd-udp"


@pytest.mark.parametrize("which", ["server", "relay"])
def test_the_probes(busy, which):
    daemon = getattr(busy, which)
    assert daemon.get("/livez")[0] == 200
    assert daemon.get("/readyz")[0] == 200
    assert daemon.get("/nothing")[0] == 404


def test_not_ready_without_a_relay_and_why(start):
    system = start(relays=0, urls=["ipc:///nonexistent/n2"], ready=0)
    status, body = system.server.get("/readyz")
    assert status == 503 and "none of 1 relays is ready" in body
    assert system.server.get("/livez")[0] == 200
    assert system.server.metric('socksd_relays{state="down"}') == 1


def test_the_status_of_socksd(busy):
    status = busy.server.status()
    assert (status["program"], status["id"], status["state"]) == ("socksd", "socksd-test", "ready")
    assert status["listeners"] == ["%s:%d" % busy.address]
    assert status["load"]["associations"] == 1 and status["load"]["sessions"] == 0
    assert status["limits"]["sessions"] > 0 and status["version"]


def test_the_status_of_a_relay(busy):
    status = busy.relay.status()
    assert (status["program"], status["id"], status["state"]) == ("relayd-tcp", "relay-0", "ready")
    assert status["engines"] == ["splice", "copy", "accept"]
    assert status["load"]["attached"] == 1


def test_the_association_is_the_same_on_both_sides(busy):
    client, target = busy.pair
    ours, = busy.server.associations()
    theirs, = busy.relay.associations()
    assert ours["id"] == theirs["id"]
    assert ours["client"] == theirs["client"] == "%s:%d" % client.getsockname()
    assert ours["destination"] == theirs["target"] == "%s:%d" % target.getsockname()
    assert (ours["relay"], theirs["server"]) == ("relay-0", "socksd-test")
    assert theirs["state"] == "relaying" and theirs["bound"] == "%s:%d" % target.getpeername()

    client.sendall(b"12345")
    assert socks.read_exactly(target, 5) == b"12345"
    assert busy.relay.associations()[0]["octets_up"] == 5
    client.close()
    target.close()
    record = busy.access(id=ours["id"])
    assert record["octets_up"] == "5"
    wait_until(lambda: not busy.server.associations() and not busy.relay.associations(), "no association")


def test_associations_are_filtered_and_paged(system, connect):
    for _ in range(5):
        connect(system)
    for daemon in (system.server, system.relay):
        assert len(daemon.associations("?client=127.0.0.1")) == 5
        assert daemon.associations("?client=127.0.0.2") == []
        seen, after = [], ""
        while True:
            page = json.loads(daemon.get(f"/associations?limit=2{after}")[1])
            assert len(page["associations"]) <= 2
            seen += [a["id"] for a in page["associations"]]
            if "next" not in page:
                break
            after = f"&after={page['next']}"
        assert len(seen) == 5 == len(set(seen))
    assert len(system.relay.associations("?state=relaying")) == 5
    assert system.relay.associations("?state=dialing") == []
    assert len(system.server.associations("?relay=relay-0")) == 5


def test_requests_are_counted_by_dialect_command_and_reply(system, sockets, target):
    closed = sockets.closed_port()
    for opener, address in [(socks.open4, target.getsockname()), (socks.open5, target.getsockname()),
                            (socks.open5, closed), (socks.open4, closed)]:
        client, _ = opener(system.address, socks.CONNECT, *address)
        sockets.keep(client)
    metrics = system.server.metrics()
    for version in ("socks4", "socks5"):
        for reply in ("succeeded", "refused"):
            name = f'socksd_requests_total{{version="{version}",command="connect",reply="{reply}"}}'
            assert metrics[name] == 1, name


def test_over_tcp_only_probes_and_metrics(start, sockets):
    port = sockets.closed_port()[1]
    sockets.close()
    system = start(server={"status": {"listen": [f"127.0.0.1:{port}"]}})

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
    assert [get(p) for p in ("/livez", "/readyz", "/metrics")] == [200] * 3
    assert all(get(p) in (403, 404) for p in ("/status", "/associations", "/relays"))
    assert system.server.get("/status")[0] == 200


def test_readers_that_never_read_stop_nobody(system, connect):
    readers = []
    for _ in range(20):
        reader = socket.socket(socket.AF_UNIX)
        reader.connect(system.server.status_path)
        reader.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        readers.append(reader)
    client, target = connect(system)
    client.sendall(b"through")
    assert socks.read_exactly(target, 7) == b"through"
    for reader in readers:
        reader.close()


def test_a_scraper_in_a_hurry_leaks_nothing(system):
    for _ in range(300):
        for daemon in (system.server, system.relay):
            assert daemon.get("/metrics")[0] == 200
    system.assert_clean()


def test_build_and_process_are_told(system):
    for daemon, prefix in ((system.server, "socksd"), (system.relay, "relayd")):
        metrics = daemon.metrics()
        assert any(name.startswith(f"{prefix}_build_info") for name in metrics)
        assert metrics["process_open_fds"] >= 10
        assert metrics["process_resident_memory_bytes"] > 1 << 20

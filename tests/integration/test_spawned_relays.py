"""Relays as children by configuration: as many as wanted, restarted, each with its own sockets."""

import os
import signal

import socks
from daemons import alive, children, wait_until


def test_as_many_children_as_wanted_serve(start, connect):
    system = start(relays=0, spawn=3)
    assert len(children(system.server.pid)) == 3
    used = set()
    while len(used) < 3:
        connect(system)
        used = {a["relay"] for a in system.server.associations()}
        assert len(system.server.associations()) < 200
    assert used == {"relayd-tcp-0", "relayd-tcp-1", "relayd-tcp-2"}


def test_children_take_their_configuration(start, sockets, target):
    system = start(relays=0, spawn=1, relay={"relay": {"bind": ["127.0.0.6"]}})
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.host == "127.0.0.6"


def test_a_child_that_dies_again_and_again_is_restarted_ever_later(start, connect):
    system = start(relays=0, spawn=1)
    delays = []
    for life in range(4):
        pid, = wait_until(lambda: children(system.server.pid), "a child")
        os.kill(pid, signal.SIGKILL)
        exited = wait_until(lambda: len(system.records("child_exited")) > life, "its end") and \
            system.records("child_exited")[life]
        delays.append(int(exited["restart_ms"]))
    assert delays[0] <= 125 and delays[3] >= 2.5 * delays[0]
    client, target = connect(system)
    client.sendall(b"still")
    assert socks.read_exactly(target, 5) == b"still"


def test_one_child_that_dies_takes_only_its_own_streams(start, connect):
    system = start(relays=0, spawn=2)
    pairs = {}
    while {r for r, _ in pairs.values()} != {"relayd-tcp-0", "relayd-tcp-1"}:
        client, target = connect(system)
        name = "%s:%d" % client.getsockname()
        held = wait_until(lambda: [a for a in system.server.associations() if a["client"] == name], "it")
        pairs[name] = (held[0]["relay"], (client, target))
        assert len(pairs) < 200
    doomed = int(system.records("child_started", name="relayd-tcp-0")[0]["pid"])
    os.kill(doomed, signal.SIGKILL)
    lost = [name for name, (relay, _) in pairs.items() if relay == "relayd-tcp-0"]
    for name in lost:
        assert system.access(client=name)["reason"] == "relay_lost"
    for relay, (client, target) in pairs.values():
        if relay == "relayd-tcp-1":
            client.sendall(b"here")
            assert socks.read_exactly(target, 4) == b"here"
    assert not alive(doomed)


def test_a_configured_run_directory_stays(start):
    system = start(relays=0, spawn=1)
    run = system.directory / "run"
    assert {"relayd-tcp-0.n2", "relayd-tcp-0.legs", "relayd-tcp-0.status"} <= set(os.listdir(run))
    system.close()
    assert os.listdir(run) == []


def test_at_the_deadline_of_the_drain_children_end_their_streams_and_record_them(start, connect):
    system = start(relays=0, spawn=2, server={"timeouts": {"drain": "300ms"}})
    client, target = connect(system)
    client.sendall(b"abc")
    assert socks.read_exactly(target, 3) == b"abc"
    system.server.terminate()
    assert system.server.wait() == 0
    record = system.access(octets_up=3)
    assert (record["prog"], record["reason"]) == ("relayd-tcp", "drain_deadline")
    assert os.listdir(system.directory / "run") == []


def test_a_child_that_does_not_stop_is_killed_and_leaves_no_socket(start, connect):
    system = start(relays=0, spawn=1, server={"timeouts": {"drain": "300ms"}})
    connect(system)
    stuck, = children(system.server.pid)
    os.kill(stuck, signal.SIGSTOP)
    system.server.terminate()
    assert system.server.wait() == 0
    assert system.records("child_killed")[0]["pid"] == str(stuck)
    assert not alive(stuck)
    assert os.listdir(system.directory / "run") == []

"""--standalone: no file, loopback clients only, a relay of its own that comes and goes with it."""

import contextlib
import os
import pathlib
import signal
import subprocess

import pytest

import socks
from daemons import Daemon, alive, children, program, split_address, wait_until
from targets import Sockets


def name_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return None


class Standalone(Daemon):
    """socksd --standalone on an ephemeral port. Its children log to the same file; child is the one
    that moves streams."""

    def __init__(self, directory):
        self.run_base = directory
        super().__init__("standalone", [program("socksd"), "--standalone", "--listen", "127.0.0.1:0"],
                         directory, environment={"XDG_RUNTIME_DIR": str(directory)},
                         stdout=subprocess.PIPE)
        self.address = split_address(self.wait_started()["listen"])
        self.child = self.relay_pid("relayd-tcp")
        self.udp_child = self.relay_pid("relayd-udp")

    def relay_pid(self, name, other_than=None):
        def born():
            return [p for p in children(self.pid) if p != other_than and name_of(p) == name]
        return wait_until(born, name)[0]

    def wait_children_gone(self):
        for pid in (self.child, self.udp_child):
            wait_until(lambda: not alive(pid), "the child to end")

    def run_dirs(self):
        return [e for e in os.listdir(self.run_base) if e.startswith("socksd.")]


@pytest.fixture
def standalone(tmp_path_factory, sockets):
    directory = tmp_path_factory.mktemp("x")
    daemon = Standalone(directory)
    yield daemon
    sockets.close()
    daemon.finish()
    daemon.wait_children_gone()
    wait_until(lambda: not daemon.run_dirs(), "the run directory to be removed")


@pytest.fixture
def stream(standalone, sockets, target):
    def make():
        client, reply = socks.open5(standalone.address, socks.CONNECT, *target.getsockname())
        sockets.keep(client)
        assert reply.code == socks.SUCCEEDED
        return client, sockets.accept(target)
    return make


def exchange(pair):
    client, far = pair
    client.sendall(b"ping")
    assert socks.read_exactly(far, 4) == b"ping"
    far.sendall(b"pong")
    assert socks.read_exactly(client, 4) == b"pong"


def test_it_serves_at_once_and_says_how_to_try_it(standalone, stream):
    exchange(stream())
    said = standalone.process.stdout.readline().decode()
    assert f"curl -x socks5h://127.0.0.1:{standalone.address[1]}" in said
    assert len(standalone.run_dirs()) == 1
    assert os.stat(standalone.run_base / standalone.run_dirs()[0]).st_mode & 0o777 == 0o700


def test_its_own_listener_is_no_destination(standalone, sockets):
    client, reply = socks.open5(standalone.address, socks.CONNECT, *standalone.address)
    sockets.keep(client)
    assert reply.code == socks.DENIED


def test_a_child_that_is_killed_is_replaced_and_clients_are_served(standalone, stream):
    first = standalone.child
    exchange(stream())
    os.kill(first, signal.SIGKILL)
    exchange(stream())                          # at once: this client waits for the new child
    standalone.child = standalone.relay_pid("relayd-tcp", other_than=first)
    exited = standalone.log.wait("child_exited")
    assert exited["signal"] == "SIGKILL" and exited["pid"] == str(first)
    assert standalone.log.wait("access", reason="relay_lost")["prog"] == "socksd"


def test_sigterm_ends_both_when_nothing_runs(standalone):
    standalone.terminate()
    assert standalone.wait() == 0
    assert not alive(standalone.child) and not alive(standalone.udp_child)
    assert standalone.run_dirs() == []


def test_sigterm_waits_for_the_streams_of_the_child(standalone, stream):
    pair = stream()
    standalone.terminate()
    standalone.log.wait("draining", prog="relayd-tcp")
    exchange(pair)
    with pytest.raises(OSError):
        socks.dial(standalone.address)
    assert standalone.alive() and alive(standalone.child)
    for sock in pair:
        sock.close()
    assert standalone.wait() == 0
    assert standalone.log.wait("access")["reason"] == "closed"


def test_a_second_sigterm_ends_socksd_now_and_the_streams_go_on(standalone, stream):
    pair = stream()
    standalone.terminate()
    standalone.log.wait("draining", prog="relayd-tcp")
    standalone.terminate()
    assert standalone.wait() == 0
    exchange(pair)
    assert alive(standalone.child)


def test_killed_socksd_leaves_a_child_that_finishes_and_goes(standalone, stream):
    pair = stream()
    standalone.kill()
    assert standalone.log.wait("draining", prog="relayd-tcp")["why"] == "parent gone"
    exchange(pair)
    assert alive(standalone.child), "not before its stream has ended"
    for sock in pair:
        sock.close()
    standalone.wait_children_gone()
    assert standalone.log.wait("access")["reason"] == "closed"
    assert standalone.run_dirs() == []


def test_killed_socksd_leaves_no_idle_child(standalone):
    standalone.kill()
    standalone.wait_children_gone()
    assert standalone.run_dirs() == []


@pytest.mark.parametrize("address", ["0.0.0.0:1080", "192.0.2.1:1080", "[::]:1080", "[2001:db8::1]:1080"])
def test_an_address_that_is_not_loopback_is_refused(address):
    done = subprocess.run([program("socksd"), "--standalone", "--listen", address],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert address in done.stderr and "loopback" in done.stderr


def test_a_port_that_is_taken_is_said(tmp_path):
    sockets = Sockets()
    taken = "%s:%d" % sockets.listener().getsockname()
    done = subprocess.run([program("socksd"), "--standalone", "--listen", taken], capture_output=True,
                          text=True, timeout=30, env=dict(os.environ, XDG_RUNTIME_DIR=str(tmp_path)))
    sockets.close()
    assert done.returncode == 1
    assert taken in done.stderr and "Address already in use" in done.stderr
    assert os.listdir(tmp_path) == []

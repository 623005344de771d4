"""The conformance suite of N2: what any relay must do, tested from the outside.

    pytest tests/contract/n2                                          all relays there are
    pytest tests/contract/n2 --relay 'command --n2 ipc://{n2} --legs unix:{legs}'
    pytest tests/contract/n2 --n2-url ipc:///run/x/n2 [--legs-path /run/x/legs]

Without an option the suite runs against the stub relay, and against relayd-tcp when it has been
built (build/relayd-tcp, or the path in RELAYD_TCP). With --n2-url the relay is somebody else's
process, and the tests that must start or stop one are skipped. `-n 2` works: every worker starts
relays of its own, in directories of its own.
"""

import collections
import functools
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lib"))

import n2wire                                                       # noqa: E402
from n2wire import ControlServer, pb                                # noqa: E402

STUB = n2wire.ROOT / "tests" / "lib" / "stub_relay.py"
STUB_COMMAND = (f"{shlex.quote(sys.executable)} {shlex.quote(str(STUB))} "
                "--n2 ipc://{n2} --legs unix:{legs}")

Spec = collections.namedtuple("Spec", "name command url legs")
Stream = collections.namedtuple("Stream", "grant client target")


# ----------------------------------------------------------------------------------- which relays

def pytest_addoption(parser):
    group = parser.getgroup("n2")
    group.addoption("--n2-url", help="drive the relay that listens here")
    group.addoption("--legs-path", help="with --n2-url: the leg channel, when Hello does not name it")
    group.addoption("--relay", help="drive the relay that this command starts; {n2} and {legs} are "
                                    "replaced by paths")


@functools.cache
def relay_specs(config):
    """Made once: pytest keeps a relay for a whole file only when the parameter is the same object."""
    url = config.getoption("--n2-url", None)
    if url:
        return [Spec("given", None, url, config.getoption("--legs-path"))]
    command = config.getoption("--relay", None)
    if command:
        return [Spec("command", command, None, None)]
    specs = [Spec("stub", STUB_COMMAND + " --lease 1000ms", None, None)]
    relayd = os.environ.get("RELAYD_TCP") or str(n2wire.ROOT / "build" / "relayd-tcp")
    if os.access(relayd, os.X_OK):
        specs.append(Spec("relayd-tcp", f"{shlex.quote(relayd)} --n2 ipc://{{n2}} --legs unix:{{legs}} "
                                        "--lease 1000ms", None, None))
    return specs


def pytest_generate_tests(metafunc):
    if "relay_spec" in metafunc.fixturenames:
        specs = relay_specs(metafunc.config)
        metafunc.parametrize("relay_spec", specs, ids=[spec.name for spec in specs], scope="module",
                             indirect=True)


@pytest.fixture(scope="module")
def relay_spec(request):
    return request.param


# ---------------------------------------------------------------------------------- relay processes

class GivenRelay:
    """A relay that runs already and is not ours."""

    process = None

    def __init__(self, spec):
        self.url = spec.url
        self.legs_path = spec.legs

    def alive(self):
        return True

    def stop(self):
        pass


class RelayProcess:
    """A relay that was started from a command, in a directory of its own."""

    legs_path = None

    def __init__(self, command, directory, prefix=()):
        self.directory = directory
        self.n2_path = str(directory / "n2")
        self.url = "ipc://" + self.n2_path
        self._arguments = list(prefix) + shlex.split(
            command.format(n2=self.n2_path, legs=directory / "legs"))
        self.process = None
        self.start()

    def start(self):
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(self._arguments, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                n2wire.Req(self.url).close()
                return
            except (OSError, n2wire.ConnectionLost, n2wire.NotSP):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    pytest.fail(f"the relay did not start: {self._arguments}\n{self.log()}")
                time.sleep(0.02)

    def log(self):
        return (self.directory / "log").read_text(errors="replace")[-4000:]

    def alive(self):
        return self.process.poll() is None

    def drain(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self):
        """At once and without a word, so that a relay that hangs does not hold up the tests."""
        if self.alive():
            self.process.kill()
        self.process.wait(10)


@pytest.fixture(scope="module")
def relay(relay_spec, tmp_path_factory):
    """The relay that the tests of one file share. Every test comes with server ids of its own."""
    if relay_spec.url:
        yield GivenRelay(relay_spec)
        return
    process = RelayProcess(relay_spec.command, tmp_path_factory.mktemp("relay"))
    yield process
    process.stop()


@pytest.fixture
def start_relay(tmp_path_factory):
    """Starts relays for one test."""
    started = []

    def start(command, prefix=()):
        process = RelayProcess(command, tmp_path_factory.mktemp("own"), prefix)
        started.append(process)
        return process

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def stub_command():
    return STUB_COMMAND


@pytest.fixture
def own_relay(relay_spec, start_relay):
    """Starts relays of the kind under test that a test may stop, kill and put into another network."""
    if relay_spec.url:
        pytest.skip("the relay is not ours to start and stop")
    return functools.partial(start_relay, relay_spec.command)


# ---------------------------------------------------------------------------------- control servers

@pytest.fixture
def servers():
    """Makes control servers at any relay, and closes them."""
    made = []

    def make(relay, hello=True, watch=True, **options):
        server = ControlServer(relay.url, **options)
        made.append(server)
        if hello:
            server.must_hello()
            if relay.legs_path:
                server.who.legs = "unix:" + relay.legs_path
            if watch:
                server.start_watching()
        return server

    yield make
    for server in made:
        server.close()


@pytest.fixture
def new_server(relay, servers):
    """Makes control servers at the shared relay. Afterwards the relay must still be there."""
    yield lambda **options: servers(relay, **options)
    assert relay.alive(), f"the relay has died\n{relay.log()}"
    with ControlServer(relay.url) as witness:
        assert n2wire.verdict(witness.hello()) == "ACCEPTED"


@pytest.fixture
def server(new_server):
    """A control server that has said Hello and keeps its lease alive by watching."""
    return new_server()


@pytest.fixture
def quiet_server(new_server):
    """A control server that has said Hello; the test sends every Watch itself."""
    return new_server(watch=False)


@pytest.fixture
def bind_server(server):
    if pb.KIND_BIND not in server.who.kinds:
        pytest.skip("this relay does not carry BIND")
    return server


# -------------------------------------------------------------------------------------- TCP sockets

class Sockets:
    """Sockets of a test; all of them are closed at its end."""

    def __init__(self):
        self._kept = []

    def keep(self, sock):
        sock.settimeout(5)
        self._kept.append(sock)
        return sock

    def listener(self, ip="127.0.0.1"):
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        return self.keep(socket.create_server((ip, 0), family=family, backlog=128))

    def accept(self, listener):
        return self.keep(listener.accept()[0])

    def connect(self, address, source=None):
        return self.keep(socket.create_connection(address, 5, source))

    def pair(self):
        client, leg = n2wire.tcp_pair()
        return self.keep(client), self.keep(leg)

    def close(self):
        for sock in self._kept:
            sock.close()


@pytest.fixture
def sockets():
    kept = Sockets()
    yield kept
    kept.close()


@pytest.fixture
def target(sockets):
    """A listening socket that a CONNECT may reach."""
    return sockets.listener()


@pytest.fixture
def closed_port(sockets):
    """An address that refuses connections: bound, so that nobody else takes it, and not listening."""
    sock = sockets.keep(socket.socket())
    sock.bind(("127.0.0.1", 0))
    return sock.getsockname()


@pytest.fixture
def silent_listener(sockets):
    """A listener that answers nothing: its queue is full, so SYNs for it are dropped."""
    listener = sockets.keep(socket.socket())
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    for _ in range(8):
        filler = sockets.keep(socket.socket())
        filler.settimeout(0.01)     # on one host a connection that is taken is taken at once
        try:
            filler.connect(listener.getsockname())
        except TimeoutError:
            filler.close()          # or it would go on asking for admission
            return listener
    pytest.skip("a listener with a full queue still answers on this system")
    return None


@pytest.fixture
def silent(silent_listener):
    """An address where nothing is answered."""
    return silent_listener.getsockname()


@pytest.fixture
def no_arrival():
    """Checks that nobody connects to a listener."""
    def check(listener, seconds=0.1):
        listener.settimeout(seconds)
        try:
            arrived, _ = listener.accept()
        except TimeoutError:
            return
        arrived.close()
        pytest.fail("a connection arrived that should not have been made")
    return check


@pytest.fixture
def stream(target, sockets):
    """Makes an attached CONNECT stream: the grant and the two far ends of it."""
    def make(server, to_client=b"", to_target=b"", **limits):
        grant = server.open(server.connect_message(target.getsockname(), **limits))
        far = sockets.accept(target)
        client = sockets.keep(server.attach(grant, to_client, to_target))
        return Stream(grant, client, far)
    return make

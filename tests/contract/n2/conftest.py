"""The conformance suite of N2: what any relay must do, tested from the outside.

    pytest tests/contract/n2                                          all relays there are
    pytest tests/contract/n2 --relay 'command --n2 ipc://{n2} --legs unix:{legs}'
    pytest tests/contract/n2 --n2-url ipc:///run/x/n2 [--legs-path /run/x/legs]

Without an option the suite runs against the stub relay, and against relayd-tcp and relayd-udp when they
have been built (in build/, or the paths in RELAYD_TCP and RELAYD_UDP). Which tests a relay gets is said
by the mark `relays`: "streams" (CONNECT, BIND; without a mark), "udp", or both words. With --n2-url the
relay is somebody else's process, and the tests that must start or stop one are skipped. `-n 2` works:
every worker starts relays of its own, in directories of its own.
"""

import collections
import functools
import itertools
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time
import zlib

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lib"))

import n2wire                                                       # noqa: E402
import udp                                                          # noqa: E402
from n2wire import ControlServer, pb                                # noqa: E402

STUB = n2wire.ROOT / "tests" / "lib" / "stub_relay.py"
LISTEN = "--n2 ipc://{n2} --legs unix:{legs}"
STUB_COMMAND = f"{shlex.quote(sys.executable)} {shlex.quote(str(STUB))} {LISTEN}"

# carries: streams, udp; None: it will say so. settings: whether it can be told some (see udp_relay).
Spec = collections.namedtuple("Spec", "name carries command url legs settings")
Stream = collections.namedtuple("Stream", "grant client target")


# ----------------------------------------------------------------------------------- which relays

def pytest_addoption(parser):
    group = parser.getgroup("n2")
    group.addoption("--n2-url", help="drive the relay that listens here")
    group.addoption("--legs-path", help="with --n2-url: the leg channel, when Hello does not name it")
    group.addoption("--relay", help="drive the relay that this command starts; {n2} and {legs} are "
                                    "replaced by paths; {settings}, if it stands there, by options as "
                                    "the stub has them: --ports, --port-rest, --unlocked, --unused")


def pytest_configure(config):
    config.addinivalue_line("markers", "relays(words): which relays get the test: streams, udp")


@functools.cache
def relay_specs(config):
    """Made once: pytest keeps a relay for a whole file only when the parameter is the same object."""
    url = config.getoption("--n2-url", None)
    if url:
        return [Spec("given", None, None, url, config.getoption("--legs-path"), False)]
    command = config.getoption("--relay", None)
    if command:
        return [Spec("command", None, command, None, None, "{settings}" in command)]
    specs = [Spec("stub", "streams", STUB_COMMAND + " --lease 1000ms", None, None, False),
             Spec("stub-udp", "udp", STUB_COMMAND + " --kinds udp --lease 1000ms {settings}", None, None,
                  True)]
    for name, carries in (("relayd-tcp", "streams"), ("relayd-udp", "udp")):
        path = os.environ.get(name.upper().replace("-", "_")) or str(n2wire.ROOT / "build" / name)
        if os.access(path, os.X_OK):
            own = carries == "udp"
            command = f"{shlex.quote(path)} {LISTEN} --lease 1000ms" + " -c {config}" * own
            specs.append(Spec(name, carries, command, None, None, own))
    return specs


@functools.cache
def ports_of_worker():
    """Where relays of this worker find ports towards their clients: out of the way of other workers, and
    probably of another run too."""
    run = zlib.crc32(os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid())).encode())
    block = 11000 + (run + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:])) % 9 * 1000
    return itertools.cycle(range(block, block + 1000, 100))


def free_ports():
    """A range that nobody uses; a relay does without those ports that somebody takes nevertheless."""
    for first in itertools.islice(ports_of_worker(), 10):
        try:
            for port in range(first, first + 100):
                for host in ("0.0.0.0", "::"):
                    udp.udp_socket(host, port).close()
        except OSError:
            continue
        break
    return f"{first}-{first + 99}"


@pytest.fixture(name="free_ports")
def _free_ports():
    return free_ports


def pytest_generate_tests(metafunc):
    if "relay_spec" in metafunc.fixturenames:
        mark = metafunc.definition.get_closest_marker("relays")
        wanted = mark.args if mark else ("streams",)
        specs = [spec for spec in relay_specs(metafunc.config) if spec.carries in (None, *wanted)]
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

    def __init__(self, command, directory, prefix=(), settings=None):
        self.directory = directory
        self.n2_path = str(directory / "n2")
        self.url = "ipc://" + self.n2_path
        settings = {"ports": free_ports(), "port-rest": "1s", **(settings or {})}
        config = directory / "config"
        if "{config}" in command:
            names = {"unused": "unused-timeout"}
            config.write_text(json.dumps({"relay": {names.get(n, n): v for n, v in settings.items()}}))
        self._arguments = list(prefix) + shlex.split(command.format(
            n2=self.n2_path, legs=directory / "legs", config=config,
            settings=" ".join(f"--{name} {value}" for name, value in settings.items())))
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

    def start(command, prefix=(), settings=None):
        process = RelayProcess(command, tmp_path_factory.mktemp("own"), prefix, settings)
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


@pytest.fixture
def udp_relay(relay_spec, start_relay):
    """Starts a UDP relay of the kind under test with settings of its own: udp_relay(unused="300ms").

    unused, port-rest: times; unlocked: a number; ports: "first-last".
    """
    if not relay_spec.settings:
        pytest.skip("the relay's configuration is not ours to choose")

    def start(**settings):
        settings = {name.replace("_", "-"): value for name, value in settings.items()}
        return start_relay(relay_spec.command, settings=settings)
    return start


# ---------------------------------------------------------------------------------- control servers

CARRIED = {"streams": pb.KIND_CONNECT, "udp": pb.KIND_UDP}


@pytest.fixture
def servers(request):
    """Makes control servers at any relay, and closes them."""
    mark = request.node.get_closest_marker("relays")
    wanted = {CARRIED[word] for word in (mark.args if mark else ("streams",))}
    made = []

    def make(relay, hello=True, watch=True, **options):
        server = ControlServer(relay.url, **options)
        made.append(server)
        if hello:
            server.must_hello()
            if not wanted & set(server.who.kinds):
                pytest.skip("this relay carries nothing of that kind")
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

    def udp(self, ip="127.0.0.1", port=0):
        return self.keep(udp.udp_socket(ip, port))

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


# ------------------------------------------------------------------------------------------- datagrams

class Client:
    """A UDP association as its client sees it: where to send to, and a socket to send from."""

    def __init__(self, server, message, answer, sock):
        self.server = server
        self.message = message
        self.association = message.association
        self.bound = n2wire.endpoint_address(answer.bound)
        self.sock = sock
        self.ip = sock.getsockname()[0]

    def send(self, target, payload, sock=None, **options):
        """target: a socket, or (host, port)."""
        address = target if isinstance(target, tuple) else target.getsockname()
        self.send_raw(udp.header(*address[:2], **options) + payload, sock)

    def send_raw(self, octets, sock=None):
        (sock or self.sock).sendto(octets, self.bound)

    def receive(self):
        """(host, port, payload); checks that it comes from where datagrams are sent to."""
        octets, sender = self.sock.recvfrom(65536)
        assert sender[:2] == self.bound
        return udp.parse(octets)

    def exchange(self, target, payload=b"ping"):
        """There and back; where the relay sends from. All that was sent before is dealt with by then."""
        self.send(target, payload)
        octets, outer = target.recvfrom(65536)
        assert octets == payload
        target.sendto(b"re:" + payload, outer)
        assert self.receive() == (*target.getsockname()[:2], b"re:" + payload)
        return outer

    def held(self):
        """What the Inventory says of it."""
        return self.server.inventory()[self.association]

    def counters(self):
        return self.held().counters

    def update(self, *rules, revision=1, **limits):
        return self.server.ask(pb.Update(
            association=self.association, revision=revision, limits=pb.Limits(**limits),
            rules=n2wire.datagram_rules(*rules) if rules else None))

    def release(self):
        return self.server.release(self.association).counters


@pytest.fixture
def udp_client(server, sockets):
    """Opens UDP associations: udp_client(*rules, hint=..., sock=...) -> Client. See udp_message.

    Every test has a client address of its own, so that they do not use up each other's ports.
    """
    own = n2wire.random_loopback()

    def make(*rules, at=server, sock=None, hint=None, client=None, client_local=None, **options):
        client = client or (sock.getsockname()[0] if sock else own)
        client_local = client_local or ("127.0.0.1" if client == own else client)
        sock = sock or sockets.udp(client)
        if hint is True:
            hint = sock.getsockname()
        message = at.udp_message(*rules, hint=hint, client=client, client_local=client_local, **options)
        answer = at.ask(message)
        if answer.HasField("refused"):
            raise n2wire.Refused(answer.refused)
        return Client(at, message, answer.open, sock)
    return make


@pytest.fixture
def udp_target(sockets):
    """A socket that datagrams may reach."""
    return sockets.udp()


@pytest.fixture
def stream(target, sockets):
    """Makes an attached CONNECT stream: the grant and the two far ends of it."""
    def make(server, to_client=b"", to_target=b"", **limits):
        grant = server.open(server.connect_message(target.getsockname(), **limits))
        far = sockets.accept(target)
        client = sockets.keep(server.attach(grant, to_client, to_target))
        return Stream(grant, client, far)
    return make

"""Fixtures for tests with real processes: `start` starts a system, `system` is a plain one."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import daemons                                                      # noqa: E402
import fakedns                                                      # noqa: E402
import netns as namespaces                                          # noqa: E402
import socks                                                        # noqa: E402
import targets                                                      # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes longer than ten seconds")


def pytest_sessionstart(session):
    for name in ("socksd", "relayd-tcp", "relayd-udp", "sockscat"):
        path = pathlib.Path(daemons.program(name))
        if not path.exists():
            pytest.exit(f"{path} is not there: build it, or set BUILD_DIR", 2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the logs of its daemons."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for system in getattr(item, "systems", []):
            report.sections += [(f"log of {name}", text) for name, text in system.logs()]


@pytest.fixture
def sockets():
    """Sockets and targets that are closed at the end of the test."""
    kept = targets.Sockets()
    yield kept
    kept.close()


@pytest.fixture
def start(request, sockets):
    """Starts systems: start(relays=2, rules=[...]). See daemons.System. At the end of the test its
    sockets are closed and every system must be clean."""
    request.node.systems = []

    def make(**options):
        system = daemons.System(**options)
        request.node.systems.append(system)
        return system

    yield make
    sockets.close()
    failures = []
    for system in request.node.systems:
        try:
            system.close()
        except AssertionError as failure:
            failures.append(f"{failure}\n" + "\n".join(f"--- {n}\n{t}" for n, t in system.logs()))
    for system in request.node.systems:
        system.remove()
    assert not failures, "\n\n".join(failures)


@pytest.fixture
def system(start):
    """One socksd, one relayd-tcp; loopback is allowed."""
    return start()


@pytest.fixture
def target(sockets):
    """A listening socket that a CONNECT may reach; the test accepts."""
    return sockets.listener()


@pytest.fixture
def connect(sockets, target):
    """Makes a relayed CONNECT: connect(system) -> (client's socket, the target's socket)."""
    def make(system, **options):
        sock, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname(), **options)
        sockets.keep(sock)
        assert reply.code == socks.SUCCEEDED, reply
        return sock, sockets.accept(target)
    return make


@pytest.fixture
def dns(sockets):
    """Makes name servers: dns({"name": ["192.0.2.1"]})"""
    return lambda names=None, **options: sockets.keep(fakedns.FakeDNS(names, **options))


@pytest.fixture
def netns():
    """A network namespace; daemons that run in it may outlive this fixture."""
    reason = namespaces.why_not()
    if reason:
        pytest.skip(reason)
    net = namespaces.NetNS()
    yield net
    net.close()


@pytest.fixture
def silent_listener(sockets):
    """A listener that answers no SYN until something was accepted from it."""
    listener = sockets.silent_listener()
    if listener is None:
        pytest.skip("a listener with a full queue still answers on this system")
    return listener


class Pending:
    """A CONNECT that a relay has in hand and whose target does not answer until it is let in."""

    def __init__(self, sockets, listener):
        self._sockets = sockets
        self._listener = listener

    def ask(self, system):
        """The client; its request is with a relay, which dials."""
        client = self._sockets.keep(socks.dial(system.address))
        client.sendall(socks.greeting5(socks.NONE)
                       + socks.request5(socks.CONNECT, *self._listener.getsockname()))
        assert socks.read_exactly(client, 2) == b"\5\0"
        system.busy_relay()
        return client

    def let_in(self):
        """The next SYN that is repeated gets through."""
        self._sockets.accept(self._listener)
        self._listener.listen(64)


@pytest.fixture
def pending(sockets, silent_listener):
    return Pending(sockets, silent_listener)


@pytest.fixture
def silent(silent_listener):
    """(host, port) that answers no SYN."""
    return silent_listener.getsockname()

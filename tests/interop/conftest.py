"""Other people's SOCKS clients against our daemons.

Several clients go direct without a word when they find a reason to, so a test believes none of them:
it asks `access` for our own record of the association. In the `lab` there is no other way at all.

Each client has a file; its tests are skipped where the client is not installed. tests/packages lists
the Debian packages, tests/interop/setup fetches the rest.
"""

import pathlib
import socket
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import clients                                                      # noqa: E402
import daemons                                                      # noqa: E402
import fakedns                                                      # noqa: E402
import netns                                                        # noqa: E402
import targets                                                      # noqa: E402

PAGE = b"<html><body>through the proxy</body></html>\n"
USER, PASSWORD = "alice", "open-sesame"


class Proxy:
    """Our daemons as clients see them: a listener for everybody, and one that wants a password."""

    user, password = USER, PASSWORD

    def __init__(self, host, **options):
        self.host = host
        self.system = daemons.System(
            listeners=[{"listen": f"{host}:0", "insecure": True},
                       {"listen": f"{host}:0", "methods": ["username-password"]}],
            users={USER: PASSWORD}, **options)
        self.port, self.auth_port = [port for _, port in self.system.server.listeners()]
        self.address = f"{host}:{self.port}"
        self.auth_address = f"{host}:{self.auth_port}"

    def close(self):
        try:
            self.system.close()
        finally:
            self.system.remove()


class Access:
    """The access records of one test."""

    def __init__(self, proxy):
        self._system = proxy.system
        self._old = {id(record) for record in self._system.records("access")}
        self._text = {name: len(text) for name, text in self._texts()}

    def _texts(self):
        return [(d.name, d.log.text()) for d in self._system.daemons]

    def logs(self):
        """(name, text) of each daemon, from the beginning of this test."""
        return [(name, text[self._text.get(name, 0):]) for name, text in self._texts()]

    def all(self, **fields):
        return [r for r in self._system.records("access", **fields) if id(r) not in self._old]

    def __call__(self, **fields):
        """Waits for a record with these fields."""
        def found():
            return self.all(**fields)
        try:
            return daemons.wait_until(found, timeout=10)[0]
        except AssertionError:
            raise AssertionError(f"no record {fields} among {self.all()}") from None

    def settle(self):
        """Waits until our daemons hold nothing: then every record has been written."""
        daemons.wait_until(lambda: not any(self._system.counts().values()),
                           "the end of all associations")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows the logs of its daemons."""
    outcome = yield
    report = outcome.get_result()
    used = getattr(item, "funcargs", {})
    for access in (used.get("access"), getattr(used.get("lab"), "access", None)):
        if report.failed and access:
            report.sections += [(f"log of {name}", text) for name, text in access.logs()]


# ------------------------------------------------------------------------------------ on loopback

@pytest.fixture(scope="session")
def names():
    """A name server that only our daemons ask: who gets there by name had it resolved by the proxy."""
    server = fakedns.FakeDNS({"web.interop.test": ["127.0.0.1"]})
    yield server
    server.close()


@pytest.fixture(scope="session")
def proxy(names):
    """May reach loopback's two addresses, 127.0.0.1 and ::1, and nothing else."""
    proxy = Proxy("127.0.0.1", server={"resolver": {"servers": [names.address]}},
                  rules=[{"allow": {"to": ["127.0.0.1", "::1"]}}, {"allow": {"commands": ["bind"]}}])
    yield proxy
    proxy.close()


@pytest.fixture
def access(proxy):
    """access(destination=..., version=...) waits for the record of an association of this test."""
    access = Access(proxy)
    yield access
    access.settle()


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """What the far ends serve."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "index.html").write_bytes(PAGE)
    (directory / "blob").write_bytes(targets.pattern(4 << 20))
    return directory


@pytest.fixture(scope="session")
def web(files):
    server = clients.Web(files)
    yield server
    server.close()


@pytest.fixture(scope="session")
def web6(files):
    try:
        server = clients.Web(files, "::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    yield server
    server.close()


@pytest.fixture
def sockets():
    kept = targets.Sockets()
    yield kept
    kept.close()


# ---------------------------------------------------------------------------------- on three hosts

class Lab:
    """Three hosts, of which only the middle one sees both others.

          client                        proxy                         server
        10.98.1.2 ------------ 10.98.1.1     10.98.2.1 ------------ 10.98.2.2
        fd98:1::2              fd98:1::1     fd98:2::1              fd98:2::2
    """

    server_ip, server_ip6, outer_ip = "10.98.2.2", "fd98:2::2", "10.98.2.1"
    no_route, no_host = "203.0.113.1", "10.98.9.9"

    def __init__(self, files):
        self._kept = []
        self.client, self.middle, self.server = [self._keep(netns.NetNS()) for _ in range(3)]
        self._join(1, self.client)
        self._join(2, self.server)
        self.middle.ip(f"route add unreachable {self.no_host}")
        self.proxy = self._keep(Proxy("10.98.1.1", prefix=self.middle.prefix, rules=[
            {"allow": {"to": ["10.98.2.0/24", "fd98:2::/64", self.no_route, self.no_host]}}]))
        self.web = self._keep(self.server.run(lambda: clients.Web(files, self.server_ip)))
        self.web6 = self._keep(self.server.run(lambda: clients.Web(files, self.server_ip6)))

    def _keep(self, thing):
        self._kept.append(thing)
        return thing

    def _join(self, net, host):
        host.ip(f"link add net{net} type veth peer name net{net} netns {self.middle.path}")
        for end, number in ((host, 2), (self.middle, 1)):
            end.ip(f"address add 10.98.{net}.{number}/24 dev net{net}")
            end.ip(f"address add fd98:{net}::{number}/64 dev net{net} nodad")
            end.ip(f"link set net{net} up")

    def run(self, *command, **options):
        """A client, on the client's host."""
        return clients.run(*command, prefix=self.client.prefix, **options)

    def connect(self, address):
        """From the server's host."""
        return self.server.run(lambda: socket.create_connection(address, 10))

    def close(self):
        while self._kept:
            self._kept.pop().close()


@pytest.fixture(scope="session")
def lab_hosts(files):
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    lab = Lab(files)
    yield lab
    lab.close()


@pytest.fixture
def lab(lab_hosts):
    """Three hosts; lab.access is for its own proxy what `access` is for the one on loopback."""
    lab_hosts.access = Access(lab_hosts.proxy)
    yield lab_hosts
    lab_hosts.access.settle()

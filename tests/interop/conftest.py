"""Other people's SOCKS clients against our daemons.

Several clients go direct without a word when they find a reason to, so a test believes none of
them: it asks `access` for our own record of the association. In the `lab` there is no other way.

Each client has a file; its tests are skipped where the client is not installed. tests/packages
lists the Debian packages, tests/interop/setup fetches the rest.
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))

import daemons                                                      # noqa: E402
import fakedns                                                      # noqa: E402
import hosts                                                        # noqa: E402
import netns                                                        # noqa: E402
import targets                                                      # noqa: E402


class Access:
    """What our daemons wrote during one test."""

    def __init__(self, proxy):
        self._system = proxy.system
        self._old = {id(record) for record in self._system.records()}
        self._text = {name: len(text) for name, text in self._system.logs()}

    def logs(self):
        """(name, text) of each daemon."""
        return [(name, text[self._text.get(name, 0):]) for name, text in self._system.logs()]

    def all(self, event="access", **fields):
        return [r for r in self._system.records(event, **fields) if id(r) not in self._old]

    def __call__(self, event="access", **fields):
        """Waits for a record with these fields."""
        try:
            return daemons.wait_until(lambda: self.all(event, **fields), timeout=10)[0]
        except AssertionError:
            raise AssertionError(f"no record {event} {fields} among {self.all(None)}") from None

    def settle(self):
        """Waits until our daemons hold nothing: then every record has been written."""
        daemons.wait_until(lambda: not any(self._system.counts().values()),
                           "the end of all associations")


class UdpAccess(Access):
    """The same for UDP ASSOCIATE, whose record comes when the client has closed its connection."""

    def __call__(self, up=1, down=1, **fields):
        """Waits for the record of an association that passed at least so many octets."""
        def enough(record):
            return int(record["octets_up"]) >= up and int(record["octets_down"]) >= down
        wanted = fields | {"command": "udp-associate", "version": "socks5"}
        try:
            return daemons.wait_until(lambda: list(filter(enough, self.all(**wanted))),
                                      timeout=10)[0]
        except AssertionError:
            raise AssertionError(f"no record {wanted} of {up} octets up and {down} down among "
                                 f"{self.all(None)}") from None


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    """A failed test shows the logs of its daemons."""
    outcome = yield
    report = outcome.get_result()
    used = getattr(item, "funcargs", {})
    for access in (used.get("access"), used.get("udp_access"), used.get("udp_access6"),
                   getattr(used.get("lab"), "access", None),
                   getattr(used.get("udp_lab"), "udp_access", None)):
        if report.failed and access:
            report.sections += [(f"log of {name}", text) for name, text in access.logs()]


# ------------------------------------------------------------------------------------ on loopback

@pytest.fixture(scope="session")
def names():
    """A name server that only our daemons ask: who comes by name had it resolved by the proxy."""
    server = fakedns.FakeDNS({"web.interop.test": ["127.0.0.1"]})
    yield server
    server.close()


@pytest.fixture(scope="session")
def proxy(names):
    """May reach loopback's two addresses, 127.0.0.1 and ::1, and nothing else."""
    proxy = hosts.Proxy("127.0.0.1", server={"resolver": {"servers": [names.address]}},
                        rules=[{"allow": {"to": ["127.0.0.1", "::1"]}},
                               {"allow": {"commands": ["bind"]}}])
    yield proxy
    proxy.close()


@pytest.fixture
def access(proxy):
    """access(destination=..., version=...) waits for the record of an association of this test."""
    access = Access(proxy)
    yield access
    access.settle()


def udp_proxy_at(host, names, directory):
    """As `proxy`, for UDP ASSOCIATE."""
    return hosts.UdpProxy(host, directory, relay={"resolver": {"servers": [names.address]}},
                          rules=[{"allow": {"commands": ["udp-associate"],
                                            "to": ["127.0.0.1", "::1"]}}])


@pytest.fixture(scope="session")
def udp_proxy(names, tmp_path_factory):
    proxy = udp_proxy_at("127.0.0.1", names, tmp_path_factory.mktemp("udp"))
    yield proxy
    proxy.close()


@pytest.fixture
def udp_access(udp_proxy):
    """udp_access(up=..., down=..., user=...) waits for such a record of this test."""
    access = UdpAccess(udp_proxy)
    yield access
    access.settle()


@pytest.fixture(scope="session")
def udp_proxy6(udp_echo6, names, tmp_path_factory):
    """The same for clients that come by IPv6."""
    proxy = udp_proxy_at("::1", names, tmp_path_factory.mktemp("udp6"))
    yield proxy
    proxy.close()


@pytest.fixture
def udp_access6(udp_proxy6):
    access = UdpAccess(udp_proxy6)
    yield access
    access.settle()


@pytest.fixture(scope="session")
def udp_echo():
    echo = hosts.UdpEcho()
    yield echo
    echo.close()


@pytest.fixture(scope="session")
def udp_echo6():
    try:
        echo = hosts.UdpEcho("::1")
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    yield echo
    echo.close()


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """What the far ends serve."""
    directory = tmp_path_factory.mktemp("files")
    (directory / "index.html").write_bytes(hosts.PAGE)
    (directory / "blob").write_bytes(targets.pattern(4 << 20))
    return directory


@pytest.fixture(scope="session")
def web(files):
    server = hosts.Web(files)
    yield server
    server.close()


@pytest.fixture(scope="session")
def web6(files):
    try:
        server = hosts.Web(files, "::1")
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

@pytest.fixture(scope="session")
def lab_hosts(files):
    reason = netns.why_not()
    if reason:
        pytest.skip(reason)
    lab = hosts.Lab(files)
    yield lab
    lab.close()


@pytest.fixture
def lab(lab_hosts):
    """Three hosts; lab.access is for its own proxy what `access` is for the one on loopback."""
    lab_hosts.access = Access(lab_hosts.proxy)
    yield lab_hosts
    lab_hosts.access.settle()


@pytest.fixture(scope="session")
def udp_lab_proxy(lab_hosts, tmp_path_factory):
    """On the middle host, for UDP ASSOCIATE."""
    proxy = hosts.UdpProxy(lab_hosts.proxy_ip, tmp_path_factory.mktemp("udp-lab"),
                           prefix=lab_hosts.middle.prefix,
                           rules=[{"allow": {"commands": ["udp-associate"],
                                             "to": ["10.98.2.0/24", "fd98:2::/64"]}}])
    yield proxy
    proxy.close()


@pytest.fixture
def udp_lab(lab_hosts, udp_lab_proxy):
    """The three hosts, with lab.udp_proxy, lab.udp_access, and lab.udp_echo on the server's."""
    lab_hosts.udp_proxy = udp_lab_proxy
    lab_hosts.udp_access = UdpAccess(udp_lab_proxy)
    lab_hosts.udp_echo = lab_hosts.server.run(lambda: hosts.UdpEcho(lab_hosts.server_ip))
    yield lab_hosts
    lab_hosts.udp_echo.close()
    lab_hosts.udp_access.settle()

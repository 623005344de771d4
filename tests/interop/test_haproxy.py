"""HAProxy in front of us: its PROXY protocol, versions 1 and 2, and its health checks."""

import csv
import os
import socket
import subprocess

import pytest

import clients
import daemons
import socks
from hosts import PAGE

pytestmark = clients.needs("haproxy", "haproxy")

# Each way to say who the client is, and the outcome that we count.
WAYS = {"v1": ("send-proxy", "v1"), "v2": ("send-proxy-v2", "v2"),
        "checked": ("send-proxy-v2 proxy-v2-options crc32c", "v2"),
        "tagged": ("send-proxy-v2 proxy-v2-options unique-id,crc32c", "v2")}

CONFIG = """
global
    maxconn 100
    stats socket {directory}/stats mode 600
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
    unique-id-format %{{+X}}o\\ %ci:%cp
"""

# What a server must answer to be up: SOCKS 5, no authentication, behind a header that names nobody.
CHECKED = """
backend checked
    option tcp-check
    tcp-check connect send-proxy
    tcp-check send-binary 050100
    tcp-check expect binary 0500
    server socksd {address} check inter 100ms send-proxy-v2
"""


class HAProxy:
    """A frontend, on loopback's two addresses, for each way."""

    def __init__(self, directory, address, backends=""):
        text, self._listeners, self.ports = CONFIG.format(directory=directory), [], {}
        for number, (way, (words, _)) in enumerate(WAYS.items()):
            text += f"listen way{number}\n"
            for host in ("127.0.0.1", "::1"):
                listener = self._listener(host)
                self.ports[way, host] = listener.getsockname()[1]
                text += f"    bind fd@{listener.fileno()}\n"
            text += f"    server socksd {address} {words}\n"
        self._directory = directory
        path = directory / "haproxy.cfg"
        path.write_text(text + backends)
        self._process = subprocess.Popen(
            [clients.program("haproxy"), "-db", "-f", path], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=clients.environment(),
            pass_fds=[listener.fileno() for listener in self._listeners])

    def _listener(self, host):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, 0), family=family)
        self._listeners.append(listener)
        return listener

    def says(self, command):
        """Its answer on its own control socket."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(clients.PATIENCE)
            sock.connect(str(self._directory / "stats"))
            sock.sendall(command.encode() + b"\n")
            return socks.read_all(sock).decode()

    def close(self):
        self._process.kill()
        self._process.wait()
        for listener in self._listeners:
            listener.close()


class Behind:
    """A system of ours whose only clients come through HAProxy."""

    def __init__(self, directory, backends="", rules=None):
        self.system = daemons.System(
            listeners=[{"listen": "127.0.0.1:0", "insecure": True, "proxy-protocol": {"from": ["127.0.0.1"]}}],
            rules=rules or [{"allow": {"to": ["127.0.0.1", "::1"]}}])
        address = "%s:%d" % self.system.address
        try:
            self.haproxy = HAProxy(directory, address, backends.format(address=address))
        except BaseException:
            self.system.close()
            raise

    def close(self):
        self.haproxy.close()
        try:
            self.system.close()
        finally:
            self.system.remove()


@pytest.fixture(scope="module")
def behind(tmp_path_factory):
    behind = Behind(tmp_path_factory.mktemp("haproxy"))
    yield behind
    behind.close()


def outcome(system, word):
    return system.server.metric('socksd_proxy_headers_total{outcome="%s"}' % word)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("way", WAYS)
def test_the_client_is_the_one_that_came_to_haproxy(behind, sockets, way, host):
    if host == "::1" and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6 here")
    system, echo, counted = behind.system, sockets.echo(), WAYS[way][1]
    before = outcome(system, counted)
    client, reply = socks.open5((host, behind.haproxy.ports[way, host]), socks.CONNECT, *echo.address)
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED
    client.sendall(b"hello")
    assert socks.read_exactly(client, 5) == b"hello"
    text = "[%s]:%d" if ":" in host else "%s:%d"
    address = text % client.getsockname()[:2]
    client.close()
    record = system.access(client=address)
    assert record["via"].startswith("127.0.0.1:") and record["octets_down"] == "5"
    assert outcome(system, counted) == before + 1


@pytest.mark.parametrize("way", WAYS)
def test_curl_through_haproxy_gets_its_page(behind, web, way):
    proxy = "socks5h://127.0.0.1:%d" % behind.haproxy.ports[way, "127.0.0.1"]
    done = clients.run("curl", "-sS", "-x", proxy, web.url())
    assert clients.checked(done) == PAGE


def test_rules_tell_clients_of_haproxy_apart(tmp_path, sockets):
    behind = Behind(tmp_path, rules=[{"allow": {"from": ["::1"], "to": ["127.0.0.0/8"]}}])
    try:
        echo = sockets.echo()
        for host, code in (("127.0.0.1", socks.DENIED), ("::1", socks.SUCCEEDED)):
            address = (host, behind.haproxy.ports["v2", host])
            client, reply = socks.open5(address, socks.CONNECT, *echo.address)
            sockets.keep(client).close()
            assert reply.code == code, host
    finally:
        behind.close()


def test_a_health_check_of_haproxy_is_answered(tmp_path):
    """It comes from HAProxy itself: the header says LOCAL."""
    behind = Behind(tmp_path, CHECKED)
    try:
        daemons.wait_until(lambda: outcome(behind.system, "local") >= 3, "health checks")
        up, = csv.DictReader(line for line in behind.haproxy.says("show stat").splitlines()
                             if line.startswith(("# pxname", "checked,socksd")))
        assert (up["status"], up["check_status"]) == ("UP", "L7OK")
        assert not behind.system.records("handshake_failed")
    finally:
        behind.close()

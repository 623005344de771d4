"""OpenVPN by --socks-proxy: a tunnel whose datagrams go through UDP ASSOCIATE."""

import os
import subprocess
import threading

import pytest

import clients
import hosts
import targets

pytestmark = [clients.needs("openvpn", "openvpn"), clients.needs("openssl", "openssl"),
              clients.needs("curl", "curl"),
              pytest.mark.skipif(not os.path.exists("/dev/net/tun"), reason="no /dev/net/tun here")]

PORT = 1194
SERVER, CLIENT = "10.99.0.1", "10.99.0.2"       # in the tunnel
CONTENT = targets.pattern(1 << 20)


@pytest.fixture(scope="session")
def identities(tmp_path_factory):
    """{name: (certificate, key, the fingerprint by which the other side knows it)}"""
    directory = tmp_path_factory.mktemp("openvpn")
    found = {}
    for name in ("server", "client"):
        certificate, key = clients.certificate(directory, name)
        text = clients.checked(clients.run("openssl", "x509", "-in", certificate, "-noout",
                                           "-fingerprint", "-sha256"))
        found[name] = certificate, key, text.decode().strip().partition("=")[2]
    return found


class End:
    """One end of a tunnel."""

    def __init__(self, identities, name, peer, prefix, *words):
        certificate, key, _ = identities[name]
        words = ["--dev", "tun", "--proto", "udp4", "--suppress-timestamps",
                 "--connect-retry-max", "1", "--cert", certificate, "--key", key,
                 "--peer-fingerprint", identities[peer][2], *words]
        path = os.pathsep.join([os.environ.get("PATH", ""), *clients.SBIN])
        self._process = subprocess.Popen(
            [*prefix, clients.program("openvpn"), *[str(word) for word in words]],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            env=clients.environment({"PATH": path}))
        self._end = threading.Timer(clients.PATIENCE, self._process.kill)
        self._end.start()
        self._said = []

    def wait(self, text):
        """Until it says this."""
        for line in self._process.stdout:
            self._said.append(line)
            if text in line:
                return
        raise AssertionError(f"openvpn ended without {text!r}: {''.join(self._said)}")

    def close(self):
        """Once more is harmless."""
        if not self._process.stdout.closed:
            self._process.terminate()
            self._process.communicate()
            self._end.cancel()


@pytest.fixture
def tunnel(udp_lab, identities):
    """tunnel(words) is up when it returns the client's end, to which the words are given."""
    ends = []

    def start(name, peer, host, *words):
        ends.append(End(identities, name, peer, host.prefix, *words))
        return ends[-1]

    def make(*words):
        start("server", "client", udp_lab.server, "--tls-server", "--dh", "none", "--lport", PORT,
              "--local", udp_lab.server_ip, "--ifconfig", SERVER, CLIENT).wait("UDPv4 link remote")
        client = start("client", "server", udp_lab.client, "--tls-client", "--nobind", "--remote",
                       udp_lab.server_ip, PORT, "--ifconfig", CLIENT, SERVER, *words)
        client.wait("Initialization Sequence Completed")
        return client
    yield make
    for end in ends:
        end.close()


@pytest.fixture
def far_web(udp_lab, tmp_path):
    """Serves CONTENT on the server's host, wherever that is reached."""
    (tmp_path / "blob").write_bytes(CONTENT)
    web = udp_lab.server.run(lambda: hosts.Web(tmp_path, "0.0.0.0"))
    yield web
    web.close()


@pytest.mark.parametrize("auth", [False, True])
def test_openvpn_carries_a_download_through_udp_associate(udp_lab, tunnel, far_web, tmp_path, auth):
    proxy = udp_lab.udp_proxy
    words = ["--socks-proxy", proxy.host, proxy.port]
    if auth:
        (tmp_path / "password").write_text(f"{proxy.user}\n{proxy.password}\n")
        words = ["--socks-proxy", proxy.host, proxy.auth_port, tmp_path / "password"]
    client = tunnel(*words)
    done = udp_lab.run("curl", "-sS", "--retry", "3", far_web.url("blob", SERVER))
    assert clients.checked(done) == CONTENT
    client.close()
    udp_lab.udp_access(up=1, down=len(CONTENT), **{"user": proxy.user} if auth else {})

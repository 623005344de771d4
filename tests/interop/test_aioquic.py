"""QUIC by aioquic, through UDP ASSOCIATE."""

import pathlib

import pytest

import clients
import targets

PYTHON = clients.python_with("aioquic")
SCRIPT = pathlib.Path(__file__).with_name("quic_peer.py").read_text()
CONTENT = targets.pattern(500000)

pytestmark = [clients.needs("openssl", "openssl"),
              pytest.mark.skipif(PYTHON is None, reason="aioquic is no package of Debian 12 and "
                                 "not there: run tests/interop/setup build")]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Of a host that calls itself `server`."""
    return clients.certificate(tmp_path_factory.mktemp("quic"), "server", "-addext",
                               "subjectAltName=DNS:server")


@pytest.fixture
def server(udp_lab, certificate, tmp_path):
    """On the server's host: its port."""
    (tmp_path / "content").write_bytes(CONTENT)
    words = [*PYTHON, SCRIPT, "serve", udp_lab.server_ip, *certificate, tmp_path / "content"]
    with clients.Conversation(*words, prefix=udp_lab.server.prefix) as peer:
        word, port = peer.line().split()
        assert word == "ready"
        yield port
        peer.finish()


@pytest.mark.parametrize("auth", [False, True])
def test_aioquic_fetches_through_udp_associate(udp_lab, certificate, server, auth):
    proxy = udp_lab.udp_proxy
    words = [proxy.host, proxy.port]
    if auth:
        words = [proxy.host, proxy.auth_port, proxy.user, proxy.password]
    done = udp_lab.run(*PYTHON, SCRIPT, "fetch", udp_lab.server_ip, server, certificate[0], *words)
    assert clients.checked(done) == CONTENT
    udp_lab.udp_access(up=1, down=len(CONTENT), **{"user": proxy.user} if auth else {})

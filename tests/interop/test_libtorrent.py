"""libtorrent: its peers' uTP through UDP ASSOCIATE. TCP is switched off at both."""

import json
import pathlib

import pytest

import clients
import targets

pytestmark = clients.needs_python("libtorrent", "python3-libtorrent")

SCRIPT = pathlib.Path(__file__).with_name("libtorrent_peer.py").read_text()
CONTENT = targets.pattern(300000)
SOCKS5, SOCKS5_WITH_PASSWORD = 2, 3             # libtorrent's proxy_type


@pytest.fixture
def seed(udp_lab, tmp_path):
    """On the server's host: (torrent, port)."""
    (tmp_path / "seed").mkdir()
    (tmp_path / "seed" / "blob").write_bytes(CONTENT)
    words = clients.python_words(SCRIPT, "seed", tmp_path / "seed" / "blob", udp_lab.server_ip)
    with clients.Conversation(*words, prefix=udp_lab.server.prefix) as peer:
        word, torrent, port = peer.line().split()
        assert word == "ready"
        yield torrent, port
        peer.finish()


@pytest.mark.parametrize("auth", [False, True])
def test_libtorrent_fetches_by_utp_through_udp_associate(udp_lab, seed, tmp_path, auth):
    proxy = udp_lab.udp_proxy
    torrent, port = seed
    settings = {"proxy_type": SOCKS5, "proxy_hostname": proxy.host, "proxy_port": proxy.port,
                "proxy_peer_connections": True}
    if auth:
        settings |= {"proxy_type": SOCKS5_WITH_PASSWORD, "proxy_port": proxy.auth_port,
                     "proxy_username": proxy.user, "proxy_password": proxy.password}
    clients.checked(clients.python(SCRIPT, "fetch", torrent, tmp_path, udp_lab.client_ip,
                                   udp_lab.server_ip, port, json.dumps(settings),
                                   prefix=udp_lab.client.prefix))
    assert (tmp_path / "blob").read_bytes() == CONTENT
    udp_lab.udp_access(up=1, down=len(CONTENT), **{"user": proxy.user} if auth else {})

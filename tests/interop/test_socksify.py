"""Dante's socksify around curl: CONNECT, and BIND for the data connections of active FTP."""

import pytest

import clients
import hosts
import targets
from hosts import PAGE

pytestmark = [clients.needs("socksify", "dante-client"), clients.needs("curl", "curl")]


@pytest.fixture
def socksify(tmp_path):
    """socksify(proxy, version, words): a command, and the environment that it needs."""
    def make(proxy, version, *words, auth=False):
        # Without LANROUTES=no, Dante takes loopback and our own networks for near, and goes direct.
        path = tmp_path / "socks.conf"
        path.write_text(f"""
route {{
    from: 0.0.0.0/0 to: 0.0.0.0/0 via: {proxy.host} port = {proxy.auth_port if auth else proxy.port}
    proxyprotocol: socks_v{version}
    command: connect bind
    method: {"username" if auth else "none"}
}}
""")
        env = {"SOCKS_CONF": str(path), "SOCKS_AUTOADD_LANROUTES": "no"}
        if auth:
            env |= {"SOCKS_USERNAME": proxy.user, "SOCKS_PASSWORD": proxy.password}
        return ["socksify", "curl", "-sS", *words], env
    return make


@pytest.fixture
def ftp(tmp_path):
    pytest.importorskip("pyftpdlib", reason="Python's pyftpdlib is not installed "
                                            "(Debian package python3-pyftpdlib)")
    servers = []

    def start(*words, **options):
        directory = tmp_path / "ftp"
        directory.mkdir()
        servers.append(hosts.FtpServer(directory, *words, **options))
        return servers[0]
    yield start
    for server in servers:
        server.close()


# More than sockets hold. When the server can say that it has sent everything before curl has its
# data connection, curl fails: "weird server reply". A proxy makes that likelier.
LARGE = 16 << 20

MODES = pytest.mark.parametrize("version, auth", [(4, False), (5, False), (5, True)])


@MODES
def test_socksify_reaches_an_address(proxy, web, access, socksify, version, auth):
    command, env = socksify(proxy, version, web.url(), auth=auth)
    assert clients.checked(clients.run(*command, env=env)) == PAGE
    access(destination=web.destination(), version=f"socks{version}")


def assert_active_ftp(access, version, server, bound_ip):
    """One control connection by CONNECT, and one for data by BIND that the server came to."""
    host, port = server.address
    access(command="connect", version=f"socks{version}", destination=f"{host}:{port}")
    record = access(command="bind", version=f"socks{version}")
    assert record["destination"].startswith(f"{host}:")
    assert record["target"].startswith(f"{host}:") and record["bound"].startswith(f"{bound_ip}:")
    return int(record["octets_up"]), int(record["octets_down"])


@MODES
def test_socksify_fetches_by_active_ftp(proxy, access, socksify, ftp, version, auth):
    server = ftp()
    octets = targets.pattern(LARGE)
    (server.directory / "file").write_bytes(octets)
    command, env = socksify(proxy, version, "--ftp-port", "-", server.url("file"), auth=auth)
    assert clients.checked(clients.run(*command, env=env)) == octets
    assert assert_active_ftp(access, version, server, "127.0.0.1") == (0, len(octets))


@pytest.mark.parametrize("version", [4, 5])
def test_socksify_stores_by_active_ftp(proxy, access, socksify, ftp, version):
    server = ftp()
    octets = targets.pattern(LARGE)
    command, env = socksify(proxy, version, "--ftp-port", "-", "-T", "-", server.url("file"))
    clients.checked(clients.run(*command, env=env, input=octets))
    assert (server.directory / "file").read_bytes() == octets
    assert assert_active_ftp(access, version, server, "127.0.0.1") == (len(octets), 0)


@pytest.mark.parametrize("version", [4, 5])
def test_socksify_fetches_by_active_ftp_over_three_hosts(lab, socksify, ftp, version):
    # At its usual port: with SOCKS 4, Dante's BIND names it, and 21 is none that a relay will take.
    server = ftp(lab.server_ip, 21, prefix=lab.server.prefix)
    octets = targets.pattern(LARGE)
    (server.directory / "file").write_bytes(octets)
    command, env = socksify(lab.proxy, version, "--ftp-port", "-", server.url("file"))
    assert clients.checked(lab.run(*command, env=env)) == octets
    assert assert_active_ftp(lab.access, version, server, lab.outer_ip) == (0, len(octets))

"""Dante's socksify: CONNECT around curl, BIND for the data connections of its active FTP, and UDP
ASSOCIATE around netcat and socat."""

import pytest

import clients
import hosts
import targets
from hosts import PAGE

pytestmark = [clients.needs("socksify", "dante-client"), clients.needs("curl", "curl")]
needs_nc = clients.needs("nc", "netcat-openbsd")
needs_socat = clients.needs("socat", "socat")


@pytest.fixture
def socksify(tmp_path):
    """socksify(proxy, version, words): curl with them, and the environment that it needs.

    socksify.around(proxy, version, words): the same for any command.
    """
    def around(proxy, version, *words, auth=False):
        # Without LANROUTES=no, Dante takes loopback and our own networks for near, and goes direct.
        path = tmp_path / "socks.conf"
        # "." is all names: the proxy resolves them, the client gets an address that stands for one.
        path.write_text("resolveprotocol: fake\n" + "".join(f"""
route {{
    from: 0.0.0.0/0 to: {to} via: {proxy.host} port = {proxy.auth_port if auth else proxy.port}
    proxyprotocol: socks_v{version}
    command: connect bind{" udpassociate" if version == 5 else ""}
    method: {"username" if auth else "none"}
}}
""" for to in ("0.0.0.0/0", ".")))
        env = {"SOCKS_CONF": str(path), "SOCKS_AUTOADD_LANROUTES": "no"}
        if auth:
            env |= {"SOCKS_USERNAME": proxy.user, "SOCKS_PASSWORD": proxy.password}
        return ["socksify", *words], env

    def make(proxy, version, *words, auth=False):
        return around(proxy, version, "curl", "-sS", *words, auth=auth)

    make.around = around
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


def assert_echoed(command, env, prefix=()):
    """The client sends what it reads, each line as a datagram, and prints what comes back."""
    with clients.Conversation(*command, env=env, prefix=prefix) as client:
        for octets in (b"one\n", b"two" * 400 + b"\n", b"three\n"):
            assert client.exchange(octets) == octets
        assert client.finish() == b""
    return len(b"one\n" + b"two" * 400 + b"\n" + b"three\n")


@needs_nc
@pytest.mark.parametrize("auth", [False, True])
def test_socksify_takes_netcat_through_udp_associate(udp_proxy, udp_echo, udp_access, socksify,
                                                     auth):
    words = ["nc", "-u", "-q", "0", *udp_echo.address]
    count = assert_echoed(*socksify.around(udp_proxy, 5, *words, auth=auth))
    udp_access(up=count, down=count, **{"user": udp_proxy.user} if auth else {})


# By connect and send, and by sendto.
@needs_socat
@pytest.mark.parametrize("kind", ["UDP4", "UDP4-DATAGRAM"])
def test_socksify_takes_socat_through_udp_associate(udp_proxy, udp_echo, udp_access, socksify,
                                                    kind):
    words = ["socat", "-t", "0.1", "-", f"{kind}:{udp_echo.host}:{udp_echo.port}"]
    count = assert_echoed(*socksify.around(udp_proxy, 5, *words))
    udp_access(up=count, down=count)


@needs_socat
def test_socksify_takes_socat_to_a_name_that_only_the_proxy_knows(udp_proxy, udp_echo, udp_access,
                                                                  socksify):
    words = ["socat", "-t", "0.1", "-", f"UDP4:web.interop.test:{udp_echo.port}"]
    count = assert_echoed(*socksify.around(udp_proxy, 5, *words))
    udp_access(up=count, down=count)


@needs_nc
def test_socksify_takes_netcat_to_another_host_through_udp_associate(udp_lab, socksify):
    echo = udp_lab.udp_echo
    command, env = socksify.around(udp_lab.udp_proxy, 5, "nc", "-u", "-q", "0", *echo.address)
    count = assert_echoed(command, env, prefix=udp_lab.client.prefix)
    assert echo.sources == {udp_lab.outer_ip}
    udp_lab.udp_access(up=count, down=count)

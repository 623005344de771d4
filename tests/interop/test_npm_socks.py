"""npm's `socks`, the library below most proxy agents of Node.js: CONNECT, BIND, UDP ASSOCIATE."""

import json
import pathlib
import socket

import pytest

import clients
from hosts import PAGE

MODULES = clients.node_modules()
SCRIPT = pathlib.Path(__file__).with_name("npm_socks.js")

pytestmark = [clients.needs("node", "nodejs"),
              pytest.mark.skipif(MODULES is None, reason="npm's socks is not installed: run "
                                                         "tests/interop/setup build")]


def command(what, proxy, version, host, port, auth=False):
    words = {"host": proxy.host, "port": proxy.auth_port if auth else proxy.port, "type": version}
    if auth:
        words |= {"userId": proxy.user, "password": proxy.password}
    return ["node", SCRIPT, what, json.dumps(words), host, port]


ENVIRONMENT = {"NODE_PATH": str(MODULES)}


DATAGRAMS, SENT = 4, 1 + 1400 + 65000       # what `associate` sends


def run(*words, **options):
    return clients.run(*command(*words, **options), env=ENVIRONMENT)


def fetch(*words, **options):
    return run("connect", *words, **options)


def exchange(*words, **options):
    return run("associate", *words, **options)


def answered(done):
    return clients.addresses(clients.checked(done))


def bind(*words, prefix=(), **options):
    return clients.BindClient(*command("bind", *words, **options), env=ENVIRONMENT, prefix=prefix)


@pytest.mark.parametrize("version", [4, 5])
def test_npm_socks_reaches_an_address(proxy, web, access, version):
    assert clients.checked(fetch(proxy, version, web.host, web.port)).endswith(PAGE)
    access(destination=web.destination(), version=f"socks{version}")


@pytest.mark.parametrize("version", [4, 5])
def test_npm_socks_reaches_a_name_that_only_the_proxy_knows(proxy, web, access, version):
    assert clients.checked(fetch(proxy, version, "web.interop.test", web.port)).endswith(PAGE)
    access(destination=web.destination("web.interop.test"), version=f"socks{version}")


def test_npm_socks_reaches_an_ipv6_address(proxy, web6, access):
    assert clients.checked(fetch(proxy, 5, web6.host, web6.port)).endswith(PAGE)
    access(destination=web6.destination(), version="socks5")


def test_npm_socks_with_user_and_password_is_let_in(proxy, web, access):
    assert clients.checked(fetch(proxy, 5, web.host, web.port, auth=True)).endswith(PAGE)
    access(destination=web.destination(), user=proxy.user)


@pytest.mark.parametrize("version, text", [(4, b"(Failed)"), (5, b"ConnectionRefused")])
def test_npm_socks_says_that_a_closed_port_refused(proxy, sockets, access, version, text):
    host, port = sockets.closed_port()
    done = fetch(proxy, version, host, port)
    assert done.returncode == 1 and text in done.stderr, done
    access(destination=f"{host}:{port}", reply="refused")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("version, auth", [(4, False), (5, False), (5, True)])
def test_npm_socks_binds_and_a_peer_comes(proxy, access, version, auth, host):
    with bind(proxy, version, host, 0, auth=auth) as client:
        bound = client.address("bound")
        assert bound[0] == "127.0.0.1"
        with socket.create_connection(bound, 10) as peer:
            here = clients.converse(client, peer)
    record = access(command="bind", version=f"socks{version}", destination=f"{host}:0")
    assert record["target"] == "%s:%d" % here and record["bound"] == "%s:%d" % bound
    assert (record["octets_up"], record["octets_down"]) == ("5", "5")


@pytest.mark.parametrize("version", [4, 5])
def test_npm_socks_binds_where_its_peer_can_come_to(lab, version):
    with bind(lab.proxy, version, lab.server_ip, 0, prefix=lab.client.prefix) as client:
        bound = client.address("bound")
        assert bound[0] == lab.outer_ip
        with lab.connect(bound) as peer:
            clients.converse(client, peer)
    lab.access(command="bind", version=f"socks{version}", destination=f"{lab.server_ip}:0")


def test_npm_socks_exchanges_datagrams_with_an_address(udp_proxy, udp_echo, udp_access):
    done = exchange(udp_proxy, 5, udp_echo.host, udp_echo.port)
    assert answered(done) == [udp_echo.address] * DATAGRAMS
    udp_access(up=SENT, down=SENT)


def test_npm_socks_exchanges_datagrams_with_a_name_that_only_the_proxy_knows(udp_proxy, udp_echo,
                                                                             udp_access):
    done = exchange(udp_proxy, 5, "web.interop.test", udp_echo.port)
    assert answered(done) == [udp_echo.address] * DATAGRAMS
    udp_access(up=SENT, down=SENT)


def test_npm_socks_exchanges_datagrams_with_an_ipv6_address(udp_proxy, udp_echo6, udp_access):
    done = exchange(udp_proxy, 5, udp_echo6.host, udp_echo6.port)
    assert answered(done) == [udp_echo6.address] * DATAGRAMS
    udp_access(up=SENT, down=SENT)


@pytest.mark.parametrize("family", [4, 6])
def test_npm_socks_exchanges_datagrams_with_a_proxy_that_it_reaches_by_ipv6(
        udp_proxy6, udp_echo, udp_echo6, udp_access6, family):
    echo = udp_echo if family == 4 else udp_echo6
    done = exchange(udp_proxy6, 5, echo.host, echo.port)
    assert answered(done) == [echo.address] * DATAGRAMS
    assert udp_access6(up=SENT, down=SENT)["bound"].startswith("[::1]:")


def test_npm_socks_exchanges_datagrams_with_user_and_password(udp_proxy, udp_echo, udp_access):
    done = exchange(udp_proxy, 5, udp_echo.host, udp_echo.port, auth=True)
    assert answered(done) == [udp_echo.address] * DATAGRAMS
    udp_access(up=SENT, down=SENT, user=udp_proxy.user)

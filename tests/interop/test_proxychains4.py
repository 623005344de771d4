"""proxychains4 around curl: SOCKS 4 and 5, names, a password, and a chain of two of us."""

import pytest

import clients
from hosts import PAGE, Proxy

pytestmark = [clients.needs("proxychains4", "proxychains4"), clients.needs("curl", "curl")]


@pytest.fixture
def chain(tmp_path):
    """chain(url, proxies...): curl through them, each a line of proxychains' list."""
    def fetch(url, *proxies):
        path = tmp_path / "proxychains.conf"
        path.write_text("strict_chain\nproxy_dns\n[ProxyList]\n" + "\n".join(proxies) + "\n")
        return clients.run("proxychains4", "-q", "-f", path, "curl", "-sS", url)
    return fetch


@pytest.mark.parametrize("version", [4, 5])
def test_proxychains_reaches_an_address(proxy, web, access, chain, version):
    assert clients.checked(chain(web.url(), f"socks{version} {proxy.host} {proxy.port}")) == PAGE
    access(destination=web.destination(), version=f"socks{version}")


@pytest.mark.parametrize("version", [4, 5])
def test_proxychains_reaches_a_name_that_only_the_proxy_knows(proxy, web, access, chain, version):
    url = web.url(host="web.interop.test")
    assert clients.checked(chain(url, f"socks{version} {proxy.host} {proxy.port}")) == PAGE
    access(destination=web.destination("web.interop.test"), version=f"socks{version}")


def test_proxychains_with_user_and_password_is_let_in(proxy, web, access, chain):
    words = f"socks5 {proxy.host} {proxy.auth_port} {proxy.user} {proxy.password}"
    assert clients.checked(chain(web.url(), words)) == PAGE
    access(destination=web.destination(), user=proxy.user)


def test_proxychains_says_that_a_closed_port_refused(proxy, sockets, access, chain):
    host, port = sockets.closed_port()
    done = chain(f"http://{host}:{port}/", f"socks5 {proxy.host} {proxy.port}")
    assert done.returncode == 7, done           # CURLE_COULDNT_CONNECT
    access(destination=f"{host}:{port}", reply="refused")


def test_proxychains_goes_through_two_of_us(proxy, web, access, chain):
    second = Proxy("127.0.0.1")
    try:
        words = [f"socks5 {p.host} {p.port}" for p in (proxy, second)]
        assert clients.checked(chain(web.url(), *words)) == PAGE
        access(destination=second.address, version="socks5")
        second.system.access(destination=web.destination(), version="socks5")
    finally:
        second.close()

"""curl: CONNECT in every dialect, and what it tells its user when we refuse."""

import pytest

import clients
from hosts import PAGE

pytestmark = clients.needs("curl", "curl")

REFUSED, NOT_ALLOWED, NO_NAME, NO_NETWORK, NO_HOST = 5, 2, 4, 3, 4


def curl(scheme, proxy, url, *words, **options):
    return clients.run("curl", "-sS", "-x", f"{scheme}://{proxy}", *words, url, **options)


def assert_proxy_error(done, text):
    assert done.returncode == 97, done          # CURLE_PROXY
    assert text in done.stderr.decode(), done


@pytest.mark.parametrize("scheme, version", [("socks4", 4), ("socks4a", 4), ("socks5", 5),
                                             ("socks5h", 5)])
def test_curl_reaches_an_address(proxy, web, access, scheme, version):
    assert clients.checked(curl(scheme, proxy.address, web.url())) == PAGE
    record = access(destination=web.destination(), version=f"socks{version}", command="connect")
    assert int(record["octets_down"]) > len(PAGE)


@pytest.mark.parametrize("scheme, version", [("socks4a", 4), ("socks5h", 5)])
def test_curl_reaches_a_name_that_only_the_proxy_knows(proxy, web, access, scheme, version):
    assert clients.checked(curl(scheme, proxy.address, web.url(host="web.interop.test"))) == PAGE
    access(destination=web.destination("web.interop.test"), target=web.destination(),
           version=f"socks{version}")


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_curl_reaches_an_ipv6_address(proxy, web6, access, scheme):
    assert clients.checked(curl(scheme, proxy.address, web6.url())) == PAGE
    access(destination=web6.destination(), version="socks5")


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_curl_gets_a_large_file_whole(proxy, web, files, access, scheme):
    done = curl(scheme, proxy.address, web.url("blob"))
    assert clients.checked(done) == (files / "blob").read_bytes()
    record = access(destination=web.destination())
    assert int(record["octets_down"]) > 4 << 20


def test_curl_sends_a_user_id_with_socks4_and_we_log_it(proxy, web, access):
    assert clients.checked(curl("socks4", f"bob@{proxy.address}", web.url())) == PAGE
    record = access(destination=web.destination(), version="socks4")
    assert record["userid"] == "bob" and "user" not in record


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_curl_with_user_and_password_is_let_in(proxy, web, access, scheme):
    done = curl(scheme, proxy.auth_address, web.url(), "-U", f"{proxy.user}:{proxy.password}")
    assert clients.checked(done) == PAGE
    access(destination=web.destination(), user=proxy.user)


def test_curl_offers_a_password_where_none_is_asked_for(proxy, web, access):
    done = curl("socks5", proxy.address, web.url(), "-U", f"{proxy.user}:{proxy.password}")
    assert clients.checked(done) == PAGE
    assert "user" not in access(destination=web.destination())


@pytest.mark.parametrize("credentials", ["alice:wrong", "nobody:open-sesame", "alice:"])
def test_curl_with_a_wrong_password_says_that_it_was_rejected(proxy, web, access, credentials):
    done = curl("socks5", proxy.auth_address, web.url(), "-U", credentials)
    assert_proxy_error(done, "User was rejected by the SOCKS5 server (1 1)")
    access("auth_failed", user=credentials.partition(":")[0])
    assert not access.all()


def test_curl_without_a_password_says_that_no_method_was_acceptable(proxy, web, access):
    done = curl("socks5", proxy.auth_address, web.url())
    assert_proxy_error(done, "No authentication method was acceptable")
    access("handshake_failed", reason="no_acceptable_method", version="5")
    assert not access.all()


@pytest.mark.parametrize("scheme", ["socks4", "socks4a"])
def test_curl_is_rejected_with_socks4_where_a_password_is_asked_for(proxy, web, access, scheme):
    done = curl(scheme, proxy.auth_address, web.url())
    assert_proxy_error(done, "(91), request rejected or failed")
    access("handshake_failed", reason="dialect_disabled", version="4")
    assert not access.all()


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_curl_says_that_a_closed_port_refused(proxy, sockets, access, scheme):
    host, port = sockets.closed_port()
    done = curl(scheme, proxy.address, f"http://{host}:{port}/")
    assert_proxy_error(done, f"({REFUSED})" if scheme == "socks5" else "(91)")
    access(destination=f"{host}:{port}", reply="refused")


@pytest.mark.parametrize("scheme", ["socks4a", "socks5h"])
def test_curl_says_that_a_name_does_not_exist(proxy, access, scheme):
    done = curl(scheme, proxy.address, "http://nowhere.interop.test/")
    assert_proxy_error(done, f"({NO_NAME})" if scheme == "socks5h" else "(91)")
    access(destination="nowhere.interop.test:80", reply="name_not_found")


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
def test_curl_says_that_a_destination_is_not_allowed(proxy, access, scheme):
    done = curl(scheme, proxy.address, "http://127.0.0.2/")
    assert_proxy_error(done, f"({NOT_ALLOWED})" if scheme == "socks5" else "(91)")
    access(destination="127.0.0.2:80", reply="denied")


@pytest.mark.parametrize("family", [4, 6])
def test_curl_reaches_a_host_that_it_has_no_route_to(lab, family):
    if family == 6 and not lab.has_ipv6:
        pytest.skip("no IPv6 here")
    web = lab.web if family == 4 else lab.web6
    done = curl("socks5h", lab.proxy.address, web.url(), prefix=lab.client.prefix)
    assert clients.checked(done) == PAGE
    record = lab.access(destination=web.destination(), version="socks5")
    assert record["client"].startswith("10.98.1.2:")


@pytest.mark.parametrize("what, code, reply", [("no_route", NO_NETWORK, "network_unreachable"),
                                               ("no_host", NO_HOST, "host_unreachable")])
def test_curl_says_what_cannot_be_reached(lab, what, code, reply):
    ip = getattr(lab, what)
    done = curl("socks5", lab.proxy.address, f"http://{ip}/", prefix=lab.client.prefix)
    assert_proxy_error(done, f"({code})")
    lab.access(destination=f"{ip}:80", reply=reply)

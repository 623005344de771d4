"""OpenBSD's nc."""

import pytest

import clients
import targets

NC = "nc.openbsd"
pytestmark = clients.needs(NC, "netcat-openbsd")


def nc(version, proxy, host, port, octets=b""):
    """-N: after the last octet of input it shuts its side down, and reads on."""
    return clients.run(NC, "-N", "-X", version, "-x", proxy.address, host, port, input=octets)


@pytest.mark.parametrize("version", [4, 5])
def test_nc_sends_and_gets_back_until_both_have_finished(proxy, sockets, access, version):
    host, port = sockets.echo().address
    octets = targets.pattern(1 << 20)
    assert clients.checked(nc(version, proxy, host, port, octets)) == octets
    record = access(destination=f"{host}:{port}", version=f"socks{version}", reason="closed")
    assert record["octets_up"] == record["octets_down"] == str(len(octets))


def test_nc_reaches_a_name_that_only_the_proxy_knows(proxy, sockets, access):
    _, port = sockets.echo().address
    assert clients.checked(nc(5, proxy, "web.interop.test", port, b"hello")) == b"hello"
    access(destination=f"web.interop.test:{port}", version="socks5")


def test_nc_reaches_an_ipv6_address(proxy, web6, access):
    done = nc(5, proxy, web6.host, web6.port, b"GET / HTTP/1.0\r\n\r\n")
    assert clients.checked(done).startswith(b"HTTP/1.0 200 OK")
    access(destination=web6.destination(), version="socks5")


@pytest.mark.parametrize("version, text", [(4, b"Request rejected or failed"),
                                           (5, b"Connection refused")])
def test_nc_says_that_a_closed_port_refused(proxy, sockets, access, version, text):
    host, port = sockets.closed_port()
    done = nc(version, proxy, host, port)
    assert done.returncode == 1 and text in done.stderr, done
    access(destination=f"{host}:{port}", reply="refused")


@pytest.mark.parametrize("name, text", [("nowhere.interop.test", b"Host unreachable"),
                                        ("127.0.0.2", b"not allowed by ruleset")])
def test_nc_says_why_it_was_refused(proxy, access, name, text):
    done = nc(5, proxy, name, 80)
    assert done.returncode == 1 and text in done.stderr, done
    access(destination=f"{name}:80")

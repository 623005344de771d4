"""Nmap's ncat."""

import pytest

import clients
import targets

pytestmark = clients.needs("ncat", "ncat")


def ncat(version, proxy_address, host, port, *words, octets=b""):
    return clients.run("ncat", "--proxy-type", f"socks{version}", "--proxy", proxy_address, *words,
                       host, port, input=octets)


@pytest.mark.parametrize("version", [4, 5])
def test_ncat_sends_and_gets_back_until_both_have_finished(proxy, sockets, access, version):
    host, port = sockets.echo().address
    octets = targets.pattern(1 << 20)
    assert clients.checked(ncat(version, proxy.address, host, port, octets=octets)) == octets
    record = access(destination=f"{host}:{port}", version=f"socks{version}", reason="closed")
    assert record["octets_up"] == record["octets_down"] == str(len(octets))


@pytest.mark.parametrize("version", [4, 5])
def test_ncat_reaches_a_name_that_only_the_proxy_knows(proxy, sockets, access, version):
    _, port = sockets.echo().address
    done = ncat(version, proxy.address, "web.interop.test", port, "--proxy-dns", "remote",
                octets=b"hello")
    assert clients.checked(done) == b"hello"
    access(destination=f"web.interop.test:{port}", version=f"socks{version}")


def test_ncat_with_user_and_password_is_let_in(proxy, sockets, access):
    host, port = sockets.echo().address
    done = ncat(5, proxy.auth_address, host, port, "--proxy-auth", f"{proxy.user}:{proxy.password}",
                octets=b"hello")
    assert clients.checked(done) == b"hello"
    access(destination=f"{host}:{port}", user=proxy.user)


def test_ncat_with_a_wrong_password_says_that_authentication_failed(proxy, sockets, access):
    host, port = sockets.echo().address
    done = ncat(5, proxy.auth_address, host, port, "--proxy-auth", f"{proxy.user}:wrong")
    assert done.returncode != 0 and b"authentication failed" in done.stderr, done
    access("auth_failed", user=proxy.user)
    assert not access.all()


@pytest.mark.parametrize("version", [4, 5])
def test_ncat_fails_when_a_closed_port_refuses(proxy, sockets, access, version):
    host, port = sockets.closed_port()
    done = ncat(version, proxy.address, host, port)
    assert done.returncode != 0 and done.stderr, done
    access(destination=f"{host}:{port}", reply="refused")

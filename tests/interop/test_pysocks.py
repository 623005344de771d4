"""PySocks, by itself (CONNECT, UDP ASSOCIATE) and below requests.

All run as programs: tests/lib has a socks.py too.
"""

import pytest

import clients
from hosts import PAGE

pytestmark = clients.needs_python("PySocks", "python3-socks")
needs_requests = clients.needs_python("requests", "python3-requests")

SCRIPT = """
import socks, sys
kind, proxy, port, host, to, *credentials = sys.argv[1:]
with socks.socksocket() as sock:
    sock.set_proxy(getattr(socks, kind), proxy, int(port), True, *credentials)
    sock.settimeout(20)
    try:
        sock.connect((host, int(to)))
    except socks.ProxyError as error:
        sys.exit(str(error))
    sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
    while octets := sock.recv(65536):
        sys.stdout.buffer.write(octets)
"""

# Says who answered. PySocks tells the proxy its own port, with the address 0.0.0.0.
DATAGRAMS = """
import socks, sys
proxy, port, targets, *credentials = sys.argv[1:]
with socks.socksocket(type=socks.socket.SOCK_DGRAM) as sock:
    sock.set_proxy(socks.SOCKS5, proxy, int(port), True, *credentials)
    sock.settimeout(20)
    for target in targets.split(","):
        host, to = target.rsplit(":", 1)
        for size in (1, 1400, 0, 65000):
            octets = bytes(n % 251 for n in range(size))
            assert sock.sendto(octets, (host, int(to))) == size
            answer, peer = sock.recvfrom(65535)
            assert answer == octets, (size, len(answer))
            print(*peer)
"""
SENT = 1 + 1400 + 65000

REQUESTS = """
import requests, sys
proxy, url = sys.argv[1:]
with requests.Session() as session:
    session.trust_env = False
    session.proxies = {"http": proxy}
    for _ in range(3):
        print(session.get(url, timeout=20).text, end="")
"""


def fetch(version, proxy, port, host, to, *credentials):
    return clients.python(SCRIPT, f"SOCKS{version}", proxy.host, port, host, to, *credentials)


@pytest.mark.parametrize("version", [4, 5])
def test_pysocks_reaches_an_address(proxy, web, access, version):
    assert clients.checked(fetch(version, proxy, proxy.port, web.host, web.port)).endswith(PAGE)
    access(destination=web.destination(), version=f"socks{version}")


@pytest.mark.parametrize("version", [4, 5])
def test_pysocks_reaches_a_name_that_only_the_proxy_knows(proxy, web, access, version):
    done = fetch(version, proxy, proxy.port, "web.interop.test", web.port)
    assert clients.checked(done).endswith(PAGE)
    access(destination=web.destination("web.interop.test"), version=f"socks{version}")


def test_pysocks_with_user_and_password_is_let_in(proxy, web, access):
    done = fetch(5, proxy, proxy.auth_port, web.host, web.port, proxy.user, proxy.password)
    assert clients.checked(done).endswith(PAGE)
    access(destination=web.destination(), user=proxy.user)


def test_pysocks_with_a_wrong_password_is_told(proxy, web, access):
    done = fetch(5, proxy, proxy.auth_port, web.host, web.port, proxy.user, "wrong")
    assert done.returncode == 1 and b"SOCKS5 authentication failed" in done.stderr, done
    access("auth_failed", user=proxy.user)
    assert not access.all()


@pytest.mark.parametrize("version, text", [(4, b"0x5b: Request rejected or failed"),
                                           (5, b"0x05: Connection refused")])
def test_pysocks_says_that_a_closed_port_refused(proxy, sockets, access, version, text):
    host, port = sockets.closed_port()
    done = fetch(version, proxy, proxy.port, host, port)
    assert done.returncode == 1 and text in done.stderr, done
    access(destination=f"{host}:{port}", reply="refused")


@needs_requests
@pytest.mark.parametrize("scheme, host", [("socks4", None), ("socks4a", "web.interop.test"),
                                          ("socks5", None), ("socks5h", "web.interop.test")])
def test_requests_fetches_thrice(proxy, web, access, scheme, host):
    done = clients.python(REQUESTS, f"{scheme}://{proxy.address}", web.url(host=host))
    assert clients.checked(done) == PAGE * 3
    access(destination=web.destination(host), version=scheme[:6])


@needs_requests
def test_requests_with_user_and_password_is_let_in(proxy, web, access):
    url = f"socks5h://{proxy.user}:{proxy.password}@{proxy.auth_address}"
    assert clients.checked(clients.python(REQUESTS, url, web.url())) == PAGE * 3
    access(destination=web.destination(), user=proxy.user)


def exchange(proxy, port, targets, *credentials):
    """Every size of datagram there and back; targets are (host, port)."""
    words = ",".join("%s:%d" % target for target in targets)
    return clients.python(DATAGRAMS, proxy.host, port, words, *credentials)


def assert_answered(done, *echoes):
    assert clients.addresses(clients.checked(done)) == [e.address for e in echoes for _ in range(4)]


def test_pysocks_exchanges_datagrams_with_an_address(udp_proxy, udp_echo, udp_access):
    assert_answered(exchange(udp_proxy, udp_proxy.port, [udp_echo.address]), udp_echo)
    udp_access(up=SENT, down=SENT)


def test_pysocks_exchanges_datagrams_with_a_name_that_only_the_proxy_knows(udp_proxy, udp_echo,
                                                                           udp_access):
    done = exchange(udp_proxy, udp_proxy.port, [("web.interop.test", udp_echo.port)])
    assert_answered(done, udp_echo)
    udp_access(up=SENT, down=SENT)


def test_pysocks_uses_both_families_in_one_association(udp_proxy, udp_echo, udp_echo6, udp_access):
    both = [udp_echo, udp_echo6, udp_echo]
    done = exchange(udp_proxy, udp_proxy.port, [echo.address for echo in both])
    assert_answered(done, *both)
    udp_access(up=3 * SENT, down=3 * SENT)


def test_pysocks_exchanges_datagrams_with_user_and_password(udp_proxy, udp_echo, udp_access):
    done = exchange(udp_proxy, udp_proxy.auth_port, [udp_echo.address], udp_proxy.user,
                    udp_proxy.password)
    assert_answered(done, udp_echo)
    udp_access(up=SENT, down=SENT, user=udp_proxy.user)

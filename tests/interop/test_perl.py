"""Perl's IO::Socket::Socks: CONNECT, BIND, UDP ASSOCIATE. (BIND by SOCKS 4 does not work in this
library: its accept tests a misspelt field, and so always waits for a SOCKS 5 reply.)"""

import pytest

import clients
from hosts import PAGE

pytestmark = clients.needs("perl", "perl")

CONNECT = r"""
use IO::Socket::Socks;
my ($version, $proxy, $port, $host, $to, $user, $password) = @ARGV;
my $socket = IO::Socket::Socks->new(SocksVersion => $version, ProxyAddr => $proxy,
    ProxyPort => $port, ConnectAddr => $host, ConnectPort => $to, SocksResolve => 1,
    $user ? (AuthType => 'userpass', Username => $user, Password => $password) : ())
    or die "$SOCKS_ERROR\n";
print $socket "GET / HTTP/1.0\r\n\r\n";
print while <$socket>;
"""

BIND = r"""
use IO::Socket::Socks;
$| = 1;
my ($proxy, $port, $host) = @ARGV;
my $socket = IO::Socket::Socks->new(SocksVersion => 5, ProxyAddr => $proxy, ProxyPort => $port,
    BindAddr => $host, BindPort => 0) or die "$SOCKS_ERROR\n";
print "bound @{[($socket->dst)[0, 1]]}\n";
$socket->accept or die "$SOCKS_ERROR\n";
print "peer @{[($socket->dst)[0, 1]]}\n";
my $line = <$socket>;
print "got $line";
print $socket "pong\n";
"""

# Says who answered. $expected is what the request names.
DATAGRAMS = r"""
use IO::Socket::Socks;
use Socket qw(:DEFAULT inet_pton);
my ($proxy, $port, $expected, $expected_port, $host, $to, $user, $password) = @ARGV;
alarm 20;
my $socket = IO::Socket::Socks->new(SocksVersion => 5, ProxyAddr => $proxy, ProxyPort => $port,
    UdpAddr => $expected, UdpPort => $expected_port, SocksResolve => 1,
    $user ? (AuthType => 'userpass', Username => $user, Password => $password) : ())
    or die "$SOCKS_ERROR\n";
my $ip = inet_pton(AF_INET, $host);
my $peer = $ip ? pack_sockaddr_in($to, $ip) : [$host, $to];
for my $size (1, 1400, 0, 65000) {
    my $octets = substr 'datagram' x $size, 0, $size;
    defined $socket->send($octets, 0, $peer) or die "send: $!\n";
    my $from = $socket->recv(my $answer, 65535) or die "recv: $!\n";
    $answer eq $octets or die "$size octets came back as @{[length $answer]}\n";
    my ($from_port, $from_ip) = unpack_sockaddr_in($from);
    print inet_ntoa($from_ip), " $from_port\n";
}
"""
SENT = 1 + 1400 + 65000


@pytest.fixture(autouse=True)
def library():
    if clients.run("perl", "-MIO::Socket::Socks", "-e1").returncode != 0:
        pytest.skip("IO::Socket::Socks is not installed (Debian package libio-socket-socks-perl)")


def fetch(version, proxy, port, host, to, *credentials):
    return clients.run("perl", "-e", CONNECT, version, proxy, port, host, to, *credentials)


@pytest.mark.parametrize("version", [4, 5])
def test_perl_reaches_an_address(proxy, web, access, version):
    done = fetch(version, proxy.host, proxy.port, web.host, web.port)
    assert clients.checked(done).endswith(PAGE)
    access(destination=web.destination(), version=f"socks{version}")


@pytest.mark.parametrize("version", [4, 5])
def test_perl_reaches_a_name_that_only_the_proxy_knows(proxy, web, access, version):
    done = fetch(version, proxy.host, proxy.port, "web.interop.test", web.port)
    assert clients.checked(done).endswith(PAGE)
    access(destination=web.destination("web.interop.test"), version=f"socks{version}")


def test_perl_with_user_and_password_is_let_in(proxy, web, access):
    done = fetch(5, proxy.host, proxy.auth_port, web.host, web.port, proxy.user, proxy.password)
    assert clients.checked(done).endswith(PAGE)
    access(destination=web.destination(), user=proxy.user)


def test_perl_with_a_wrong_password_is_told(proxy, web, access):
    done = fetch(5, proxy.host, proxy.auth_port, web.host, web.port, proxy.user, "wrong")
    assert done.returncode != 0 and b"Authentication failed with SOCKS5 proxy" in done.stderr, done
    access("auth_failed", user=proxy.user)
    assert not access.all()


def test_perl_says_that_a_closed_port_refused(proxy, sockets, access):
    host, port = sockets.closed_port()
    done = fetch(5, proxy.host, proxy.port, host, port)
    assert done.returncode != 0 and b"onnection refused" in done.stderr, done
    access(destination=f"{host}:{port}", reply="refused")


def test_perl_binds_where_its_peer_can_come_to(lab):
    with clients.BindClient("perl", "-e", BIND, lab.proxy.host, lab.proxy.port, lab.server_ip,
                            prefix=lab.client.prefix) as client:
        bound = client.address("bound")
        assert bound[0] == lab.outer_ip
        with lab.connect(bound) as peer:
            clients.converse(client, peer)
    lab.access(command="bind", version="socks5", destination=f"{lab.server_ip}:0")


def exchange(*words, expected=("0.0.0.0", 0), prefix=()):
    proxy, port, host, to, *credentials = words
    return clients.run("perl", "-e", DATAGRAMS, proxy.host, port, *expected, host, to, *credentials,
                       prefix=prefix)


def assert_answered(done, echo):
    assert clients.addresses(clients.checked(done)) == [echo.address] * 4


def test_perl_exchanges_datagrams_with_an_address(udp_proxy, udp_echo, udp_access):
    assert_answered(exchange(udp_proxy, udp_proxy.port, *udp_echo.address), udp_echo)
    udp_access(up=SENT, down=SENT)


def test_perl_exchanges_datagrams_with_a_name_that_only_the_proxy_knows(udp_proxy, udp_echo,
                                                                        udp_access):
    done = exchange(udp_proxy, udp_proxy.port, "web.interop.test", udp_echo.port)
    assert_answered(done, udp_echo)
    udp_access(up=SENT, down=SENT)


def test_perl_exchanges_datagrams_with_user_and_password(udp_proxy, udp_echo, udp_access):
    done = exchange(udp_proxy, udp_proxy.auth_port, *udp_echo.address, udp_proxy.user,
                    udp_proxy.password)
    assert_answered(done, udp_echo)
    udp_access(up=SENT, down=SENT, user=udp_proxy.user)


def test_perl_may_name_its_target_in_the_request_as_its_manual_does(udp_lab):
    # RFC 1928 has the client's own address there.
    echo = udp_lab.udp_echo
    done = exchange(udp_lab.udp_proxy, udp_lab.udp_proxy.port, *echo.address,
                    expected=echo.address, prefix=udp_lab.client.prefix)
    assert_answered(done, echo)
    assert echo.sources == {udp_lab.outer_ip}
    udp_lab.udp_access(up=SENT, down=SENT)

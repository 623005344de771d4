"""sockscat's command line: exit codes, help, and what it says of proxies that are none."""

import re
import socket

import pytest

import cat
import daemons
import socks
import targets

USAGE = [
    [],
    ["fetch"],
    ["--proxy", "127.0.0.1:1080", "connect", "h", "1"],
    ["connect"],
    ["connect", "host"],
    ["connect", "host", "80", "more"],
    ["connect", "", "80"],
    ["connect", "h" * 256, "80"],
    ["connect", "host", "http"],
    ["connect", "host", "65536"],
    ["connect", "host", "-1"],
    ["connect", "--proxy", "127.0.0.1", "host", "80"],
    ["connect", "--proxy", "::1:1080", "host", "80"],
    ["connect", "--proxy", "127.0.0.1:x", "host", "80"],
    ["connect", "--wait", "1", "host", "80"],
    ["connect", "--source", "127.0.0.1:1", "host", "80"],
    ["connect", "--no-such-option", "host", "80"],
    ["connect", "--listen", "localhost:1", "host", "80"],
    ["connect", "--timeout", "soon", "host", "80"],
    ["connect", "--user", "u", "host", "80"],
    ["connect", "--user", "", "-4", "127.0.0.1", "80"],
    ["connect", "--user", "u", "--password-file", "/nonexistent", "host", "80"],
    ["connect", "--user", "u", "--password-file", "/dev/null", "host", "80"],
    ["connect", "-4", "host", "80"],
    ["connect", "-4a", "::1", "80"],
    ["bind", "a", "b"],
    ["bind", "--port", "65536"],
    ["udp", "-4", "127.0.0.1", "53"],
    ["udp", "--ptcl", "udp", "127.0.0.1", "53"],
    ["udp", "--line", "--listen", "127.0.0.1:0", "127.0.0.1", "53"],
    ["transparent", "--ptcl", "256", "127.0.0.1", "53"],
    ["transparent", "--ptcl", "icmp6", "127.0.0.1", "53"],
    ["transparent", "--line", "127.0.0.1", "53"],
    ["transparent", "--hold", "--listen", "127.0.0.1:0", "127.0.0.1", "53"],
    ["transparent", "--ptcl", "sctp", "--listen", "127.0.0.1:0", "127.0.0.1", "53"],
]


@pytest.mark.parametrize("arguments", USAGE, ids=lambda a: " ".join(a)[:60] or "nothing")
def test_a_mistake_on_the_command_line_is_2_with_a_sentence(arguments):
    code, output, error = cat.run([cat.program(), *arguments])
    assert (code, output) == (cat.USAGE, b"")
    assert "sockscat" in error and "--help" in error


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["connect", "--help"]])
def test_help_is_on_standard_output(arguments):
    code, output, error = cat.run([cat.program(), *arguments])
    assert (code, error) == (cat.DONE, "")
    for word in (b"connect", b"bind", b"udp", b"transparent", b"--proxy", b"--listen", b"Exit code"):
        assert word in output


def test_the_manual_knows_every_option_of_the_help():
    help_text = cat.run([cat.program(), "--help"])[1].decode()
    manual = (daemons.ROOT / "socksd/cmd/sockscat.1").read_text()
    options = re.findall(r"^  -(.), --([a-z0-9-]+)", help_text, re.M)
    assert len(options) > 15
    for letter, name in options:
        wanted = f"Fl -{name}" if name in ("help", "version") else f".It Fl {letter} , Fl -{name}"
        assert wanted in manual


def test_the_version_is_told():
    code, output, _ = cat.run([cat.program(), "--version"])
    assert code == cat.DONE and output.startswith(b"sockscat ")


@pytest.mark.parametrize("subcommand", ["connect", "udp", "transparent"])
def test_a_proxy_that_is_not_there(sockets, subcommand):
    proxy = sockets.closed_port()
    code, output, error = cat.run(cat.words(proxy, subcommand, "127.0.0.1", 80))
    assert (code, output) == (cat.FAILED, b"")
    assert "refused" in error and str(proxy[1]) in error


def test_a_proxy_whose_name_is_not_known():
    code, _, error = cat.run([cat.program(), "connect", "--proxy", "no.such.host.invalid:1080", "h", "1"])
    assert code == cat.FAILED and "no.such.host.invalid" in error


def answering(sockets, octets):
    """A server that answers anything with these octets."""
    def serve(sock):
        sock.recv(1)
        sock.sendall(octets)
        while sock.recv(65536):
            pass
    return sockets.keep(targets.Service(sockets.listener(), serve)).address


@pytest.mark.parametrize("version", ["-5", "-4"])
def test_a_server_that_is_no_proxy(sockets, version):
    proxy = answering(sockets, b"HTTP/1.1 400 Bad Request\r\n\r\n")
    code, output, error = cat.run(cat.words(proxy, "connect", version, "127.0.0.1", 80))
    assert (code, output) == (cat.FAILED, b"")
    assert "does not speak this version of SOCKS" in error


def test_a_proxy_that_accepts_none_of_our_methods(sockets):
    code, _, error = cat.run(cat.words(answering(sockets, b"\5\xff"), "connect", "127.0.0.1", 80))
    assert code == cat.FAILED and "no method" in error


def test_a_proxy_that_hangs_up(sockets):
    proxy = sockets.keep(targets.Service(sockets.listener(), lambda sock: sock.recv(3))).address
    code, _, error = cat.run(cat.words(proxy, "connect", "127.0.0.1", 80))
    assert code == cat.FAILED and "closed the connection" in error


def test_a_proxy_that_is_silent(sockets):
    proxy = sockets.listener().getsockname()
    code, _, error = cat.run(cat.words(proxy, "connect", "--timeout", 1, "127.0.0.1", 80))
    assert code == cat.FAILED and "did not answer within 1 s" in error


@pytest.mark.parametrize("code, sentence", [
    (1, "general failure"), (2, "not allowed by ruleset"), (4, "host unreachable"),
    (7, "command not supported"), (8, "address type not supported"), (200, "no known reason")])
def test_refusals_are_told_with_their_code(sockets, code, sentence):
    listener = sockets.listener()
    running = sockets.keep(cat.Cat(*cat.words(listener.getsockname(), "connect", "127.0.0.1", 80)))
    sock = sockets.accept(listener)
    assert socks.read_exactly(sock, 3) == b"\5\1\0"
    sock.sendall(b"\5\0")
    assert socks.read_exactly(sock, 10)[:3] == b"\5\1\0"
    sock.sendall(bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
    ended, _, error = running.wait()
    assert ended == cat.FAILED and sentence in error and f"(REP {code})" in error


def test_the_proxy_may_stand_in_the_environment(system, sockets):
    echo = sockets.echo()
    proxy = "%s:%d" % system.address
    code, output, _ = cat.run([cat.program(), "connect", *echo.address], b"hello", SOCKSCAT_PROXY=proxy)
    assert (code, output) == (cat.DONE, b"hello")


def test_closed_standard_descriptors_do_no_harm(system, sockets):
    sink = sockets.sink()
    script = 'exec "$0" connect --proxy "$1:$2" "$3" "$4" <&- >&- 2>&-'
    assert cat.run(["/bin/sh", "-c", script, cat.program(), *system.address, *sink.address])[0] == cat.DONE
    assert sink.received == [b""]


def test_a_handshake_that_comes_octet_by_octet(sockets):
    listener = sockets.listener()
    running = sockets.keep(cat.Cat(*cat.words(listener.getsockname(), "connect", "127.0.0.1", 80)))
    sock = sockets.accept(listener)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert socks.read_exactly(sock, 3) == b"\5\1\0"
    socks.send_slowly(sock, b"\5\0")
    socks.read_exactly(sock, 10)
    socks.send_slowly(sock, b"\5\0\0\4" + bytes(15) + b"\1\0\1early payload")
    assert running.hear(13) == b"early payload"

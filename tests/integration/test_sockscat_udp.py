"""sockscat udp: datagrams through the real daemons."""

import subprocess
import time

import pytest

import cat
import socks
import udp

LISTENERS = [{"listen": "127.0.0.1:0", "methods": ["username-password"]}]


@pytest.fixture
def system(start):
    return start(relays=0, udp=1)


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def udp_cat(sockets, system, target, *options):
    words = cat.words(system.address, "udp", *options, *target.getsockname()[:2])
    return sockets.keep(cat.Cat(*words))


def hears(target, octets):
    """The relay's address that it came from."""
    got, sender = target.recvfrom(65536)
    assert got == octets
    return sender


def test_a_read_is_a_datagram_and_what_comes_is_written(system, sockets, target):
    running = udp_cat(sockets, system, target)
    running.say(b"question\nof two lines")
    target.sendto(b"answer", hears(target, b"question\nof two lines"))
    assert running.hear(6) == b"answer"
    running.end()
    assert running.wait() == (cat.DONE, b"", "")
    record = system.access(command="udp-associate")
    assert (record["datagrams_up"], record["datagrams_down"]) == ("1", "1")


def test_a_line_is_a_datagram_when_that_is_wanted(system, sockets, target):
    running = udp_cat(sockets, system, target, "--line")
    running.say(b"one\n\ntwo\nthree wi")
    for octets in (b"one", b"", b"two"):
        relay = hears(target, octets)
    running.say(b"thout end")
    running.end()
    hears(target, b"three without end")
    target.sendto(b"answer", relay)
    target.sendto(b"", relay)
    assert running.wait() == (cat.DONE, b"answer\n\n", "")


def test_a_line_that_no_datagram_holds_is_a_failure(system, target):
    words = cat.words(system.address, "udp", "--line", *target.getsockname())
    code, _, error = cat.run(words, b"x" * 70000 + b"\n")
    assert code == cat.FAILED and "longer than a datagram" in error


def test_the_largest_datagram(system, sockets, target):
    largest = 65507 - 10
    words = cat.words(system.address, "udp", *target.getsockname())
    # A file: each read is as long as it can be.
    path = system.directory / "octets"
    path.write_bytes(b"x" * largest + b"rest")
    with open(path, "rb") as file:
        assert subprocess.run([str(w) for w in words], stdin=file, env=cat.environment(),
                              check=False).returncode == cat.DONE
    hears(target, b"x" * largest)
    hears(target, b"rest")


def test_after_the_end_of_input_it_waits_as_long_as_it_is_told(system, sockets, target):
    running = udp_cat(sockets, system, target, "--wait", 3)
    running.say(b"question")
    running.end()
    relay = hears(target, b"question")
    time.sleep(1.5)
    target.sendto(b"late", relay)
    began = time.monotonic()
    assert running.wait() == (cat.DONE, b"late", "")
    assert time.monotonic() - began > 2


def test_the_sender_is_told_when_that_is_wanted(system, sockets, target):
    running = udp_cat(sockets, system, target, "--verbose")
    assert "carried by 127.0.0.1:" in running.line()
    running.say(b"question")
    target.sendto(b"answer", hears(target, b"question"))
    assert running.line() == "sockscat: 6 octets from %s port %d" % target.getsockname()


def test_print_tells_the_relay(system, sockets, target):
    running = udp_cat(sockets, system, target, "--print")
    host, port = running.address()
    assert host == "127.0.0.1" and port != 0


def test_the_source_is_announced_and_used(system, sockets, target):
    with udp.udp_socket() as sock:
        port = sock.getsockname()[1]
    running = udp_cat(sockets, system, target, "--source", f"127.0.0.1:{port}")
    running.say(b"question")
    hears(target, b"question")
    running.end()
    assert running.wait()[0] == cat.DONE
    assert system.access(command="udp-associate")["source"] == f"127.0.0.1:{port}"


def test_ipv6(start, sockets):
    system = start(relays=0, udp=1, listeners=[{"listen": "[::1]:0"}])
    target = sockets.keep(udp.udp_socket("::1"))
    running = udp_cat(sockets, system, target)
    running.say(b"question")
    target.sendto(b"answer", hears(target, b"question")[:2])
    assert running.hear(6) == b"answer"


def test_a_login(start, sockets, target):
    system = start(relays=0, udp=1, users={"alice": "secret"}, listeners=LISTENERS)
    words = cat.words(system.address, "udp", "--user", "alice", *target.getsockname())
    assert cat.run(words, b"hello", SOCKSCAT_PASSWORD="secret")[0] == cat.DONE
    hears(target, b"hello")


def test_an_association_that_ends_is_a_failure(system, sockets, target):
    running = udp_cat(sockets, system, target)
    running.say(b"question")
    hears(target, b"question")
    system.relay.kill()
    code, _, error = running.wait()
    assert code == cat.FAILED and "the proxy ended the association" in error


def test_no_relay_for_datagrams_is_told(start, target):
    system = start(relays=1)
    code, _, error = cat.run(cat.words(system.address, "udp", *target.getsockname()), b"x")
    assert code == cat.FAILED and "(REP " in error


# --------------------------------------------------------------------------------------------- --listen

@pytest.fixture
def local(system, sockets, target):
    """A local port that is carried to the target."""
    return udp_cat(sockets, system, target, "--listen", "127.0.0.1:0", "--print").address()


def user_of(sockets, local):
    sock = sockets.keep(udp.udp_socket())
    sock.connect(local)
    return sock


def test_programs_that_know_no_socks_use_a_local_port(sockets, target, local):
    user = user_of(sockets, local)
    for payload in (b"question", b"", b"x" * 60000):
        user.send(payload)
        target.sendto(b"re:" + payload, hears(target, payload))
        assert user.recv(65536) == b"re:" + payload


def test_each_user_gets_its_own_answers(sockets, target, local):
    users = [user_of(sockets, local) for _ in range(10)]
    relays = []
    for number, user in enumerate(users):
        user.send(b"question %d" % number)
        relays.append(hears(target, b"question %d" % number))
    assert len(set(relays)) == len(users)
    for number, relay in reversed(list(enumerate(relays))):
        target.sendto(b"answer %d" % number, relay)
        assert users[number].recv(65536) == b"answer %d" % number


def test_a_user_that_is_silent_is_forgotten_and_served_again(system, sockets, target):
    running = udp_cat(sockets, system, target, "--listen", "127.0.0.1:0", "--print", "--wait", 1)
    user = user_of(sockets, running.address())
    user.send(b"first")
    hears(target, b"first")
    assert system.access(command="udp-associate")["reason"] == "control_closed"
    target.settimeout(0.5)
    for _ in range(40):             # what comes while it is being forgotten may be lost
        user.send(b"second")
        try:
            sender = hears(target, b"second")
            break
        except TimeoutError:
            continue
    target.sendto(b"answer", sender)
    assert user.recv(65536) == b"answer"


def test_a_user_is_served_while_another_waits_for_the_proxy(sockets, target):
    """The proxy answers the second one only."""
    listener = sockets.listener()
    words = cat.words(listener.getsockname(), "udp", "--listen", "127.0.0.1:0", "--print",
                      *target.getsockname())
    local = sockets.keep(cat.Cat(*words)).address()
    relay = sockets.keep(udp.udp_socket())
    user_of(sockets, local).send(b"first")
    sockets.accept(listener)
    user = user_of(sockets, local)
    user.send(b"second")
    control = sockets.accept(listener)
    assert socks.read_exactly(control, 3) == b"\5\1\0"
    control.sendall(b"\5\0")
    assert socks.read_exactly(control, 10)[:3] == b"\5\3\0"
    host, port = relay.getsockname()
    control.sendall(b"\5\0\0" + socks.address5(host) + port.to_bytes(2, "big"))
    octets, sender = relay.recvfrom(65536)
    assert udp.parse(octets) == (*target.getsockname(), b"second")
    relay.sendto(udp.header("203.0.113.7", 9) + b"answer", sender)
    assert user.recv(65536) == b"answer"

"""New rules reach associations although the connection to their relay breaks meanwhile."""

import os
import selectors
import signal
import socket
import threading

import pytest

import socks
import udp
import udp_checks
from daemons import wait_until

A, B = "127.0.0.2", "127.0.0.3"
OLD, NEW = [{"allow": {"to": [A]}}], [{"allow": {"to": [B]}}]


class Cable:
    """A TCP connection between socksd and a relay that can be deaf, and cut. All is done by one thread."""

    def __init__(self, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.deaf = False           # what comes is thrown away
        self.swallowed = 0
        self._cut = False
        self._wake, self._woken = socket.socketpair()
        self._open = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut(self):
        self._cut = True
        self._wake.send(b"x")
        wait_until(lambda: not self._cut, "the cut")

    def close(self):
        self._open = False
        self._wake.send(b"x")
        self._thread.join()

    def _run(self):
        pairs = {}
        with selectors.DefaultSelector() as ready:
            for sock in (self._listener, self._woken):
                ready.register(sock, selectors.EVENT_READ)

            def end(sock):
                for one in (sock, pairs.pop(sock, None)):
                    if one is not None:
                        pairs.pop(one, None)
                        ready.unregister(one)
                        one.close()
            while self._open:
                for key, _ in ready.select():
                    sock = key.fileobj
                    if sock is self._listener:
                        near, far = sock.accept()[0], socket.socket()
                        pairs[near], pairs[far] = far, near
                        for one in (near, far):
                            ready.register(one, selectors.EVENT_READ)
                        if far.connect_ex(("127.0.0.1", self._target)) != 0:
                            end(near)           # the relay is not there yet
                    elif sock is self._woken:
                        sock.recv(100)
                        while self._cut and pairs:
                            end(next(iter(pairs)))
                        self._cut = False
                    elif sock in pairs:
                        self._pass_on(sock, pairs[sock], end)
            for sock in [*pairs, self._listener, self._wake, self._woken]:
                sock.close()

    def _pass_on(self, sock, other, end):
        try:
            octets = sock.recv(65536)
            if not octets:
                end(sock)
            elif self.deaf:
                self.swallowed += len(octets)
            else:
                other.sendall(octets)
        except OSError:
            end(sock)


@pytest.fixture
def ends(sockets):
    return [sockets.keep(udp.udp_socket(host)) for host in (A, B)]


@pytest.fixture
def cable():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    cable = Cable(port)
    cable.relay_port = port
    yield cable
    cable.close()


@pytest.fixture
def system(cable, start):
    """Calls go through the cable, to the end; the lease outlives what happens to it."""
    system = start(relays=0, ready=0, rules=OLD,
                   server={"relays": [{"url": f"tcp://127.0.0.1:{cable.port}", "insecure": True}]})
    system.add_udp_relay("udp-0", {"n2": {"listen": [f"tcp://127.0.0.1:{cable.relay_port}"], "insecure": True,
                                          "lease": "60s"}})
    system.server.wait_relays(1)
    return system


def assert_new_rules(system, crowd, ends):
    at_a, at_b = ends
    for a in crowd:
        with udp_checks.dropping(system.relay, denied=1):
            a.send(at_a.getsockname(), b"x")
            udp.exchange(a, at_b)


def reload_server(system):
    record = udp_checks.reload(system.server, system.server.config | {"rules": NEW})
    assert record["event"] == "reloaded"


@pytest.mark.parametrize("count", [1, 50])
def test_what_was_lost_with_the_connection_is_made_good(system, sockets, cable, ends, count):
    crowd = [sockets.keep(udp.Association(system.address, True)) for _ in range(count)]
    for a in crowd:
        udp.exchange(a, ends[0])
    cable.deaf = True
    before = cable.swallowed
    reload_server(system)
    wait_until(lambda: cable.swallowed > before, "calls that are lost")
    assert system.relay.metric(udp_checks.UPDATES) == 0
    cable.deaf = False
    cable.cut()
    wait_until(lambda: system.relay.metric(udp_checks.UPDATES) >= count, "the updates")
    wait_until(lambda: system.relay.metric("relayd_rule_sets") == 1, "the end of the old rules")
    assert_new_rules(system, crowd, ends)


def test_answers_that_were_lost_do_no_harm(system, sockets, cable, ends):
    """The connection is cut again and again while updates are on their way."""
    crowd = [sockets.keep(udp.Association(system.address, True)) for _ in range(50)]
    for rules in (NEW, OLD, NEW):
        udp_checks.reload(system.server, system.server.config | {"rules": rules})
        cable.cut()

    def done():
        crowd[-1].send(ends[0].getsockname(), b"probe")
        return system.relay.metric("relayd_rule_sets") == 1 and \
            system.relay.metric('relayd_drops_total{reason="denied"}') > 0
    wait_until(done, "the last rules")
    while not udp_checks.nothing_waits(ends[0]):
        pass
    assert_new_rules(system, crowd, ends)


def test_a_relay_that_was_stopped_meanwhile_has_them(start, ends):
    system = udp_checks.begin(start, rules=OLD)
    with udp.Association(system.address) as a:
        udp.exchange(a, ends[0])
        system.relay.signal(signal.SIGSTOP)
        reload_server(system)
        system.relay.signal(signal.SIGCONT)
        wait_until(lambda: system.relay.metric(udp_checks.UPDATES) == 1, "the update")
        assert_new_rules(system, [a], ends)


def test_a_relay_that_was_killed_meanwhile_takes_new_associations_by_the_new_rules(start, sockets, ends):
    system = udp_checks.begin(start, rules=OLD)
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, ends[0])
    system.relay.kill()
    reload_server(system)
    system.restart_relay(system.relay, {"relay": {"port-rest": "300ms"}})
    assert a.closed()
    record = system.access(command="udp-associate")
    assert record["reason"] == "relay_lost"
    system.server.wait_relays(1)
    with udp.Association(system.address) as b:
        assert b.reply.code == socks.SUCCEEDED
        assert_new_rules(system, [b], ends)
    assert os.path.exists(system.relay.status_path)

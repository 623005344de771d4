"""A flood of one association starves no other: what the others send gets through, at the latest when it is
repeated (datagrams may be lost where buffers are full, as anywhere)."""

import threading

import pytest

import udp
import udp_checks
from daemons import wait_until

FLOOD = 3000000                 # at most: it goes on until the pings are through
ROUNDS = 40
REPEATS = 50
ALLOWED = [{"allow": {"to": udp_checks.LOCAL}}]


@pytest.fixture
def flood(sockets):
    """Starts a thread that sends until the test is over; says whether it still does."""
    threads, stop = [], threading.Event()

    def begin(association, target, payload=b"f" * 1000):
        datagram = udp.header(*target.getsockname()) + payload

        def run():
            for _ in range(FLOOD):
                if stop.is_set():
                    return
                association.send_raw(datagram)
        threads.append(threading.Thread(target=run))
        threads[-1].start()
        return threads[-1].is_alive
    yield begin
    stop.set()
    for thread in threads:
        thread.join()


class Echo:
    """Answers in a thread of its own."""

    def __init__(self):
        self.sock = udp.udp_socket()
        self.address = self.sock.getsockname()
        self.sock.settimeout(None)
        threading.Thread(target=self._run, daemon=True).start()

    def getsockname(self):
        return self.address

    def _run(self):
        with self.sock:
            while True:
                octets, sender = self.sock.recvfrom(65536)
                if not octets:
                    return
                self.sock.sendto(octets, sender)

    def close(self):
        with udp.udp_socket() as waker:
            waker.sendto(b"", self.address)


def ping(association, echo, number):
    """Until its answer comes; how often it had to be sent."""
    wanted = b"ping %d" % number
    for turn in range(1, REPEATS + 1):
        association.send(echo.getsockname(), wanted)
        try:
            while association.recv(0.2)[2] != wanted:
                pass                            # a late answer to one before
            return turn
        except TimeoutError:
            pass
    raise AssertionError(f"ping {number} did not get through in {REPEATS} tries")


@pytest.mark.parametrize("engine", ["plain", "batch"])
@pytest.mark.parametrize("shared", [False, True], ids=["ports of their own", "one port"])
def test_pings_get_through_a_flood_to_a_target(start, sockets, flood, engine, shared):
    relay = {"engines": [engine]}
    if shared:
        relay["ports"] = "%d-%d" % udp.free_range(1)
    system = udp_checks.begin(start, rules=ALLOWED, relay=relay)
    loud, quiet = (sockets.keep(udp.Association(system.address, True)) for _ in range(2))
    assert (loud.bound == quiet.bound) == shared
    echo, sink = sockets.keep(Echo()), sockets.keep(udp.udp_socket())
    flooded = flood(loud, sink)
    for number in range(ROUNDS):
        ping(quiet, echo, number)
    assert flooded(), "to the end"
    up = {a["client"]: a["datagrams_up"] for a in system.relay.associations()}
    assert up["%s:%d" % quiet.sock.getsockname()] >= ROUNDS
    assert up["%s:%d" % loud.sock.getsockname()] > 0


def test_pings_get_through_a_flood_that_comes_back(start, sockets, flood):
    """The loud one does not read what its target answers."""
    system = udp_checks.begin(start)
    loud, quiet = (sockets.keep(udp.Association(system.address, True)) for _ in range(2))
    echo, loud_echo = sockets.keep(Echo()), sockets.keep(Echo())
    flooded = flood(loud, loud_echo)
    for number in range(ROUNDS):
        ping(quiet, echo, number)
    assert flooded(), "to the end"


@pytest.mark.parametrize("reason, datagram", [
    ("header", b"\0\0\0\7 no header"),
    ("denied", udp.header("10.0.0.1", 9) + b"x"),
    ("fragment", udp.header("127.0.0.1", 9, frag=9) + b"x"),
])
def test_pings_get_through_a_flood_that_is_dropped(start, sockets, reason, datagram):
    system = udp_checks.begin(start)
    loud, quiet = (sockets.keep(udp.Association(system.address)) for _ in range(2))
    echo = sockets.keep(Echo())
    ping(loud, echo, 0)
    for number in range(10):
        for _ in range(500):
            loud.send_raw(datagram)
        ping(quiet, echo, number)
    wait_until(lambda: system.relay.metric('relayd_drops_total{reason="%s"}' % reason) > 0, "drops")


def test_control_goes_on_during_a_flood(start, sockets, flood):
    """Associations are opened and closed, status pages are read."""
    system = udp_checks.begin(start)
    loud = sockets.keep(udp.Association(system.address))
    echo, sink = sockets.keep(Echo()), sockets.keep(udp.udp_socket())
    flooded = flood(loud, sink)
    for number in range(10):
        with udp.Association(system.address) as a:
            ping(a, echo, number)
        assert system.relay.get("/readyz")[0] == 200
    assert flooded(), "to the end"
    wait_until(lambda: len(system.relay.associations()) == 1, "the end of the others")

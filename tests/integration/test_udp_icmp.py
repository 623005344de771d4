"""Errors that the network reports end nothing: neither an association nor a socket."""

import pytest

import udp
import udp_checks
from daemons import wait_until

TIMES = 300


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def closed(host="127.0.0.1"):
    """A port that answers with "port unreachable"."""
    with udp.udp_socket(host) as sock:
        return sock.getsockname()[:2]


@pytest.mark.parametrize("engine", ["plain", "batch"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_target_that_is_not_there(start, sockets, engine, host):
    system = udp_checks.begin(start, relay={"engines": [engine]})
    target, nobody = sockets.keep(udp.udp_socket(host)), closed(host)
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay):
            outer = udp.exchange(a, target)
            for _ in range(TIMES):
                a.send(nobody, b"x")
            for _ in range(3):
                assert udp.exchange(a, target) == outer, "the same socket as before"
                a.send(nobody, b"x")
            udp.exchange(a, target)
        assert system.relay.metric("relayd_outer_sockets") == 1
    record = system.access(command="udp-associate")
    assert record["reason"] == "control_closed"
    assert (record["datagrams_up"], record["datagrams_down"]) == (str(TIMES + 8), "5")


def test_a_burst_to_both(start, sockets, target):
    """What is there gets all of what fits into its buffer, in order, with refusals all around it."""
    system = udp_checks.begin(start)
    nobody = closed()
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        for n in range(50):
            a.send(nobody, b"x")
            a.send(target.getsockname(), b"%d" % n)
        assert [udp_checks.got(target) for _ in range(50)] == [b"%d" % n for n in range(50)]


@pytest.mark.parametrize("engine", ["plain", "batch"])
def test_a_client_that_is_not_there(start, sockets, target, engine):
    """The errors come to the port that all clients share: the others do not notice."""
    first, last = udp.free_range(1)
    system = udp_checks.begin(start, relay={"ports": f"{first}-{last}", "engines": [engine]})
    gone, here = (sockets.keep(udp.Association(system.address, True)) for _ in range(2))
    assert gone.bound == here.bound
    outer = udp.exchange(gone, target)
    udp.exchange(here, target)
    gone.sock.close()
    for n in range(TIMES):
        target.sendto(b"x", outer)
        if n % 50 == 0:
            udp.exchange(here, target)
    udp.exchange(here, target)
    wait_until(lambda: sorted(a["datagrams_down"] for a in system.relay.associations()) == [8, TIMES + 1],
               "all datagrams")
    assert system.relay.metric('relayd_client_ports{state="open"}') == 1


def test_a_network_that_is_not_there(start, netns, sockets):
    """ENETUNREACH at once: dropped, and everything goes on."""
    system = udp_checks.begin(start, rules=[{"allow": {"to": udp_checks.LOCAL}}, {"allow": {}}],
                              prefix=netns.prefix, listeners=[{"listen": "127.0.0.1:1080"}])

    def run():
        target = sockets.keep(udp.udp_socket())
        with udp.Association(("127.0.0.1", 1080)) as a:
            for _ in range(20):
                a.send(("8.8.8.8", 53), b"x")
                a.send(("2600::1", 53), b"x")
                udp.exchange(a, target)
    netns.run(run)
    assert system.relay.metric('relayd_engine_errors_total{error="send_failed"}') == 40

"""What the relay is told of its associations: counters, and how connections end."""

import signal
import socket
import struct
import time

import pytest

from nat_world import MARK, UDP
from test_nat_teardown import exchange


@pytest.fixture(params=[0, 2500], ids=["few", "many"])
def relay(request, world):
    """Starts a driver that is alone with what is tested, and one that holds much more: counters are
    read in another way then."""
    def make(**options):
        d = world.driver(**options)
        if request.param:
            d.hold("10.1.0.1:30999", UDP)
            d.lease()
            d.tell(f"fill {request.param} 17 10.9.0.1:1 10.1.0.1:30999 10.2.0.9:9 1 500")
            d.expect("filled")
        return d
    return make


@pytest.fixture
def tcp(world, relay):
    """A driver with a TCP association and one connection on it."""
    d = relay()
    listener = world.listener()
    d.hold("10.1.0.1:30000")
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:80")
    near = world.dial(("10.1.0.1", 30000))
    return d, near, world.keep(listener.accept()[0]), listener


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def test_fin_is_told_when_both_directions_have_finished(tcp):
    d, near, far, _ = tcp
    near.shutdown(socket.SHUT_WR)
    assert far.recv(1) == b""
    d.silent("ended a")
    far.sendall(b"still")
    assert near.recv(5) == b"still"
    far.close()
    assert d.expect("ended a") == "ended a fin"
    d.silent("ended a")                 # once


@pytest.mark.parametrize("who", [1, 2], ids=["client", "target"])
def test_a_reset_is_told(tcp, who):
    reset(tcp[who])
    assert tcp[0].expect("ended a") == "ended a reset"


def test_a_target_that_refuses_is_told_as_a_reset(world, relay):
    d = relay()
    d.hold("10.1.0.1:30000")
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:81")
    with pytest.raises(ConnectionRefusedError):
        world.dial(("10.1.0.1", 30000))
    assert d.expect("ended a") == "ended a reset"


def test_what_conntrack_forgets_is_told_and_begins_anew(world, relay):
    world.relay.sysctl("net.netfilter.nf_conntrack_udp_timeout=1",
                       "net.netfilter.nf_conntrack_udp_timeout_stream=1")
    d = relay()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(), world.target_udp()
    exchange(near, far)
    assert d.expect("ended a") == "ended a gone"
    exchange(near, far)
    assert d.remove("a")["packets_out"] == 2, "of both connections"


def test_idleness_is_told_once_and_ends_with_the_next_packet(world, relay):
    d = relay(sample=100)
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP, idle=1000)
    d.add("unused", "10.1.0.2:40001", "10.1.0.1:30000", "10.2.0.2:53", UDP, idle=1000)
    near, far = world.client_udp(), world.target_udp()
    for _ in range(8):
        exchange(near, far)
        time.sleep(0.2)
    d.silent("ended a", 0)
    assert d.expect("ended unused", 0.5) == "ended unused idle"
    began = time.monotonic()
    assert d.expect("ended a", 2) == "ended a idle"
    assert 0.5 < time.monotonic() - began
    d.silent("ended a", 1.5)
    exchange(near, far)
    assert d.expect("ended a", 3) == "ended a idle"


def test_counters_are_sampled_while_it_lives(world, relay):
    d = relay(sample=100)
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(), world.target_udp()
    for i in range(1, 4):
        exchange(near, far)
        counts = {"packets_out": i, "octets_out": 29 * i, "packets_in": i, "octets_in": 29 * i}
        deadline = time.monotonic() + 5
        while d.counts("a") != counts:
            assert time.monotonic() < deadline, d.counts("a")
            time.sleep(0.1)


def test_lost_events_are_made_up_for(world, relay):
    """More ends at once than there is room for: none of them stays unknown."""
    many = 300
    d = relay(sample=4000, events=4096)
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    for i in range(many):
        d.add(f"n{i}", f"10.1.0.2:{41000 + i}", "10.1.0.1:30000", "10.2.0.2:53", UDP)
        sock = world.client.udp(("10.1.0.2", 41000 + i))
        sock.sendto(b"x", ("10.1.0.1", 30000))
        sock.close()
    deadline = time.monotonic() + 15    # a sweep, so that connections are known
    while any(d.counts(f"n{i}")["packets_out"] == 0 for i in range(many)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    d.signal(signal.SIGSTOP)
    world.relay.sh(f"conntrack -D -m {MARK:#x}/0xffff0000 >/dev/null 2>&1")
    d.signal(signal.SIGCONT)
    d.expect("trouble events_lost")
    for i in range(many):
        d.expect(f"ended n{i} gone", 2)
    assert d.stats()["events_lost"] >= 1


def test_nothing_is_asked_while_nothing_is_held(world):
    d = world.driver(sample=100)
    time.sleep(0.5)
    assert d.stats()["sweeps"] == 0

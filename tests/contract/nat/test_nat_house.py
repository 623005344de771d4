"""A host that does other things goes on doing them: nothing of it is dropped, marked or translated."""

import re
import signal
import time

from nat_world import MARK, UDP
from test_nat_teardown import Stream, exchange

# A container engine's rules, more or less, with somebody else's policy routing marks.
HOST = """
table ip engine {
    counter published { }
    counter outgoing { }
    chain pre { type nat hook prerouting priority dstnat;
        ip daddr 10.1.0.1 udp dport 8080 counter name published dnat to 10.2.0.3:8080
    }
    chain post { type nat hook postrouting priority srcnat;
        ip saddr 10.1.0.3 oifname t0 counter name outgoing masquerade
        ip daddr 10.2.0.3 udp dport 8080 masquerade
    }
    chain forwarding { type filter hook forward priority filter; policy drop;
        ct state established,related accept
        ct status dnat accept
        ip saddr 10.1.0.3 accept
    }
}
table inet routing {
    chain pre { type filter hook prerouting priority mangle;
        ct state new ct mark set 0x00000007
    }
}
"""


def echo_once(near, to, far):
    near.sendto(b"q", to)
    data, peer = far.recvfrom(100)
    far.sendto(b"a", peer)
    data, sender = near.recvfrom(100)
    assert (data, sender) == (b"a", to)
    return peer


def host_works(world):
    """Publishing, masquerading, and a service of the host's own on a port of our range."""
    published = world.target.udp(("10.2.0.3", 8080))
    anybody = world.target.udp(("10.2.0.2", 7000))
    service = world.relay.udp(("10.1.0.1", 30500))
    one, two = world.client.udp(("10.1.0.2", 0)), world.client.udp(("10.1.0.3", 0))
    try:
        echo_once(one, ("10.1.0.1", 8080), published)
        assert echo_once(two, ("10.2.0.2", 7000), anybody)[0] == "10.2.0.1"
        echo_once(two, ("10.1.0.1", 30500), service)
    finally:
        for sock in (published, anybody, service, one, two):
            sock.close()


def test_its_other_rules_and_services_are_undisturbed(world):
    world.relay.nft(HOST)
    host_works(world)
    d = world.driver()
    host_works(world)
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    exchange(world.client_udp(), world.target_udp())
    host_works(world)
    d.signal(signal.SIGKILL)
    host_works(world)


def test_marks_of_others_stay_as_they_are(world):
    world.relay.nft(HOST)
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    exchange(world.client_udp(), world.target_udp())
    host_works(world)
    marks = {int(m) for line in world.tracked("-p udp") for m in re.findall(r"mark=(\d+)", line)}
    assert marks == {7, MARK | 0x0100 | 7}


def test_two_relays_on_one_host(world):
    one = world.driver("one")
    two = world.driver("two", mark=0x4E020000)
    for d, port, target in ((one, 30000, "10.2.0.2:53"), (two, 30001, "10.2.0.3:53")):
        d.hold(f"10.1.0.1:{port}", UDP)
        d.lease()
        d.add("a", "10.1.0.2:40000", f"10.1.0.1:{port}", target, UDP)
    near = world.client_udp()
    far = {30000: world.target_udp(("10.2.0.2", 53)), 30001: world.target_udp(("10.2.0.3", 53))}
    for port, sock in far.items():
        echo_once(near, ("10.1.0.1", port), sock)
    one.signal(signal.SIGKILL)
    world.driver("one")                 # flushes its own, and nobody else's
    assert len(world.tracked("-m 0x4e020000/0xffff0000")) == 1
    echo_once(near, ("10.1.0.1", 30001), far[30001])
    near.sendto(b"late", ("10.1.0.1", 30000))
    far[30000].settimeout(0.3)
    try:
        raise AssertionError(far[30000].recv(100))
    except TimeoutError:
        pass


def test_the_ruleset_can_be_listed_saved_and_loaded_by_others(world):
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.hold("[fd01::1]:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    d.add("b", "[fd01::2]:40000", "[fd01::1]:30000", "[fd02::2]:53", UDP)
    listed = world.relay.sh("nft list ruleset; nft -j list ruleset >/dev/null")
    assert "relayd-one-guard" in listed
    world.relay.nft("table inet mine { chain c { };\n}")
    world.relay.sh("nft delete table inet mine")


def test_others_get_at_the_rules_while_associations_come_and_go(world):
    d = world.driver(gap=10, capacity=200000)
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.tell("fill 20000 17 10.9.0.1:40000 10.1.0.1:30000 10.2.0.2:53 1 20")
    began = time.monotonic()
    for i in range(5):
        world.relay.sh(f"nft add table ip t{i}; nft list table ip t{i}", timeout=20)
    assert time.monotonic() - began < 20
    d.expect("filled", timeout=60)


def test_a_flushed_ruleset_does_not_let_go_of_the_lease(world):
    """`nft flush ruleset` is how Debian reloads its rules."""
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease(60000)
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(), world.target_udp()
    exchange(near, far)
    world.relay.sh("nft flush ruleset")
    d.lease(60000)
    if "guard" not in world.relay.sh("nft list tables"):
        raise AssertionError("the guard is gone")
    exchange(near, far)
    stranger = world.client_udp(("10.1.0.3", 40000))
    before = d.stats()["unmatched"]
    stranger.sendto(b"x", ("10.1.0.1", 30000))
    assert d.stats()["unmatched"] == before + 1
    stream = Stream(near, ("10.1.0.1", 30000))
    d.lease(0)
    time.sleep(0.1)
    before = world.seen()
    time.sleep(0.3)
    assert world.seen() == before
    stream.stop()

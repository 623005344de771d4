"""What does not belong to an association reaches nobody, and is counted."""

import pytest

from nat_world import UDP
from test_nat_traffic import V4, V6, text


@pytest.fixture(params=[V4, V6], ids=["ipv4", "ipv6"])
def net(request):
    return request.param


def send(world, source, to, data=b"x"):
    sock = world.client.udp(source)
    try:
        sock.sendto(data, to)
    finally:
        sock.close()


def test_before_it_is_set_up_nothing_passes_and_nothing_stays_behind(world, net):
    """A packet that comes too early must not leave an entry in conntrack that later ones follow."""
    d = world.driver()
    d.hold(text(net["bound"], 30000), UDP)
    d.lease()
    far = world.target_udp((net["target"], 53))
    near = world.client_udp((net["client"], 40000))
    for _ in range(5):
        near.sendto(b"early", (net["bound"], 30000))
    assert d.stats()["unmatched"] == 5
    assert world.seen() == 0 and not world.tracked()
    d.add("a", text(net["client"], 40000), text(net["bound"], 30000), text(net["target"], 53), UDP)
    near.sendto(b"now", (net["bound"], 30000))
    assert far.recv(100) == b"now"


def test_an_entry_of_conntrack_that_is_older_than_the_hold_is_forgotten(world, net):
    near = world.client_udp((net["client"], 40000))
    bystander = world.keep(world.relay.udp((net["bound"], 30000)))
    world.relay.nft("table inet tracks { chain in { type filter hook input priority 0;\n"
                    "ct state new accept\n}\n}")
    near.sendto(b"early", (net["bound"], 30000))
    assert bystander.recv(100) == b"early"
    assert len(world.tracked("-p udp")) == 1
    bystander.close()
    d = world.driver()
    d.hold(text(net["bound"], 30000), UDP)
    assert not world.tracked("-p udp")
    d.lease()
    d.add("a", text(net["client"], 40000), text(net["bound"], 30000), text(net["target"], 53), UDP)
    far = world.target_udp((net["target"], 53))
    near.sendto(b"now", (net["bound"], 30000))
    assert far.recv(100) == b"now"


def test_another_address_or_port_of_the_client_is_dropped_and_counted(world, net):
    d = world.driver()
    d.hold(text(net["bound"], 30000), UDP)
    d.lease()
    d.add("a", text(net["client"], 40000), text(net["bound"], 30000), text(net["target"], 53), UDP)
    other = net["client"][:-1] + "3"
    send(world, (other, 40000), (net["bound"], 30000))
    send(world, (net["client"], 40001), (net["bound"], 30000))
    assert d.stats()["unmatched"] == 2
    assert world.seen() == 0 and not world.tracked("-p udp")


def test_a_stranger_gets_no_handshake(world, net):
    d = world.driver()
    world.listener((net["target"], 80))
    d.hold(text(net["bound"], 30000))
    d.lease()
    d.add("a", text(net["client"], 40000), text(net["bound"], 30000), text(net["target"], 80))
    with pytest.raises(TimeoutError):
        world.dial((net["bound"], 30000), (net["client"], 40001), timeout=1)
    assert d.stats()["unmatched"] >= 1 and world.seen() == 0


def test_another_protocol_reaches_nobody(world, net):
    d = world.driver()
    d.hold(text(net["bound"], 30000), UDP)
    d.lease()
    d.add("a", text(net["client"], 40000), text(net["bound"], 30000), text(net["target"], 53), UDP)
    with pytest.raises(ConnectionRefusedError):     # this port is held for UDP only: it is the host's
        world.dial((net["bound"], 30000), (net["client"], 40000), timeout=1)
    assert world.seen() == 0


def test_another_port_that_is_held_is_another_key(world):
    d = world.driver()
    for port in (30000, 30001):
        d.hold(f"10.1.0.1:{port}", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    send(world, ("10.1.0.2", 40000), ("10.1.0.1", 30001))
    assert world.seen() == 0 and d.stats()["unmatched"] == 1


def test_a_target_that_speaks_first_reaches_nobody(world):
    """Nothing comes in before the client has sent."""
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(), world.target_udp()
    far.sendto(b"unasked", ("10.2.0.1", 40000))
    near.settimeout(0.3)
    with pytest.raises(TimeoutError):
        near.recv(100)


def test_somebody_other_than_the_target_cannot_answer(world):
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(), world.target_udp()
    near.sendto(b"q", ("10.1.0.1", 30000))
    peer = far.recvfrom(100)[1]
    for source in (("10.2.0.3", 53), ("10.2.0.2", 54)):
        other = world.keep(world.target.udp(source))
        other.sendto(b"false", peer)
    near.settimeout(0.3)
    with pytest.raises(TimeoutError):
        near.recv(100)


def test_what_cannot_be_served_is_refused_with_its_reason(world):
    d = world.driver(capacity=2)
    d.hold("10.1.0.1:30000")
    bound, client = "10.1.0.1:30000", "10.1.0.2:40000"
    for target in ("[fd02::2]:80", "224.0.0.1:80", "0.0.0.0:80", "10.2.0.2:0"):
        d.add("a", client, bound, target, result="bad")
    d.add("a", "[fe80::1]:1", "[fe80::2]:30000", "[fd02::2]:80", result="bad")
    d.add("a", client, bound, "10.2.0.2:80", tag=0, result="bad")
    d.add("a", client, bound, "10.2.0.2:80", tag=256, result="bad")
    d.add("a", client, bound, "10.2.0.2:80", ptcl=47, result="bad")
    d.add("a", client, "10.1.0.1:30001", "10.2.0.2:80", result="not_held")
    d.add("a", client, bound, "10.2.0.2:80")
    d.add("b", client, bound, "10.2.0.3:80", result="taken")
    d.add("b", "10.1.0.2:40001", bound, "10.2.0.2:80")
    d.add("c", "10.1.0.2:40002", bound, "10.2.0.2:80", result="full")
    assert d.ask("hold 6 10.1.0.1:29999", "held") == "held bad"
    assert d.ask("lease 256 1000", "lease") == "lease bad"
    assert d.stats()["refused"] == 11

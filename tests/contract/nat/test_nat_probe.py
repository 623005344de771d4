"""What is missing is said by name, and what is not missing is not."""

import shutil
import subprocess

import pytest

from nat_world import DRIVER, MARK, MASK, TCP, UDP, UDPLITE


def probe(world, *addresses, prefix=()):
    text = subprocess.run(
        [*world.relay.prefix, *prefix, DRIVER, "--probe", "one", hex(MARK), hex(MASK),
         *(addresses or ("10.1.0.1", "fd01::1"))],
        check=True, text=True, capture_output=True).stdout
    return {words[0]: words[1:] for words in (line.split() for line in text.splitlines()) if words}


def test_nothing_is_missing_here(world):
    found = probe(world)
    assert found["missing"] == [] and found["serves"] == ["ipv4", "ipv6"]
    assert found["text"] == [] and found["warning"] == [] and found["foreign"] == []
    ptcls = [int(p) for p in found["ptcls"]]
    assert ptcls[:2] == [TCP, UDP] and UDPLITE not in ptcls
    assert "relayd" not in world.relay.sh("nft list ruleset"), "it leaves nothing behind"
    assert not world.tracked()


def test_it_may_be_asked_while_a_relay_of_this_id_runs(world):
    world.driver()
    assert probe(world)["missing"] == []


@pytest.mark.parametrize("setting, need, serves", [
    ("net.netfilter.nf_conntrack_acct=0", "nf_conntrack_acct", []),
    ("net.netfilter.nf_conntrack_events=0", "nf_conntrack_events", []),
    ("net.ipv4.conf.t0.forwarding=0", "forwarding_ipv4", ["ipv6"]),
    ("net.ipv6.conf.all.forwarding=0", "forwarding_ipv6", ["ipv4"]),
])
def test_a_setting_that_is_missing(world, setting, need, serves):
    world.relay.sysctl(setting)
    found = probe(world)
    assert found["missing"] == [need] and found["serves"] == serves
    name = setting.split("=")[0]
    assert name.replace("t0", "X") in " ".join(found["text"])
    if "t0" in setting:
        assert "t0" in found["text"] and "c0" not in found["text"]


def test_loopback_needs_a_setting(world):
    found = probe(world, "127.0.0.1", "10.1.0.1")
    assert found["missing"] == ["route_localnet"] and found["serves"] == ["ipv4"]
    world.relay.sysctl("net.ipv4.conf.all.route_localnet=1")
    found = probe(world, "127.0.0.1", "10.1.0.1")
    assert found["missing"] == [] and found["serves"] == ["ipv4", "loopback"]


def test_without_the_capability(world):
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    without = ("setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps", "-all")
    found = probe(world, prefix=without)
    assert found["missing"] == ["cap_net_admin"] and found["serves"] == []
    assert "CAP_NET_ADMIN" in found["text"]
    failed = world.driver(expect=None, prefix=without).expect("failed")
    assert "CAP_NET_ADMIN" in failed


def test_udp_lite_is_offered_where_its_checksum_is_not_verified(world):
    world.relay.sysctl("net.netfilter.nf_conntrack_checksum=0")
    assert str(UDPLITE) in probe(world)["ptcls"]


def test_a_setting_that_is_advised(world):
    world.relay.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal=0")
    found = probe(world)
    assert found["missing"] == [] and found["serves"] == ["ipv4", "ipv6"]
    assert "net.netfilter.nf_conntrack_tcp_be_liberal=1" in found["warning"]


def test_somebody_elses_forward_policy_is_found(world):
    world.relay.nft("table ip filter { chain FORWARD { type filter hook forward priority 0; "
                    "policy drop; } \n}")
    found = probe(world)
    assert found["missing"] == [] and found["foreign"] == ["drop"]
    warning = " ".join(found["warning"])
    assert "chain FORWARD of table filter" in warning and hex(MARK) in warning


def test_packets_that_get_stuck_are_noticed(world):
    """Whatever it is that drops them, even if it cannot be found among the rules."""
    world.relay.nft("table ip filter { chain FORWARD { type filter hook forward priority 0; "
                    "policy drop; } \n}")
    d = world.driver(sample=100)
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(), world.target_udp()
    for _ in range(5):
        near.sendto(b"x", ("10.1.0.1", 30000))
    d.expect("trouble packets_stuck", 3)
    stats = d.stats()
    assert (stats["entered"], stats["left"]) == (5, 0)
    world.relay.sh(f"nft insert rule ip filter FORWARD ct mark and {MASK:#x} == {MARK:#x} accept")
    near.sendto(b"q", ("10.1.0.1", 30000))
    far.sendto(b"a", far.recvfrom(100)[1])
    assert near.recv(100) == b"a", "what the warning says helps"

"""What the routing table says of a target is what the client is told."""

import pytest

import socks

TO = "198.51.100.9"
RULES = [{"allow": {"to": ["198.51.100.0/24", "2001:db8::/32", "127.0.0.0/8"]}}]


@pytest.fixture
def elsewhere(netns, start):
    """A system in a namespace whose routes the test makes; ask(host) gives the reply of a CONNECT."""
    system = start(prefix=netns.prefix, rules=RULES, server={"timeouts": {"connect": "1s"}})

    def ask(host):
        def run():
            client, reply = socks.open5(system.address, socks.CONNECT, host, 80)
            client.close()
            return reply
        return netns.run(run).code
    system.ask = ask
    return system


def test_no_route_is_network_unreachable(elsewhere):
    assert elsewhere.ask(TO) == socks.NETWORK_UNREACHABLE
    assert elsewhere.access(reply="network_unreachable")["destination"] == f"{TO}:80"


def test_no_route_for_ipv6_is_network_unreachable(elsewhere):
    assert elsewhere.ask("2001:db8::9") == socks.NETWORK_UNREACHABLE
    assert elsewhere.access(reply="network_unreachable")


def test_an_unreachable_route_is_host_unreachable(elsewhere, netns):
    netns.ip(f"route add unreachable {TO}")
    assert elsewhere.ask(TO) == socks.HOST_UNREACHABLE
    assert elsewhere.access(reply="host_unreachable")
    assert elsewhere.relay.metric('relayd_unreachable_total{cause="host_unreachable"}') == 1


def test_a_target_that_answers_nothing_is_timed_out(elsewhere, netns):
    netns.ip("link add v0 type veth peer name v1")
    netns.ip("addr add 198.51.100.1/24 dev v0")
    netns.ip("link set v1 up")
    netns.ip("link set v0 up")
    netns.ip(f"neigh add {TO} lladdr 02:00:00:00:00:09 dev v0")     # nobody has this address
    assert elsewhere.ask(TO) == socks.TTL_EXPIRED
    assert elsewhere.access(reply="timed_out")["destination"] == f"{TO}:80"


@pytest.mark.parametrize("kind", ["prohibit", "blackhole"])
def test_a_route_that_forbids_is_answered_at_once(elsewhere, netns, kind):
    netns.ip(f"route add {kind} {TO}")
    assert elsewhere.ask(TO) in (socks.GENERAL_FAILURE, socks.DENIED, socks.HOST_UNREACHABLE,
                                 socks.NETWORK_UNREACHABLE)
    assert "timed" not in elsewhere.access(destination=f"{TO}:80")["reason"]

"""Datagrams reach neither the relay itself nor what its servers protect, however it is spelt."""

import socket

import pytest

import udp
import udp_checks
from daemons import wait_until

ALL = [{"allow": {"to": ["127.0.0.0/8", "::1", "0.0.0.0/8", "::"]}}, {"allow": {}}]
SPELLINGS = ["127.0.0.1", "127.0.0.9", "0.0.0.0", "0.1.2.3", "::ffff:127.0.0.1", "::ffff:0.0.0.0", "::1", "::",
             "localhost", b"127.0.0.1", b"0.0.0.0"]
# Linux sends 0.0.0.0 to itself, and only that of 0.0.0.0/8.
OURS = [s for s in SPELLINGS if s != "0.1.2.3"]


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


@pytest.fixture
def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def assert_protected(system, association, target, port, spellings=tuple(OURS)):
    udp.exchange(association, target)
    with udp_checks.dropping(system.relay, protected=len(spellings)):
        for host in spellings:
            association.send((host, port), b"x", name=isinstance(host, bytes))
    udp.exchange(association, target)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_the_port_that_clients_send_to(start, dns, target, listen):
    """Its own, and every other of the range, whether it is open or not."""
    first, last = udp.free_range(3)
    system = udp_checks.begin(start, rules=ALL, names=dns({}), listeners=[{"listen": listen}],
                              relay={"ports": f"{first}-{last}"})
    with udp.Association(system.address) as a:
        for port in range(first, last + 1):
            assert_protected(system, a, target, port)
        assert system.relay.metric("relayd_locks_total{how=\"learned\"}") == 1
    record = system.access(command="udp-associate")
    assert (record["dropped"], record["datagrams_up"]) == (str(3 * len(OURS)), "6")


def test_the_port_next_to_the_range_is_a_destination(start, sockets):
    first, last = udp.free_range(3)
    target = sockets.keep(udp.udp_socket(port=last))
    system = udp_checks.begin(start, rules=ALL, relay={"ports": f"{first}-{last - 1}"})
    with udp.Association(system.address) as a:
        udp.exchange(a, target)


def test_the_listeners_of_the_server(start, target, free_port):
    system = udp_checks.begin(start, rules=ALL, server={"status": {"listen": [f"127.0.0.1:{free_port}"]}})
    spelt = ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", b"127.0.0.1"]
    with udp.Association(system.address) as a:
        for port in (system.port, free_port):
            assert_protected(system, a, target, port, spelt)
            with udp_checks.dropping(system.relay):     # another address is none of it
                a.send(("127.0.0.9", port), b"x")
                udp.exchange(a, target)


def test_a_listener_for_all_addresses_is_protected_at_any(start, target, dns):
    system = udp_checks.begin(start, rules=ALL, names=dns({}),
                              listeners=[{"listen": "0.0.0.0:0", "insecure": True}])
    with udp.Association(("127.0.0.1", system.port)) as a:
        assert_protected(system, a, target, system.port)


def test_the_status_listener_of_the_relay(start, target, free_port):
    system = start(relays=0, udp=1, rules=ALL,
                   udp_relay={"status": {"listen": [f"127.0.0.1:{free_port}"]}})
    with udp.Association(system.address) as a:
        assert_protected(system, a, target, free_port,
                         ["127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", b"127.0.0.1"])


def test_what_the_relay_is_told_to_protect(start, sockets, target, dns):
    system = udp_checks.begin(start, rules=ALL, names=dns({"six.example": ["::1"]}),
                              relay={"protect": ["127.0.0.64/26", "::1/128"]})
    hosts = ["127.0.0.64", "127.0.0.127", "::ffff:127.0.0.65", "::1", "six.example", b"127.0.0.66"]
    outside = sockets.keep(udp.udp_socket("127.0.0.128"))
    with udp.Association(system.address) as a:
        assert_protected(system, a, target, 9999, hosts)
        udp.exchange(a, outside)


def assert_protected_soon(system, association, target):
    """How it goes to a destination is remembered for a moment; behind that, nothing passes any more."""
    def is_protected():
        association.send(target.getsockname(), b"x")
        return system.relay.metric('relayd_drops_total{reason="protected"}')
    wait_until(is_protected, "a drop")
    while not udp_checks.nothing_waits(target):
        pass
    for _ in range(3):
        with udp_checks.dropping(system.relay, protected=1):
            association.send(target.getsockname(), b"x")
    assert udp_checks.nothing_waits(target)


def test_what_is_protected_from_now_on_is_so_for_what_runs(start, sockets):
    """SIGHUP of the relay."""
    system = udp_checks.begin(start, rules=ALL)
    near, far = (sockets.keep(udp.udp_socket(host)) for host in ("127.0.0.2", "127.0.0.3"))
    with udp.Association(system.address) as a:
        udp.exchange(a, near)
        udp.exchange(a, far)
        config = udp_checks.relay_config(system.relay)
        config["relay"]["protect"] = ["127.0.0.3/32"]
        assert udp_checks.reload(system.relay, config)["event"] == "reloaded"
        assert_protected_soon(system, a, far)
        udp.exchange(a, near)


def test_a_server_that_comes_later_protects_its_listeners_for_what_runs(start, sockets, free_port):
    """The destination was sent to before it was somebody's listener."""
    system = udp_checks.begin(start, rules=ALL)
    target = sockets.keep(udp.udp_socket("127.0.0.2", free_port))
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        system.relay.at_rest += 1               # a second server has a connection, too
        start(relays=0, urls=[system.relay.url], rules=ALL,
              server={"id": "socksd-second", "status": {"listen": [f"127.0.0.2:{free_port}"]}})
        assert_protected_soon(system, a, target)

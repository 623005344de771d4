"""SIGHUP of relayd-udp: what it says it changes, it changes; the rest stays until a restart."""

import pytest

import udp
import udp_checks

LAST = 0x80


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def reload(system, **keys):
    config = udp_checks.relay_config(system.relay)
    config["relay"] |= keys
    record = udp_checks.reload(system.relay, config)
    assert record["event"] == "reloaded", record
    return record


def test_the_time_that_unused_associations_have(start, sockets, target):
    system = udp_checks.begin(start)
    before = sockets.keep(udp.Association(system.address))
    reload(system, **{"unused-timeout": "100ms"})
    with udp.Association(system.address) as a:
        assert a.closed()
    assert system.access(command="udp-associate")["reason"] == "unused"
    udp.exchange(before, target)
    reload(system, **{"unused-timeout": "30s"})
    with udp.Association(system.address) as a:
        udp.exchange(a, target)


def test_who_may_send_from_outside(start, sockets, target):
    """Both ways, for an association that runs."""
    system = udp_checks.begin(start)
    stranger = sockets.keep(udp.udp_socket("127.0.0.2"))
    with udp.Association(system.address) as a:
        outer = udp.exchange(a, target)
        for _ in range(2):
            with udp_checks.dropping(system.relay, peer=1):
                stranger.sendto(b"x", outer)
            reload(system, filtering="endpoint-independent")
            with udp_checks.dropping(system.relay):
                stranger.sendto(b"let in", outer)
                assert a.recv() == (*stranger.getsockname(), b"let in")
            reload(system, filtering="address-dependent")


def test_fragments(start, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        a.send(target.getsockname(), b"a", frag=1)
        a.send(target.getsockname(), b"b", frag=2 | LAST)
        assert udp_checks.got(target) == b"ab"
        reload(system, fragments=False)
        with udp_checks.dropping(system.relay, fragment=2):
            a.send(target.getsockname(), b"a", frag=1)
            a.send(target.getsockname(), b"b", frag=2 | LAST)
            udp.exchange(a, target)
        reload(system, fragments=True)
        a.send(target.getsockname(), b"c", frag=1 | LAST)
        assert udp_checks.got(target) == b"c"


def test_how_many_wait_for_a_name(start, sockets, target):
    names = sockets.keep(udp_checks.HeldDNS({"four.example": ["127.0.0.1"]}))
    system = udp_checks.begin(start, names=names, resolver={"timeout": "30s"})
    where = ("four.example", target.getsockname()[1])
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        a.send(where, b"1")
        a.send(where, b"2")
        udp.exchange(a, target)
        reload(system, pending=2)
        with udp_checks.dropping(system.relay, name_queue=1):
            a.send(where, b"3")
        names.let_go()
        assert [udp_checks.got(target), udp_checks.got(target)] == [b"1", b"2"]


def test_what_is_kept_is_said(start):
    system = udp_checks.begin(start)
    first, last = udp.free_range(2)
    kept = reload(system, ports=f"{first}-{last}")["kept"]
    for key in ("ports", "bind", "engines", "port-rest", "unlocked", "associations", "resolver"):
        assert key in kept
    with udp.Association(system.address) as a:
        assert not first <= a.bound[1] <= last


@pytest.mark.parametrize("text, where", [("relay: 7", ":1:8"), ("relay: {fragments: maybe}", ":1:20"),
                                         ("n2: [\n", ":2:1"), ("nonsense: 1\n", ":1:1")])
def test_a_broken_file_changes_nothing_and_says_where(start, target, text, where):
    system = udp_checks.begin(start, relay={"fragments": False})
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        record = udp_checks.reload(system.relay, text)
        assert record["event"] == "reload_failed" and where in record["error"]
        with udp_checks.dropping(system.relay, fragment=1):
            a.send(target.getsockname(), b"x", frag=1 | LAST)
            udp.exchange(a, target)


def test_hundreds_of_reloads_leak_nothing(start, target):
    system = udp_checks.begin(start)
    with udp.Association(system.address) as a:
        udp.exchange(a, target)
        before = len(system.relay.descriptors())
        for _ in range(200):
            system.relay.hang_up()
            udp.exchange(a, target)
        assert len(system.relay.descriptors()) <= before + 1

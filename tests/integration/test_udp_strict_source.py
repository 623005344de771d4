"""A listener with udp-source: strict serves only clients that say truthfully where they send from."""

import socks
import udp

LISTENERS = [{"listen": "127.0.0.1:0", "udp-source": "strict"}, {"listen": "127.0.0.1:0"}]


UNTRUE = [None, ("127.0.0.1", 0), ("127.0.0.2", 4000), ("10.0.0.7", 4000), ("0.0.0.0", 4000), ("::1", 4000),
          ("client.test", 4000)]


def test_without_a_truthful_source_it_is_refused(start):
    system = start(relays=0, udp=1, listeners=LISTENERS)
    for hint in UNTRUE:
        with udp.Association(system.address, hint) as a:
            assert a.reply == (socks.DENIED, "0.0.0.0", 0), hint
            assert a.closed()
    records = system.records("access", command="udp-associate")
    assert len(records) == len(UNTRUE)
    assert {(r["prog"], r["reply"], r["reason"]) for r in records} == \
        {("socksd", "denied", "source_not_told")}
    assert udp.counts(system.relay, "relayd_associations_opened_total", "kind") == {}


def test_with_one_it_is_served_and_held_to_it(start, sockets):
    system = start(relays=0, udp=1, listeners=LISTENERS)
    target = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address, True))
    other = sockets.keep(udp.udp_socket())
    other.sendto(udp.header(*target.getsockname()) + b"x", a.bound)
    udp.wait_drops(system.relay, source_port=1)
    udp.exchange(a, target)
    assert udp.locks(system.relay) == {"hinted": 1}


def test_other_listeners_are_not_strict(start, sockets):
    system = start(relays=0, udp=1, listeners=LISTENERS)
    target = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.server.listeners()[1]))
    udp.exchange(a, target)
    assert udp.locks(system.relay) == {"learned": 1}

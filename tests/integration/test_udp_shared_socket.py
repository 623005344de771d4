"""One local socket used for two associations: each has a port of its own, and both work."""

import pytest

import udp
from daemons import wait_until


def ask(a, target, payload):
    """As udp.exchange, on a socket that others read from, too: the answer is returned with its sender."""
    a.send(target.getsockname(), payload)
    octets, outer = target.recvfrom(100)
    assert octets == payload
    target.sendto(b"re:" + payload, outer)
    answer, sender = a.sock.recvfrom(100)
    assert udp.parse(answer) == (*target.getsockname(), b"re:" + payload)
    return sender, outer


@pytest.mark.parametrize("hints", [(True, True), (None, None), (True, None), (None, True)], ids=str)
def test_each_association_goes_its_own_way(start, sockets, hints):
    first, last = udp.free_range(2)             # two ports are enough
    system = start(relays=0, udp=1, udp_relay={"relay": {"ports": f"{first}-{last}"}})
    targets = [sockets.keep(udp.udp_socket()) for _ in range(2)]
    shared = sockets.keep(udp.udp_socket())
    one, two = (sockets.keep(udp.Association(system.address, hint, sock=shared)) for hint in hints)
    assert one.bound != two.bound
    outers = set()
    for target in targets:
        for _ in range(2):
            for a in (one, two):
                sender, outer = ask(a, target, b"x")
                assert sender == a.bound, "the answer comes by the association that it is for"
                outers.add(outer)
    assert len(outers) == 2
    assert udp.locks(system.relay) == {
        how: n for how, n in (("hinted", hints.count(True)), ("learned", hints.count(None))) if n}

    one.control.close()                         # the other one stays as it is
    wait_until(lambda: len(system.relay.associations()) == 1, "the first to end")
    one.send(targets[0].getsockname(), b"late")
    udp.wait_drops(system.relay, late=1)
    assert ask(two, targets[0], b"still")[0] == two.bound

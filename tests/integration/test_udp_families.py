"""IPv4 and IPv6: clients of both, targets of both in one association, and a relay that has only one."""

import pytest

import socks
import udp

HOSTS = ["127.0.0.1", "::1"]


def listening(start, host, **relay):
    listen = f"[{host}]:0" if ":" in host else f"{host}:0"
    return start(relays=0, udp=1, listeners=[{"listen": listen}], udp_relay={"relay": relay})


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
@pytest.mark.parametrize("host", HOSTS)
def test_targets_of_both_families_in_one_association(start, sockets, host, hint):
    system = listening(start, host)
    four, six = (sockets.keep(udp.udp_socket(h)) for h in HOSTS)
    a = sockets.keep(udp.Association(system.address, hint))
    assert a.bound[0] == host
    outer = {}
    for _ in range(2):
        for target in (four, six):
            at = udp.exchange(a, target, b"x" * 100)[:2]
            assert outer.setdefault(target, at) == at, "one socket per family, for every target"
    assert outer[four][0] == "127.0.0.1" and outer[six][0] == "::1"
    assert system.relay.status()["load"]["outer_sockets"] == 2
    source = ("[%s]:%d" if ":" in host else "%s:%d") % a.sock.getsockname()[:2]
    [held] = system.relay.associations()
    assert held["client"] == source and held["peers"] == 2


@pytest.mark.parametrize("host", HOSTS)
def test_a_mapped_target_is_the_ipv4_one_and_so_is_its_answer(start, sockets, host):
    system = listening(start, host)
    target = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address))
    a.send(("::ffff:127.0.0.1", target.getsockname()[1]), b"x")
    octets, outer = target.recvfrom(100)
    assert (octets, outer[0]) == (b"x", "127.0.0.1")
    target.sendto(b"y", outer)
    assert a.recv() == (*target.getsockname(), b"y")


def test_a_client_of_a_family_that_the_relay_has_not(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"relay": {"bind": ["127.0.0.1"]}},
                   listeners=[{"listen": "[::1]:0"}, {"listen": "127.0.0.1:0"}])
    six, four = system.server.listeners()
    refused = sockets.keep(udp.Association(six))
    assert (refused.reply.code, refused.reply.port) == (socks.GENERAL_FAILURE, 0)
    assert refused.closed()
    assert system.server.metric('socksd_relay_refusals_total{reason="unsupported"}') == 1
    assert system.access(command="udp-associate")["reason"] == "refused_by_relay"
    a = sockets.keep(udp.Association(four))
    udp.exchange(a, sockets.keep(udp.udp_socket()))


@pytest.mark.parametrize("host", HOSTS)
def test_a_target_of_a_family_that_the_relay_has_not(start, sockets, host):
    system = listening(start, host, bind=[host])
    other = [h for h in HOSTS if h != host][0]
    own = sockets.keep(udp.udp_socket(host))
    foreign = sockets.keep(udp.udp_socket(other))
    a = sockets.keep(udp.Association(system.address))
    udp.exchange(a, own)
    a.send(foreign.getsockname(), b"x")
    udp.wait_drops(system.relay, family=1)
    udp.exchange(a, own)
    a.close()
    assert system.access(reason="control_closed")["dropped"] == "1"


def test_the_same_port_of_the_other_family_is_another_s(start, sockets):
    """Each family has the range to itself."""
    first, last = udp.free_range(1)
    system = start(relays=0, udp=1, udp_relay={"relay": {"ports": f"{first}-{last}"}},
                   listeners=[{"listen": "[::1]:0"}, {"listen": "127.0.0.1:0"}])
    target = sockets.keep(udp.udp_socket())
    pair = [sockets.keep(udp.Association(listener)) for listener in system.server.listeners()]
    assert [a.bound for a in pair] == [("::1", first), ("127.0.0.1", first)]
    for a in pair:
        udp.exchange(a, target)

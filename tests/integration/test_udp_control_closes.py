"""The association lives as long as its control connection, however that ends."""

import socket

import pytest

import socks
import targets
import udp
from daemons import wait_until


def half_close(sock):
    sock.shutdown(socket.SHUT_WR)


ENDS = {"FIN": (socket.socket.close, "control_closed"), "RST": (targets.reset, "control_reset"),
        "half-close": (half_close, "control_closed")}


@pytest.mark.parametrize("hint", [None, True], ids=["learned", "hinted"])
@pytest.mark.parametrize("how", ENDS)
def test_with_it_everything_is_gone_at_once(start, sockets, how, hint):
    system = start(relays=0, udp=1, udp_relay={"relay": {"port-rest": "10s"}})
    act, reason = ENDS[how]
    target = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address, hint))
    outer = udp.exchange(a, target)
    act(a.control)
    if how == "half-close":
        assert a.closed(), "the other half is not left open"
    wait_until(lambda: system.relay.status()["load"]["associations"] == 0, "the end")
    assert system.relay.status()["load"]["outer_sockets"] == 0
    a.send(target.getsockname(), b"too late")
    target.sendto(b"too late", outer)
    udp.wait_drops(system.relay, late=1)
    record = system.access(command="udp-associate")
    assert (record["prog"], record["reason"]) == ("socksd", reason)
    assert (record["datagrams_up"], record["datagrams_down"]) == ("1", "1")
    assert (record["octets_up"], record["octets_down"]) == ("4", "7")
    assert system.server.metric('socksd_associations_ended_total{reason="%s"}' % reason) == 1
    assert system.server.metric("socksd_controls") == 0
    assert udp.counts(system.relay, "relayd_associations_ended_total", "reason") == {"released": 1}
    target.settimeout(0.05)
    with pytest.raises(TimeoutError):
        target.recvfrom(100)


@pytest.mark.parametrize("how", ENDS)
def test_a_client_that_does_not_wait_for_the_reply_leaves_nothing(start, sockets, how):
    system = start(relays=0, udp=1)
    for _ in range(20):
        control = sockets.keep(socks.dial(system.address))
        control.sendall(socks.greeting5(socks.NONE)
                        + socks.request5(socks.UDP_ASSOCIATE, "0.0.0.0", 0))
        ENDS[how][0](control)
    opened = "socksd_connections_total"
    wait_until(lambda: system.server.metric(opened) == 20, "all of them to be seen")
    wait_until(lambda: not any(system.counts().values()), "empty daemons")
    udp.exchange(sockets.keep(udp.Association(system.address)), sockets.keep(udp.udp_socket()))


def test_others_of_the_same_client_stay(start, sockets):
    system = start(relays=0, udp=1)
    target = sockets.keep(udp.udp_socket())
    crowd = [sockets.keep(udp.Association(system.address, i % 2 == 0)) for i in range(6)]
    for a in crowd:
        udp.exchange(a, target)
    for a in crowd[::2]:
        a.close()
    wait_until(lambda: len(system.relay.associations()) == 3, "three to end")
    for a in crowd[1::2]:
        udp.exchange(a, target)

"""Nothing is to be sent on the control connection: a little is swallowed, more closes it."""

import socks
import udp
from daemons import wait_until

CAP = 4096


def test_up_to_the_cap_it_is_swallowed(start, sockets):
    system = start(relays=0, udp=1)
    target = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address))
    a.control.sendall(b"x")
    udp.exchange(a, target)
    a.control.sendall(b"x" * (CAP - 1))
    udp.exchange(a, target)
    assert system.server.metric("socksd_controls") == 1
    a.control.sendall(b"x")                     # one more than that
    assert a.closed()
    record = system.access(command="udp-associate")
    assert (record["reason"], record["datagrams_up"]) == ("control_data", "2")
    assert system.server.metric('socksd_associations_ended_total{reason="control_data"}') == 1
    wait_until(lambda: not system.relay.associations(), "the relay to be told")


def test_a_flood_closes_it(start, sockets):
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address))
    try:
        for _ in range(1000):
            a.control.sendall(b"x" * 10000)
        raise AssertionError("ten megabytes were taken")
    except ConnectionError:
        pass
    assert system.access(command="udp-associate")["reason"] == "control_data"
    wait_until(lambda: not system.relay.associations(), "the relay to be told")


def test_what_comes_with_the_request_counts(start, sockets):
    """A few octets too many are harmless there, too; many are not."""
    system = start(relays=0, udp=1)
    request = socks.greeting5(socks.NONE) + socks.request5(socks.UDP_ASSOCIATE, "0.0.0.0", 0)
    polite, rude = (sockets.keep(socks.dial(system.address)) for _ in range(2))
    polite.sendall(request + b"x" * 100)
    assert socks.read_exactly(polite, 2) == b"\5\0"
    assert socks.read_reply5(polite).code == socks.SUCCEEDED
    rude.sendall(request + b"x" * (CAP + 1))
    assert system.access(reason="control_data")["client"] == "%s:%d" % rude.getsockname()
    wait_until(lambda: len(system.relay.associations()) == 1, "the rude one's end")
    polite.sendall(b"x" * (CAP - 100))
    assert system.server.metric("socksd_controls") == 1
    polite.sendall(b"x")
    wait_until(lambda: len(system.records("access", reason="control_data")) == 2, "the other record")

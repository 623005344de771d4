"""The address that a client is told: one at which it reaches the relay, in its family, or as configured."""

import json

import pytest

import socks
import udp


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def anywhere(start, listen="0.0.0.0:0", **relay):
    return start(relays=0, udp=1, udp_relay={"relay": relay},
                 listeners=[{"listen": listen, "insecure": True}])


def test_it_is_the_one_by_which_the_server_was_reached(start, sockets, target):
    """And what comes back comes from it: Association.recv sees to that."""
    system = anywhere(start)
    for host in ("127.0.0.1", "127.0.0.3", "127.8.9.10"):
        a = sockets.keep(udp.Association((host, system.port), True, source="127.0.0.2"))
        assert a.bound[0] == host
        udp.exchange(a, target)
        b = sockets.keep(udp.Association((host, system.port), source="127.0.0.4"))
        assert b.bound[0] == host
        udp.exchange(b, target)
        record = "%s:%d" % a.bound
        a.close()
        assert system.access(bound=record)["reason"] == "control_closed"


def test_replies_come_from_where_the_client_has_sent_to(start, sockets, target):
    """It may know the relay by another address than the one that it was told."""
    system = anywhere(start)
    a = sockets.keep(udp.Association(("127.0.0.1", system.port)))
    head = udp.header(*target.getsockname())
    for host in ("127.0.0.7", "127.0.0.1", "127.0.0.8"):
        a.sock.sendto(head + b"x", (host, a.bound[1]))
        _, outer = target.recvfrom(100)
        target.sendto(b"y", outer)
        octets, sender = a.sock.recvfrom(100)
        assert sender == (host, a.bound[1])
        assert udp.parse(octets) == (*target.getsockname(), b"y")


def test_advertised_is_what_is_told_whatever_was_reached(start, sockets, target):
    system = anywhere(start, advertise=["127.0.0.9"])
    for host in ("127.0.0.1", "127.0.0.3"):
        a = sockets.keep(udp.Association((host, system.port)))
        assert a.bound[0] == "127.0.0.9"
        udp.exchange(a, target)


def test_advertised_need_not_be_an_address_of_the_relay(start, sockets, target):
    """A NAT in front of it translates: for the relay the datagram comes to its own address."""
    system = anywhere(start, advertise=["203.0.113.7", "2001:db8::7"])
    a = sockets.keep(udp.Association(("127.0.0.1", system.port)))
    host, port = a.bound
    assert host == "203.0.113.7"
    a.sock.sendto(udp.header(*target.getsockname()) + b"x", ("127.0.0.1", port))
    assert target.recvfrom(100)[0] == b"x"
    a.close()
    assert system.access(reason="control_closed")["bound"] == f"203.0.113.7:{port}"


def test_bind_and_advertise_are_separate(start, sockets, target):
    system = anywhere(start, bind=["127.0.0.5"], advertise=["127.0.0.9"])
    a = sockets.keep(udp.Association(("127.0.0.1", system.port)))
    assert a.bound[0] == "127.0.0.9"
    a.sock.sendto(udp.header(*target.getsockname()) + b"x", ("127.0.0.5", a.bound[1]))
    _, outer = target.recvfrom(100)
    assert outer[0] == "127.0.0.5", "towards targets, too"


def test_without_advertise_the_bound_one_is_told(start, sockets, target):
    system = anywhere(start, bind=["127.0.0.5"])
    for host in ("127.0.0.1", "127.0.0.3"):
        a = sockets.keep(udp.Association((host, system.port)))
        assert a.bound[0] == "127.0.0.5"
        assert udp.exchange(a, target)[0] == "127.0.0.5"


def test_advertise_can_change_while_it_runs(start, sockets, target):
    system = anywhere(start, advertise=["127.0.0.9"])
    old = sockets.keep(udp.Association(("127.0.0.1", system.port)))
    config = json.loads(system.relay.config_path.read_text())
    config["relay"]["advertise"] = ["127.0.0.10"]
    system.relay.config_path.write_text(json.dumps(config))
    system.relay.hang_up()
    system.relay.log.wait("reloaded")
    new = sockets.keep(udp.Association(("127.0.0.1", system.port)))
    assert (old.bound[0], new.bound[0]) == ("127.0.0.9", "127.0.0.10")
    udp.exchange(old, target)
    udp.exchange(new, target)


@pytest.mark.parametrize("listen, host", [("0.0.0.0:0", "127.0.0.1"), ("[::]:0", "::1"), ("[::1]:0", "::1")])
def test_it_is_never_unspecified_and_of_the_client_s_family(start, sockets, listen, host):
    system = anywhere(start, listen)
    target = sockets.keep(udp.udp_socket(host))
    for hint in (None, True):
        a = sockets.keep(udp.Association((host, system.port), hint))
        assert a.bound[0] == host
        udp.exchange(a, target)


def test_a_refusal_has_zeros(start):
    system = anywhere(start, bind=["192.0.2.1"])
    with udp.Association(("127.0.0.1", system.port)) as a:
        assert a.reply == (socks.GENERAL_FAILURE, "0.0.0.0", 0)

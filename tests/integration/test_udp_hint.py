"""DST of the request is a hint: truthful about the client it locks at once, otherwise it is nothing."""

import pytest

import socks
import udp
from daemons import wait_until


@pytest.fixture
def target(sockets):
    return sockets.keep(udp.udp_socket())


def test_a_truthful_hint_locks_at_once(start, sockets, target):
    system = start(relays=0, udp=1)
    a = sockets.keep(udp.Association(system.address, True))
    source = "%s:%d" % a.sock.getsockname()
    [held] = system.relay.associations()
    assert (held["state"], held["client"]) == ("locked", source)
    assert udp.locks(system.relay) == {"hinted": 1}
    other = sockets.keep(udp.udp_socket())
    other.sendto(udp.header(*target.getsockname()) + b"theft", a.bound)
    udp.wait_drops(system.relay, source_port=1)
    udp.exchange(a, target)
    assert udp.locks(system.relay) == {"hinted": 1}


def test_the_record_has_the_source_that_was_hinted(start):
    system = start(relays=0, udp=1)
    with udp.Association(system.address, True) as a:
        source = "%s:%d" % a.sock.getsockname()
    assert system.access(reason="control_closed").get("source") == source


def hints(client_port, target_port):
    """What clients write there that says nothing of where they send from."""
    return {
        "zeros": ("0.0.0.0", 0),
        "zeros of IPv6": ("::", 0),
        "a port alone": ("0.0.0.0", client_port),
        "the own address, port 0": ("127.0.0.1", 0),
        "an address behind a NAT": ("10.0.0.7", client_port),
        "an address of ours that is not the client's": ("127.0.0.2", client_port),
        "the target": ("127.0.0.3", target_port),
        "another family": ("::1", client_port),
        "multicast": ("224.0.0.1", client_port),
        "broadcast": ("255.255.255.255", client_port),
        "a name": ("client.test", client_port),
    }


def test_anything_else_is_no_hint(start, sockets):
    system = start(relays=0, udp=1)
    target = sockets.keep(udp.udp_socket("127.0.0.3"))
    for count in range(len(hints(1, 1))):
        client = sockets.keep(udp.udp_socket())
        what, hint = list(hints(client.getsockname()[1], target.getsockname()[1]).items())[count]
        with udp.Association(system.address, hint, sock=client) as a:
            assert a.reply.code == socks.SUCCEEDED, what
            [held] = system.relay.associations()
            assert (held["state"], held["client"]) == ("unlocked", "127.0.0.1:0"), what
            udp.exchange(a, target)
        assert udp.locks(system.relay) == {"learned": count + 1}, what
        wait_until(lambda: not system.relay.associations(), "its end")


@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", b"127.0.0.1"], ids=["mapped", "as a name"])
def test_a_hint_in_another_spelling_is_the_same(start, sockets, target, host):
    system = start(relays=0, udp=1)
    client = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address, (host, client.getsockname()[1]), sock=client))
    udp.exchange(a, target)
    assert udp.locks(system.relay) == {"hinted": 1}


def test_a_hint_of_a_port_that_is_not_used_serves_nobody_else(start, sockets, target):
    """The client has said which port it will use: its others are refused, and the association ends unused."""
    system = start(relays=0, udp=1, udp_relay={"relay": {"unused-timeout": "500ms"}})
    silent = sockets.keep(udp.udp_socket())
    a = sockets.keep(udp.Association(system.address, silent.getsockname()))
    a.send(target.getsockname(), b"from the wrong port")
    udp.wait_drops(system.relay, source_port=1)
    assert a.closed()
    assert system.access(command="udp-associate")["reason"] == "unused"

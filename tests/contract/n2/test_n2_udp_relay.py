"""Datagrams there and back: what targets see, what clients see, and who may send from outside."""

import ipaddress
import socket

import pytest

from n2wire import allow, deny, endpoint, nothing_came, pb, wait_until
import udp

pytestmark = pytest.mark.relays("udp")


def test_a_target_sees_the_payload_and_the_client_the_true_sender(udp_client, udp_target):
    client = udp_client()
    client.send(udp_target, b"to the target")
    octets, outer = udp_target.recvfrom(65536)
    assert octets == b"to the target"
    assert outer != client.sock.getsockname()
    udp_target.sendto(b"to the client", outer)
    assert client.receive() == (*udp_target.getsockname(), b"to the client")


def test_every_target_sees_the_same_port(udp_client, sockets):
    client = udp_client()
    assert len({client.exchange(sockets.udp()) for _ in range(5)}) == 1


def test_two_associations_are_two_ports(udp_client, udp_target):
    assert udp_client().exchange(udp_target) != udp_client().exchange(udp_target)


@pytest.mark.parametrize("length", [0, 1, 100, 1472, 1473, 9000, 65507 - 10])
def test_a_datagram_of_any_length_passes_both_ways(udp_client, udp_target, length):
    client = udp_client()
    payload = bytes(i * 7 % 256 for i in range(length))
    client.exchange(udp_target)
    client.send(udp_target, payload)
    octets, outer = udp_target.recvfrom(65536)
    assert octets == payload
    udp_target.sendto(payload, outer)
    assert client.receive() == (*udp_target.getsockname(), payload)


def test_datagrams_keep_their_borders_and_their_order(udp_client, udp_target):
    client = udp_client()
    sent = [bytes([i]) * (1 + i * 13 % 200) for i in range(60)]
    for payload in sent:
        client.send(udp_target, payload)
    outer = None
    for payload in sent:
        octets, outer = udp_target.recvfrom(65536)
        assert octets == payload
    for payload in sent:
        udp_target.sendto(payload, outer)
    assert [client.receive()[2] for _ in sent] == sent


def test_one_association_reaches_targets_of_both_families(server, udp_client, sockets):
    if 6 not in server.who.families:
        pytest.skip("this relay has no IPv6")
    four, six = sockets.udp(), sockets.udp("::1")
    client = udp_client()
    for target in (four, six, four, six):
        client.exchange(target)


def test_a_mapped_address_is_the_address_of_ipv4(udp_client, udp_target):
    client = udp_client()
    client.send_raw(b"\0\0\0\4" + socket.inet_pton(socket.AF_INET6, "::ffff:127.0.0.1")
                    + udp_target.getsockname()[1].to_bytes(2, "big") + b"mapped")
    octets, outer = udp_target.recvfrom(100)
    assert octets == b"mapped"
    udp_target.sendto(b"back", outer)
    assert client.receive() == (*udp_target.getsockname(), b"back")


def test_a_name_is_resolved_by_the_relay(udp_client, udp_target):
    client = udp_client(allow("127.0.0.0/8"))     # where localhost is ::1 first, that is left out
    client.send(("localhost", udp_target.getsockname()[1]), b"by name", name=True)
    octets, outer = udp_target.recvfrom(100)
    assert octets == b"by name"
    udp_target.sendto(b"back", outer)
    assert client.receive() == (*udp_target.getsockname(), b"back")


@pytest.mark.parametrize("name", ["127.0.0.1", "[::ffff:127.0.0.1]", "::ffff:7f00:1"])
def test_a_name_that_is_an_address_is_that_address(udp_client, udp_target, name):
    client = udp_client(deny("localhost"), allow("127.0.0.1"))
    client.send(("localhost", 9), b"x", name=True)
    client.send_raw(b"\0\0\0\3" + bytes([len(name)]) + name.encode()
                    + udp_target.getsockname()[1].to_bytes(2, "big") + b"by address")
    assert udp_target.recv(100) == b"by address"


@pytest.mark.parametrize("name", ["no such host", "a..b", ".", "x" * 64 + ".example", "-\0-"])
def test_what_is_no_name_is_dropped_and_counted(udp_client, udp_target, name):
    client = udp_client(hint=True)
    client.send_raw(b"\0\0\0\3" + bytes([len(name)]) + name.encode() + b"\0\x35x")
    client.exchange(udp_target)
    assert (client.counters().datagrams_up, client.counters().dropped) == (1, 1)


def test_port_0_is_nowhere(udp_client, udp_target):
    client = udp_client()
    client.send(("127.0.0.1", 0), b"nowhere")
    client.send(("localhost", 0), b"nowhere", name=True)
    client.exchange(udp_target)
    wait_until(lambda: client.counters().dropped == 2, "both dropped")     # a name takes its time
    assert client.counters().datagrams_up == 1


# ------------------------------------------------------------------------------------------- the filter

def test_an_address_that_was_never_sent_to_is_not_let_in(udp_client, udp_target, sockets):
    client = udp_client()
    outer = client.exchange(udp_target)
    sockets.udp("127.0.0.2").sendto(b"intruder", outer)
    client.exchange(udp_target)
    assert nothing_came(client.sock)
    counters = client.counters()
    assert (counters.datagrams_down, counters.dropped) == (2, 1)


def test_another_port_of_an_address_that_was_sent_to_is_let_in(udp_client, udp_target, sockets):
    client = udp_client()
    outer = client.exchange(udp_target)
    other = sockets.udp()
    other.sendto(b"from another port", outer)
    assert client.receive() == (*other.getsockname(), b"from another port")


def test_an_address_that_was_sent_to_in_vain_is_not_let_in(udp_client, udp_target, sockets):
    """It was denied, so nothing was sent to it."""
    client = udp_client(deny("127.0.0.2"), allow())
    denied = sockets.udp("127.0.0.2")
    client.send(denied, b"denied")
    outer = client.exchange(udp_target)
    denied.sendto(b"intruder", outer)
    client.exchange(udp_target)
    assert nothing_came(client.sock, denied)


def test_what_another_association_has_sent_to_is_not_let_in(udp_client, udp_target, sockets):
    client, other = udp_client(), udp_client()
    stranger = sockets.udp("127.0.0.2")
    outer = client.exchange(udp_target)
    other.exchange(stranger)
    stranger.sendto(b"intruder", outer)
    client.exchange(udp_target)
    assert nothing_came(client.sock)


def test_a_closed_port_ends_nothing(udp_client, udp_target, sockets):
    client = udp_client()
    client.exchange(udp_target)
    gone = sockets.udp()
    address = gone.getsockname()
    gone.close()
    for _ in range(5):
        client.send(address, b"nobody is there")
        client.exchange(udp_target)
    assert client.held().state == pb.HELD_OPENED


def test_a_client_that_has_gone_for_a_moment_ends_nothing(udp_client, udp_target, sockets):
    client = udp_client()
    outer = client.exchange(udp_target)
    address = client.sock.getsockname()
    client.sock.close()
    for _ in range(5):
        udp_target.sendto(b"nobody is there", outer)
    client.sock = sockets.udp(*address)
    wait_until(lambda: sum((client.counters().datagrams_down, client.counters().dropped)) >= 6,
               "the end of all of them")
    while not nothing_came(client.sock):
        client.sock.recv(100)
    client.exchange(udp_target)


# ---------------------------------------------------------------------------------------------- FRAG

def send_fragment(client, target, number, payload):
    client.send(target, payload, frag=number)


def test_a_fragment_alone_is_not_relayed(udp_client, udp_target):
    client = udp_client()
    send_fragment(client, udp_target, 1, b"half")
    client.exchange(udp_target)
    assert nothing_came(udp_target)
    assert client.counters().datagrams_up == 1


def test_fragments_in_order_arrive_whole_or_not_at_all(udp_client, udp_target):
    client = udp_client()
    for number, payload in ((1, b"one "), (2, b"two "), (0x83, b"three")):
        send_fragment(client, udp_target, number, payload)
    client.send(udp_target, b"mark")
    first = udp_target.recv(100)
    assert first in (b"one two three", b"mark")
    if first != b"mark":
        assert udp_target.recv(100) == b"mark"
        assert client.counters().datagrams_up == 2


@pytest.mark.parametrize("numbers", [(2, 0x83), (1, 3, 0x84), (0x82,), (1, 2, 1, 0x83), (1, 1, 0x83)],
                         ids=str)
def test_fragments_with_a_gap_or_out_of_order_are_not_relayed(udp_client, udp_target, numbers):
    client = udp_client()
    for number in numbers:
        send_fragment(client, udp_target, number, b"piece")
    client.exchange(udp_target)
    assert nothing_came(udp_target)


def test_fragments_are_judged_as_datagrams_are(udp_client, udp_target, sockets):
    denied = sockets.udp("127.0.0.2")
    client = udp_client(deny("127.0.0.2"), allow())
    send_fragment(client, denied, 1, b"one ")
    send_fragment(client, denied, 0x82, b"two")
    client.exchange(udp_target)
    assert nothing_came(denied)


# ------------------------------------------------------------------------------ what nobody may send to

@pytest.fixture(scope="module")
def kept():
    """Sockets that live as long as the relay: it goes on protecting their addresses."""
    made = []

    def keep(sock):
        made.append(sock)
        return sock
    yield keep
    for sock in made:
        sock.close()


def test_the_endpoint_that_a_server_protects_is_not_sent_to(
        new_server, udp_client, udp_target, kept, sockets):
    protected = kept(sockets.udp().dup())
    port = protected.getsockname()[1]
    server = new_server(protect=[endpoint("127.0.0.1", port)])
    for at in (server, new_server()):
        client = udp_client(deny("::1"), allow(), at=at)      # localhost may be that too
        for ip in ("127.0.0.1", "0.0.0.0", "::ffff:127.0.0.1", "::", "::ffff:0.0.0.0"):
            address = ipaddress.ip_address(ip)
            client.send_raw(b"\0\0\0" + (b"\1" if address.version == 4 else b"\4") + address.packed
                            + port.to_bytes(2, "big") + b"protected")
        client.send(("localhost", port), b"protected", name=True)
        client.exchange(udp_target)
        assert nothing_came(protected)
        assert client.counters().datagrams_up == 1


def test_a_protected_port_of_another_address_may_be_sent_to(new_server, udp_client, udp_target):
    server = new_server(protect=[endpoint("127.0.0.99", udp_target.getsockname()[1])])
    udp_client(at=server).exchange(udp_target)


def test_a_client_port_of_the_relay_is_not_sent_to(udp_client, udp_target):
    """Or a client would send to itself, or to another client's association, from inside."""
    client, victim = udp_client(), udp_client(client="127.0.0.2", client_local="127.0.0.1")
    victim.exchange(udp_target)
    for address in (client.bound, victim.bound, ("0.0.0.0", victim.bound[1])):
        client.send(address, udp.header(*udp_target.getsockname()) + b"loop")
    client.exchange(udp_target)
    victim.exchange(udp_target)
    assert nothing_came(udp_target)
    assert client.counters().dropped == 3
    assert victim.counters().dropped == 0

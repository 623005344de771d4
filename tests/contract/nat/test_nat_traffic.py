"""Packets of an association reach its target and come back, and look as if the relay had sent them."""

import hashlib
import socket
import struct
import threading

import pytest

from nat_world import SCTP, UDP, UDPLITE
from targets import pattern

BULK = pattern(8_000_000)
V4 = {"client": "10.1.0.2", "bound": "10.1.0.1", "target": "10.2.0.2", "relay": "10.2.0.1"}
V6 = {"client": "fd01::2", "bound": "fd01::1", "target": "fd02::2", "relay": "fd02::1"}


def text(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def drain(sock, into):
    digest = hashlib.sha256()
    while data := sock.recv(1 << 16):
        digest.update(data)
    into.append(digest.hexdigest())


def pump(sock):
    sock.sendall(BULK)
    sock.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("net", [V4, V6], ids=["ipv4", "ipv6"])
def test_bulk_both_ways_over_tcp_is_unharmed(world, net):
    d = world.driver()
    listener = world.listener((net["target"], 80))
    d.hold(text(net["bound"], 30000))
    d.lease()
    d.add("a", text(net["client"], 40000), text(net["bound"], 30000), text(net["target"], 80))
    near = world.dial((net["bound"], 30000), (net["client"], 40000))
    far, peer = listener.accept()
    world.keep(far)
    assert peer[0] == net["relay"], "masqueraded"
    assert 32768 <= peer[1] <= 60999, "with one of the host's own ports for outgoing connections"
    sums = []
    threads = [threading.Thread(target=f, args=a) for f, a in
               [(drain, (near, sums)), (drain, (far, sums)), (pump, (near,)), (pump, (far,))]]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sums == [hashlib.sha256(BULK).hexdigest()] * 2
    counts = d.remove("a")
    assert counts["octets_out"] > len(BULK) and counts["octets_in"] > len(BULK)


@pytest.mark.parametrize("ptcl", [UDP, UDPLITE], ids=["udp", "udplite"])
@pytest.mark.parametrize("net", [V4, V6], ids=["ipv4", "ipv6"])
def test_datagrams_go_and_come_back(world, net, ptcl):
    try:
        near = world.keep(world.client.socket((net["client"], 40000), socket.SOCK_DGRAM, ptcl))
    except OSError as why:
        pytest.skip(f"protocol {ptcl}: {why}")
    far = world.keep(world.target.socket((net["target"], 53), socket.SOCK_DGRAM, ptcl))
    if ptcl == UDPLITE:
        world.relay.sysctl("net.netfilter.nf_conntrack_checksum=0")
    d = world.driver()
    d.hold(text(net["bound"], 30000), ptcl)
    d.lease()
    d.add("a", text(net["client"], 40000), text(net["bound"], 30000), text(net["target"], 53), ptcl)
    for size in (0, 1, 1400, 9000):            # the largest in fragments
        near.sendto(bytes(size), (net["bound"], 30000))
        data, peer = far.recvfrom(65536)
        assert len(data) == size and peer[0] == net["relay"]
        far.sendto(b"x" * size, peer)
        data, peer = near.recvfrom(65536)
        assert data == b"x" * size and peer[:2] == (net["bound"], 30000)
    counts = d.remove("a")
    assert (counts["packets_out"], counts["packets_in"]) == (4, 4)


def test_a_chosen_source_address_is_used(world):
    world.relay.ip("addr add 10.2.0.77/24 dev t0")
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP, sender="10.2.0.77")
    near, far = world.client_udp(), world.target_udp()
    near.sendto(b"q", ("10.1.0.1", 30000))
    data, peer = far.recvfrom(100)
    assert peer[0] == "10.2.0.77"
    far.sendto(b"a", peer)
    assert near.recv(100) == b"a"


def test_a_privileged_source_port_is_not_borrowed(world):
    """A client that sends from port 53 does not send from the relay's port 53."""
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:53", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.client_udp(("10.1.0.2", 53)), world.target_udp()
    near.sendto(b"q", ("10.1.0.1", 30000))
    assert far.recvfrom(100)[1][1] >= 32768


def test_connections_follow_each_other_on_one_association(world):
    d = world.driver()
    listener = world.listener()
    d.hold("10.1.0.1:30000")
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:80")
    for turn in range(5):
        near = world.dial(("10.1.0.1", 30000))
        far = listener.accept()[0]
        far.sendall(b"hello")
        assert near.recv(5) == b"hello"
        far.close()                     # the target first: the client's port is free at once
        assert near.recv(5) == b""
        near.close()
        assert d.expect("ended a") == "ended a fin", f"turn {turn}"
    assert d.remove("a")["packets_out"] >= 5 * 4, "of all of them"


def test_a_client_on_the_relays_own_host(world):
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.1:40000", "10.1.0.1:30000", "10.2.0.2:53", UDP)
    near = world.keep(world.relay.udp(("10.1.0.1", 40000)))
    far = world.target_udp()
    near.sendto(b"q", ("10.1.0.1", 30000))
    data, peer = far.recvfrom(100)
    far.sendto(b"a", peer)
    assert (data, peer[0], near.recv(100)) == (b"q", "10.2.0.1", b"a")


def test_a_target_on_the_relays_own_host(world):
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.1:53", UDP)
    near, far = world.client_udp(), world.keep(world.relay.udp(("10.2.0.1", 53)))
    near.sendto(b"q", ("10.1.0.1", 30000))
    data, peer = far.recvfrom(100)
    far.sendto(b"a", peer)
    assert (data, near.recv(100)) == (b"q", b"a")


def test_loopback_to_a_target_elsewhere(world):
    world.relay.sysctl("net.ipv4.conf.all.route_localnet=1")
    d = world.driver()
    d.hold("127.0.0.1:30000", UDP)
    d.lease()
    d.add("a", "127.0.0.1:40000", "127.0.0.1:30000", "10.2.0.2:53", UDP)
    near, far = world.keep(world.relay.udp(("127.0.0.1", 40000))), world.target_udp()
    near.sendto(b"q", ("127.0.0.1", 30000))
    data, peer = far.recvfrom(100)
    far.sendto(b"a", peer)
    assert (data, near.recv(100)) == (b"q", b"a")


def crc32c(data):
    crc = 0xFFFFFFFF
    for octet in data:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp_packet(source, dest, tag, chunk):
    """One chunk with its common header (RFC 9260, section 3)."""
    packet = struct.pack(">HHII", source, dest, tag, 0) + chunk
    return packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]


def test_sctp_packets_are_translated_with_a_good_checksum(world):
    """By hand: this needs no SCTP in the kernels at the ends."""
    d = world.driver()
    d.hold("10.1.0.1:30000", SCTP)
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:5000", SCTP)
    near = world.keep(world.client.socket(("10.1.0.2", 0), socket.SOCK_RAW, SCTP))
    far = world.keep(world.target.socket(("10.2.0.2", 0), socket.SOCK_RAW, SCTP))
    init = struct.pack(">BBHIIHHI", 1, 0, 20, 0x1111, 65536, 1, 1, 1)
    near.sendto(sctp_packet(40000, 30000, 0, init), ("10.1.0.1", 0))
    packet, peer = far.recvfrom(2000)
    packet = packet[20:]
    source, dest = struct.unpack(">HH", packet[:4])
    assert peer[0] == "10.2.0.1" and dest == 5000 and packet[12:] == init
    assert packet == sctp_packet(source, dest, 0, init), "the checksum holds"
    init_ack = struct.pack(">BBHIIHHI", 2, 0, 20, 0x2222, 65536, 1, 1, 1)
    far.sendto(sctp_packet(5000, source, 0x1111, init_ack), ("10.2.0.1", 0))
    packet = near.recv(2000)[20:]
    assert packet == sctp_packet(30000, 40000, 0x1111, init_ack)


def test_bulk_through_one_percent_loss_is_unharmed(world):
    for host in (world.client, world.target):
        host.nft("table inet loss { chain in { type filter hook prerouting priority -200;\n"
                 "numgen random mod 100 == 0 drop\n}\n}")
    d = world.driver()
    listener = world.listener()
    d.hold("10.1.0.1:30000")
    d.lease()
    d.add("a", "10.1.0.2:40000", "10.1.0.1:30000", "10.2.0.2:80")
    near = world.dial(("10.1.0.1", 30000), timeout=30)
    far = world.keep(listener.accept()[0])
    for sock in (near, far):
        sock.settimeout(60)
    sums = []
    threads = [threading.Thread(target=f, args=a) for f, a in
               [(drain, (near, sums)), (drain, (far, sums)), (pump, (near,)), (pump, (far,))]]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sums == [hashlib.sha256(BULK).hexdigest()] * 2

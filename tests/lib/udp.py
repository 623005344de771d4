"""A SOCKS 5 UDP client by hand, and targets for it."""

import contextlib
import ipaddress
import random
import socket
import struct

import daemons
import socks

ANY = ("0.0.0.0", 0)


def header(host, port, name=False, frag=0, reserved=0):
    return struct.pack("!HB", reserved, frag) + socks.address5(host, name) + struct.pack("!H", port)


def parse(datagram):
    """(host, port, payload) of a datagram with a header in front."""
    reserved, frag, kind = struct.unpack("!HBB", datagram[:4])
    assert (reserved, frag) == (0, 0) and kind in (1, 4), datagram[:24]
    end = 4 + (4 if kind == 1 else 16)
    host = str(ipaddress.ip_address(datagram[4:end]))
    return host, int.from_bytes(datagram[end:end + 2], "big"), datagram[end + 2:]


def udp_socket(host="127.0.0.1", port=0, timeout=30):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(timeout)
    if ":" in host:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((host, port))
    return sock


class Association:
    """One UDP ASSOCIATE: its control connection, and a socket that datagrams are sent from.

    hint: what the request says of the source; True: the truth; None: zeros. source: the client's address,
    for the control connection and the socket alike. reply is the answer, whatever it was.
    """

    def __init__(self, address, hint=None, source=None, user=None, password=None, sock=None):
        family = "::1" if ":" in address[0] else "127.0.0.1"
        self.sock = sock or udp_socket(source or family)
        control = socket.create_connection(address, 30, (source, 0) if source else None)
        self.control = control
        method = socks.NONE if user is None else socks.USERPASS
        control.sendall(socks.greeting5(method))
        assert socks.read_exactly(control, 2) == bytes([5, method])
        if user is not None:
            control.sendall(socks.userpass(user, password))
            assert socks.read_exactly(control, 2) == b"\1\0"
        host, port = self.sock.getsockname()[:2] if hint is True else hint or \
            ("::" if ":" in family else "0.0.0.0", 0)
        control.sendall(socks.request5(socks.UDP_ASSOCIATE, host, port))
        self.reply = socks.read_reply5(control)

    @property
    def bound(self):
        """Where to send to."""
        assert self.reply.code == socks.SUCCEEDED, self.reply
        return self.reply.host, self.reply.port

    def send(self, target, payload, name=False, frag=0):
        self.send_raw(header(*target[:2], name=name, frag=frag) + payload)

    def send_raw(self, octets):
        self.sock.sendto(octets, self.bound)

    def recv(self, timeout=30):
        """(host, port, payload), from the relay and nobody else."""
        self.sock.settimeout(timeout)
        octets, sender = self.sock.recvfrom(65536)
        assert sender[:2] == self.bound, (sender, self.bound)
        return parse(octets)

    def silent(self, timeout=0.3):
        """Nothing comes."""
        with contextlib.suppress(socket.timeout):
            return not self.recv(timeout)
        return True

    def closed(self, timeout=30):
        """Waits until the other side has closed the control connection."""
        self.control.settimeout(timeout)
        try:
            return self.control.recv(1) == b""
        except ConnectionResetError:
            return True

    def close(self):
        self.control.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def exchange(association, target, payload=b"ping", name=None):
    """Sends to a target (a socket of ours), answers from it, reads the answer; where the relay sent from."""
    host, port = target.getsockname()[:2]
    association.send((name or host, port), payload, name=name is not None)
    octets, outer = target.recvfrom(65536)
    assert octets == payload, (octets[:40], payload[:40])
    target.sendto(b"re:" + payload, outer)
    assert association.recv() == (host, port, b"re:" + payload)
    return outer


def counts(relay, family, label):
    """The samples of a family by their label, without those that are 0."""
    start = f'{family}{{{label}="'
    return {name[len(start):-2]: int(value) for name, value in relay.metrics().items()
            if name.startswith(start) and value}


def wait_drops(relay, **reasons):
    """Waits until exactly these datagrams were dropped, and none for another reason."""
    def dropped():
        return counts(relay, "relayd_drops_total", "reason") == reasons
    try:
        daemons.wait_until(dropped, timeout=10)
    except AssertionError:
        assert counts(relay, "relayd_drops_total", "reason") == reasons


def locks(relay):
    """How often client ports became known: {"hinted": 1, "learned": 2, "relocked": 3}"""
    return counts(relay, "relayd_locks_total", "how")


def free_range(count):
    """(first, last): UDP ports in a row that nobody has, outside of what relays take without being told."""
    while True:
        first = random.randrange(22000, 32000 - count)
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    for host in ("0.0.0.0", "::"):
                        stack.enter_context(udp_socket(host, port))
            except OSError:
                continue
            return first, first + count - 1

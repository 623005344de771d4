"""A name server on loopback that knows what a test tells it and remembers what it was asked.

    dns = FakeDNS({"www.example.net": ["192.0.2.7", "2001:db8::7"]})
    dns.address       "127.0.0.1:12345", for `resolver: {servers: [...]}`
    dns.asked         names, in lower case, in the order of the questions

A name that it does not know is answered NXDOMAIN; a name whose addresses are SILENCE is not answered
at all, one with SERVFAIL gets that.
"""

import ipaddress
import socket
import struct
import threading

SILENCE = "silence"
SERVFAIL = "servfail"
A, AAAA = 1, 28


class FakeDNS:
    def __init__(self, names=None, ttl=60):
        self.names = names or {}
        self.ttl = ttl
        self.asked = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._sock.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._sock,), daemon=True).start()

    def close(self):
        """Wakes the thread, which then sees that its socket is gone."""
        sock, self._sock = self._sock, None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", sock.getsockname())

    def _serve(self, sock):
        with sock:
            while True:
                message, client = sock.recvfrom(4096)
                if self._sock is None:
                    return
                answer = self._answer(message)
                if answer:
                    sock.sendto(answer, client)

    def _answer(self, message):
        if len(message) < 12:
            return None
        name, kind, end = _question(message)
        self.asked.append(name)
        found = self.names.get(name)
        if found == SILENCE:
            return None
        flags = 0x8180 | (2 if found == SERVFAIL else 3 if found is None else 0)
        records = b""
        count = 0
        for text in [] if found in (None, SERVFAIL) else found:
            ip = ipaddress.ip_address(text)
            if kind == (A if ip.version == 4 else AAAA):
                records += struct.pack("!HHHIH", 0xc00c, kind, 1, self.ttl, len(ip.packed)) + ip.packed
                count += 1
        return message[:2] + struct.pack("!HHHHH", flags, 1, count, 0, 0) + message[12:end] + records


def _question(message):
    """The name, the type, and where the question ends."""
    labels, at = [], 12
    while message[at]:
        labels.append(message[at + 1:at + 1 + message[at]].decode("latin-1"))
        at += 1 + message[at]
    return ".".join(labels).lower(), int.from_bytes(message[at + 1:at + 3], "big"), at + 5

"""SOCKS clients by hand: the octets of RFC 1928, RFC 1929 and the SOCKS 4 and 4a notes.

Nothing here is clever: a test builds octets, sends them as it likes, and reads one reply.
"""

import collections
import ipaddress
import socket
import struct
import time

CONNECT, BIND, UDP_ASSOCIATE = 1, 2, 3
NONE, USERPASS, NO_ACCEPTABLE = 0, 2, 255

# SOCKS 5 reply codes (RFC 1928 section 6) and SOCKS 4 ones.
SUCCEEDED, GENERAL_FAILURE, DENIED, NETWORK_UNREACHABLE, HOST_UNREACHABLE, REFUSED, TTL_EXPIRED, \
    COMMAND_UNSUPPORTED, ADDRESS_UNSUPPORTED = range(9)
GRANTED4, REJECTED4 = 90, 91

Reply = collections.namedtuple("Reply", "code host port")


# ------------------------------------------------------------------------------------------- messages

def request4(command, host, port, userid=b""):
    """host: an IPv4 address."""
    return struct.pack("!BBH", 4, command, port) + socket.inet_aton(host) + userid + b"\0"


def request4a(command, name, port, userid=b""):
    return struct.pack("!BBH", 4, command, port) + b"\0\0\0\1" + userid + b"\0" + _octets(name) + b"\0"


def greeting5(*methods):
    return bytes([5, len(methods), *methods])


def userpass(user, password):
    user, password = _octets(user), _octets(password)
    return bytes([1, len(user)]) + user + bytes([len(password)]) + password


def address5(host, name=False):
    """ATYP and address. A host that is no address, or with name=True any, goes as a name."""
    if not name:
        try:
            ip = ipaddress.ip_address(host)
            return bytes([1 if ip.version == 4 else 4]) + ip.packed
        except ValueError:
            pass
    octets = _octets(host)
    return bytes([3, len(octets)]) + octets


def request5(command, host, port, name=False):
    return bytes([5, command, 0]) + address5(host, name) + struct.pack("!H", port)


def _octets(text):
    return text if isinstance(text, bytes) else text.encode()


# -------------------------------------------------------------------------------------------- reading

def read_exactly(sock, count):
    octets = b""
    while len(octets) < count:
        more = sock.recv(count - len(octets))
        if not more:
            raise EOFError(f"the connection ended after {octets!r}, {count} octets were expected")
        octets += more
    return octets


def read_all(sock):
    """Until the other side has finished."""
    chunks = []
    while chunk := sock.recv(65536):
        chunks.append(chunk)
    return b"".join(chunks)


def read_reply4(sock):
    version, code, port, ip = struct.unpack("!BBH4s", read_exactly(sock, 8))
    assert version == 0, f"a SOCKS 4 reply begins with 0, not {version}"
    return Reply(code, socket.inet_ntoa(ip), port)


def read_reply5(sock):
    version, code, reserved, kind = read_exactly(sock, 4)
    assert (version, reserved) == (5, 0) and kind in (1, 4), (version, code, reserved, kind)
    ip = read_exactly(sock, 4 if kind == 1 else 16)
    return Reply(code, str(ipaddress.ip_address(ip)), int.from_bytes(read_exactly(sock, 2), "big"))


# -------------------------------------------------------------------------------------------- clients

def dial(address, timeout=30):
    sock = socket.create_connection(address, timeout)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def send_slowly(sock, octets, size=1, pause=0.002):
    """In pieces that arrive as pieces."""
    for at in range(0, len(octets), size):
        sock.sendall(octets[at:at + size])
        time.sleep(pause)


def open4(address, command, host, port, userid=b""):
    """(socket, reply)"""
    sock = dial(address)
    sock.sendall(request4(command, host, port, userid))
    return sock, read_reply4(sock)


def open4a(address, command, name, port, userid=b""):
    sock = dial(address)
    sock.sendall(request4a(command, name, port, userid))
    return sock, read_reply4(sock)


def greet5(address, user=None, password=None):
    """A socket on which the request comes next; or None and the method or status that refused."""
    sock = dial(address)
    method = NONE if user is None else USERPASS
    sock.sendall(greeting5(method))
    chosen = read_exactly(sock, 2)
    assert chosen == bytes([5, method]), chosen
    if user is not None:
        sock.sendall(userpass(user, password))
        status = read_exactly(sock, 2)
        assert status == b"\1\0", status
    return sock


def open5(address, command, host, port, name=False, user=None, password=None):
    """(socket, reply)"""
    sock = greet5(address, user, password)
    sock.sendall(request5(command, host, port, name))
    return sock, read_reply5(sock)

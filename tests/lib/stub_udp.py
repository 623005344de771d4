"""UDP ASSOCIATE of the stub relay, from N2.md and RFC 1928 section 7. Fragments are dropped.

Ports are the relay's ports towards clients, which many associations share; a UdpAssociation has a socket
of its own per family towards targets.
"""

import asyncio
import errno
import ipaddress
import socket
import struct
import time

from n2wire import endpoint, pb
from stub_common import Association, Refuse, bad, check_endpoint, is_local, plain_ip, unsupported
from stub_rules import Rules, check_rules, plain_name

UDP = 17
MAX_DATAGRAM = 65535
NAMES_WAITING = 16              # datagrams of one association that wait for their name
ATYP_IPV4, ATYP_NAME, ATYP_IPV6 = 1, 3, 4


def family_of(address):
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def datagram_socket(host, port):
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


# --------------------------------------------------------------------------------------- field checks

def check_udp(message):
    """What holds for an Open of KIND_UDP beside what holds for all."""
    if message.ptcl != UDP:
        raise unsupported(f"protocol {message.ptcl}")
    if len(message.destinations) > 1:
        raise bad(f"{len(message.destinations)} destinations")
    for hint in message.destinations:
        check_endpoint(hint, "destination")
    if not message.client.ip:
        raise bad("no address of the client")
    if message.bind.ip or message.bind.port:
        raise unsupported("a wanted port")
    check_rules(message.rules)


# --------------------------------------------------------------------------------------------- header

class Malformed(Exception):
    pass


def parse(octets):
    """(frag, name or None, address or None, port, payload); one of name and address is there."""
    def take(count):
        nonlocal at
        if at + count > len(octets):
            raise Malformed("cut short")
        at += count
        return octets[at - count:at]

    at = 0
    reserved, frag, kind = struct.unpack("!HBB", take(4))
    name = address = None
    if reserved:
        raise Malformed("RSV is not 0")
    if kind == ATYP_IPV4:
        address = ipaddress.ip_address(take(4))
    elif kind == ATYP_IPV6:
        address = plain_ip(take(16))
    elif kind == ATYP_NAME:
        name = take(take(1)[0])
        if not name:
            raise Malformed("an empty name")
    else:
        raise Malformed(f"address type {kind}")
    port = struct.unpack("!H", take(2))[0]
    return frag, name, address, port, octets[at:]


def header(address, port):
    kind = ATYP_IPV4 if address.version == 4 else ATYP_IPV6
    return struct.pack("!HBB", 0, 0, kind) + address.packed + struct.pack("!H", port)


# ------------------------------------------------------------------------------ ports towards clients

class ClientPort:
    """One socket that clients send to, and who is on it: client's address -> associations."""

    def __init__(self, ports, host, number):
        self.ports = ports
        self.sock = datagram_socket(host, number)
        self.host, self.number = self.sock.getsockname()[:2]
        self.locked = {}                # (address, port) -> association
        self.unlocked = {}              # address -> association
        self.resting = {}               # (address, port) of one that has ended -> until when
        asyncio.get_running_loop().add_reader(self.sock, self.readable)

    def has_room(self, client, source_port):
        """Whether one of this client that sends from there (0: not known) can be told from the others."""
        now = time.monotonic()
        self.resting = {source: until for source, until in self.resting.items() if until > now}
        here = [*self.locked, *self.resting]
        if client in self.unlocked:
            return False
        if source_port == 0:
            return not any(address == client for address, _ in here)
        return (client, source_port) not in here

    def place(self, association):
        if association.source:
            self.locked[association.source] = association
        else:
            self.unlocked[association.client_ip] = association

    def lock(self, association, source):
        del self.unlocked[association.client_ip]
        self.locked[source] = association

    def remove(self, association):
        if association.source:
            del self.locked[association.source]
            self.resting[association.source] = time.monotonic() + self.ports.rest
        else:
            del self.unlocked[association.client_ip]

    def readable(self):
        for _ in range(64):
            try:
                octets, sender = self.sock.recvfrom(MAX_DATAGRAM)
            except OSError:
                return
            source = ipaddress.ip_address(sender[0]), sender[1]
            association = self.locked.get(source) or self.unlocked.get(source[0])
            if association:
                association.from_client(source, octets)


class Ports:
    def __init__(self, options):
        self.first, self.last = options.ports
        self.rest = options.port_rest / 1000
        self.ports = []

    def find(self, host, client, source_port):
        """A port that this association can have; opens one when it must."""
        here = [port for port in self.ports if port.host == host]
        for port in here:
            if port.has_room(client, source_port):
                return port
        taken = {port.number for port in here}
        for number in range(self.first, self.last + 1):
            if number in taken and number != 0:
                continue
            try:
                fresh = ClientPort(self, host, number)
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise Refuse(pb.REFUSAL_CANNOT_BIND, str(error)) from error
                continue
            self.ports.append(fresh)
            return fresh
        raise Refuse(pb.REFUSAL_NO_PORT, "no port for this client")

    def has(self, address, number):
        """Whether a datagram to there would come back to us."""
        return any(port.number == number and (ipaddress.ip_address(port.host) == address
                                              or address.is_unspecified) for port in self.ports)


# --------------------------------------------------------------------------------------- association

class UdpAssociation(Association):
    def __init__(self, relay, server, call_id, message):
        super().__init__(relay, server, call_id, message)
        self.client_ip = plain_ip(message.client.ip)
        self.who = message.owner or str(self.client_ip)
        self.source = truthful_hint(message, self.client_ip)
        self.rules = Rules(message.rules)
        self.peers = {}                 # address -> port that it was last sent to
        self.outer = {}                 # family -> socket
        self.datagrams_up = self.datagrams_down = self.dropped = 0
        self.used = False
        self.waiting = 0
        self.port = None

    def opened(self, message):
        """Takes a port. Returns the OpenAnswer."""
        if not self.source:
            unlocked = sum(1 for other in self.relay.all_associations()
                           if isinstance(other, UdpAssociation) and not other.source
                           and other.who == self.who)
            if unlocked >= self.relay.options.unlocked:
                raise Refuse(pb.REFUSAL_FULL, "too many that their client has not used")
        host = address_towards(self.client_ip, message.client_local)
        self.port = self.relay.ports.find(host, self.client_ip, self.source[1] if self.source else 0)
        self.port.place(self)
        self.state = pb.HELD_OPENED
        self.spawn(self.watch_time())
        return pb.OpenAnswer(state=pb.OPEN_OPENED, engine="python", ticket=self.ticket,
                             bound=endpoint(self.port.host, self.port.number))

    def counters(self):
        counters = super().counters()
        counters.datagrams_up = self.datagrams_up
        counters.datagrams_down = self.datagrams_down
        counters.dropped = self.dropped
        return counters

    def client_source(self):
        return endpoint(str(self.source[0]), self.source[1]) if self.source else None

    def update(self, message):
        super().update(message)
        if message.HasField("rules"):
            self.rules = Rules(message.rules)
            self.peers = {ip: port for ip, port in self.peers.items()
                          if self.rules.allow_address(None, ip, port)}

    # -- from the client

    def from_client(self, source, octets):
        """A datagram from our client's address, and from its port if that is known."""
        try:
            frag, name, address, port, payload = parse(octets)
        except Malformed:
            self.dropped += self.source is not None     # else it is nobody's
            return
        if not self.used:
            self.used = True
            self.last_moved = time.monotonic()
        if self.source is None:
            self.source = source
            self.port.lock(self, source)
            self.server.event(pb.Event(type=pb.EVENT_LOCKED, association=self.id,
                                       peer=self.client_source()))
        if name is not None:
            name, address = plain_name(name)
        if frag:
            self.dropped += 1
        elif address is not None:
            self.send(None, address, port, payload)
        elif name is None or not self.rules.may_resolve(name, port) or self.waiting == NAMES_WAITING:
            self.dropped += 1
        else:
            self.waiting += 1
            self.spawn(self.resolve(name, port, payload))

    async def resolve(self, name, port, payload):
        local = (b"." + name.lower().rstrip(b".")).endswith(b".localhost")  # whatever the host's files say
        try:
            found = await asyncio.get_running_loop().getaddrinfo("127.0.0.1" if local else name, port,
                                                                 type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError):
            found = []
        self.waiting -= 1
        for *_, address in found:
            ip = plain_ip(ipaddress.ip_address(address[0]).packed)
            if self.may_go(name, ip, port):
                self.send(name, ip, port, payload)
                return
        self.dropped += 1

    def may_go(self, name, address, port):
        return (port != 0 and self.rules.allow_address(name, address, port)
                and not self.relay.is_protected((str(address), port))
                and not self.relay.ports.has(address, port))

    def send(self, name, address, port, payload):
        if not self.may_go(name, address, port):
            self.dropped += 1
            return
        try:
            self.outer_socket(family_of(address)).sendto(payload, (str(address), port))
        except OSError:
            self.dropped += 1
            return
        self.peers[address] = port
        self.count("up", len(payload))

    def outer_socket(self, family):
        """One for all targets, so that all of them see the same source port."""
        if family not in self.outer:
            sock = datagram_socket("0.0.0.0" if family == socket.AF_INET else "::", 0)
            asyncio.get_running_loop().add_reader(sock, self.readable, sock)
            self.outer[family] = sock
        return self.outer[family]

    # -- from outside

    def readable(self, sock):
        for _ in range(64):
            try:
                octets, sender = sock.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                return
            except OSError:             # what the network reports of an earlier one ends nothing
                continue
            self.from_outside(ipaddress.ip_address(sender[0].partition("%")[0]), sender[1], octets)
            if self.ended:
                return

    def from_outside(self, address, port, octets):
        if address not in self.peers:
            self.dropped += 1
            return
        try:
            self.port.sock.sendto(header(address, port) + octets, (str(self.source[0]), self.source[1]))
        except OSError:
            self.dropped += 1
            return
        self.count("down", len(octets))

    # -- what ends it

    def count(self, direction, octets):
        """Counts a datagram that was relayed, which may be the last one."""
        self.last_moved = time.monotonic()
        setattr(self, direction, getattr(self, direction) + octets)
        name = "datagrams_" + direction
        setattr(self, name, getattr(self, name) + 1)
        if self.limits.octets and self.up + self.down > self.limits.octets:
            self.end(pb.END_LIMIT)

    async def watch_time(self):
        while True:
            now = time.monotonic()
            if not self.used and now - self.started >= self.relay.options.unused / 1000:
                self.end(pb.END_UNUSED)
                return
            if self.used and self.limits.idle_ms and now - self.last_moved >= self.limits.idle_ms / 1000:
                self.end(pb.END_IDLE)
                return
            await asyncio.sleep(0.05)

    def close_sockets(self, gracefully):
        if self.port:
            self.port.remove(self)
        for sock in self.outer.values():
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()


def truthful_hint(message, client):
    """(address, port) when the client says that it sends from a port of its own address."""
    for hint in message.destinations:
        if hint.ip and hint.port and plain_ip(hint.ip) == client:
            return client, hint.port
    return None


def address_towards(client, client_local):
    """A local address by which this client reaches us: where it has reached the server, if we are there."""
    if client_local.ip:
        local = plain_ip(client_local.ip)
        if local.version == client.version and not local.is_unspecified and is_local(local):
            return str(local)
    with socket.socket(family_of(client), socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(client), 9))
        except OSError as error:
            raise Refuse(pb.REFUSAL_CANNOT_BIND, str(error)) from error
        return probe.getsockname()[0]

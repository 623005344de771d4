"""Where datagrams may go, as N2.md says in "Rules for datagrams"."""

import ipaddress
import re

from stub_common import bad, plain_ip

MAX_RULES = 4096
MAX_ITEMS = 65536
LABEL = rb"[A-Za-z0-9_\x80-\xff-]{1,63}"
HOST_NAME = re.compile(rb"%s(\.%s)*\Z" % (LABEL, LABEL))
MAPPED = ipaddress.ip_network("::ffff:0:0/96")
NAT64 = ipaddress.ip_network("64:ff9b::/96")
SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
TEREDO = ipaddress.ip_network("2001::/32")
SPECIAL = [ipaddress.ip_network(text) for text in """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
    192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    2001::/23 2001:db8::/32 3fff::/20""".split()]
ORDINARY = ipaddress.ip_network("2000::/3")


# -------------------------------------------------------------------------------------------- checks

def check_rules(message):
    if len(message.rules) > MAX_RULES:
        raise bad(f"{len(message.rules)} rules")
    for rule in message.rules:
        for items in (rule.names, rule.networks, rule.special, rule.ports):
            if len(items) > MAX_ITEMS:
                raise bad(f"{len(items)} items")
        for network in (*rule.networks, *rule.special):
            check_network(network)
        for name in rule.names:
            check_name(name.encode())
        for span in rule.ports:
            if not span.first <= span.last <= 65535:
                raise bad(f"the ports {span.first} to {span.last}")


def check_network(network):
    if len(network.ip) not in (4, 16):
        raise bad(f"a network of {len(network.ip)} octets")
    width = 8 * len(network.ip)
    if network.bits > width:
        raise bad(f"a network of {network.bits} bits")
    if int.from_bytes(network.ip, "big") & ((1 << (width - network.bits)) - 1):
        raise bad("a network with octets behind its bits")


def check_name(name):
    host = name.removeprefix(b".")
    if (len(name) > 255 or not HOST_NAME.match(host) or host != host.lower()
            or host.split(b".")[-1].isdigit()):
        raise bad(f"the name {name[:100]!r}")


# ------------------------------------------------------------------------------------------ addresses

def plain_network(message):
    """A network inside the mapped addresses is an IPv4 network."""
    network = ipaddress.ip_network((bytes(message.ip), message.bits))
    if network.version == 6 and network.subnet_of(MAPPED):
        return ipaddress.ip_network((network.network_address.packed[12:], network.prefixlen - 96))
    return network


def carried(address):
    """The IPv4 addresses that an IPv6 address carries."""
    if address.version == 4:
        return []
    octets = address.packed
    found = []
    if address in NAT64:
        found = [octets[12:]]
    elif address in SIX_TO_FOUR:
        found = [octets[2:6]]
    elif address in TEREDO:
        found = [bytes(octet ^ 0xFF for octet in octets[12:]), octets[4:8]]
    return [ipaddress.ip_address(ip) for ip in found]


def is_special(address):
    if address in NAT64 or address in SIX_TO_FOUR:
        return is_special(carried(address)[0])
    if address.version == 6 and address not in ORDINARY:
        return True
    return any(address in network for network in SPECIAL)


def plain_name(octets):
    """(name, None) or (None, address) of what stands in a datagram; (None, None): it is no host name."""
    name = octets.lower().removesuffix(b".")
    try:
        return None, plain_ip(ipaddress.ip_address(name.decode("ascii").strip("[]")).packed)
    except ValueError:
        return (name, None) if HOST_NAME.match(name) else (None, None)


# ------------------------------------------------------------------------------------------- judgement

class Rule:
    def __init__(self, message):
        self.allow = message.allow
        self.any_destination = message.any_destination
        self.names = [name.encode() for name in message.names]
        self.networks = [plain_network(n) for n in message.networks]
        self.opens_special = message.opens_special
        self.special = [plain_network(n) for n in message.special]
        self.spans = [(0, 65535)] if message.any_port else [(s.first, s.last) for s in message.ports]

    def fits_port(self, port):
        return any(first <= port <= last for first, last in self.spans)

    def fits_name(self, name):
        return self.any_destination or name is not None and any(
            name == wanted or (wanted.startswith(b".") and name.endswith(wanted))
            for wanted in self.names)

    def fits_address(self, address):
        addresses = [address] if self.allow else [address, *carried(address)]
        return any(ip in network for ip in addresses for network in self.networks)

    def allows(self, address):
        return self.allow and (not is_special(address) or self.opens_special
                               or any(address in network for network in self.special))


class Rules:
    def __init__(self, message):
        self.rules = [Rule(rule) for rule in message.rules]

    def allow_address(self, name, address, port):
        """`name` is None when the client gave an address."""
        for rule in self.rules:
            if rule.fits_port(port) and (rule.fits_name(name) or rule.fits_address(address)):
                return rule.allows(address)
        return False

    def may_resolve(self, name, port):
        """Whether it is worth a query."""
        for rule in self.rules:
            if rule.fits_port(port):
                if rule.fits_name(name):
                    return rule.allow
                if rule.networks:
                    return True         # its addresses may tell
        return False

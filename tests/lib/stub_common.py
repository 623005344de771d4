"""What the stub relay's kinds of associations share: refusals, field checks, addresses, the life."""

import asyncio
import ipaddress
import secrets
import socket
import sys
import time

from n2wire import pb


class Refuse(Exception):
    """Raised while a call is handled; becomes its answer."""

    def __init__(self, code, text, cause=pb.CAUSE_NONE):
        super().__init__(text)
        self.refusal = pb.Refusal(code=code, cause=cause, text=text)


def bad(text):
    return Refuse(pb.REFUSAL_BAD, text)


def unsupported(text):
    return Refuse(pb.REFUSAL_UNSUPPORTED, text)


def stale(text):
    return Refuse(pb.REFUSAL_STALE, text)


def log(text):
    print(text, file=sys.stderr, flush=True)


# ------------------------------------------------------------------------------------- field checks

def check_id(octets, what):
    if len(octets) != 16:
        raise bad(f"{what} is not 16 octets")


def check_endpoint(message, what, ip_needed=False, port_needed=False):
    if len(message.ip) not in (0, 4, 16):
        raise bad(f"{what}: an address of {len(message.ip)} octets")
    if ip_needed and not message.ip:
        raise bad(f"{what}: no address")
    if message.port > 65535 or (port_needed and message.port == 0):
        raise bad(f"{what}: port {message.port}")


# ---------------------------------------------------------------------------------------- addresses

def plain_ip(octets):
    """An address object in which an IPv4 address inside IPv6 is the IPv4 address."""
    address = ipaddress.ip_address(octets)
    return getattr(address, "ipv4_mapped", None) or address


def same_host(address, protected):
    """Whether dialling `address` may arrive at `protected`.

    A listener on the unspecified address is reached through any local address, and the unspecified
    address as a destination means this host.
    """
    if protected.is_unspecified:
        return address.is_unspecified or is_local(address)
    if address.is_unspecified:
        return is_local(protected)
    return address == protected


def is_local(address):
    """Whether this host has the address: whether a socket can be bound to it."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


# -------------------------------------------------------------------------------------- association

class Association:
    """One grant. `end` is the only way out of every state, and it takes everything down."""

    def __init__(self, relay, server, call_id, message):
        self.relay = relay
        self.server = server
        self.epoch = server.epoch
        self.id = message.association
        self.kind = message.kind
        self.call_id = call_id
        self.state = pb.HELD_PENDING
        self.limits = pb.Limits()
        self.limits.CopyFrom(message.limits)
        self.revision = 0
        self.first_answer = None        # what the Open was answered; repeated for a resent Open
        self.ticket = secrets.token_bytes(32)
        self.ticket_used = False
        self.up = 0
        self.down = 0
        self.started = time.monotonic()
        self.last_moved = self.started
        self.timer = None
        self.tasks = set()
        self.ended = False

    def counters(self):
        return pb.Counters(octets_up=self.up, octets_down=self.down,
                           duration_ms=int((time.monotonic() - self.started) * 1000))

    def client_source(self):
        """Where the client's datagrams come from; None: not known, or no datagrams."""
        return None

    def update(self, message):
        self.limits.CopyFrom(message.limits)

    def spawn(self, coroutine):
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def set_timer(self, seconds, action, *arguments):
        if self.timer:
            self.timer.cancel()
        self.timer = asyncio.get_running_loop().call_later(seconds, action, *arguments)

    # -- the end

    def fail(self, refusal):
        """The outcome was not what was asked for, and no leg has come."""
        if self.take_down(gracefully=False):
            self.server.event(pb.Event(type=pb.EVENT_FAILED, association=self.id, failed=refusal))

    def end(self, reason):
        if self.take_down(gracefully=reason == pb.END_CLOSED):
            self.server.event(pb.Event(type=pb.EVENT_ENDED, association=self.id, end=reason,
                                       counters=self.counters(), peer=self.client_source()))

    def take_down(self, gracefully):
        if self.ended:
            return False
        self.ended = True
        if self.timer:
            self.timer.cancel()
        current = asyncio.current_task()
        for task in list(self.tasks):
            if task is not current:
                task.cancel()
        self.close_sockets(gracefully)
        self.server.forget_association(self)
        return True

    def close_sockets(self, gracefully):
        raise NotImplementedError

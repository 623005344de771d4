#!/usr/bin/env python3
"""A relay written from proto/n2.proto and proto/N2.md alone, for tests.

    stub_relay.py --n2 ipc:///run/x/n2 --legs unix:/run/x/legs [--kinds udp] [--lease MS]
                  [--misbehave WORD]...

It carries CONNECT and BIND over TCP (with --kinds udp: UDP ASSOCIATE) and answers everything that the
two documents describe. Clarity comes before speed. It is the other side in the tests of a control
server, which may ask it to misbehave, and it is the first thing that the conformance suite in
tests/contract/n2 is run against.
"""

import argparse
import array
import asyncio
import bisect
import collections
import errno
import hmac
import ipaddress
import os
import pathlib
import re
import resource
import secrets
import select
import signal
import socket
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from google.protobuf.message import DecodeError                     # noqa: E402

import n2wire                                                       # noqa: E402
import stub_udp                                                     # noqa: E402
from n2wire import endpoint, endpoint_address, pb                   # noqa: E402
from stub_common import (Association, Refuse, bad, check_endpoint, check_id, log, plain_ip,    # noqa: E402
                         same_host, stale, unsupported)

SOFTWARE = "stub_relay 1"
KINDS = {"connect": pb.KIND_CONNECT, "bind": pb.KIND_BIND, "udp": pb.KIND_UDP}
FEATURES = {"bind-port": pb.KIND_BIND, "octet-limit": None, "datagram-rules": pb.KIND_UDP}
TCP = 6
# What an Open may be refused with after something was tried; such a refusal is repeated.
TRIED = (pb.REFUSAL_NO_PORT, pb.REFUSAL_CANNOT_BIND, pb.REFUSAL_POLICY, pb.REFUSAL_UNREACHABLE)

CALL_DEADLINE_MAX_MS = 120000
MEMORY_S = 240                  # how long answers and tombstones are kept
ATTEMPT_DELAY_S = 0.25          # RFC 8305: a further attempt every 250 ms
ATTACH_WAIT_MIN_S = 10
DEFAULT_CONNECT_MS = 30000      # when limits.connect_ms is 0
REQUESTS_AT_ONCE = 256          # requests that may wait for their answer, all servers together
MAX_TO_CLIENT = 1024
MAX_TO_TARGET = 16 * 1024
MAX_ATTACHES = 64
CHUNK = 65536

NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
AUDIT_KEY = re.compile(r"[a-z0-9_]+\Z")

MISBEHAVIOURS = {
    "silent-open": "never answers a request that carries an Open",
    "refuse-draining": "refuses every Open DRAINING",
    "refuse-full": "refuses every Open FULL",
    "die-on-open": "exits when an Open arrives",
    "die-on-attach": "exits when a leg arrives",
    "wrong-epoch": "answers everything but Hello with another relay epoch",
    "garbage-reply": "answers a request that carries an Open with octets that are no Reply",
    "huge-reply": "answers a request that carries an Open with more than 1 MiB",
    "slow": "gives every answer one second late",
    "never-watch": "never answers a Watch",
}


# ------------------------------------------------------------------------------------- field checks

def check_open(message, kinds):
    check_id(message.association, "association")
    check_endpoint(message.client, "client")
    check_endpoint(message.client_local, "client_local")
    check_endpoint(message.bind, "bind")
    if message.kind == pb.KIND_NONE:
        raise bad("no kind")
    if message.kind not in kinds:
        raise unsupported(f"kind {message.kind}")
    if message.kind == pb.KIND_UDP:
        stub_udp.check_udp(message)
    else:
        check_stream(message)
    if len(message.audit) > 16:
        raise bad("more than 16 audit entries")
    if sum(len(a.key.encode()) + len(a.value.encode()) for a in message.audit) > 2048:
        raise bad("more than 2048 octets of audit")
    for entry in message.audit:
        if not AUDIT_KEY.match(entry.key):
            raise bad("an audit key with other characters")
    if message.parent:
        check_id(message.parent, "parent")
    if len(message.session) > 32:
        raise bad("session of more than 32 octets")
    if len(message.owner.encode()) > 255:
        raise bad("owner of more than 255 octets")


def check_stream(message):
    if message.ptcl != TCP:
        raise unsupported(f"protocol {message.ptcl}")
    if message.HasField("rules"):
        raise bad("rules for datagrams")
    connect = message.kind == pb.KIND_CONNECT
    if len(message.destinations) > 32 or (connect and not message.destinations):
        raise bad(f"{len(message.destinations)} destinations")
    for destination in message.destinations:
        check_endpoint(destination, "destination", ip_needed=connect, port_needed=connect)


# ------------------------------------------------------------------------------------ errors, causes

CAUSES = {
    errno.ENETUNREACH: pb.CAUSE_NETWORK_UNREACHABLE,
    errno.EHOSTUNREACH: pb.CAUSE_HOST_UNREACHABLE,
    errno.ECONNREFUSED: pb.CAUSE_REFUSED,
    errno.ETIMEDOUT: pb.CAUSE_TIMED_OUT,
}


def unreachable(error):
    cause = CAUSES.get(error.errno, pb.CAUSE_GENERAL)
    return Refuse(pb.REFUSAL_UNREACHABLE, os.strerror(error.errno or 0), cause)


def abort(sock):
    """Closes with a reset."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


def nonblocking_socket(address):
    sock = socket.socket(socket.AF_INET if "." in address[0] and ":" not in address[0]
                         else socket.AF_INET6, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


# -------------------------------------------------------------------------------------- association

class Stream(Association):
    """CONNECT or BIND."""

    def __init__(self, relay, server, call_id, message):
        super().__init__(relay, server, call_id, message)
        self.outer = None
        self.client = None
        self.listener = None
        self.client_local = endpoint_address(message.client_local)[0]
        self.peers = [(plain_ip(d.ip) if d.ip else None) for d in message.destinations]
        self.halves_done = 0

    def connect_seconds(self):
        return (self.limits.connect_ms or DEFAULT_CONNECT_MS) / 1000

    def opened_answer(self, peer=None):
        ip, port = (self.outer or self.listener).getsockname()[:2]
        if ipaddress.ip_address(ip).is_unspecified:
            # No peer can connect to that. Where the client reached the server is the best guess.
            ip = self.client_local or "127.0.0.1"
        answer = pb.OpenAnswer(state=pb.OPEN_OPENED, bound=endpoint(ip, port), engine="python",
                               ticket=self.ticket)
        if peer:
            answer.peer.CopyFrom(endpoint(*peer))
        return answer

    def wait_for_leg(self):
        """The time that an opened association waits for its leg starts now."""
        self.set_timer(max(self.connect_seconds(), ATTACH_WAIT_MIN_S), self.end, pb.END_ATTACH_TIMEOUT)

    # -- CONNECT

    def dial(self, message):
        """Starts the attempts. Returns an OpenAnswer: OPENED when the outcome is known already."""
        addresses = [endpoint_address(d) for d in message.destinations]
        source = endpoint_address(message.bind)
        for address in addresses:
            if self.relay.is_protected(address):
                raise Refuse(pb.REFUSAL_POLICY, "a protected destination")
        self.attempts = collections.deque(addresses)
        self.last_error = OSError(errno.ETIMEDOUT, "")
        # The first attempt is made here, so that an error that the host itself gives is an answer
        # and not an event, and so that a wrong source address is known.
        while self.attempts:
            sock, address = self.start_attempt(source)
            if sock is None:
                continue
            if self.relay.options.eager and wait_a_moment(sock):
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if error:
                    self.last_error = OSError(error, os.strerror(error))
                    sock.close()
                    continue
                self.dialled(sock)
                return self.opened_answer(address)
            self.spawn(self.go_on_dialling(sock, address, source))
            return pb.OpenAnswer(state=pb.OPEN_PENDING)
        raise unreachable(self.last_error)

    def start_attempt(self, source):
        """A socket that is connecting, with its address; (None, address) after an early error."""
        address = self.attempts.popleft()
        sock = nonblocking_socket(address)
        try:
            if source[0] or source[1]:
                wildcard = "0.0.0.0" if sock.family == socket.AF_INET else "::"
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    sock.bind((source[0] or wildcard, source[1]))
                except OSError as error:
                    sock.close()
                    if error.errno == errno.EADDRINUSE:
                        raise Refuse(pb.REFUSAL_NO_PORT, "the port is taken") from error
                    raise Refuse(pb.REFUSAL_CANNOT_BIND, str(error)) from error
            code = sock.connect_ex(address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, os.strerror(code))
        except OSError as error:
            self.last_error = error
            sock.close()
            return None, address
        return sock, address

    async def go_on_dialling(self, sock, address, source):
        """Happy eyeballs: a further attempt every 250 ms or when one fails; the first wins."""
        waiting = {asyncio.ensure_future(self.established(sock)): (sock, address)}
        deadline = time.monotonic() + self.connect_seconds()
        try:
            while waiting:
                left = deadline - time.monotonic()
                if left <= 0:
                    self.last_error = OSError(errno.ETIMEDOUT, "")
                    break
                pause = min(left, ATTEMPT_DELAY_S) if self.attempts else left
                done, _ = await asyncio.wait(waiting, timeout=pause,
                                             return_when=asyncio.FIRST_COMPLETED)
                for attempt in done:
                    tried, reached = waiting.pop(attempt)
                    if attempt.exception() is None:
                        self.dialled(tried)
                        self.server.event(pb.Event(type=pb.EVENT_OPENED, association=self.id,
                                                   opened=self.opened_answer(reached)))
                        return
                    self.last_error = attempt.exception()
                    tried.close()
                while self.attempts:
                    further, address = self.start_attempt(source)
                    if further is not None:
                        waiting[asyncio.ensure_future(self.established(further))] = (further, address)
                        break
            self.fail(unreachable(self.last_error).refusal)
        except Refuse as refuse:
            self.fail(refuse.refusal)
        finally:
            for attempt, (tried, _) in waiting.items():
                attempt.cancel()
                tried.close()

    async def established(self, sock):
        loop = asyncio.get_running_loop()
        writable = loop.create_future()
        loop.add_writer(sock, lambda: writable.done() or writable.set_result(None))
        try:
            await writable
        finally:
            loop.remove_writer(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))

    def dialled(self, sock):
        self.outer = sock
        self.state = pb.HELD_OPENED
        self.wait_for_leg()

    # -- BIND

    def listen(self, message):
        ip, port = endpoint_address(message.bind)
        address = (ip or "0.0.0.0", port)
        listener = nonblocking_socket(address)
        try:
            listener.bind(address)
            listener.listen(16)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                raise Refuse(pb.REFUSAL_NO_PORT, "the port is taken") from error
            raise Refuse(pb.REFUSAL_CANNOT_BIND, str(error)) from error
        self.listener = listener
        self.state = pb.HELD_OPENED
        self.spawn(self.wait_for_peer())
        self.set_timer(self.connect_seconds(), self.fail, pb.Refusal(
            code=pb.REFUSAL_UNREACHABLE, cause=pb.CAUSE_TIMED_OUT, text="no peer came"))
        return self.opened_answer()

    async def wait_for_peer(self):
        loop = asyncio.get_running_loop()
        while True:
            sock, address = await loop.sock_accept(self.listener)
            if self.expects(address[0]):
                break
            sock.close()
        self.outer = sock
        self.listener.close()
        self.listener = None
        self.server.event(pb.Event(type=pb.EVENT_PEER, association=self.id,
                                   peer=endpoint(*address[:2])))
        self.wait_for_leg()

    def expects(self, ip):
        peer = plain_ip(socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip))
        return not self.peers or any(p is None or p.is_unspecified or p == peer for p in self.peers)

    # -- the stream

    def attach(self, attach, leg):
        """Takes the leg over. The caller has checked the ticket and the socket."""
        self.state = pb.HELD_ATTACHED
        self.timer.cancel()
        self.timer = None
        leg.setblocking(False)
        self.client = leg
        try:
            self.outer.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            pass
        except OSError:
            # The target is gone: success is never announced for a dead stream.
            self.end(pb.END_TARGET_RESET)
            return
        self.last_moved = time.monotonic()
        self.spawn(self.carry_up(attach.to_target))
        self.spawn(self.carry_down(attach.to_client))
        self.spawn(self.watch_idle())

    async def carry_up(self, early):
        if early:
            await self.write(self.outer, early, pb.END_TARGET_RESET, "up")
        await self.carry(self.client, self.outer, pb.END_CLIENT_RESET, pb.END_TARGET_RESET, "up")

    async def carry_down(self, reply):
        if reply:
            # The reply of the control server is not payload: it is in no counter.
            await self.write(self.client, reply, pb.END_CLIENT_RESET, None)
        await self.carry(self.outer, self.client, pb.END_TARGET_RESET, pb.END_CLIENT_RESET, "down")

    async def carry(self, source, sink, source_lost, sink_lost, direction):
        loop = asyncio.get_running_loop()
        while True:
            try:
                octets = await loop.sock_recv(source, CHUNK)
            except OSError:
                self.end(source_lost)
                return
            if not octets:
                break
            if not await self.write(sink, octets, sink_lost, direction):
                return
        try:
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass                    # the other direction will find out what happened
        self.last_moved = time.monotonic()
        self.halves_done += 1
        if self.halves_done == 2:
            self.end(pb.END_CLOSED)

    async def write(self, sink, octets, lost, direction):
        """Writes and counts; False when that was the end of the association."""
        limit = self.limits.octets
        at_limit = False
        if direction and limit and self.up + self.down + len(octets) > limit:
            octets = octets[:max(0, limit - self.up - self.down)]
            at_limit = True
        try:
            await asyncio.get_running_loop().sock_sendall(sink, octets)
        except OSError:
            self.end(lost)
            return False
        self.last_moved = time.monotonic()
        if direction:
            setattr(self, direction, getattr(self, direction) + len(octets))
        if at_limit:
            self.end(pb.END_LIMIT)
            return False
        return True

    async def watch_idle(self):
        while True:
            idle_ms, reason = self.limits.idle_ms, pb.END_IDLE
            if self.halves_done and self.limits.half_closed_ms:
                idle_ms, reason = self.limits.half_closed_ms, pb.END_HALF_CLOSED_IDLE
            quiet = time.monotonic() - self.last_moved
            if idle_ms and quiet >= idle_ms / 1000:
                self.end(reason)
                return
            # An Update or a half-close may shorten the limit, so it is looked at often.
            await asyncio.sleep(min(0.05, max(0.001, idle_ms / 1000 - quiet)) if idle_ms else 0.05)

    def close_sockets(self, gracefully):
        if self.listener:
            self.listener.close()
        for sock in (self.client, self.outer):
            if sock:
                sock.close() if gracefully else abort(sock)


def wait_a_moment(sock):
    """Whether the outcome of a connect is known at once, as it usually is on one host."""
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    return bool(poll.poll(0))


# ------------------------------------------------------------------------------------------- server

Memory = collections.namedtuple("Memory", "call_id refusal expires")
Parked = collections.namedtuple("Parked", "request call timer")


class Server:
    """What the relay knows of one server id."""

    def __init__(self, relay, server_id):
        self.relay = relay
        self.id = server_id
        self.epoch = 0
        self.retired = set()
        self.pipe = None
        self.acked = 0
        self.protect = []
        self.associations = {}          # id -> Association
        self.memory = {}                # id -> Memory: refused, ended and released associations
        self.events = collections.deque()
        self.last_seq = 0
        self.last_dropped = 0
        self.parked = None
        self.flush_planned = False
        self.lease_timer = None
        self.lease_runs = False

    # -- lease and epochs

    def heard(self):
        if self.lease_timer:
            self.lease_timer.cancel()
        self.lease_runs = True
        self.lease_timer = asyncio.get_running_loop().call_later(
            self.relay.options.lease / 1000, self.lose_lease)

    def lose_lease(self):
        self.lease_runs = False
        log(f"lease of {self.id} lost")
        self.end_unattached()

    def end_unattached(self):
        for association in list(self.associations.values()):
            if association.state != pb.HELD_ATTACHED:
                association.end(pb.END_LEASE_LOST)

    def take_epoch(self, epoch):
        if epoch == self.epoch:
            return
        if self.epoch:
            self.retired.add(self.epoch)
            self.end_unattached()
        self.epoch = epoch
        self.acked = 0
        self.memory.clear()             # no call of the old epoch will ever be carried out

    # -- memory

    def forget_association(self, association):
        del self.associations[association.id]
        self.remember(association.id, association.call_id,
                      pb.Refusal(code=pb.REFUSAL_EXPIRED, text="it has ended"))
        self.relay.association_gone()

    def remember(self, association_id, call_id, refusal):
        self.memory[association_id] = Memory(call_id, refusal, time.monotonic() + MEMORY_S)

    def acknowledge(self, acked):
        if acked <= self.acked:
            return
        self.acked = acked
        now = time.monotonic()
        self.memory = {key: memory for key, memory in self.memory.items()
                       if memory.call_id >= acked and memory.expires > now}

    def remembered(self, association_id):
        memory = self.memory.get(association_id)
        return memory.refusal if memory and memory.expires > time.monotonic() else None

    # -- events

    def event(self, event):
        self.last_seq += 1
        event.seq = self.last_seq
        self.events.append(event)
        while len(self.events) > n2wire.MAX_EVENTS_KEPT:
            self.last_dropped = self.events.popleft().seq
        # Events of one loop iteration travel together.
        if self.parked and not self.flush_planned:
            self.flush_planned = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self):
        self.flush_planned = False
        if self.parked:
            self.answer_parked()

    def watch(self, request, call):
        """Answers now or parks."""
        after = call.watch.after_seq
        while self.events and self.events[0].seq <= after:
            self.events.popleft()
        if self.parked:
            self.answer_parked(with_events=False)
        wait = min(call.watch.wait_ms, self.relay.options.lease // 3) / 1000
        if self.events or wait == 0:
            return self.watch_answer(after)
        timer = asyncio.get_running_loop().call_later(wait, self.answer_parked)
        self.parked = Parked(request, call, timer)
        return None

    def watch_answer(self, after, with_events=True):
        answer = pb.WatchAnswer(gap=after < self.last_dropped, last_seq=self.last_seq,
                                state=self.relay.state(), load=self.relay.load())
        if with_events:
            for event in self.events:
                if event.seq > after:
                    answer.events.append(event)
                if len(answer.events) == n2wire.MAX_EVENTS:
                    break
        return answer

    def answer_parked(self, with_events=True):
        parked, self.parked = self.parked, None
        parked.timer.cancel()
        answer = self.watch_answer(parked.call.watch.after_seq, with_events)
        self.relay.reply(parked.request, [pb.Answer(id=parked.call.id, watch=answer)])


# -------------------------------------------------------------------------------------------- relay

class Relay:
    def __init__(self, options):
        self.options = options
        self.epoch = secrets.randbits(64) or 1
        self.servers = {}
        self.draining = False
        self.done = None
        self.unanswered = set()         # requests being handled, among them parked Watches
        self.misbehave = set(options.misbehave)
        self.kinds = [KINDS[word] for word in options.kinds]
        self.features = [name for name, kind in FEATURES.items() if kind is None or kind in self.kinds]
        self.ports = stub_udp.Ports(options)

    # -- start and stop

    async def run(self):
        loop = asyncio.get_running_loop()
        self.done = loop.create_future()
        users = {0, os.getuid()}
        self.rep = n2wire.RepServer(self.options.n2, self.received, users, self.pipe_closed)
        self.legs = LegListener(self.options.legs, self, users)
        await self.rep.start()
        loop.add_signal_handler(signal.SIGTERM, self.drain)
        loop.add_signal_handler(signal.SIGINT, self.stop)
        log(f"relay {self.options.id} is ready")
        await self.done
        await asyncio.sleep(0.05)       # the last answers leave
        self.legs.close()
        await self.rep.stop()

    def drain(self):
        log("draining")
        self.draining = True
        for server in self.servers.values():
            if server.parked:
                server.answer_parked()
        self.association_gone()

    def association_gone(self):
        if self.draining and not any(server.associations for server in self.servers.values()):
            self.stop()

    def stop(self):
        if not self.done.done():
            self.done.set_result(None)

    def die(self):
        log("dying as told")
        os._exit(3)

    def pipe_closed(self, pipe):
        for server in self.servers.values():
            if server.pipe is pipe:
                server.pipe = None

    # -- what the answers say about the relay

    def all_associations(self):
        for server in self.servers.values():
            yield from server.associations.values()

    def held(self):
        return sum(len(server.associations) for server in self.servers.values())

    def state(self):
        return pb.RELAY_DRAINING if self.draining else pb.RELAY_READY

    def load(self):
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return pb.Load(associations=self.held(), capacity=self.options.capacity,
                       descriptors_free=max(0, limit - 2 * self.held()))

    def own_listeners(self):
        scheme, address = n2wire.split_url(self.options.n2)
        return [address] if scheme == "tcp" else []

    def is_protected(self, address):
        ip = plain_ip(endpoint(*address).ip)
        protected = [endpoint(*own) for own in self.own_listeners()]
        for server in self.servers.values():
            protected.extend(server.protect)
        return any(p.port == address[1] and same_host(ip, plain_ip(p.ip)) for p in protected if p.ip)

    # -- requests

    def received(self, request):
        """A message has come. It is answered here unless a Watch of it is parked."""
        message = pb.Request()
        try:
            if len(self.unanswered) >= REQUESTS_AT_ONCE:
                raise Refuse(pb.REFUSAL_FULL, "too many requests at once")
            self.unanswered.add(request)
            try:
                message.ParseFromString(request.payload)
            except DecodeError as error:
                raise bad("not a Request") from error
            answers = self.handle(request, message)
        except Refuse as refuse:
            self.reply(request, [], refuse.refusal)
            return
        if answers is not None:
            self.reply(request, answers, message=message)

    def reply(self, request, answers, refused=None, message=None):
        self.unanswered.discard(request)
        reply = pb.Reply(version=1, relay_epoch=self.epoch, answers=answers, refused=refused)
        has_hello = any(answer.HasField("hello") for answer in answers)
        if "wrong-epoch" in self.misbehave and not has_hello:
            reply.relay_epoch ^= 1
        octets = reply.SerializeToString()
        if message is not None and any(call.HasField("open") for call in message.calls):
            if "silent-open" in self.misbehave:
                return
            if "garbage-reply" in self.misbehave:
                octets = os.urandom(64)
            if "huge-reply" in self.misbehave:
                reply.answers[0].refused.text = "x" * (n2wire.MAX_MESSAGE + 1024)
                octets = reply.SerializeToString()
        if "slow" in self.misbehave:
            asyncio.get_running_loop().call_later(1, request.reply, octets)
        else:
            request.reply(octets)

    def handle(self, request, message):
        """The answers, in order; None when a Watch is parked."""
        if message.version != 1:
            raise unsupported(f"version {message.version}")
        if not NAME.match(message.server_id):
            raise bad("server_id")
        if message.server_epoch == 0:
            raise bad("server_epoch 0")
        if not 1 <= len(message.calls) <= n2wire.MAX_CALLS:
            raise bad(f"{len(message.calls)} calls")
        kinds = [call.WhichOneof("what") for call in message.calls]
        if len(kinds) > 1 and ("hello" in kinds or "watch" in kinds):
            raise bad("a Hello or a Watch stands alone")

        server = self.servers.get(message.server_id)
        if kinds[0] == "hello":
            return [self.answer(self.hello, request, message, message.calls[0])]
        reason = None
        if message.relay_epoch != self.epoch:
            reason = "another relay epoch"
        elif server is None or server.pipe is not request.pipe:
            reason = "no Hello on this connection"
        elif server.epoch != message.server_epoch:
            reason = "another server epoch"
        if reason:
            refusal = stale(reason).refusal
            return [pb.Answer(id=call.id, refused=refusal) for call in message.calls]
        server.heard()
        server.acknowledge(message.acked)
        if kinds[0] == "watch":
            if "never-watch" in self.misbehave:
                self.unanswered.discard(request)
                return None
            answer = self.answer(self.watch, request, server, message.calls[0])
            return None if answer is None else [answer]
        return [self.answer(self.call, server, call) for call in message.calls]

    def answer(self, action, *arguments):
        """Runs one call; a refusal of it is its answer."""
        call = arguments[-1]
        try:
            answer = action(*arguments)
        except Refuse as refuse:
            answer = pb.Answer(refused=refuse.refusal)
        if answer is not None:
            answer.id = call.id
        return answer

    def check_call(self, call, acked):
        """What is checked before any kind of call is looked at."""
        if call.id == 0:
            raise bad("call id 0")
        if call.id < acked:
            raise Refuse(pb.REFUSAL_EXPIRED, "the id was acknowledged")
        if call.remaining_ms == 0:
            raise Refuse(pb.REFUSAL_EXPIRED, "the deadline has passed")
        for feature in call.must_understand:
            if feature not in self.features:
                raise unsupported(f"feature {feature[:100]}")

    # -- Hello

    def hello(self, request, message, call):
        server = self.servers.get(message.server_id)
        same = server is not None and server.epoch == message.server_epoch
        self.check_call(call, server.acked if same else 0)
        for protected in call.hello.protect:
            check_endpoint(protected, "protect")
        if server is None:
            server = self.servers[message.server_id] = Server(self, message.server_id)
        if message.server_epoch in server.retired:
            raise stale("this server epoch is retired")
        if server.epoch and not same and server.pipe is not None and server.lease_runs:
            log(f"conflict: two servers say that they are {server.id}")
            raise Refuse(pb.REFUSAL_CONFLICT, "another live epoch holds this server id")
        server.take_epoch(message.server_epoch)
        server.pipe = request.pipe
        server.protect = list(call.hello.protect)
        server.heard()
        server.acknowledge(message.acked)
        return pb.Answer(hello=pb.HelloAnswer(
            relay_id=self.options.id, software=SOFTWARE, features=self.features, kinds=self.kinds,
            ptcls=sorted({stub_udp.UDP if kind == pb.KIND_UDP else TCP for kind in self.kinds}),
            engines=["python"], families=[4, 6], lease_ms=self.options.lease,
            capacity=pb.Capacity(associations=self.options.capacity, quota=self.options.quota),
            legs=self.options.legs, protect=[endpoint(*own) for own in self.own_listeners()]))

    # -- the other calls

    def watch(self, request, server, call):
        self.check_call(call, server.acked)
        answer = server.watch(request, call)
        return None if answer is None else pb.Answer(watch=answer)

    def call(self, server, call):
        self.check_call(call, server.acked)
        kind = call.WhichOneof("what")
        if kind == "open":
            return self.open(server, call)
        if kind == "update":
            return self.update(server, call.update)
        if kind == "release":
            return self.release(server, call)
        if kind == "inventory":
            return self.inventory(server, call.inventory)
        raise unsupported("a call of an unknown kind")

    def open(self, server, call):
        if "die-on-open" in self.misbehave:
            self.die()
        message = call.open
        check_open(message, self.kinds)
        known = server.associations.get(message.association)
        if known:
            return pb.Answer(open=known.first_answer)
        remembered = server.remembered(message.association)
        if remembered:
            return pb.Answer(refused=remembered)
        try:
            association = self.carry_out_open(server, call)
        except Refuse as refuse:
            if refuse.refusal.code in TRIED:
                server.remember(message.association, call.id, refuse.refusal)
            raise
        return pb.Answer(open=association.first_answer)

    def carry_out_open(self, server, call):
        message = call.open
        if self.draining or "refuse-draining" in self.misbehave:
            raise Refuse(pb.REFUSAL_DRAINING, "draining")
        if "refuse-full" in self.misbehave:
            raise Refuse(pb.REFUSAL_FULL, "full as told")
        if len(server.associations) >= self.options.quota or self.held() >= self.options.capacity:
            raise Refuse(pb.REFUSAL_FULL, "no more associations")
        kind = stub_udp.UdpAssociation if message.kind == pb.KIND_UDP else Stream
        association = kind(self, server, call.id, message)
        try:
            if message.kind == pb.KIND_UDP:
                association.first_answer = association.opened(message)
            elif message.kind == pb.KIND_CONNECT:
                association.first_answer = association.dial(message)
            else:
                association.first_answer = association.listen(message)
        except OSError as error:
            raise Refuse(pb.REFUSAL_FULL, str(error)) from error
        server.associations[association.id] = association
        return association

    def update(self, server, message):
        check_id(message.association, "association")
        association = server.associations.get(message.association)
        if association is None:
            raise Refuse(pb.REFUSAL_EXPIRED, "an unknown association")
        if message.HasField("rules"):
            if association.kind != pb.KIND_UDP:
                raise bad("rules for datagrams")
            stub_udp.check_rules(message.rules)
        if message.revision > association.revision:
            association.revision = message.revision
            association.update(message)
        return pb.Answer(update=pb.UpdateAnswer(revision=association.revision))

    def release(self, server, call):
        check_id(call.release.association, "association")
        association = server.associations.get(call.release.association)
        if association is None:
            server.remember(call.release.association, call.id,
                            pb.Refusal(code=pb.REFUSAL_EXPIRED, text="it was released"))
            return pb.Answer(release=pb.ReleaseAnswer())
        answer = pb.ReleaseAnswer(counters=association.counters(), client=association.client_source())
        association.take_down(gracefully=False)
        return pb.Answer(release=answer)

    def inventory(self, server, message):
        if message.after:
            check_id(message.after, "after")
        if not 1 <= message.limit <= 1024:
            raise bad(f"a limit of {message.limit}")
        ids = sorted(server.associations)
        start = bisect.bisect_right(ids, message.after)
        page = ids[start:start + message.limit]
        answer = pb.InventoryAnswer(more=start + len(page) < len(ids), as_of_seq=server.last_seq)
        for association in (server.associations[key] for key in page):
            answer.held.add(association=association.id, kind=association.kind,
                            state=association.state, server_epoch=association.epoch,
                            counters=association.counters())
        return pb.Answer(inventory=answer)

    # -- legs

    def attach(self, attach, leg):
        """One leg. Owns the socket: keeps it in an association or closes it."""
        if "die-on-attach" in self.misbehave:
            self.die()
        # The channel does not name the server, so the ticket decides when two servers have drawn the
        # same id.
        holders = [a for a in self.all_associations()
                   if a.id == attach.association and a.kind != pb.KIND_UDP]
        if not holders:
            leg.close()
            return
        for association in holders:
            right = hmac.compare_digest(association.ticket, attach.ticket)
            if right and not association.ticket_used:
                break
        else:
            leg.close()
            for association in holders:
                # A stream that runs is not cut because somebody shows a ticket again.
                if association.state != pb.HELD_ATTACHED:
                    association.end(pb.END_RELAY_ERROR)
            return
        association.ticket_used = True
        dead = leg.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
        if attach.kind != pb.LEG_PLAIN_FD or attach.role != pb.ROLE_CLIENT or not is_tcp(leg):
            leg.close()
            association.end(pb.END_RELAY_ERROR)
        elif dead:
            leg.close()
            association.end(pb.END_CLIENT_GONE)
        elif not is_connected(leg) or association.outer is None:
            leg.close()
            association.end(pb.END_RELAY_ERROR)
        else:
            association.attach(attach, leg)


def is_tcp(sock):
    return (sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
            and sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL) == socket.IPPROTO_TCP)


def is_connected(sock):
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


# -------------------------------------------------------------------------------------- leg channel

class LegListener:
    """Accepts the SEQPACKET connections of servers and passes legs to the relay."""

    def __init__(self, legs, relay, users):
        self.path = legs.removeprefix("unix:")
        self.relay = relay
        self.users = users
        n2wire.remove_stale_socket(self.path)
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.setblocking(False)
        old_mask = os.umask(0o177)
        try:
            self.listener.bind(self.path)
        finally:
            os.umask(old_mask)
        self.listener.listen(16)
        asyncio.get_running_loop().add_reader(self.listener, self.accept)

    def accept(self):
        channel, _ = self.listener.accept()
        if n2wire.peer_user(channel) not in self.users:
            channel.close()
            return
        channel.setblocking(False)
        asyncio.get_running_loop().add_reader(channel, self.readable, channel)

    def readable(self, channel):
        room = socket.CMSG_LEN(MAX_ATTACHES * array.array("i").itemsize)
        try:
            octets, control, flags, _ = channel.recvmsg(n2wire.MAX_LEGS_MESSAGE, room,
                                                        socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            octets, control, flags = b"", [], 0
        descriptors = descriptors_of(control)
        if not octets and not descriptors:
            asyncio.get_running_loop().remove_reader(channel)
            channel.close()
            return
        try:
            self.received(octets, descriptors, flags)
        finally:
            for descriptor in descriptors:      # those that nobody has taken
                os.close(descriptor)

    def received(self, octets, descriptors, flags):
        """Nothing of a message is carried out unless all of it is in order."""
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            return log("a leg message was truncated")
        legs = pb.Legs()
        try:
            legs.ParseFromString(octets)
        except DecodeError:
            return log("a leg message that is no Legs")
        if legs.version != 1 or not 1 <= len(legs.attaches) <= MAX_ATTACHES:
            return log("a leg message out of its bounds")
        if len(legs.attaches) != len(descriptors):
            return log(f"{len(legs.attaches)} attaches and {len(descriptors)} descriptors")
        for attach in legs.attaches:
            if len(attach.to_client) > MAX_TO_CLIENT or len(attach.to_target) > MAX_TO_TARGET:
                return log("an attach with too many octets")
        for attach in legs.attaches:
            descriptor = descriptors.pop(0)
            try:
                leg = socket.socket(fileno=descriptor)
            except OSError:                     # no socket at all
                os.close(descriptor)
                leg = None
            self.attach(attach, leg)
        return None

    def attach(self, attach, leg):
        if leg is None:
            # What is left of the checks is whether there is an association to end, and the ticket
            # decides that. A socket that is surely not TCP stands for the missing one.
            leg, other = socket.socketpair()
            other.close()
        self.relay.attach(attach, leg)

    def close(self):
        self.listener.close()
        os.unlink(self.path)


def descriptors_of(control):
    """All descriptors of the control messages; each of them is ours to close."""
    numbers = array.array("i")
    for level, kind, octets in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(octets[:len(octets) - len(octets) % numbers.itemsize])
    return list(numbers)


# --------------------------------------------------------------------------------------------- main

def milliseconds(text):
    """1000, 1000ms or 5s."""
    match = re.fullmatch(r"(\d+)(ms|s|)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"not a time: {text}")
    return int(match[1]) * (1000 if match[2] == "s" else 1)


def kinds(text):
    words = text.split(",")
    if not set(words) <= set(KINDS):
        raise argparse.ArgumentTypeError(f"not kinds: {text}")
    return words


def port_range(text):
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def parse_options():
    words = "\n".join(f"  {word:<16} {meaning}" for word, meaning in MISBEHAVIOURS.items())
    parser = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter,
                                     epilog="words of --misbehave (may be given more than once):\n"
                                            + words)
    parser.add_argument("--n2", required=True, metavar="URL", help="ipc:///path or tcp://address:port")
    parser.add_argument("--legs", required=True, metavar="unix:PATH")
    parser.add_argument("--kinds", type=kinds, default=["connect", "bind"], metavar="KIND[,KIND]...",
                        help=f"of {', '.join(KINDS)}; connect,bind without this")
    parser.add_argument("--id", default="stub", metavar="NAME")
    parser.add_argument("--lease", type=milliseconds, default=5000, metavar="MS")
    parser.add_argument("--quota", type=int, default=1024, help="associations per server")
    parser.add_argument("--capacity", type=int, default=8192, help="associations in all")
    parser.add_argument("--eager", action="store_true",
                        help="answer OPENED or the refusal when it is known at once, not PENDING")
    parser.add_argument("--ports", type=port_range, default=(0, 0), metavar="FIRST-LAST",
                        help="towards UDP clients; without this as many as it takes")
    parser.add_argument("--port-rest", type=milliseconds, default=10000, metavar="MS",
                        help="how long the place of an ended UDP association stays empty")
    parser.add_argument("--unlocked", type=int, default=64,
                        help="UDP associations of one owner whose client's port is not known yet")
    parser.add_argument("--unused", type=milliseconds, default=30000, metavar="MS",
                        help="a UDP association that was not used for so long ends")
    parser.add_argument("--misbehave", action="append", default=[], choices=MISBEHAVIOURS,
                        metavar="WORD")
    return parser.parse_args()


def main():
    options = parse_options()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(Relay(options).run())


if __name__ == "__main__":
    main()

"""N2 spoken by hand: nng's REQ/REP, the leg channel, and a small control server on top of them.

Written from proto/n2.proto and proto/N2.md alone and without nng, so that a test that uses this file
also checks that the other side really speaks the SP protocol. Three layers, each usable by itself:

  Req, RepServer     octets in messages over ipc:// and tcp://
  LegChannel         Legs messages with descriptors over a SEQPACKET socket
  ControlServer      Hello, calls, a heartbeat thread that watches, and checks that hold for
                     every reply of every relay
"""

import asyncio
import array
import collections
import fcntl
import ipaddress
import itertools
import os
import pathlib
import random
import re
import select
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

MAX_MESSAGE = 1 << 20
MAX_LEGS_MESSAGE = 192 * 1024
MAX_CALLS = 1024
MAX_EVENTS = 1024
MAX_EVENTS_KEPT = 16384


# ------------------------------------------------------------------------------ the protobuf module

def load_pb():
    """The Python module of n2.proto. Generates it into build/gen/python when it is missing or old.

    Several test processes may come here at once, so the work is done under a lock and the finished
    file is moved into place.
    """
    source = ROOT / "proto" / "n2.proto"
    directory = ROOT / "build" / "gen" / "python"
    directory.mkdir(parents=True, exist_ok=True)
    target = directory / "n2_pb2.py"
    with open(directory / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists() or target.stat().st_mtime_ns < source.stat().st_mtime_ns:
            with tempfile.TemporaryDirectory(dir=directory) as scratch:
                subprocess.run(["protoc", f"--proto_path={source.parent}", f"--python_out={scratch}",
                                str(source)], check=True)
                os.replace(os.path.join(scratch, target.name), target)
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    import n2_pb2
    return n2_pb2


pb = load_pb()


# ------------------------------------------------------------------------------------ SP framing

REQ_PROTOCOL = 0x30
REP_PROTOCOL = 0x31
REQUEST_BIT = 0x80000000


class ConnectionLost(Exception):
    """The other side closed the connection, or it broke."""


class ReplyTimeout(Exception):
    """No reply came in time."""


class NotSP(Exception):
    """The other side sent something that is not the SP protocol."""


def sp_header(protocol):
    """The 8 octets that each side sends first."""
    return b"\x00SP\x00" + struct.pack(">HH", protocol, 0)


def check_sp_header(header, protocol):
    if header != sp_header(protocol):
        raise NotSP(f"expected the header {sp_header(protocol).hex()}, got {header.hex()}")


def split_url(url):
    """('ipc', path) or ('tcp', (host, port))."""
    scheme, _, rest = url.partition("://")
    if scheme == "ipc" and rest:
        return scheme, rest
    if scheme == "tcp" and ":" in rest:
        host, _, port = rest.rpartition(":")
        return scheme, (host.strip("[]"), int(port))
    raise ValueError(f"not an ipc:// or tcp:// URL: {url}")


def length_header(scheme, length):
    """What precedes a message body. IPC has one octet more than TCP: the message type, always 1."""
    return (b"\x01" if scheme == "ipc" else b"") + struct.pack(">Q", length)


def frame(scheme, body):
    return length_header(scheme, len(body)) + body


def parse_length_header(scheme, header):
    if scheme == "ipc":
        if header[0] != 1:
            raise NotSP(f"IPC message type {header[0]}")
        header = header[1:]
    return struct.unpack(">Q", header)[0]


def length_header_size(scheme):
    return 9 if scheme == "ipc" else 8


def split_backtrace(body):
    """(hops, request id, payload): the ids without the top bit, the one with it, what follows."""
    hops = []
    offset = 0
    while True:
        if len(body) < offset + 4:
            raise NotSP("a message without a request id")
        word = struct.unpack_from(">I", body, offset)[0]
        offset += 4
        if word & REQUEST_BIT:
            return tuple(hops), word, body[offset:]
        hops.append(word)


def join_backtrace(hops, request_id, payload):
    return struct.pack(f">{len(hops) + 1}I", *hops, request_id) + payload


# ------------------------------------------------------------------------------------ the REQ side

class Req:
    """One connection to a REP socket. Any number of requests may be outstanding at once."""

    def __init__(self, url, timeout=5.0, header=sp_header(REQ_PROTOCOL)):
        self.scheme, address = split_url(url)
        if self.scheme == "ipc":
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._sock.settimeout(timeout)
            self._sock.connect(address)
        else:
            self._sock = socket.create_connection(address, timeout)
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._changed = threading.Condition()
        self._send_lock = threading.Lock()
        self._replies = {}      # request id -> (hops, payload)
        self._lost = None       # why there will be no more replies
        self._ids = itertools.count(random.getrandbits(31))
        try:
            self._sock.sendall(header)
            check_sp_header(self._read_exactly(8), REP_PROTOCOL)
        except BaseException as error:
            self._sock.close()
            if isinstance(error, OSError) and not isinstance(error, TimeoutError):
                raise ConnectionLost(str(error)) from error
            raise
        self._sock.settimeout(None)
        self._reader = threading.Thread(target=self._read_replies, daemon=True)
        self._reader.start()

    def send(self, payload, hops=()):
        """Sends a request and returns its id; `receive` takes the reply."""
        request_id = (next(self._ids) & 0x7FFFFFFF) | REQUEST_BIT
        self.send_raw(frame(self.scheme, join_backtrace(hops, request_id, payload)))
        return request_id

    def receive(self, request_id, timeout=5.0):
        return self.receive_with_hops(request_id, timeout)[1]

    def receive_with_hops(self, request_id, timeout=5.0):
        deadline = time.monotonic() + timeout
        with self._changed:
            while request_id not in self._replies:
                if self._lost is not None:
                    raise ConnectionLost(self._lost)
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ReplyTimeout(f"no reply within {timeout} s")
                self._changed.wait(left)
            return self._replies.pop(request_id)

    def has_reply(self, request_id):
        with self._changed:
            return request_id in self._replies

    def request(self, payload, timeout=5.0):
        return self.receive(self.send(payload), timeout)

    def send_raw(self, octets):
        """Puts octets on the wire as they are, whatever they mean."""
        try:
            with self._send_lock:
                self._sock.sendall(octets)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

    def send_half(self, payload, octets):
        """Announces a whole request and sends only its first `octets` octets."""
        whole = frame(self.scheme, join_backtrace((), REQUEST_BIT | 1, payload))
        if octets >= len(whole):
            raise ValueError("that would be the whole message")
        self.send_raw(whole[:octets])

    def wait_lost(self, timeout):
        """True when the other side closes the connection within `timeout`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._lost is not None, timeout)

    def close(self):
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass                # it was closed by the other side before
        self._reader.join(5)
        self._sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _read_exactly(self, count):
        octets = bytearray()
        while len(octets) < count:
            piece = self._sock.recv(min(count - len(octets), 1 << 18))
            if not piece:
                raise ConnectionLost("closed by the other side")
            octets += piece
        return bytes(octets)

    def _read_replies(self):
        try:
            while True:
                header = self._read_exactly(length_header_size(self.scheme))
                body = self._read_exactly(parse_length_header(self.scheme, header))
                hops, request_id, payload = split_backtrace(body)
                with self._changed:
                    self._replies[request_id] = (hops, payload)
                    self._changed.notify_all()
        except (OSError, ConnectionLost, NotSP) as error:
            with self._changed:
                self._lost = str(error)
                self._changed.notify_all()


# ------------------------------------------------------------------------------------ the REP side

class Pipe:
    """One accepted connection of a RepServer."""

    _numbers = itertools.count(1)

    def __init__(self, scheme, writer):
        self.number = next(Pipe._numbers)
        self.scheme = scheme
        self.open = True
        self._writer = writer

    def send(self, body):
        if self.open:
            self._writer.write(frame(self.scheme, body))

    def close(self):
        self.open = False
        self._writer.close()


class RepRequest:
    """A request that was received. It may be answered now, later, or never; once at most."""

    def __init__(self, server, pipe, hops, request_id, payload):
        self.pipe = pipe
        self.payload = payload
        self._server = server
        self._hops = hops
        self._request_id = request_id
        self._answered = False

    def reply(self, payload):
        """Answers. May be called from any thread when the server runs in its own."""
        if self._answered:
            raise RuntimeError("this request was answered already")
        self._answered = True
        body = join_backtrace(self._hops, self._request_id, payload)
        if self._server.loop_thread in (None, threading.get_ident()):
            self.pipe.send(body)
        else:
            self._server.loop.call_soon_threadsafe(self.pipe.send, body)


class RepServer:
    """A REP socket. `handler` is called with every RepRequest, in the thread of the event loop.

    Inside a program that runs asyncio: `await start()` and `await stop()`. Elsewhere: use it as a
    context manager; it then runs a loop in a thread of its own.
    """

    def __init__(self, url, handler, allowed_users=None, on_pipe_closed=None):
        self.scheme, self.address = split_url(url)
        self.loop = None
        self.loop_thread = None     # set when the loop runs in a thread of ours
        self.pipes = set()
        self._handler = handler
        self._allowed_users = allowed_users
        self._on_pipe_closed = on_pipe_closed
        self._listener = None
        self._thread = None

    async def start(self):
        self.loop = asyncio.get_running_loop()
        if self.scheme == "ipc":
            remove_stale_socket(self.address)
            old_mask = os.umask(0o177)      # the socket file is never open to others, not even at first
            try:
                self._listener = await asyncio.start_unix_server(self._serve, self.address)
            finally:
                os.umask(old_mask)
        else:
            self._listener = await asyncio.start_server(self._serve, *self.address)

    async def stop(self):
        self._listener.close()
        for pipe in list(self.pipes):
            pipe.close()
        if self.scheme == "ipc" and os.path.exists(self.address):
            os.unlink(self.address)

    def __enter__(self):
        ready = threading.Event()
        failure = []

        def run():
            self.loop_thread = threading.get_ident()
            loop = asyncio.new_event_loop()
            try:
                loop.run_until_complete(self.start())
            except OSError as error:
                failure.append(error)
                return
            finally:
                ready.set()
            loop.run_forever()
            loop.run_until_complete(self.stop())
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            raise failure[0]
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)

    async def _serve(self, reader, writer):
        pipe = Pipe(self.scheme, writer)
        if self.scheme == "ipc" and self._allowed_users is not None:
            if peer_user(writer.get_extra_info("socket")) not in self._allowed_users:
                pipe.close()
                return
        self.pipes.add(pipe)
        try:
            writer.write(sp_header(REP_PROTOCOL))
            check_sp_header(await reader.readexactly(8), REQ_PROTOCOL)
            while pipe.open:
                header = await reader.readexactly(length_header_size(self.scheme))
                length = parse_length_header(self.scheme, header)
                if length > MAX_MESSAGE:
                    break
                hops, request_id, payload = split_backtrace(await reader.readexactly(length))
                self._handler(RepRequest(self, pipe, hops, request_id, payload))
        except (NotSP, asyncio.IncompleteReadError, ConnectionError):
            pass                    # a peer that speaks garbage or leaves costs its connection only
        finally:
            pipe.close()
            self.pipes.discard(pipe)
            if self._on_pipe_closed:
                self._on_pipe_closed(pipe)


def remove_stale_socket(path):
    """Removes the socket file that a killed process has left; never a file of another type."""
    try:
        if stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
    except FileNotFoundError:
        pass


def peer_user(sock):
    """The user id of the process at the other end of a Unix socket."""
    return struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]


# ------------------------------------------------------------------------------------ leg channel

class LegChannel:
    """The sending end of the leg channel."""

    def __init__(self, legs, timeout=5.0):
        """`legs` is what HelloAnswer.legs says: unix:/path."""
        if not legs.startswith("unix:"):
            raise ValueError(f"not a leg channel: {legs!r}")
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self._sock.settimeout(timeout)
        self._sock.connect(legs[len("unix:"):])

    def send(self, legs, descriptors=()):
        """Sends a Legs message (or any octets) with descriptors; the caller still owns those."""
        octets = legs if isinstance(legs, bytes) else legs.SerializeToString()
        control = []
        if descriptors:
            numbers = array.array("i", [d if isinstance(d, int) else d.fileno() for d in descriptors])
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)]
        self._sock.sendmsg([octets], control)

    def wait_lost(self, timeout):
        """True when the relay closes this channel within `timeout`."""
        self._sock.settimeout(timeout)
        try:
            return self._sock.recv(1) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    def close(self):
        self._sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ------------------------------------------------------------------------------------ endpoints

def endpoint(ip="", port=0):
    """An Endpoint of ('127.0.0.1', 80), or of raw octets for the tests that send wrong ones."""
    if isinstance(ip, str):
        ip = b"" if ip == "" else socket.inet_pton(
            socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    return pb.Endpoint(ip=ip, port=port)


def endpoint_address(message):
    """The ('127.0.0.1', 80) of an Endpoint."""
    if len(message.ip) == 0:
        return "", message.port
    family = {4: socket.AF_INET, 16: socket.AF_INET6}[len(message.ip)]
    return socket.inet_ntop(family, message.ip), message.port


# ------------------------------------------------------------------------------- rules of datagrams

def network(text):
    """The Network of '192.0.2.0/24' or of an address."""
    parsed = ipaddress.ip_network(text)
    return pb.Network(ip=parsed.network_address.packed, bits=parsed.prefixlen)


def rule(allow, *to, ports=None, special=(), opens_special=False):
    """A DatagramRule. `to`: names and networks, none: any; `ports`: spans (first, last), None: any."""
    made = pb.DatagramRule(allow=allow, any_destination=not to, opens_special=opens_special,
                           special=[network(n) for n in special], any_port=ports is None,
                           ports=[pb.PortSpan(first=f, last=l) for f, l in ports or ()])
    for destination in to:
        if re.fullmatch(r"[0-9.]+(/\d+)?|[0-9a-f:.]*:[0-9a-f:.]*(/\d+)?", destination):
            made.networks.append(network(destination))
        else:
            made.names.append(destination)
    return made


def allow(*to, special=("127.0.0.0/8", "::1"), **options):
    """Loopback, where tests live, is a special-purpose address: it is allowed unless a test says no."""
    return rule(True, *to, special=special, **options)


def deny(*to, **options):
    return rule(False, *to, **options)


def datagram_rules(*rules):
    return pb.DatagramRules(rules=rules)


# -------------------------------------------------------------------------------- a control server

class Refused(Exception):
    """A call was refused and the test did not expect it."""

    def __init__(self, refusal):
        super().__init__(f"{pb.RefusalCode.Name(refusal.code)} {pb.Cause.Name(refusal.cause)} "
                         f"{refusal.text!r}")
        self.refusal = refusal


class BadReply(AssertionError):
    """A reply breaks a rule that holds for every reply."""


Grant = collections.namedtuple("Grant", "association ticket bound peer engine")


def verdict(said):
    """What became of a call, in a word: ACCEPTED, STALE, EXPIRED, UNREACHABLE TIMED_OUT, ..."""
    refusal = said
    if not isinstance(said, pb.Refusal):
        if said is None or not said.HasField("refused"):
            return "ACCEPTED"
        refusal = said.refused
    name = pb.RefusalCode.Name(refusal.code).removeprefix("REFUSAL_")
    if refusal.cause:
        name += " " + pb.Cause.Name(refusal.cause).removeprefix("CAUSE_")
    return name


def end_name(event):
    """CLOSED, LEASE_LOST, ... of an ENDED event."""
    return pb.End.Name(event.end).removeprefix("END_")


def new_id():
    return os.urandom(16)


def must(condition, complaint):
    if not condition:
        raise BadReply(complaint)


def check_refusal(refusal):
    must(refusal.code != pb.REFUSAL_NONE, "a refusal without a code")
    must(refusal.code in pb.RefusalCode.values(), f"an unknown refusal code {refusal.code}")
    must(refusal.cause in pb.Cause.values(), f"an unknown cause {refusal.cause}")
    must(len(refusal.text.encode()) <= 200, "a refusal text over 200 octets")
    must((refusal.code == pb.REFUSAL_UNREACHABLE) == (refusal.cause != pb.CAUSE_NONE),
         f"UNREACHABLE and a cause belong together: {refusal}")


def check_opened(opened, kind=pb.KIND_NONE):
    must(opened.state == pb.OPEN_OPENED, "an opened answer that is not OPEN_OPENED")
    must(len(opened.bound.ip) in (4, 16), "opened without a bound address")
    must(0 < opened.bound.port <= 65535, f"opened with the bound port {opened.bound.port}")
    must(len(opened.ticket) == 32, f"a ticket of {len(opened.ticket)} octets")
    if kind == pb.KIND_UDP:         # the address is for its client
        address = ipaddress.ip_address(opened.bound.ip)
        must(not address.is_unspecified, f"a client is told to send to {address}")
        must(getattr(address, "ipv4_mapped", None) is None, f"a client is told the mapped {address}")


def check_event(event):
    must(event.type in pb.EventType.values() and event.type != pb.EVENT_NONE,
         f"an unknown event type {event.type}")
    must(len(event.association) == 16, "an event without an association")
    if event.type == pb.EVENT_OPENED:
        must(event.HasField("opened"), "OPENED without the answer")
        check_opened(event.opened)
    elif event.type == pb.EVENT_FAILED:
        must(event.HasField("failed"), "FAILED without a refusal")
        check_refusal(event.failed)
    elif event.type in (pb.EVENT_PEER, pb.EVENT_LOCKED):
        must(len(event.peer.ip) in (4, 16) and event.peer.port != 0,
             f"{pb.EventType.Name(event.type)} without an address")
    elif event.type == pb.EVENT_ENDED:
        must(event.end in pb.End.values() and event.end != pb.END_NONE,
             f"ENDED without a known reason: {event.end}")


def check_reply(request, reply):
    """What holds for every reply, whatever was asked."""
    must(reply.version == 1, f"a reply of version {reply.version}")
    must(reply.relay_epoch != 0, "a reply without a relay epoch")
    if reply.HasField("refused"):
        check_refusal(reply.refused)
        must(not reply.answers, "a refused message with answers")
        return
    must(len(reply.answers) == len(request.calls),
         f"{len(request.calls)} calls and {len(reply.answers)} answers")
    for call, answer in zip(request.calls, reply.answers):
        must(answer.id == call.id, f"call {call.id} was answered as {answer.id}")
        kind = answer.WhichOneof("what")
        must(kind is not None, f"an empty answer to {call.WhichOneof('what')}")
        if kind == "refused":
            check_refusal(answer.refused)
            continue
        must(kind == call.WhichOneof("what"), f"{call.WhichOneof('what')} was answered by {kind}")
        if kind == "open":
            must(call.open.kind != pb.KIND_UDP or answer.open.state == pb.OPEN_OPENED,
                 "a UDP association that is not OPENED at once")
            if answer.open.state == pb.OPEN_OPENED:
                check_opened(answer.open, call.open.kind)
            else:
                must(answer.open.state == pb.OPEN_PENDING, f"open state {answer.open.state}")
        elif kind == "watch":
            check_watch(call.watch, answer.watch)
        elif kind == "inventory":
            check_inventory(call.inventory, answer.inventory)


def check_watch(watch, answer):
    must(answer.HasField("load"), "a Watch answer without load")
    must(answer.state in pb.RelayState.values(), f"relay state {answer.state}")
    must(len(answer.events) <= MAX_EVENTS, f"{len(answer.events)} events in one answer")
    for event in answer.events:
        check_event(event)
    numbers = [event.seq for event in answer.events]
    if numbers:
        must(numbers == list(range(numbers[0], numbers[0] + len(numbers))),
             f"events are not numbered one by one: {numbers[:20]}")
        must(numbers[0] > watch.after_seq, "an event that was received already")
        must(numbers[-1] <= answer.last_seq, "last_seq is below an event of the same answer")


def check_inventory(inventory, answer):
    ids = [held.association for held in answer.held]
    must(ids == sorted(ids) and len(set(ids)) == len(ids), "an Inventory that is not ascending")
    must(len(ids) <= inventory.limit, "an Inventory page over the limit")
    must(all(held_id > inventory.after for held_id in ids), "an Inventory page starts too early")
    for held in answer.held:
        must(len(held.association) == 16, "an Inventory entry without an id")
        must(held.kind in pb.Kind.values() and held.kind != pb.KIND_NONE, "an entry without a kind")
        must(held.state in pb.HeldState.values(), f"an unknown held state {held.state}")


class ControlServer:
    """A control server that says what a test tells it to say, and checks what it is told."""

    def __init__(self, url, server_id=None, epoch=None, protect=()):
        self.url = url
        self.server_id = server_id or "test-" + os.urandom(6).hex()
        self.epoch = epoch if epoch is not None else random.getrandbits(64) | 1
        self.relay_epoch = 0
        self.acked = 0
        self.who = None             # the last HelloAnswer
        self.protect = protect
        self.after_seq = 0
        self.events = []            # all that the heartbeat has received
        self.watch_failure = None
        self._events_changed = threading.Condition()
        self._id_lock = threading.Lock()
        self._next_id = 1
        self._watcher = None
        self._watching = False
        self._legs = None
        self.req = Req(url)

    # -- requests

    def next_call_id(self):
        with self._id_lock:
            self._next_id += 1
            return self._next_id - 1

    def call(self, what=None, *, remaining_ms=10000, must_understand=(), call_id=None):
        """A Call of an Open, Release, ... message."""
        call = pb.Call(id=self.next_call_id() if call_id is None else call_id,
                       remaining_ms=remaining_ms, must_understand=must_understand)
        if what is not None:
            getattr(call, type(what).__name__.lower()).CopyFrom(what)
        return call

    def request(self, calls, **fields):
        request = pb.Request(version=1, server_id=self.server_id, server_epoch=self.epoch,
                             relay_epoch=self.relay_epoch, acked=self.acked, calls=calls)
        for name, value in fields.items():
            setattr(request, name, value)
        return request

    def exchange(self, *calls, req=None, timeout=5.0, **fields):
        """Sends calls together and returns the Reply, after the checks that hold for all."""
        request = self.request(calls, **fields)
        return self.finish(request, (req or self.req).request(request.SerializeToString(), timeout))

    def finish(self, request, octets):
        reply = pb.Reply.FromString(octets)
        check_reply(request, reply)
        return reply

    def ask(self, what, *, req=None, timeout=5.0, remaining_ms=10000, must_understand=(),
            call_id=None, **fields):
        """One call, one Answer. A message that was refused as a whole gives a refused Answer."""
        call = self.call(what, remaining_ms=remaining_ms, must_understand=must_understand,
                         call_id=call_id)
        reply = self.exchange(call, req=req, timeout=timeout, **fields)
        if reply.HasField("refused"):
            return pb.Answer(id=call.id, refused=reply.refused)
        return reply.answers[0]

    # -- Hello

    def hello(self, req=None, **options):
        """Says Hello and returns the Answer. Later calls use the epoch that was learned here."""
        call = self.call(pb.Hello(software="n2wire", protect=self.protect), **options)
        reply = self.exchange(call, req=req)
        if reply.HasField("refused"):
            return pb.Answer(id=call.id, refused=reply.refused)
        answer = reply.answers[0]
        if answer.WhichOneof("what") == "hello":
            self.relay_epoch = reply.relay_epoch
            self.who = answer.hello
        return answer

    def must_hello(self, req=None):
        answer = self.hello(req)
        if answer.HasField("refused"):
            raise Refused(answer.refused)
        return self

    def reconnect(self):
        """A new connection with the same id and epoch; the old one is closed."""
        self.stop_watching()
        self.req.close()
        self.req = Req(self.url)
        return self

    @property
    def lease(self):
        return self.who.lease_ms / 1000

    # -- Watch

    def watch(self, after_seq=None, wait_ms=0, timeout=5.0, req=None):
        """One Watch by hand."""
        after_seq = self.after_seq if after_seq is None else after_seq
        answer = self.ask(pb.Watch(after_seq=after_seq, wait_ms=wait_ms), timeout=timeout, req=req)
        if answer.HasField("refused"):
            raise Refused(answer.refused)
        return answer.watch

    def send_watch(self, after_seq=0, wait_ms=300):
        """Sends a Watch and does not wait for it: the request and the id for `receive_watch`."""
        request = self.request([self.call(pb.Watch(after_seq=after_seq, wait_ms=wait_ms))])
        return request, self.req.send(request.SerializeToString())

    def receive_watch(self, sent, timeout=5.0):
        request, request_id = sent
        reply = self.finish(request, self.req.receive(request_id, timeout))
        if reply.HasField("refused"):
            raise Refused(reply.refused)
        if reply.answers[0].HasField("refused"):
            raise Refused(reply.answers[0].refused)
        return reply.answers[0].watch

    def start_watching(self):
        """The heartbeat: a thread that watches without end and collects the events."""
        self._watching = True
        self._watcher = threading.Thread(target=self._watch_on, daemon=True)
        self._watcher.start()
        return self

    def stop_watching(self):
        self._watching = False
        if self._watcher:
            self._watcher.join(10)
            self._watcher = None

    def _watch_on(self):
        wait_ms = self.who.lease_ms // 3
        while self._watching:
            try:
                answer = self.watch(wait_ms=wait_ms)
            except (ConnectionLost, ReplyTimeout, Refused, BadReply, OSError) as error:
                if not self._watching:
                    return
                with self._events_changed:
                    self.watch_failure = error
                    self._events_changed.notify_all()
                return
            with self._events_changed:
                self.events.extend(answer.events)
                if answer.events:
                    self.after_seq = answer.events[-1].seq
                self._events_changed.notify_all()

    def wait_event(self, association, *types, timeout=5.0):
        """The first event of this association (of one of these types, when there are any)."""
        def find():
            for event in self.events:
                if event.association == association and (not types or event.type in types):
                    return event
            return None

        deadline = time.monotonic() + timeout
        with self._events_changed:
            while find() is None:
                left = deadline - time.monotonic()
                if self.watch_failure is not None:
                    raise AssertionError(f"the heartbeat has stopped: {self.watch_failure!r}")
                if left <= 0:
                    names = "/".join(pb.EventType.Name(t) for t in types) or "any event"
                    seen = [pb.EventType.Name(e.type) for e in self.events
                            if e.association == association]
                    raise AssertionError(f"no {names} within {timeout} s; seen: {seen}")
                self._events_changed.wait(left)
            return find()

    def events_of(self, association):
        with self._events_changed:
            return [event for event in self.events if event.association == association]

    def wait_ended(self, association, timeout=5.0):
        return self.wait_event(association, pb.EVENT_ENDED, timeout=timeout)

    # -- associations

    def connect_message(self, *addresses, association=None, connect_ms=5000, **limits):
        return pb.Open(association=association or new_id(), kind=pb.KIND_CONNECT, ptcl=6,
                       client=endpoint("127.0.0.1", 40000), client_local=endpoint("127.0.0.1", 1080),
                       destinations=[endpoint(*a) for a in addresses],
                       limits=pb.Limits(connect_ms=connect_ms, **limits))

    def bind_message(self, *peers, association=None, connect_ms=5000, bind=("127.0.0.1", 0), **limits):
        return pb.Open(association=association or new_id(), kind=pb.KIND_BIND, ptcl=6,
                       client=endpoint("127.0.0.1", 40000), client_local=endpoint("127.0.0.1", 1080),
                       destinations=[endpoint(*a) for a in peers], bind=endpoint(*bind),
                       limits=pb.Limits(connect_ms=connect_ms, **limits))

    def udp_message(self, *rules, association=None, hint=None, client="127.0.0.1",
                    client_local=None, **limits):
        """Without rules (None is none at all) everything on loopback is allowed."""
        message = pb.Open(association=association or new_id(), kind=pb.KIND_UDP, ptcl=17,
                          client=endpoint(client, 40000),
                          client_local=endpoint(client_local or client, 1080),
                          destinations=[endpoint(*hint[:2])] if hint else [],
                          limits=pb.Limits(**limits))
        if rules != (None,):
            message.rules.CopyFrom(datagram_rules(*rules or (allow(),)))
        return message

    def any_message(self, *addresses, association=None, connect_ms=5000, **limits):
        """An Open of a kind that this relay carries: to these addresses if it is one with a target."""
        if pb.KIND_CONNECT in self.who.kinds:
            return self.connect_message(*addresses, association=association, connect_ms=connect_ms,
                                        **limits)
        # Every client address of its own, so that any number of them finds room on few ports.
        return self.udp_message(association=association, client=random_loopback(),
                                client_local="127.0.0.1", **limits)

    def outcome(self, message, answer, timeout=5.0):
        """The OpenAnswer or the Refusal that an Open led to; waits for the event when PENDING."""
        if answer.HasField("refused"):
            return answer.refused
        if answer.open.state == pb.OPEN_OPENED:
            return answer.open
        event = self.wait_event(message.association, pb.EVENT_OPENED, pb.EVENT_FAILED,
                                timeout=timeout)
        return event.opened if event.type == pb.EVENT_OPENED else event.failed

    def open(self, message, timeout=5.0):
        """Carries an Open to its end and returns the Grant."""
        result = self.outcome(message, self.ask(message), timeout)
        if isinstance(result, pb.Refusal):
            raise Refused(result)
        return Grant(message.association, result.ticket, result.bound, result.peer, result.engine)

    def open_refused(self, message, timeout=5.0):
        """Carries an Open to its end and returns the Refusal."""
        result = self.outcome(message, self.ask(message), timeout)
        if not isinstance(result, pb.Refusal):
            raise AssertionError("the Open was not refused")
        return result

    def release(self, association):
        answer = self.ask(pb.Release(association=association))
        if answer.HasField("refused"):
            raise Refused(answer.refused)
        return answer.release

    def inventory_page(self, after=b"", limit=1024):
        answer = self.ask(pb.Inventory(after=after, limit=limit))
        if answer.HasField("refused"):
            raise Refused(answer.refused)
        return answer.inventory

    def inventory(self):
        """All that the relay holds for this server: association -> Held."""
        held = {}
        after = b""
        while True:
            page = self.inventory_page(after)
            held.update((item.association, item) for item in page.held)
            if not page.more:
                return held
            must(page.held, "an Inventory page says that there is more and is empty")
            after = page.held[-1].association

    # -- legs

    @property
    def legs(self):
        if self._legs is None:
            self._legs = LegChannel(self.who.legs)
        return self._legs

    def attach_message(self, grant, to_client=b"", to_target=b"", **fields):
        attach = pb.Attach(association=grant.association, ticket=grant.ticket, kind=pb.LEG_PLAIN_FD,
                           to_client=to_client, to_target=to_target)
        for name, value in fields.items():
            setattr(attach, name, value)
        return attach

    def attach(self, grant, to_client=b"", to_target=b"", **fields):
        """Hands a fresh client connection over and returns the client's end of it."""
        client, leg = tcp_pair()
        with leg:
            self.legs.send(pb.Legs(version=1, attaches=[
                self.attach_message(grant, to_client, to_target, **fields)]), [leg])
        return client

    def close(self):
        self._watching = False
        self.req.close()            # ends a Watch that is parked, so that the heartbeat stops now
        self.stop_watching()
        if self._legs:
            self._legs.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


# ------------------------------------------------------------------------------ sockets for tests

def wait_until(condition, what, timeout=10.0):
    """Returns the first true value of condition()."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        must(time.monotonic() < deadline, f"{what}: not within {timeout} s")
        time.sleep(0.002)
    return value


def random_loopback():
    """An address of this host that nobody else is likely to use now."""
    return ".".join(map(str, (127, *(random.randrange(1, 255) for _ in range(3)))))


def nothing_came(*socks):
    """Whether no datagram is there. To be asked when something that was sent later has come elsewhere."""
    return not select.select(socks, (), (), 0)[0]


def tcp_pair(timeout=5.0):
    """Two ends of a TCP connection on loopback: the client's, and the one to hand over."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout)
        leg, _ = listener.accept()
    leg.settimeout(timeout)
    return client, leg


def reset(sock):
    """Closes a TCP connection with a reset instead of an end of stream."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_exactly(sock, count):
    octets = bytearray()
    while len(octets) < count:
        piece = sock.recv(min(count - len(octets), 1 << 18))
        if not piece:
            raise AssertionError(f"the stream ended after {len(octets)} of {count} octets")
        octets += piece
    return bytes(octets)


def read_to_end(sock):
    """All octets up to the end of the stream; a reset is raised as ConnectionResetError."""
    octets = bytearray()
    while True:
        piece = sock.recv(1 << 18)
        if not piece:
            return bytes(octets)
        octets += piece


def read_until_gone(sock):
    """(octets, whether a reset ended them)"""
    octets = bytearray()
    try:
        while piece := sock.recv(1 << 18):
            octets += piece
    except ConnectionResetError:
        return bytes(octets), True
    return bytes(octets), False


def is_closed(sock, timeout=5.0):
    """True when the other side closes or resets this connection within `timeout`."""
    sock.settimeout(timeout)
    try:
        return sock.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True

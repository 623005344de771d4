"""TRANSPARENT over TCP: the client's connection comes to the relay itself, and is known by its source.

Each test has a relay of its own, with ports of its own.
"""

import hashlib
import json
import os
import shlex
import socket
import threading
import time

import pytest

import daemons
import n2wire
from n2wire import end_name, endpoint, endpoint_address, is_closed, pb, verdict, wait_until

HANDFUL = 300


class Flow:
    """An association, and the socket that its client will connect from."""

    def __init__(self, server, sock, grant):
        self.server = server
        self.sock = sock
        self.grant = grant
        self.association = grant.association
        self.bound = endpoint_address(grant.bound)

    def connect(self, sock=None):
        sock = sock or self.sock
        sock.connect(self.bound)
        return sock

    def ended(self, timeout=5.0):
        return self.server.wait_ended(self.association, timeout)

    def counters(self):
        return self.server.inventory()[self.association].counters


class World:
    """A relay, a server, and what happens at them."""

    def __init__(self, relay, server, sockets, status):
        self.relay = relay
        self.server = server
        self.sockets = sockets
        self._status = status

    def socket(self, ip="127.0.0.1", port=0):
        sock = self.sockets.keep(socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ip, port))
        return sock

    def message(self, target, client, association=None, ptcl=6, server=None, owner="", **limits):
        target = target.getsockname() if isinstance(target, socket.socket) else target
        return pb.Open(association=association or n2wire.new_id(), kind=pb.KIND_TRANSPARENT, ptcl=ptcl,
                       client=endpoint(*client[:2]), client_local=endpoint(client[0], 1080),
                       destinations=[endpoint(*target[:2])], owner=owner,
                       limits=pb.Limits(**{"connect_ms": 5000, **limits}))

    def open(self, target, sock=None, learn=False, server=None, **options):
        """learn: the client's port is not told."""
        server = server or self.server
        sock = sock or self.socket()
        ip, port = sock.getsockname()[:2]
        grant = server.open(self.message(target, (ip, 0 if learn else port), **options))
        return Flow(server, sock, grant)

    def refusal(self, message):
        return verdict(self.server.open_refused(message))

    def metric(self, name):
        return daemons.parse_metrics(daemons.http_get(self._status, "/metrics")[1])[name]

    def refused(self, reason):
        return self.metric('relayd_accepts_refused_total{reason="%s"}' % reason)

    def states(self):
        listed = json.loads(daemons.http_get(self._status, "/associations")[1])["associations"]
        return [a["state"] for a in listed]


@pytest.fixture
def world(relay_spec, start_relay, servers, sockets, tmp_path, free_ports):
    """Starts a relay: world(**settings) -> World."""
    if relay_spec.name != "relayd-tcp":
        pytest.skip("needs a relay with settings of its own")
    status = str(tmp_path / "status")

    def make(**settings):
        settings = {name.replace("_", "-"): value for name, value in settings.items()}
        command = f"{relay_spec.command} -c {{config}} --status {shlex.quote('unix:' + status)}"
        relay = start_relay(command, settings={"transparent-ports": free_ports(), **settings})
        server = servers(relay)
        if pb.KIND_TRANSPARENT not in server.who.kinds:
            pytest.skip("this relay does not carry TRANSPARENT")
        return World(relay, server, sockets, status)
    return make


@pytest.fixture
def one_port(free_ports):
    first = free_ports().split("-")[0]
    return {"transparent_ports": first}


def is_reset(sock):
    """Whether a connection that was made is reset by the other side."""
    try:
        return sock.recv(1) == b"never"
    except ConnectionResetError:
        return True


def connect_and_be_reset(sock, address):
    try:
        sock.connect(address)
    except ConnectionResetError:
        return True
    return is_reset(sock)


def talk(client, far):
    client.sendall(b"from the client")
    assert n2wire.read_exactly(far, 15) == b"from the client"
    far.sendall(b"from the target")
    assert n2wire.read_exactly(client, 15) == b"from the target"


# --------------------------------------------------------------------------------- the way it should be

def test_it_is_open_at_once_and_nothing_is_dialled_before_the_client_comes(
        world, target, no_arrival):
    w = world()
    flow = w.open(target)
    assert flow.grant.engine == "accept"
    assert "accept" in w.server.who.engines and 6 in w.server.who.ptcls
    assert flow.bound[0] == "127.0.0.1" and flow.bound[1] != 0
    no_arrival(target)
    assert w.states() == ["awaiting"]
    assert w.server.inventory()[flow.association].kind == pb.KIND_TRANSPARENT
    assert w.server.inventory()[flow.association].state == pb.HELD_OPENED


def test_octets_go_both_ways_and_each_half_closes_by_itself(world, target, sockets):
    w = world()
    flow = w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    talk(client, far)
    client.shutdown(socket.SHUT_WR)
    assert far.recv(10) == b""
    far.sendall(b"still open this way")
    assert n2wire.read_exactly(client, 19) == b"still open this way"
    assert w.states() == ["relaying"]
    far.close()
    assert client.recv(10) == b""
    event = flow.ended()
    assert end_name(event) == "CLOSED"
    assert endpoint_address(event.peer) == client.getsockname()
    assert (event.counters.octets_up, event.counters.octets_down) == (15, 34)
    assert w.server.inventory() == {}
    assert w.metric("relayd_accepted_total") == 1
    assert not [e for e in w.server.events_of(flow.association) if e.type == pb.EVENT_LOCKED]
    assert "access" not in w.relay.log()


def test_the_target_may_speak_and_finish_first(world, target, sockets):
    w = world()
    flow = w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    far.sendall(b"welcome")
    far.shutdown(socket.SHUT_WR)
    assert n2wire.read_to_end(client) == b"welcome"
    client.sendall(b"thank you")
    client.close()
    assert n2wire.read_to_end(far) == b"thank you"
    assert end_name(flow.ended()) == "CLOSED"


def test_bulk_arrives_as_it_was_sent(world, target, sockets):
    w = world()
    flow = w.open(target)
    client, octets = flow.connect(), os.urandom(1 << 16) * 128
    client.settimeout(30)
    far = sockets.accept(target)
    sender = threading.Thread(target=lambda: (client.sendall(octets), client.shutdown(socket.SHUT_WR)))
    sender.start()
    received = n2wire.read_to_end(far)
    sender.join()
    assert hashlib.sha256(received).digest() == hashlib.sha256(octets).digest()
    far.close()
    assert flow.ended().counters.octets_up == len(octets)


def test_what_is_sent_before_the_target_is_reached_is_not_lost(world, sockets):
    w = world()
    slow = sockets.listener()
    flow = w.open(slow)
    client = flow.connect()
    client.sendall(b"early")
    client.shutdown(socket.SHUT_WR)
    assert n2wire.read_to_end(sockets.accept(slow)) == b"early"


@pytest.mark.parametrize("client_ip, target_ip", [("127.0.0.1", "::1"), ("::1", "127.0.0.1"),
                                                  ("::1", "::1")])
def test_families_may_differ(world, sockets, client_ip, target_ip):
    w = world()
    target = sockets.listener(target_ip)
    flow = w.open(target, w.socket(client_ip))
    assert flow.bound[0] == client_ip
    talk(flow.connect(), sockets.accept(target))


def test_the_address_that_is_advertised_is_told(world, target):
    w = world(advertise=["192.0.2.9"])
    assert w.open(target).bound[0] == "192.0.2.9"


# ----------------------------------------------------------------------------------------- the source

def test_a_connection_from_another_port_is_reset_and_counted(world, target, sockets, no_arrival):
    w = world()
    flow = w.open(target)
    assert connect_and_be_reset(w.socket(), flow.bound)
    wait_until(lambda: w.refused("source_port") == 1, "the connection was not counted")
    no_arrival(target)
    talk(flow.connect(), sockets.accept(target))


def test_a_connection_from_another_address_is_reset_and_counted(world, target, sockets, no_arrival):
    w = world()
    flow = w.open(target)
    stranger = w.socket("127.0.0.2", flow.sock.getsockname()[1])
    assert connect_and_be_reset(stranger, flow.bound)
    wait_until(lambda: w.refused("stranger") == 1, "the connection was not counted")
    no_arrival(target)
    talk(flow.connect(), sockets.accept(target))
    assert connect_and_be_reset(w.socket("127.0.0.3"), flow.bound)
    assert w.refused("stranger") == 2


def test_a_second_connection_from_the_source_is_reset_while_one_lives(world, target, sockets, no_arrival):
    w = world()
    flow = w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    second = w.socket(*client.getsockname())
    # Another address of the relay: the same source, and a connection of its own.
    assert connect_and_be_reset(second, ("127.0.0.7", flow.bound[1]))
    assert w.refused("busy") == 1
    no_arrival(target)
    talk(client, far)


def test_a_port_that_is_not_known_is_learned_from_the_first_connection(
        world, target, sockets, no_arrival):
    w = world()
    flow = w.open(target, learn=True)
    assert connect_and_be_reset(w.socket("127.0.0.2"), flow.bound)
    assert not w.server.events_of(flow.association)
    client = flow.connect()
    far = sockets.accept(target)
    event = w.server.wait_event(flow.association, pb.EVENT_LOCKED)
    assert endpoint_address(event.peer) == client.getsockname()
    assert connect_and_be_reset(w.socket(), flow.bound)
    assert (w.refused("stranger"), w.refused("source_port")) == (1, 1)
    no_arrival(target)
    talk(client, far)
    assert endpoint_address(w.server.release(flow.association).client) == client.getsockname()


def test_two_that_learn_never_share_a_port_for_one_address(world, target):
    w = world()
    flows = [w.open(target, learn=True) for _ in range(10)]
    assert len({flow.bound[1] for flow in flows}) == 10


def test_the_same_source_again_gets_another_port(world, target, sockets):
    w = world()
    first = w.open(target)
    second = w.open(target, first.sock)
    assert first.bound != second.bound
    talk(first.connect(), sockets.accept(target))
    talk(second.connect(w.socket(*first.sock.getsockname())), sockets.accept(target))


def test_the_same_source_again_is_refused_when_there_is_no_other_port(world, target, one_port):
    w = world(**one_port, port_rest="0")
    flow = w.open(target)
    again = w.message(target, flow.sock.getsockname())
    assert w.refusal(again) == "NO_PORT"
    w.server.release(flow.association)
    again.association = n2wire.new_id()
    assert w.server.open(again).bound == flow.grant.bound


def test_hundreds_share_one_port(world, sockets, one_port):
    w = world(**one_port)
    targets = [sockets.listener() for _ in range(3)]
    flows = [w.open(targets[i % 3]) for i in range(HANDFUL)]
    assert {flow.bound[1] for flow in flows} == {int(one_port["transparent_ports"])}
    assert w.metric('relayd_listeners{state="open"}') == 1
    for i, flow in enumerate(flows):
        flow.connect().sendall(b"%d" % i)
        far = sockets.accept(targets[i % 3])
        assert far.recv(10) == b"%d" % i
        far.sendall(b"back %d" % i)
        assert flow.sock.recv(20) == b"back %d" % i


def test_who_is_not_locked_is_capped_by_owner(world, target):
    w = world(unlocked=2)
    first = w.open(target, learn=True, owner="alice")
    w.open(target, learn=True, owner="alice")
    message = w.message(target, ("127.0.0.1", 0), owner="alice")
    assert w.refusal(message) == "FULL"
    w.open(target, learn=True, owner="bob")
    w.open(target, owner="alice")
    first.connect()
    w.server.wait_event(first.association, pb.EVENT_LOCKED)
    w.server.open(message)


# -------------------------------------------------------------------------------------------- the end

def test_a_late_connection_finds_nobody(world, target, no_arrival):
    w = world(port_rest="5s")
    flow = w.open(target)
    w.server.release(flow.association)
    assert connect_and_be_reset(flow.sock, flow.bound)
    assert w.refused("late") == 1
    no_arrival(target)


def test_a_key_that_has_rested_is_given_out_again(world, target, one_port):
    w = world(**one_port, port_rest="600ms")
    flow = w.open(target)
    w.server.release(flow.association)
    message = w.message(target, flow.sock.getsockname())
    assert w.refusal(message) == "NO_PORT"
    time.sleep(0.7)
    message.association = n2wire.new_id()
    w.server.open(message)


def test_the_port_is_closed_when_nobody_has_used_it_for_a_while(world, target):
    w = world(port_rest="100ms")
    flow = w.open(target)
    w.server.release(flow.association)
    wait_until(lambda: w.metric('relayd_listeners{state="open"}') == 0, "the listener stays open")
    with pytest.raises(ConnectionRefusedError):
        flow.connect()


def test_release_cuts_both_ends_and_tells_what_was_moved(world, target, sockets):
    w = world()
    flow = w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    talk(client, far)
    answer = w.server.release(flow.association)
    assert (answer.counters.octets_up, answer.counters.octets_down) == (15, 15)
    assert is_reset(client) and is_reset(far)
    assert w.states() == []


def test_nobody_who_connects_in_time_is_unused(world, target):
    w = world(unused_timeout="300ms")
    started = time.monotonic()
    flow = w.open(target)
    assert end_name(flow.ended()) == "UNUSED"
    assert 0.25 < time.monotonic() - started < 2
    used = w.open(target)
    used.connect()
    assert not is_closed(used.sock, 0.7)


def test_a_stream_that_is_idle_ends(world, target, sockets):
    w = world()
    flow = w.open(target, idle_ms=300)
    client = flow.connect()
    far = sockets.accept(target)
    assert end_name(flow.ended()) == "IDLE"
    assert is_reset(client) and is_reset(far)


def test_a_half_closed_stream_has_a_limit_of_its_own(world, target, sockets):
    w = world()
    flow = w.open(target, half_closed_ms=300)
    client = flow.connect()
    sockets.accept(target)
    client.shutdown(socket.SHUT_WR)
    assert end_name(flow.ended()) == "HALF_CLOSED_IDLE"


def test_the_octet_limit_ends_it(world, target, sockets):
    w = world()
    flow = w.open(target, octets=10)
    client = flow.connect()
    far = sockets.accept(target)
    client.sendall(b"0123456789abc")
    assert n2wire.read_until_gone(far) == (b"0123456789", True)
    event = flow.ended()
    assert (end_name(event), event.counters.octets_up) == ("LIMIT", 10)


def test_an_update_changes_the_limits(world, target, sockets):
    w = world()
    flow = w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    talk(client, far)
    w.server.ask(pb.Update(association=flow.association, revision=1, limits=pb.Limits(idle_ms=200)))
    assert end_name(flow.ended()) == "IDLE"


@pytest.mark.parametrize("who, name", [("client", "CLIENT_RESET"), ("target", "TARGET_RESET")])
def test_a_reset_goes_through_and_ends_it(world, target, sockets, who, name):
    w = world()
    flow = w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    talk(client, far)
    n2wire.reset(client if who == "client" else far)
    assert is_reset(far if who == "client" else client)
    assert end_name(flow.ended()) == name


def test_a_target_that_refuses_resets_the_client_and_ends_it(world, closed_port):
    w = world()
    flow = w.open(closed_port)
    assert connect_and_be_reset(flow.sock, flow.bound)
    assert end_name(flow.ended()) == "TARGET_RESET"
    assert w.metric('relayd_unreachable_total{cause="refused"}') == 1


def test_a_silent_target_is_given_up_in_time(world, silent):
    w = world()
    flow = w.open(silent, connect_ms=400)
    flow.connect()
    wait_until(lambda: w.states() == ["reaching"], "it is not dialled")
    assert is_reset(flow.sock)
    assert end_name(flow.ended()) == "TARGET_RESET"


def test_a_client_that_resets_while_the_target_is_dialled_ends_it(world, silent):
    w = world()
    flow = w.open(silent)
    flow.connect()
    wait_until(lambda: w.states() == ["reaching"], "it is not dialled")
    n2wire.reset(flow.sock)
    assert end_name(flow.ended(2)) == "CLIENT_RESET"


def test_release_while_the_target_is_dialled_resets_the_client(world, silent):
    w = world()
    flow = w.open(silent)
    flow.connect()
    wait_until(lambda: w.states() == ["reaching"], "it is not dialled")
    w.server.release(flow.association)
    assert is_reset(flow.sock)


def test_an_ended_lease_ends_it_with_a_stream_and_without(world, servers, target, sockets):
    w = world()
    flow, waiting = w.open(target), w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    talk(client, far)
    w.server.stop_watching()
    assert is_closed(client, w.server.lease + 1.5) and is_closed(far)
    w.server.must_hello()
    w.server.start_watching()
    for association in (flow.association, waiting.association):
        assert end_name(w.server.wait_ended(association)) == "LEASE_LOST"
    assert connect_and_be_reset(waiting.sock, waiting.bound)


def test_draining_lets_it_finish(world, target, sockets):
    w = world()
    flow = w.open(target)
    client = flow.connect()
    far = sockets.accept(target)
    w.relay.drain()
    talk(client, far)
    client.close()
    far.close()
    assert end_name(flow.ended()) == "CLOSED"
    assert w.relay.process.wait(5) == 0


# ----------------------------------------------------------------------------------------- sequential

def test_connections_may_follow_each_other_when_configured(world, target, sockets):
    w = world(sequential=True)
    flow = w.open(target)
    source = flow.sock.getsockname()
    for i in range(3):
        client = flow.connect(flow.sock if i == 0 else w.socket(*source))
        far = sockets.accept(target)
        talk(client, far)
        # The relay closes first, so that no connection of ours stands in the way of the next.
        far.close()
        assert client.recv(1) == b""
        client.close()
        wait_until(lambda: w.states() == ["awaiting"], "it does not wait for the next connection")
        counters = flow.counters()
        assert (counters.octets_up, counters.octets_down) == (15 * (i + 1), 15 * (i + 1))
    assert w.server.release(flow.association).counters.octets_up == 45


def test_what_failed_may_be_tried_again_when_configured(world, sockets):
    w = world(sequential=True)
    later = w.socket()
    flow = w.open(later)
    source = flow.sock.getsockname()
    assert connect_and_be_reset(flow.sock, flow.bound)
    later.listen()
    client = flow.connect(w.socket(*source))
    far = sockets.accept(later)
    talk(client, far)
    n2wire.reset(client)
    assert is_reset(far)
    talk(flow.connect(w.socket(*source)), sockets.accept(later))


def test_a_learned_port_stays_for_the_next_connection(world, target, sockets):
    w = world(sequential=True)
    flow = w.open(target, learn=True)
    source = flow.connect().getsockname()
    n2wire.reset(flow.sock)
    sockets.accept(target)
    wait_until(lambda: w.states() == ["awaiting"], "it does not wait for the next connection")
    assert connect_and_be_reset(w.socket(), flow.bound)
    assert w.refused("source_port") == 1
    talk(flow.connect(w.socket(*source)), sockets.accept(target))


def test_limits_are_those_of_the_association(world, target, sockets):
    w = world(sequential=True)
    flow = w.open(target, octets=20, idle_ms=60000)
    source = flow.sock.getsockname()
    client = flow.connect()
    far = sockets.accept(target)
    client.sendall(b"0123456789")
    assert n2wire.read_exactly(far, 10) == b"0123456789"
    n2wire.reset(client)
    assert is_reset(far)
    client = flow.connect(w.socket(*source))
    far = sockets.accept(target)
    client.sendall(b"0123456789abc")
    assert n2wire.read_until_gone(far) == (b"0123456789", True)
    event = flow.ended()
    assert (end_name(event), event.counters.octets_up) == ("LIMIT", 20)


def test_who_waits_for_the_next_connection_does_so_for_the_idle_time(world, target, sockets):
    w = world(sequential=True, unused_timeout="30s")
    flow = w.open(target, idle_ms=400)
    client = flow.connect()
    n2wire.reset(client)
    sockets.accept(target)
    assert end_name(flow.ended(3)) == "IDLE"


# -------------------------------------------------------------------------------------------- refusals

def test_protected_destinations_are_refused(world, target, servers):
    w = world(protect=["127.9.0.0/16"])
    client = w.socket().getsockname()
    assert w.refusal(w.message(("127.9.1.1", 80), client)) == "POLICY"
    servers(w.relay, protect=[endpoint(*target.getsockname())])
    assert w.refusal(w.message(target, client)) == "POLICY"
    assert w.server.inventory() == {}


def test_the_relays_own_ports_are_no_destination(world, target):
    w = world()
    flow = w.open(target)
    client = w.socket().getsockname()
    for ip in ("127.0.0.1", "127.3.3.3", "0.0.0.0"):
        assert w.refusal(w.message((ip, flow.bound[1]), client)) == "POLICY"
        connect = w.server.connect_message((ip, flow.bound[1]))
        assert verdict(w.server.open_refused(connect)) == "POLICY"


def test_a_port_that_becomes_the_relays_own_is_not_dialled(world, one_port):
    w = world(**one_port)
    flow = w.open(("127.0.0.1", int(one_port["transparent_ports"])))
    assert connect_and_be_reset(flow.sock, flow.bound)
    assert end_name(flow.ended()) == "TARGET_RESET"
    assert (w.metric("relayd_accepted_total"), w.refused("source_port")) == (1, 0)


def test_a_leg_is_not_for_it(world, target, sockets):
    w = world()
    flow = w.open(target)
    assert is_closed(sockets.keep(w.server.attach(flow.grant)))
    talk(flow.connect(), sockets.accept(target))


def test_malformed_requests_are_told_apart(world, target):
    w = world()
    good = w.message(target, ("127.0.0.1", 40000))
    wrong = {
        "BAD": [{"client": pb.Endpoint()}, {"client": endpoint("0.0.0.0", 40000)},
                {"destinations": []}, {"destinations": [endpoint("127.0.0.1", 0)]},
                {"destinations": [endpoint("127.0.0.1", 9)] * 2}],
        "UNSUPPORTED": [{"ptcl": 17}, {"ptcl": 132}, {"bind": endpoint("127.0.0.1", 0)},
                        {"bind": pb.Endpoint(port=5)}],
    }
    for code, changes in wrong.items():
        for change in changes:
            fields = {d.name: v for d, v in good.ListFields()}
            message = pb.Open(**{**fields, "association": n2wire.new_id(), **change})
            assert w.refusal(message) == code, change
    with_rules = pb.Open()
    with_rules.CopyFrom(good)
    with_rules.rules.CopyFrom(n2wire.datagram_rules(n2wire.allow()))
    assert w.refusal(with_rules) == "BAD"


def test_a_port_that_others_hold_is_refused_typed(world, sockets, target):
    taken = sockets.listener("0.0.0.0")
    w = world(transparent_ports=str(taken.getsockname()[1]))
    assert w.refusal(w.message(target, ("127.0.0.1", 40000))) == "NO_PORT"


def test_an_address_that_is_not_of_this_host_cannot_be_bound(world, target):
    w = world(bind=["192.0.2.77"])
    assert w.refusal(w.message(target, ("127.0.0.1", 40000))) == "CANNOT_BIND"


def test_every_descriptor_comes_back(world, target, sockets):
    w = world()
    w.open(target)
    pid = w.relay.process.pid
    before = len(os.listdir(f"/proc/{pid}/fd"))
    for _ in range(20):
        flow = w.open(target)
        if flow.bound[1] % 2:
            assert connect_and_be_reset(w.socket(), flow.bound)
        client = flow.connect()
        far = sockets.accept(target)
        talk(client, far)
        client.close()
        far.close()
        flow.ended()
    listeners = w.metric('relayd_listeners{state="open"}')
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) <= before + listeners + 1,
               "descriptors are not given back")

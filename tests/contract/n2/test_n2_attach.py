"""The leg channel: what a relay takes, and what it closes."""

import os
import socket
import time

import pytest

import n2wire
from n2wire import Grant, LegChannel, end_name, is_closed, new_id, pb, read_until_gone, verdict

ENDS = (pb.EVENT_ENDED, pb.EVENT_FAILED)


@pytest.fixture
def opened(server, target, sockets):
    """An opened CONNECT that waits for its leg."""
    return server.open(server.connect_message(target.getsockname(), connect_ms=30000))


@pytest.fixture
def far(opened, target, sockets):
    """The target's end of it."""
    return sockets.accept(target)


@pytest.fixture
def still_works(server, stream):
    """Checks that a fresh stream can be opened, attached on a fresh channel, and used."""
    def check():
        server.legs.close()
        server._legs = None
        running = stream(server)
        running.client.sendall(b"ping")
        assert running.target.recv(10) == b"ping"
    return check


def send_with_pair(server, sockets, legs, extra=()):
    """Sends Legs with a fresh TCP connection and returns the client's end."""
    client, leg = sockets.pair()
    server.legs.send(legs, [leg, *extra])
    leg.close()
    return client


def legs_of(*attaches, version=1):
    return pb.Legs(version=version, attaches=attaches)


# ------------------------------------------------------------------------------------------ tickets

@pytest.mark.parametrize("ticket", [
    lambda right: bytes(32),
    lambda right: b"",
    lambda right: right[:31],
    lambda right: right + b"\0",
    lambda right: right[:31] + bytes([right[31] ^ 1]),
    lambda right: bytes([right[0] ^ 0x80]) + right[1:],
], ids=["zeros", "empty", "too short", "too long", "last bit wrong", "first bit wrong"])
def test_a_wrong_ticket_closes_the_leg_and_ends_the_association(server, opened, far, sockets, ticket):
    attach = server.attach_message(opened, b"reply", ticket=ticket(opened.ticket))
    client = send_with_pair(server, sockets, legs_of(attach))
    assert read_until_gone(client)[0] == b""
    assert is_closed(far)
    assert end_name(server.wait_ended(opened.association)) == "RELAY_ERROR"
    assert server.inventory() == {}


def test_the_ticket_of_another_association_is_wrong(server, opened, far, target, sockets):
    other = server.open(server.connect_message(target.getsockname(), connect_ms=30000))
    attach = server.attach_message(opened, b"reply", ticket=other.ticket)
    client = send_with_pair(server, sockets, legs_of(attach))
    assert read_until_gone(client)[0] == b""
    assert end_name(server.wait_ended(opened.association)) == "RELAY_ERROR"
    assert list(server.inventory()) == [other.association]


def test_a_ticket_works_once(server, stream, sockets):
    running = stream(server)
    attach = server.attach_message(running.grant, b"second")
    client = send_with_pair(server, sockets, legs_of(attach))
    assert read_until_gone(client)[0] == b"", "a used ticket was taken again"


def test_a_ticket_twice_in_one_message_attaches_one_leg_at_most(server, opened, far, sockets):
    pairs = [sockets.pair() for _ in range(2)]
    attach = server.attach_message(opened, b"reply")
    server.legs.send(legs_of(attach, attach), [leg for _, leg in pairs])
    for _, leg in pairs:
        leg.close()
    second = pairs[1][0]
    assert read_until_gone(second)[0] == b""


def test_an_unknown_association_closes_the_leg(server, sockets, still_works):
    ghost = Grant(new_id(), os.urandom(32), None, None, None)
    client = send_with_pair(server, sockets, legs_of(server.attach_message(ghost, b"reply")))
    assert read_until_gone(client)[0] == b""
    still_works()


def test_a_released_association_closes_the_leg(server, opened, sockets):
    server.release(opened.association)
    client = send_with_pair(server, sockets, legs_of(server.attach_message(opened, b"reply")))
    assert read_until_gone(client)[0] == b""


def test_an_association_that_is_pending_takes_no_leg(server, silent, sockets):
    message = server.connect_message(silent, connect_ms=30000)
    server.ask(message)
    for ticket in (b"", bytes(32)):
        ghost = Grant(message.association, ticket, None, None, None)
        client = send_with_pair(server, sockets, legs_of(server.attach_message(ghost, b"reply")))
        assert read_until_gone(client)[0] == b""


# ------------------------------------------------------------------------------------------- kinds

@pytest.mark.parametrize("field, value", [
    *[("kind", kind) for kind in pb.LegKind.values() if kind != pb.LEG_PLAIN_FD],
    ("kind", 99), ("role", pb.ROLE_HANDSHAKE), ("role", 99),
])
def test_a_leg_of_another_kind_or_role_closes_it_and_ends_the_association(
        server, opened, far, sockets, field, value):
    attach = server.attach_message(opened, b"reply", **{field: value})
    client = send_with_pair(server, sockets, legs_of(attach))
    assert read_until_gone(client)[0] == b""
    assert is_closed(far)
    assert end_name(server.wait_ended(opened.association)) == "RELAY_ERROR"


def udp_socket():
    """A connected UDP socket, and none that would see it closed."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", 9))
    return sock, None


def pipe_end():
    reader, writer = os.pipe()
    return writer, reader


def unix_stream():
    return socket.socketpair()


def unconnected_tcp():
    return socket.socket(), None


def listening_tcp():
    """The witness is the address: when the listener is closed, it refuses."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listener, listener.getsockname()


def plain_file():
    return os.open("/dev/null", os.O_RDWR), None


def seen_closed(witness, seconds=3):
    """Whether the last copy of a descriptor was closed, as seen from its other end."""
    deadline = time.monotonic() + seconds
    if isinstance(witness, tuple):
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(witness) != 0:
                    return True
            time.sleep(0.01)
        return False
    if isinstance(witness, int):
        os.set_blocking(witness, False)
        while time.monotonic() < deadline:
            try:
                return os.read(witness, 10) == b""
            except BlockingIOError:
                time.sleep(0.01)
        return False
    return is_closed(witness, seconds)


def descriptors_of_relay(relay):
    if relay.process is None:
        return None
    return len(os.listdir(f"/proc/{relay.process.pid}/fd"))


@pytest.mark.parametrize("make", [udp_socket, pipe_end, unix_stream, unconnected_tcp, listening_tcp,
                                  plain_file], ids=lambda make: make.__name__.replace("_", " "))
def test_a_descriptor_that_is_no_connected_tcp_socket_is_closed(
        relay, server, opened, far, still_works, make):
    LegChannel(server.who.legs).close()
    before = descriptors_of_relay(relay)
    descriptor, witness = make()
    server.legs.send(legs_of(server.attach_message(opened, b"reply")), [descriptor])
    os.close(descriptor) if isinstance(descriptor, int) else descriptor.close()
    if witness is not None:
        assert seen_closed(witness)
        if isinstance(witness, int):
            os.close(witness)
    elif before is not None:
        deadline = time.monotonic() + 3
        while descriptors_of_relay(relay) > before + 1:     # the channel itself
            assert time.monotonic() < deadline, "the relay has kept the descriptor"
            time.sleep(0.01)
    server.release(opened.association)
    assert server.inventory() == {}
    still_works()


# ---------------------------------------------------------------------------- messages that are wrong

def test_an_attach_without_a_descriptor_attaches_nothing(server, opened, far, still_works):
    server.legs.send(legs_of(server.attach_message(opened)))
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"
    held = server.inventory().get(opened.association)
    assert held is None or held.state == pb.HELD_OPENED
    server.release(opened.association)
    still_works()


def test_descriptors_without_an_attach_are_closed(server, sockets, still_works):
    client = send_with_pair(server, sockets, legs_of())
    assert is_closed(client)
    still_works()


@pytest.mark.parametrize("surplus", [1, 2, 63, 100])
def test_all_descriptors_of_a_message_with_too_many_are_closed(
        server, opened, far, sockets, still_works, surplus):
    pairs = [sockets.pair() for _ in range(surplus)]
    client = send_with_pair(server, sockets, legs_of(server.attach_message(opened)),
                            [leg for _, leg in pairs])
    for _, leg in pairs:
        leg.close()
    assert is_closed(client)
    assert all(is_closed(end) for end, _ in pairs)
    server.release(opened.association)
    still_works()


def test_a_descriptor_beyond_those_that_fit_spoils_the_whole_message(
        server, opened, far, sockets, still_works):
    """64 attaches and 65 descriptors: who has room for 64 only sees as many as there are attaches."""
    ghosts = [Grant(new_id(), os.urandom(32), None, None, None) for _ in range(63)]
    legs = legs_of(server.attach_message(opened, b"reply"), *map(server.attach_message, ghosts))
    client, leg = sockets.pair()
    server.legs.send(legs, [leg] * 65)
    leg.close()
    assert read_until_gone(client)[0] == b""
    server.release(opened.association)
    still_works()


def test_all_descriptors_of_a_message_with_too_few_are_closed(
        server, opened, far, sockets, still_works):
    ghost = Grant(new_id(), os.urandom(32), None, None, None)
    legs = legs_of(server.attach_message(opened), server.attach_message(ghost))
    assert is_closed(send_with_pair(server, sockets, legs))
    server.release(opened.association)
    still_works()


def test_sixty_five_attaches_are_refused(server, opened, far, sockets, still_works):
    ghosts = [Grant(new_id(), os.urandom(32), None, None, None) for _ in range(64)]
    legs = legs_of(server.attach_message(opened), *[server.attach_message(g) for g in ghosts])
    client, leg = sockets.pair()
    server.legs.send(legs, [leg] * 65)
    leg.close()
    assert is_closed(client)
    server.release(opened.association)
    still_works()


@pytest.mark.parametrize("octets", [b"\xff" * 40, b"GET / HTTP/1.1\r\n\r\n", b"\x00"],
                         ids=["noise", "http", "one octet"])
def test_a_leg_message_that_is_no_legs_closes_its_descriptor(server, sockets, still_works, octets):
    assert is_closed(send_with_pair(server, sockets, octets))
    still_works()


def test_a_leg_message_that_is_cut_off_anywhere_attaches_nothing(
        server, opened, far, sockets, still_works):
    whole = legs_of(server.attach_message(opened, b"reply")).SerializeToString()
    clients = [send_with_pair(server, sockets, whole[:length]) for length in range(1, len(whole), 7)]
    for client in clients:
        assert read_until_gone(client)[0] == b""
    server.release(opened.association)
    still_works()


@pytest.mark.parametrize("version", [0, 2])
def test_a_leg_message_of_another_version_is_not_carried_out(
        server, opened, far, sockets, still_works, version):
    legs = legs_of(server.attach_message(opened, b"reply"), version=version)
    assert read_until_gone(send_with_pair(server, sockets, legs))[0] == b""
    server.release(opened.association)
    still_works()


@pytest.mark.parametrize("field, length", [("to_client", 1025), ("to_client", 60000),
                                           ("to_target", 16 * 1024 + 1), ("to_target", 100000)])
def test_a_reply_or_early_payload_beyond_its_bound_is_not_written(
        server, opened, far, sockets, still_works, field, length):
    attach = server.attach_message(opened, **{field: b"x" * length})
    assert read_until_gone(send_with_pair(server, sockets, legs_of(attach)))[0] == b""
    server.release(opened.association)
    assert read_until_gone(far)[0] == b""
    still_works()


def test_a_leg_message_over_192_kib_is_not_carried_out(server, opened, far, sockets, still_works):
    """It is cut off by the system; what is left parses, and must not be believed."""
    octets = legs_of(server.attach_message(opened, b"reply")).SerializeToString()
    if len(octets) % 2:
        octets += b"\xf8\x3f\x00"      # an unknown field of three octets
    padding = b"\x78\x00" * (104 * 1024)        # unknown fields of two, so that any even length parses
    client = send_with_pair(server, sockets, octets + padding)
    assert read_until_gone(client)[0] == b""
    server.release(opened.association)
    still_works()


# ------------------------------------------------------------------------------- many legs, channels

def test_many_legs_in_one_message_find_their_associations_in_order(server, target, sockets):
    count = 20
    grants, fars, clients, attaches, legs = [], [], [], [], []
    for number in range(count):
        grants.append(server.open(server.connect_message(target.getsockname())))
        fars.append(sockets.accept(target))
        client, leg = sockets.pair()
        clients.append(client)
        legs.append(leg)
        attaches.append(server.attach_message(grants[-1], b"r%03d" % number, b"e%03d" % number))
    server.legs.send(legs_of(*attaches), legs)
    for leg in legs:
        leg.close()
    for number in range(count):
        assert n2wire.read_exactly(clients[number], 4) == b"r%03d" % number
        assert n2wire.read_exactly(fars[number], 4) == b"e%03d" % number
        clients[number].sendall(b"%04d" % number)
        assert n2wire.read_exactly(fars[number], 4) == b"%04d" % number


def test_sixty_four_legs_with_all_they_may_carry_fit_in_small_messages(server, target, sockets):
    """Early payload of 2 KiB for each of 64 legs: a message of more than 128 KiB."""
    attaches, legs, ends = [], [], []
    for number in range(64):
        grant = server.open(server.connect_message(target.getsockname()))
        far = sockets.accept(target)
        client, leg = sockets.pair()
        attaches.append(server.attach_message(grant, bytes([number]) * 100, bytes([number]) * 2048))
        legs.append(leg)
        ends.append((client, far))
    message = legs_of(*attaches)
    assert 128 * 1024 < message.ByteSize() < n2wire.MAX_LEGS_MESSAGE
    server.legs.send(message, legs)
    for leg in legs:
        leg.close()
    for number, (client, far) in enumerate(ends):
        assert n2wire.read_exactly(client, 100) == bytes([number]) * 100
        assert n2wire.read_exactly(far, 2048) == bytes([number]) * 2048


def test_several_leg_channels_work_side_by_side(server, target, sockets):
    channels = [LegChannel(server.who.legs) for _ in range(4)]
    for number, channel in enumerate(channels * 2):
        grant = server.open(server.connect_message(target.getsockname()))
        far = sockets.accept(target)
        client, leg = sockets.pair()
        channel.send(legs_of(server.attach_message(grant, b"reply")), [leg])
        leg.close()
        assert n2wire.read_exactly(client, 5) == b"reply"
        client.sendall(b"%d" % number)
        assert far.recv(10) == b"%d" % number
    for channel in channels:
        channel.close()


def test_many_legs_in_a_burst_of_messages_all_arrive(server, target, sockets):
    count = 60
    messages, ends = [], []
    for number in range(count):
        grant = server.open(server.connect_message(target.getsockname()))
        far = sockets.accept(target)
        client, leg = sockets.pair()
        messages.append((legs_of(server.attach_message(grant, b"", b"%04d" % number)), leg))
        ends.append((client, far))
    for message, leg in messages:
        server.legs.send(message, [leg])
        leg.close()
    for number, (_, far) in enumerate(ends):
        assert n2wire.read_exactly(far, 4) == b"%04d" % number


def test_streams_outlive_the_leg_channel(server, stream, still_works):
    running = stream(server)
    server.legs.close()
    running.client.sendall(b"on")
    assert running.target.recv(10) == b"on"
    still_works()


# --------------------------------------------------------------------------------- legs that are dead

def test_a_leg_that_was_reset_before_it_came_is_told_as_client_gone(server, opened, far, sockets):
    client, leg = sockets.pair()
    n2wire.reset(client)
    time.sleep(0.05)
    server.legs.send(legs_of(server.attach_message(opened, b"reply", b"early")), [leg])
    leg.close()
    assert end_name(server.wait_ended(opened.association)) == "CLIENT_GONE"
    assert is_closed(far)
    assert server.inventory() == {}

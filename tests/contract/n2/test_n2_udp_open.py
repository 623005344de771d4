"""UDP associations: what an Open may say, and what it is answered."""

import socket

import pytest

import n2wire
from n2wire import allow, datagram_rules, end_name, endpoint, new_id, nothing_came, pb, verdict

pytestmark = pytest.mark.relays("udp")


def test_hello_says_that_the_relay_carries_datagrams(server):
    who = server.who
    assert pb.KIND_UDP in who.kinds
    assert 17 in who.ptcls
    assert "datagram-rules" in who.features
    assert who.families and set(who.families) <= {4, 6}
    assert who.capacity.associations > 0 and who.capacity.quota > 0 and who.lease_ms > 0


def test_an_open_is_opened_at_once_at_an_address_that_the_client_can_reach(
        server, udp_client, udp_target):
    message = server.udp_message()
    answer = server.ask(message, must_understand=["datagram-rules"])
    assert answer.open.state == pb.OPEN_OPENED
    assert n2wire.endpoint_address(answer.open.bound)[0] == "127.0.0.1"
    assert not server.events_of(message.association)
    udp_client().exchange(udp_target)


def test_a_client_of_ipv6_is_given_an_address_of_ipv6(server, udp_client, sockets):
    if 6 not in server.who.families:
        pytest.skip("this relay has no IPv6")
    client = udp_client(client="::1")
    assert client.bound[0] == "::1"
    client.exchange(sockets.udp("::1"))


@pytest.mark.parametrize("client_local", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_a_client_with_a_mapped_address_is_one_of_ipv4(server, udp_target, sockets, client_local):
    message = server.udp_message(client="::ffff:127.0.0.1", client_local=client_local)
    answer = server.ask(message)
    assert verdict(answer) == "ACCEPTED"
    address = n2wire.endpoint_address(answer.open.bound)
    assert address[0] == "127.0.0.1"
    sock = sockets.udp()
    sock.sendto(n2wire_header(udp_target) + b"x", address)
    assert udp_target.recv(10) == b"x"


def n2wire_header(target):
    ip, port = target.getsockname()
    return b"\0\0\0\1" + socket.inet_aton(ip) + port.to_bytes(2, "big")


@pytest.mark.parametrize("client_local", [
    pb.Endpoint(), endpoint("0.0.0.0", 1080), endpoint("::", 1080), endpoint("::1", 1080),
    endpoint("192.0.2.7", 1080)], ids=lambda e: n2wire.endpoint_address(e)[0] or "none")
def test_whatever_client_local_says_the_client_is_told_a_usable_address(
        server, udp_target, sockets, client_local):
    """The answer is checked for unspecified and mapped addresses by what reads it."""
    message = server.udp_message()
    message.client_local.CopyFrom(client_local)
    answer = server.ask(message)
    assert verdict(answer) == "ACCEPTED"
    address = n2wire.endpoint_address(answer.open.bound)
    sockets.udp().sendto(n2wire_header(udp_target) + b"x", address)
    assert udp_target.recv(10) == b"x"


def set_hints(*hints):
    def change(message):
        message.destinations.extend(hints)
    return change


UNSUPPORTED = {
    "TCP": lambda m: setattr(m, "ptcl", 6),
    "no protocol": lambda m: setattr(m, "ptcl", 0),
    "a wanted address": lambda m: m.bind.CopyFrom(endpoint("127.0.0.1", 0)),
    "a wanted port": lambda m: m.bind.CopyFrom(endpoint("", 25000)),
}

BAD = {
    "no client": lambda m: m.ClearField("client"),
    "a client without an address": lambda m: m.client.CopyFrom(endpoint("", 40000)),
    "two hints": set_hints(endpoint("127.0.0.1", 5000), endpoint("127.0.0.1", 5001)),
    "a hint with a port beyond all": set_hints(endpoint("127.0.0.1", 65536)),
    "a hint of five octets": set_hints(pb.Endpoint(ip=b"12345", port=5000)),
}


@pytest.mark.parametrize("change", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_what_a_relay_of_datagrams_cannot_do_is_unsupported_and_may_be_corrected(server, change):
    message = server.udp_message()
    change(message)
    assert verdict(server.ask(message)) == "UNSUPPORTED"
    assert server.inventory() == {}
    corrected = server.udp_message(association=message.association)
    assert verdict(server.ask(corrected)) == "ACCEPTED"


@pytest.mark.parametrize("change", BAD.values(), ids=BAD.keys())
def test_what_is_malformed_is_bad_and_may_be_corrected_under_the_same_id(server, change):
    message = server.udp_message()
    change(message)
    assert verdict(server.ask(message)) == "BAD"
    assert server.inventory() == {}
    corrected = server.udp_message(association=message.association)
    assert verdict(server.ask(corrected)) == "ACCEPTED"


def test_an_empty_wanted_address_is_none(server):
    message = server.udp_message()
    message.bind.CopyFrom(pb.Endpoint())
    assert verdict(server.ask(message)) == "ACCEPTED"


def test_an_unknown_feature_is_unsupported(server):
    answer = server.ask(server.udp_message(), must_understand=["datagram-rules", "no-such-feature"])
    assert verdict(answer) == "UNSUPPORTED"
    assert server.inventory() == {}


def test_limits_that_mean_nothing_here_are_no_error(server, udp_client, udp_target):
    client = udp_client(connect_ms=1, half_closed_ms=1)
    client.exchange(udp_target)
    client.exchange(udp_target)


@pytest.mark.relays("streams")
def test_rules_for_a_stream_are_bad(server, target, no_arrival):
    message = server.connect_message(target.getsockname())
    message.rules.CopyFrom(datagram_rules(allow()))
    assert verdict(server.ask(message)) == "BAD"
    assert server.inventory() == {}
    no_arrival(target)


@pytest.mark.relays("streams")
def test_an_update_with_rules_for_a_stream_is_bad_and_changes_nothing(server, stream):
    grant, client, target = stream(server)
    update = pb.Update(association=grant.association, revision=1, limits=pb.Limits(idle_ms=100),
                       rules=datagram_rules(allow()))
    assert verdict(server.ask(update)) == "BAD"
    update.ClearField("rules")
    update.limits.idle_ms = 0
    assert server.ask(update).update.revision == 1
    client.sendall(b"on")
    assert target.recv(10) == b"on"


# ------------------------------------------------------------------------------------------- repeated

@pytest.mark.parametrize("same_call_id", [True, False], ids=["same call id", "new call id"])
def test_a_resent_open_gets_the_first_answer_and_leaves_the_association_alone(
        server, udp_client, udp_target, same_call_id):
    client = udp_client()
    call = server.call(client.message)
    first = server.exchange(call).answers[0]
    assert n2wire.endpoint_address(first.open.bound) == client.bound
    outer = client.exchange(udp_target)
    again = server.exchange(call if same_call_id else server.call(client.message)).answers[0]
    assert again.open == first.open
    assert client.exchange(udp_target) == outer
    assert client.counters().datagrams_up == 2


def test_the_rules_of_a_resent_open_are_not_looked_at(server, udp_client, udp_target):
    client = udp_client()
    client.message.rules.CopyFrom(datagram_rules())
    assert verdict(server.ask(client.message)) == "ACCEPTED"
    client.exchange(udp_target)


def test_an_ended_association_is_expired(server, udp_client, udp_target):
    client = udp_client(idle_ms=100)
    client.exchange(udp_target)
    server.wait_ended(client.association)
    assert verdict(server.ask(client.message)) == "EXPIRED"


# -------------------------------------------------------------------------------------------- tickets

def test_a_leg_for_it_is_closed_and_changes_nothing(server, udp_client, udp_target, sockets):
    if not server.who.legs:
        pytest.skip("this relay has no leg channel")
    client = udp_client()
    answer = server.ask(client.message).open
    for ticket in (answer.ticket, bytes(32)):
        grant = n2wire.Grant(client.association, ticket, answer.bound, answer.peer, answer.engine)
        leg = sockets.keep(server.attach(grant, b"reply", b"early"))
        assert n2wire.is_closed(leg)
    client.exchange(udp_target)
    assert client.held().state == pb.HELD_OPENED
    assert not [e for e in server.events_of(client.association) if e.type == pb.EVENT_ENDED]


# ------------------------------------------------------------------------------------- ports and room

def test_silent_associations_of_one_client_never_share_a_port(server):
    bounds = [n2wire.endpoint_address(server.ask(server.udp_message()).open.bound) for _ in range(10)]
    assert len(set(bounds)) == 10


def test_when_no_port_is_left_for_a_client_it_is_told_so(udp_relay, servers, udp_client, sockets):
    relay = udp_relay(ports=single_port(sockets), port_rest="100ms")
    server = servers(relay)
    silent = udp_client(at=server)
    second = server.udp_message(client=silent.ip, client_local="127.0.0.1")
    assert verdict(server.ask(second)) == "NO_PORT"
    assert verdict(server.ask(second)) == "NO_PORT", "a refusal after a try is remembered"
    hinted = server.udp_message(hint=(silent.ip, 5000), client=silent.ip, client_local="127.0.0.1")
    assert verdict(server.ask(hinted)) == "NO_PORT", "it could capture the one that is not locked"
    assert set(server.inventory()) == {silent.association}


def test_another_client_may_have_the_same_port(udp_relay, servers, udp_client, sockets, udp_target):
    server = servers(udp_relay(ports=single_port(sockets)))
    first = udp_client(at=server)
    second = udp_client(at=server, client="127.0.0.2", client_local="127.0.0.1")
    assert first.bound == second.bound
    outer = first.exchange(udp_target)
    assert second.exchange(udp_target) != outer


def test_sources_of_one_client_that_are_known_share_a_port(
        udp_relay, servers, udp_client, sockets, udp_target):
    server = servers(udp_relay(ports=single_port(sockets)))
    clients = [udp_client(at=server, hint=True) for _ in range(3)]
    assert len({client.bound for client in clients}) == 1
    assert len({client.exchange(udp_target) for client in clients}) == 3
    twin = server.udp_message(hint=clients[0].sock.getsockname(), client=clients[0].ip,
                              client_local="127.0.0.1")
    assert verdict(server.ask(twin)) == "NO_PORT", "nobody could tell whose datagram it is"


def test_a_late_datagram_of_what_has_ended_finds_nobody(
        udp_relay, servers, udp_client, sockets, udp_target):
    server = servers(udp_relay(ports=single_port(sockets), port_rest="60s"))
    first = udp_client(at=server)
    first.exchange(udp_target)
    first.release()
    second = server.udp_message(client=first.ip, client_local="127.0.0.1")
    assert verdict(server.ask(second)) == "NO_PORT", "its place is still warm"
    other = udp_client(at=server, hint=True)
    first.send(udp_target, b"late")
    other.exchange(udp_target)
    assert nothing_came(udp_target)


def test_a_place_can_be_had_again_after_its_rest(udp_relay, servers, udp_client, sockets, udp_target):
    server = servers(udp_relay(ports=single_port(sockets), port_rest="100ms"))
    first = udp_client(at=server)
    first.exchange(udp_target)
    first.release()
    second = wait_accepted(server, first.sock)
    assert second == first.bound


def wait_accepted(server, sock):
    """Opens for this source until there is room; where to send to."""
    def accepted():
        address = sock.getsockname()
        answer = server.ask(server.udp_message(hint=address, client=address[0], client_local="127.0.0.1"))
        assert verdict(answer) in ("ACCEPTED", "NO_PORT")
        return n2wire.endpoint_address(answer.open.bound) if answer.HasField("open") else None
    return n2wire.wait_until(accepted, "room for it")


def single_port(sockets):
    """A range of one port, free in both families."""
    while True:
        probe = sockets.udp()
        port = probe.getsockname()[1]
        probe.close()
        try:
            sockets.udp("::", port).close()
        except OSError:
            continue
        return f"{port}-{port}"


def test_an_owner_has_only_so_many_that_its_clients_have_not_used(
        udp_relay, servers, udp_client, udp_target):
    server = servers(udp_relay(unlocked=3))

    def message(owner, client="127.0.0.1", **options):
        made = server.udp_message(client=client, client_local="127.0.0.1", **options)
        made.owner = owner
        return made

    first = message("alice")
    for one in (first, message("alice"), message("alice")):
        assert verdict(server.ask(one)) == "ACCEPTED"
    refused = message("alice", client="127.0.0.2")
    assert verdict(server.ask(refused)) == "FULL"
    assert verdict(server.ask(message("bob"))) == "ACCEPTED"
    assert verdict(server.ask(message("alice", hint=udp_target.getsockname()))) == "ACCEPTED", \
        "a client whose port is known does not count"
    server.release(first.association)
    assert verdict(server.ask(refused)) == "ACCEPTED", "FULL by count is not remembered"

    # Without an owner it is the address of the client that counts.
    clients = [udp_client(at=server, client="127.0.0.1") for _ in range(3)]
    assert verdict(server.ask(message(""))) == "FULL"
    assert verdict(server.ask(message("", client="127.0.0.3"))) == "ACCEPTED"
    clients[0].exchange(udp_target)
    assert verdict(server.ask(message(""))) == "ACCEPTED"


def test_two_servers_may_draw_the_same_id(new_server, udp_client, udp_target):
    one, two = new_server(), new_server()
    association = new_id()
    first = udp_client(at=one, association=association)
    second = udp_client(at=two, association=association)
    outer = first.exchange(udp_target, b"first")
    assert second.exchange(udp_target, b"second") != outer
    first.release()
    assert two.inventory()[association].counters.octets_up == len(b"second")
    second.exchange(udp_target)


def test_associations_of_a_client_are_told_apart_by_their_ports(udp_client, sockets, udp_target):
    """One local socket that is used for two associations, as a program may well do."""
    sock = sockets.udp()
    first, second = udp_client(sock=sock), udp_client(sock=sock)
    outer = first.exchange(udp_target)
    assert second.exchange(udp_target) != outer
    assert first.exchange(udp_target) == outer
    assert [c.counters().datagrams_up for c in (first, second)] == [2, 1]
    assert end_name_of(first) is None


def end_name_of(client):
    ended = [e for e in client.server.events_of(client.association) if e.type == pb.EVENT_ENDED]
    return end_name(ended[0]) if ended else None

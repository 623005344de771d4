"""What ends a UDP association, what is counted, what is held, and what survives."""

import os
import time

import pytest

from n2wire import (ControlServer, allow, deny, end_name, endpoint_address, nothing_came, pb, verdict,
                    wait_until)

pytestmark = pytest.mark.relays("udp")


def is_dead(client, target, witness):
    """Whether its datagrams find nobody. After two round trips of one that lives they would be there."""
    client.send(target, b"is anybody there")
    seen = []
    for mark in (b"first mark", b"second mark"):
        witness.send(target, mark)
        while mark not in seen:
            octets, outer = target.recvfrom(65536)
            seen.append(octets)
        target.sendto(b"back", outer)
        witness.receive()
    return b"is anybody there" not in seen


def test_a_released_association_tells_what_it_has_counted(server, udp_client, udp_target):
    client, witness = udp_client(), udp_client()
    outer = client.exchange(udp_target, b"12345")
    client.send(udp_target, b"123")
    assert udp_target.recv(10) == b"123"
    answer = server.release(client.association)
    assert endpoint_address(answer.client) == client.sock.getsockname()
    counters = answer.counters
    assert (counters.octets_up, counters.octets_down) == (8, len(b"re:12345"))
    assert (counters.datagrams_up, counters.datagrams_down, counters.dropped) == (2, 1, 0)
    assert counters.duration_ms < 60000
    assert is_dead(client, udp_target, witness)
    udp_target.sendto(b"late", outer)
    witness.exchange(udp_target)
    assert nothing_came(client.sock)
    assert set(server.inventory()) == {witness.association}
    assert [e.type for e in server.events_of(client.association)] == [pb.EVENT_LOCKED]


def test_an_unlocked_association_can_be_released(server, udp_client, udp_target):
    client, witness = udp_client(), udp_client()
    answer = server.release(client.association)
    assert not answer.HasField("client")
    counters = answer.counters
    assert (counters.datagrams_up, counters.octets_up, counters.dropped) == (0, 0, 0)
    assert is_dead(client, udp_target, witness)
    assert not server.events_of(client.association)
    assert not server.release(client.association).HasField("counters")


def test_what_was_dropped_is_counted_in_both_ways(udp_client, udp_target, sockets):
    client = udp_client(deny("127.0.0.9"), allow())
    outer = client.exchange(udp_target)
    client.send(("127.0.0.9", 9), b"denied")
    sockets.udp("127.0.0.2").sendto(b"intruder", outer)
    client.send_raw(b"short")
    client.exchange(udp_target)
    assert client.release().dropped == 3


def test_the_inventory_tells_kind_state_epoch_and_counters(server, udp_client, udp_target):
    client, silent = udp_client(), udp_client()
    client.exchange(udp_target, b"12345")
    held = server.inventory()
    assert set(held) == {client.association, silent.association}
    assert {h.kind for h in held.values()} == {pb.KIND_UDP}
    assert {h.state for h in held.values()} == {pb.HELD_OPENED}
    assert {h.server_epoch for h in held.values()} == {server.epoch}
    counters = held[client.association].counters
    assert (counters.octets_up, counters.octets_down) == (5, 8)
    assert (counters.datagrams_up, counters.datagrams_down, counters.dropped) == (1, 1, 0)


def test_as_of_seq_is_the_number_of_the_last_event_that_is_reflected(server, udp_client, udp_target):
    client = udp_client()
    assert server.inventory_page().as_of_seq == 0
    client.exchange(udp_target)
    assert server.inventory_page().as_of_seq == 1


# ---------------------------------------------------------------------------------------- by itself

def ended(server, client):
    event = server.wait_ended(client.association)
    assert client.association not in server.inventory()
    assert sum(e.type == pb.EVENT_ENDED for e in server.events_of(client.association)) == 1
    return event


def test_an_association_that_is_not_used_ends_as_unused(udp_relay, servers, udp_client, udp_target):
    server = servers(udp_relay(unused="300ms"))
    silent, hinted, used = udp_client(at=server), udp_client(at=server, hint=True), udp_client(at=server)
    used.exchange(udp_target)
    for client in (silent, hinted):
        event = ended(server, client)
        assert end_name(event) == "UNUSED"
        assert (event.counters.datagrams_up, event.counters.octets_up) == (0, 0)
        assert is_dead(client, udp_target, used)
        assert client is hinted or not event.HasField("peer")
        assert verdict(server.ask(client.message)) == "EXPIRED"
    assert set(server.inventory()) == {used.association}


def test_an_association_on_which_nothing_moves_ends_as_idle(server, udp_client, udp_target):
    client, witness = udp_client(idle_ms=300), udp_client()
    client.exchange(udp_target)
    event = ended(server, client)
    assert end_name(event) == "IDLE"
    assert (event.counters.datagrams_up, event.counters.datagrams_down) == (1, 1)
    assert endpoint_address(event.peer) == client.sock.getsockname()
    assert event.counters.duration_ms >= 300
    assert is_dead(client, udp_target, witness)


def test_an_association_is_not_idle_before_its_client_has_sent_something(server, udp_client, udp_target):
    client, other = udp_client(idle_ms=200), udp_client(idle_ms=200, hint=True)
    time.sleep(0.4)
    for unused in (client, other):
        unused.exchange(udp_target)
    for used in (client, other):
        assert end_name(ended(server, used)) == "IDLE"


@pytest.mark.parametrize("direction", ["up", "down"])
def test_datagrams_in_either_direction_keep_it(server, udp_client, udp_target, direction):
    client = udp_client(idle_ms=600)
    outer = client.exchange(udp_target)
    until = time.monotonic() + 1.2
    while time.monotonic() < until:
        if direction == "up":
            client.send(udp_target, b".")
            assert udp_target.recv(10) == b"."
        else:
            udp_target.sendto(b".", outer)
            assert client.receive()[2] == b"."
        time.sleep(0.02)
    assert client.association in server.inventory()


def test_datagrams_that_are_dropped_do_not_keep_it(server, udp_client, udp_target, sockets):
    client = udp_client(deny("127.0.0.9"), allow(), idle_ms=300)
    outer = client.exchange(udp_target)
    intruder = sockets.udp("127.0.0.2")
    until = time.monotonic() + 5
    while not any(e.type == pb.EVENT_ENDED for e in server.events_of(client.association)):
        assert time.monotonic() < until, "it was kept by datagrams that nobody has got"
        client.send(("127.0.0.9", 9), b"denied")
        intruder.sendto(b"intruder", outer)
        time.sleep(0.02)
    event = ended(server, client)
    assert end_name(event) == "IDLE"
    assert event.counters.dropped > 0


def test_a_limit_of_octets_ends_it(server, udp_client, udp_target):
    if "octet-limit" not in server.who.features:
        pytest.skip("this relay does not enforce a limit of octets")
    client, witness = udp_client(octets=1000), udp_client()
    client.exchange(udp_target, b"x" * 300)         # 300 up, 303 down
    client.send(udp_target, b"x" * 300)
    assert len(udp_target.recv(1000)) == 300
    assert client.association in server.inventory(), "neither ended before the limit"
    client.send(udp_target, b"x" * 300)
    event = ended(server, client)
    assert end_name(event) == "LIMIT"
    assert len(udp_target.recv(1000)) == 300, "what goes beyond the limit is the last that is relayed"
    assert (event.counters.octets_up, event.counters.octets_down) == (900, 303)
    assert is_dead(client, udp_target, witness)


def test_octets_from_outside_count_too(server, udp_client, udp_target):
    if "octet-limit" not in server.who.features:
        pytest.skip("this relay does not enforce a limit of octets")
    client = udp_client(octets=1000)
    outer = client.exchange(udp_target)
    udp_target.sendto(b"x" * 1200, outer)
    assert end_name(ended(server, client)) == "LIMIT"


def test_an_update_changes_the_limits(server, udp_client, udp_target):
    client, other = udp_client(idle_ms=60000), udp_client()
    client.exchange(udp_target)
    other.exchange(udp_target)
    assert client.update(revision=1, idle_ms=200).update.revision == 1
    assert end_name(ended(server, client)) == "IDLE"
    if "octet-limit" in server.who.features:
        assert other.update(revision=1, octets=20).update.revision == 1
        other.send(udp_target, b"x" * 20)
        assert end_name(ended(server, other)) == "LIMIT"


# ----------------------------------------------------------------------------------- servers and relays

def test_an_ended_lease_ends_it_and_nothing_of_another_server(new_server, udp_client, udp_target):
    lost, other = new_server(), new_server()
    used, silent, witness = udp_client(at=lost), udp_client(at=lost), udp_client(at=other)
    used.exchange(udp_target)
    lost.stop_watching()
    lost.ask(pb.Inventory(limit=1))
    used.exchange(udp_target)       # the lease runs
    wait_until(lambda: is_dead(used, udp_target, witness), "its end with the lease")
    assert is_dead(silent, udp_target, witness)
    lost.must_hello().start_watching()
    for client in (used, silent):
        assert end_name(ended(lost, client)) == "LEASE_LOST"
        assert verdict(lost.ask(client.message)) == "EXPIRED"
    assert lost.wait_ended(used.association).counters.datagrams_up >= 2
    assert list(other.inventory()) == [witness.association]


def test_calls_keep_the_lease_and_the_loss_of_the_connection_does_not_end_it(
        server, udp_client, udp_target):
    client = udp_client()
    client.exchange(udp_target)
    server.reconnect()
    client.exchange(udp_target)
    server.must_hello().start_watching()
    time.sleep(server.lease * 1.2)
    client.exchange(udp_target)


def test_a_new_epoch_of_the_server_ends_it(server, new_server, udp_client, udp_target):
    witness = udp_client(at=new_server())
    client, silent = udp_client(), udp_client()
    client.exchange(udp_target)
    server.close()
    heir = new_server(hello=False, server_id=server.server_id)
    wait_until(lambda: verdict(heir.hello()) != "CONFLICT", "an id that is free")
    heir.start_watching()
    for one in (client, silent):
        assert end_name(heir.wait_ended(one.association)) == "LEASE_LOST"
    assert heir.inventory() == {}
    assert is_dead(client, udp_target, witness)


def test_another_server_cannot_touch_it(server, new_server, udp_client, udp_target):
    client, other = udp_client(), new_server()
    client.exchange(udp_target)
    assert other.inventory() == {}
    assert not other.release(client.association).HasField("counters")
    update = pb.Update(association=client.association, revision=1)
    assert verdict(other.ask(update)) == "EXPIRED"
    client.exchange(udp_target)
    assert not other.events_of(client.association)


def test_a_draining_relay_refuses_new_work_keeps_the_old_and_exits_after_it(
        own_relay, servers, udp_client, udp_target):
    relay = own_relay()
    server = servers(relay)
    client = udp_client(at=server)
    client.exchange(udp_target)
    server.stop_watching()
    relay.drain()
    wait_until(lambda: server.watch(wait_ms=50).state == pb.RELAY_DRAINING, "the word DRAINING")
    refused = server.udp_message()
    assert verdict(server.ask(refused)) == "DRAINING"
    client.exchange(udp_target)
    assert set(server.inventory()) == {client.association}
    assert relay.alive()
    client.release()
    assert relay.process.wait(10) == 0


def test_a_relay_that_was_killed_comes_back_with_nothing(own_relay, servers, udp_client, udp_target):
    relay = own_relay()
    server = servers(relay, watch=False)
    client = udp_client(at=server)
    client.exchange(udp_target)
    relay.stop()
    relay.start()
    server.reconnect().must_hello()
    assert server.inventory() == {}
    fresh = udp_client(at=server, client="127.0.0.2", client_local="127.0.0.1")
    assert is_dead(client, udp_target, fresh) or client.bound != fresh.bound


# -------------------------------------------------------------------------------------------- leftovers

def test_associations_give_their_descriptors_back(own_relay, servers, udp_client, udp_target, sockets):
    relay = own_relay()
    directory = f"/proc/{relay.process.pid}/fd"
    if not os.path.isdir(directory):
        pytest.skip("descriptors of a process cannot be counted here")
    server = servers(relay)

    def one(release):
        client = udp_client(at=server, hint=True, idle_ms=0 if release else 50)
        client.exchange(udp_target)
        client.sock.close()
        if release:
            client.release()
        else:
            server.wait_ended(client.association)

    one(True)
    before = len(os.listdir(directory))
    for number in range(30):
        one(number % 10 > 0)
    wait_until(lambda: len(os.listdir(directory)) <= before + 4, "descriptors that are closed")


def test_many_associations_are_opened_used_and_released_in_one_request_each(
        server, udp_target, sockets):
    messages = [server.udp_message(hint=sockets.udp().getsockname()) for _ in range(200)]
    answers = server.exchange(*[server.call(m) for m in messages]).answers
    assert {verdict(a) for a in answers} == {"ACCEPTED"}
    assert len(server.inventory()) == 200
    releases = [server.call(pb.Release(association=m.association)) for m in messages]
    assert all(a.release.HasField("counters") for a in server.exchange(*releases).answers)
    assert server.inventory() == {}


def test_a_connection_that_is_gone_harms_no_association_of_others(relay, server, udp_client, udp_target):
    client = udp_client()
    client.exchange(udp_target)
    with ControlServer(relay.url) as visitor:
        visitor.must_hello()
        visitor.ask(visitor.udp_message())
    client.exchange(udp_target)

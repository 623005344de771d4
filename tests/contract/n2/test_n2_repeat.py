"""Requests that come twice, late or in another order create nothing twice and nothing late."""

import pytest

from n2wire import new_id, pb, verdict

ANY = pytest.mark.relays("streams", "udp")


def same_first_answer(first, second):
    """Whether a resent Open was answered like the first one.

    A first PENDING may be repeated as such, or as the OPENED that it has become since.
    """
    if first.open.state == pb.OPEN_OPENED:
        return second.WhichOneof("what") == "open" and second.open == first.open
    return second.WhichOneof("what") == "open"


@pytest.mark.parametrize("same_call_id", [True, False], ids=["same call id", "new call id"])
def test_a_resent_connect_gets_the_first_answer_and_is_dialled_once(
        server, target, sockets, no_arrival, same_call_id):
    message = server.connect_message(target.getsockname())
    call = server.call(message)
    first = server.exchange(call).answers[0]
    opened = server.outcome(message, first)
    sockets.accept(target)
    for _ in range(3):
        again = call if same_call_id else server.call(message)
        second = server.exchange(again).answers[0]
        assert same_first_answer(first, second)
        if second.open.state == pb.OPEN_OPENED:
            assert second.open == opened
    no_arrival(target)
    assert list(server.inventory()) == [message.association]


@ANY
def test_an_open_twice_in_one_message_is_carried_out_once(server, target, sockets, no_arrival):
    message = server.any_message(target.getsockname())
    first, second = server.exchange(server.call(message), server.call(message)).answers
    assert same_first_answer(first, second)
    server.outcome(message, first)
    if pb.KIND_CONNECT in server.who.kinds:
        sockets.accept(target)
    no_arrival(target)
    assert list(server.inventory()) == [message.association]


def test_a_resent_pending_open_is_pending(server, silent):
    message = server.connect_message(silent, connect_ms=30000)
    for _ in range(3):
        assert server.ask(message).open.state == pb.OPEN_PENDING
    assert len(server.inventory()) == 1


def test_a_resent_bind_gets_the_same_port_and_ticket(bind_server):
    message = bind_server.bind_message(connect_ms=30000)
    first = bind_server.ask(message)
    second = bind_server.ask(message)
    assert first.open.state == pb.OPEN_OPENED
    assert second.open == first.open


def test_the_ticket_of_the_first_answer_still_attaches_after_a_resent_open(server, target, sockets):
    message = server.connect_message(target.getsockname())
    grant = server.open(message)
    server.ask(message)
    far = sockets.accept(target)
    client = sockets.keep(server.attach(grant))
    client.sendall(b"works")
    assert far.recv(10) == b"works"


def test_a_resent_open_leaves_a_running_stream_alone(server, stream, target, no_arrival):
    grant, client, far = stream(server)
    message = server.connect_message(target.getsockname(), association=grant.association)
    assert verdict(server.ask(message)) == "ACCEPTED"
    client.sendall(b"on")
    assert far.recv(10) == b"on"
    assert server.inventory()[grant.association].state == pb.HELD_ATTACHED
    no_arrival(target)


def test_a_resent_open_that_was_refused_is_refused_the_same_way(bind_server, sockets):
    if "bind-port" not in bind_server.who.features:
        pytest.skip("this relay has no BIND with a wanted port")
    occupant = sockets.listener()
    message = bind_server.bind_message(bind=occupant.getsockname())
    assert verdict(bind_server.ask(message)) == "NO_PORT"
    occupant.close()
    # The port is free now; a relay that carried the Open out again would say OPENED.
    assert verdict(bind_server.ask(message)) == "NO_PORT"


def test_an_open_that_has_ended_is_expired(server, stream):
    grant, client, target = stream(server)
    client.close()
    target.close()
    server.wait_ended(grant.association)
    message = server.connect_message(("127.0.0.1", 9), association=grant.association)
    assert verdict(server.ask(message)) == "EXPIRED"


@ANY
def test_an_open_that_was_released_is_expired(server, target, sockets, no_arrival):
    message = server.any_message(target.getsockname())
    server.open(message)
    if pb.KIND_CONNECT in server.who.kinds:
        sockets.accept(target)
    server.release(message.association)
    for _ in range(2):
        assert verdict(server.ask(message)) == "EXPIRED"
    no_arrival(target)


@ANY
def test_a_release_before_the_open_leaves_a_tombstone(server, target, no_arrival):
    message = server.any_message(target.getsockname())
    answer = server.ask(pb.Release(association=message.association))
    assert verdict(answer) == "ACCEPTED"
    assert not answer.release.HasField("counters")
    assert verdict(server.ask(message)) == "EXPIRED"
    assert server.inventory() == {}
    no_arrival(target)


@ANY
def test_a_release_beside_its_open_in_one_message_works_in_either_order(
        server, silent, target, no_arrival):
    late = server.any_message(target.getsockname())
    gone = server.any_message(silent)
    answers = server.exchange(
        server.call(pb.Release(association=late.association)), server.call(late),
        server.call(gone), server.call(pb.Release(association=gone.association))).answers
    assert [verdict(a) for a in answers] == ["ACCEPTED", "EXPIRED", "ACCEPTED", "ACCEPTED"]
    assert answers[3].release.HasField("counters")
    assert server.inventory() == {}
    no_arrival(target)


@ANY
def test_a_release_of_an_unknown_id_is_success_every_time(server):
    association = new_id()
    for _ in range(3):
        answer = server.ask(pb.Release(association=association))
        assert verdict(answer) == "ACCEPTED"
        assert not answer.release.HasField("counters")


@ANY
def test_a_second_release_of_the_same_association_is_success(server, target):
    grant = server.open(server.any_message(target.getsockname()))
    assert server.release(grant.association).HasField("counters")
    assert verdict(server.ask(pb.Release(association=grant.association))) == "ACCEPTED"


# ---------------------------------------------------------------------------------- acked, call ids

@ANY
def test_a_call_below_the_highest_acked_is_expired(server, target, no_arrival):
    late = server.call(server.any_message(target.getsockname()), call_id=50)
    assert verdict(server.ask(pb.Inventory(limit=1), call_id=200, acked=100)) == "ACCEPTED"
    assert verdict(server.exchange(late).answers[0]) == "EXPIRED"
    assert not server.ask(pb.Inventory(limit=1), call_id=201).inventory.held
    no_arrival(target)


@ANY
def test_acked_holds_for_calls_of_the_same_message(server, target, no_arrival):
    message = server.any_message(target.getsockname())
    calls = [server.call(message, call_id=99), server.call(pb.Inventory(limit=1), call_id=100)]
    answers = server.exchange(*calls, acked=100).answers
    assert [verdict(a) for a in answers] == ["EXPIRED", "ACCEPTED"]
    assert not answers[1].inventory.held
    no_arrival(target)


@ANY
def test_acked_does_not_go_back(server):
    server.ask(pb.Inventory(limit=1), call_id=200, acked=100)
    server.ask(pb.Inventory(limit=1), call_id=201, acked=10)
    assert verdict(server.ask(pb.Inventory(limit=1), call_id=99, acked=10)) == "EXPIRED"
    assert verdict(server.ask(pb.Inventory(limit=1), call_id=100, acked=10)) == "ACCEPTED"


@ANY
def test_acked_holds_for_every_kind_of_call(server, target):
    grant = server.open(server.any_message(target.getsockname()))
    server.ask(pb.Inventory(limit=1), call_id=200, acked=100)
    for what in (pb.Release(association=grant.association), pb.Watch(wait_ms=0),
                 pb.Update(association=grant.association, revision=1), pb.Inventory(limit=1)):
        assert verdict(server.ask(what, call_id=99)) == "EXPIRED"
    held = server.ask(pb.Inventory(limit=10), call_id=201).inventory.held
    assert [h.association for h in held] == [grant.association]


def test_acked_does_not_end_what_it_acknowledges(server, stream):
    grant, client, target = stream(server)
    server.ask(pb.Inventory(limit=1), call_id=200, acked=200)
    client.sendall(b"still")
    assert target.recv(10) == b"still"


@ANY
def test_calls_may_arrive_in_another_order_than_their_ids(server, silent):
    messages = {call_id: server.any_message(silent) for call_id in (30, 10, 20)}
    for call_id, message in messages.items():
        assert verdict(server.ask(message, call_id=call_id)) == "ACCEPTED"
    assert set(server.inventory()) == {m.association for m in messages.values()}


@ANY
def test_an_open_that_comes_after_its_release_with_a_lower_id_is_expired(server, target, no_arrival):
    message = server.any_message(target.getsockname())
    assert verdict(server.ask(pb.Release(association=message.association), call_id=40)) == "ACCEPTED"
    assert verdict(server.ask(message, call_id=30)) == "EXPIRED"
    no_arrival(target)

"""Messages that are wrong as a whole, and calls that are not carried out. The relay survives all."""

import pytest

import n2wire
from n2wire import Req, new_id, pb, verdict

pytestmark = pytest.mark.relays("streams", "udp")


def whole_refusal(server, octets):
    """Sends octets as a message and returns the verdict over the whole of it."""
    reply = pb.Reply.FromString(server.req.request(octets))
    assert reply.version == 1
    assert reply.relay_epoch == server.relay_epoch
    assert reply.HasField("refused"), "the message was not refused as a whole"
    assert not reply.answers
    n2wire.check_refusal(reply.refused)
    return verdict(reply.refused)


def good_request(server):
    return server.request([server.call(pb.Release(association=new_id()))])


@pytest.mark.parametrize("octets", [
    b"\xff" * 64,                       # a varint that does not end
    b"\x0a\xff\xff\xff\xff\x0f",        # a length that reaches beyond the message
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x0b\x08\x01",                    # a group that does not end
    bytes(range(255, 0, -1)) * 16,
], ids=["endless varint", "endless length", "http", "open group", "noise"])
def test_octets_that_are_no_request_are_refused_bad_and_the_connection_goes_on(server, octets):
    assert whole_refusal(server, octets) == "BAD"
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_an_empty_message_is_refused(server):
    # It parses, as a request of version 0: either word is right.
    assert whole_refusal(server, b"") in ("BAD", "UNSUPPORTED")


def test_a_request_that_is_cut_off_anywhere_is_never_carried_out(server, target):
    grant = server.open(server.any_message(target.getsockname()))
    request = server.request([server.call(pb.Release(association=grant.association))])
    whole = request.SerializeToString()
    for length in range(len(whole)):
        reply = pb.Reply.FromString(server.req.request(whole[:length]))
        assert reply.HasField("refused") or all(a.HasField("refused") for a in reply.answers), length
    assert grant.association in server.inventory()


@pytest.mark.parametrize("version", [0, 2, 4294967295])
def test_another_version_is_refused_as_a_whole(server, target, version):
    grant = server.open(server.any_message(target.getsockname()))
    request = server.request([server.call(pb.Release(association=grant.association))])
    request.version = version
    expected = ("BAD", "UNSUPPORTED") if version == 0 else ("UNSUPPORTED",)
    assert whole_refusal(server, request.SerializeToString()) in expected
    assert grant.association in server.inventory()


def test_a_request_without_calls_is_refused_bad(server):
    assert whole_refusal(server, server.request([]).SerializeToString()) == "BAD"


def test_1025_calls_are_refused_bad_and_none_is_carried_out(server, target):
    grant = server.open(server.any_message(target.getsockname()))
    calls = [server.call(pb.Release(association=grant.association))]
    calls += [server.call(pb.Release(association=new_id())) for _ in range(n2wire.MAX_CALLS)]
    reply = server.exchange(*calls)
    says = {verdict(reply)} if reply.HasField("refused") else {verdict(a) for a in reply.answers}
    assert says == {"BAD"}
    assert grant.association in server.inventory()


def test_1024_calls_are_all_answered_in_order(server):
    calls = [server.call(pb.Release(association=new_id())) for _ in range(n2wire.MAX_CALLS)]
    reply = server.exchange(*calls)
    assert [a.id for a in reply.answers] == [c.id for c in calls]
    assert {verdict(a) for a in reply.answers} == {"ACCEPTED"}


def test_a_message_of_almost_a_mebibyte_is_read(server, closed_port):
    calls = []
    for _ in range(500):
        message = server.connect_message(closed_port)
        message.audit.add(key="note", value="x" * 2000)
        calls.append(server.call(message, remaining_ms=0))      # read, and not carried out
    assert 1000000 < server.request(calls).ByteSize() < n2wire.MAX_MESSAGE
    reply = server.exchange(*calls)
    assert {verdict(a) for a in reply.answers} == {"EXPIRED"}


@pytest.mark.parametrize("length", [n2wire.MAX_MESSAGE + 65536, 1 << 32, (1 << 63) - 1, (1 << 64) - 1])
def test_a_message_over_a_mebibyte_closes_its_connection_and_no_other(server, relay, length):
    with Req(relay.url) as req:
        try:
            req.send_raw(n2wire.length_header(req.scheme, length))
            req.send_raw(b"x" * min(length, n2wire.MAX_MESSAGE + 65536))
        except n2wire.ConnectionLost:
            pass                    # it was closed while we were still sending
        assert req.wait_lost(5)
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


@pytest.mark.parametrize("body", [b"", b"\x80", b"\x00\x00\x00\x01" * 3, b"\x00\x00\x00\x01" * 300],
                         ids=["nothing", "one octet", "hops only", "hundreds of hops"])
def test_a_message_without_a_request_id_harms_nobody(server, relay, body):
    with Req(relay.url) as req:
        req.send_raw(n2wire.frame(req.scheme, body))
        req.wait_lost(0.1)          # it may be closed or ignored
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_half_a_message_keeps_nobody_waiting(server, relay):
    with Req(relay.url) as req:
        req.send_half(good_request(server).SerializeToString(), 20)
        assert verdict(server.ask(pb.Inventory(limit=1), timeout=1)) == "ACCEPTED"
    with Req(relay.url) as req:
        req.send_raw(n2wire.length_header(req.scheme, 1000))
        assert verdict(server.ask(pb.Inventory(limit=1), timeout=1)) == "ACCEPTED"
    assert verdict(server.ask(pb.Inventory(limit=1), timeout=1)) == "ACCEPTED"


def test_a_request_in_many_small_pieces_is_one_request(server):
    request = good_request(server)
    body = n2wire.join_backtrace((), n2wire.REQUEST_BIT | 7, request.SerializeToString())
    for octet in n2wire.frame(server.req.scheme, body):
        server.req.send_raw(bytes([octet]))
    reply = server.finish(request, server.req.receive(n2wire.REQUEST_BIT | 7))
    assert verdict(reply.answers[0]) == "ACCEPTED"


def test_the_ids_of_hops_come_back_with_the_reply(server):
    request = good_request(server)
    sent = server.req.send(request.SerializeToString(), hops=(17, 18))
    hops, octets = server.req.receive_with_hops(sent)
    assert hops == (17, 18)
    assert verdict(server.finish(request, octets).answers[0]) == "ACCEPTED"


def test_unknown_fields_are_ignored(server):
    def with_unknown(message):
        message.MergeFromString(b"\xfa\x3f\x03abc" + b"\xf0\x3f\x2a")    # fields 1023 and 1022
        return message

    call = server.call(with_unknown(pb.Release(association=new_id())))
    with_unknown(call)
    request = with_unknown(server.request([call]))
    reply = server.finish(request, server.req.request(request.SerializeToString()))
    assert verdict(reply.answers[0]) == "ACCEPTED"


def test_a_call_of_an_unknown_kind_is_refused_and_those_beside_it_are_not(server):
    unknown = server.call()
    unknown.MergeFromString(b"\xa2\x01\x00")        # field 20, where a later call may live
    calls = [server.call(pb.Release(association=new_id())), unknown,
             server.call(pb.Release(association=new_id()))]
    says = [verdict(answer) for answer in server.exchange(*calls).answers]
    assert says[0] == says[2] == "ACCEPTED"
    assert says[1] in ("UNSUPPORTED", "BAD")


def test_a_call_id_of_zero_is_bad(server, target):
    grant = server.open(server.any_message(target.getsockname()))
    answer = server.ask(pb.Release(association=grant.association), call_id=0)
    assert verdict(answer) == "BAD"
    assert grant.association in server.inventory()


def test_a_watch_stands_alone(server, target):
    grant = server.open(server.any_message(target.getsockname()))
    watch = server.call(pb.Watch(wait_ms=0))
    release = server.call(pb.Release(association=grant.association))
    for calls in ([watch, release], [release, watch]):
        reply = server.exchange(*calls)
        says = {verdict(reply)} if reply.HasField("refused") else {verdict(a) for a in reply.answers}
        assert "BAD" in says
    if reply.HasField("refused"):
        assert grant.association in server.inventory()


# ----------------------------------------------------------------------- must_understand, deadlines

def test_a_call_that_needs_an_unknown_feature_is_unsupported_and_those_beside_it_are_not(
        server, target, no_arrival):
    open_call = server.call(server.any_message(target.getsockname()),
                            must_understand=["no-such-feature"])
    calls = [server.call(pb.Release(association=new_id())), open_call,
             server.call(pb.Inventory(limit=1))]
    says = [verdict(answer) for answer in server.exchange(*calls).answers]
    assert says == ["ACCEPTED", "UNSUPPORTED", "ACCEPTED"]
    assert server.inventory() == {}
    no_arrival(target)


def test_one_unknown_feature_among_known_ones_is_enough(server):
    features = list(server.who.features)
    answer = server.ask(pb.Release(association=new_id()), must_understand=features)
    assert verdict(answer) == "ACCEPTED"
    answer = server.ask(pb.Release(association=new_id()), must_understand=features + ["x" * 3000])
    assert verdict(answer) == "UNSUPPORTED"


def test_a_call_whose_deadline_has_passed_is_expired_and_not_carried_out(server, target, no_arrival):
    grant = server.open(server.any_message(target.getsockname()))
    if pb.KIND_CONNECT in server.who.kinds:
        target.accept()[0].close()
    calls = [server.call(pb.Release(association=grant.association), remaining_ms=0),
             server.call(server.any_message(target.getsockname()), remaining_ms=0),
             server.call(pb.Inventory(limit=10))]
    answers = server.exchange(*calls).answers
    assert [verdict(a) for a in answers] == ["EXPIRED", "EXPIRED", "ACCEPTED"]
    assert [held.association for held in answers[2].inventory.held] == [grant.association]
    no_arrival(target)


def test_a_watch_whose_deadline_has_passed_is_expired(server):
    assert verdict(server.ask(pb.Watch(wait_ms=0), remaining_ms=0)) == "EXPIRED"


def test_a_deadline_beyond_two_minutes_is_no_error(server):
    answer = server.ask(pb.Release(association=new_id()), remaining_ms=4294967295)
    assert verdict(answer) == "ACCEPTED"

"""Fields outside their range are BAD, unknown words are UNSUPPORTED, and neither does anything."""

import pytest

from n2wire import endpoint, new_id, pb, verdict

pytestmark = pytest.mark.relays("streams", "udp")


def set_bytes(name, octets):
    def change(message):
        setattr(message, name, octets)
    return change


def set_ip(name, octets):
    def change(message):
        getattr(message, name).CopyFrom(pb.Endpoint(ip=octets, port=1000))
    return change


def set_port(name, port):
    def change(message):
        getattr(message, name).CopyFrom(endpoint("127.0.0.1", port))
    return change


def set_destinations(*destinations):
    def change(message):
        del message.destinations[:]
        message.destinations.extend(destinations)
    return change


def set_audit(*entries):
    def change(message):
        for key, value in entries:
            message.audit.add(key=key, value=value)
    return change


WRONG_IPS = (b"1", b"123", b"12345", b"12345678", b"x" * 15, b"x" * 17, b"x" * 300)

BAD_OPENS = {
    **{f"an association of {n} octets": set_bytes("association", b"a" * n) for n in (0, 1, 15, 17, 64)},
    **{f"a parent of {n} octets": set_bytes("parent", b"p" * n) for n in (1, 15, 17)},
    **{f"a session of {n} octets": set_bytes("session", b"s" * n) for n in (33, 1000)},
    **{f"an address of {len(ip)} octets in {name}": set_ip(name, ip)
       for name in ("client", "client_local", "bind") for ip in WRONG_IPS},
    **{f"an address of {len(ip)} octets in a destination":
       set_destinations(pb.Endpoint(ip=ip, port=9)) for ip in WRONG_IPS},
    **{f"the port {port} in {name}": set_port(name, port)
       for name in ("client", "client_local", "bind") for port in (65536, 4294967295)},
    "the port 65536 in a destination": set_destinations(endpoint("127.0.0.1", 65536)),
    "a malformed destination after a good one":
        set_destinations(endpoint("127.0.0.1", 9), pb.Endpoint(ip=b"12345", port=9)),
    "33 destinations": set_destinations(*[endpoint("127.0.0.1", 9)] * 33),
    "17 audit entries": set_audit(*[("k", "v")] * 17),
    "2049 octets of audit": set_audit(("note", "x" * 1000), ("note", "x" * 1041)),
    "an owner of 256 octets": lambda message: setattr(message, "owner", "o" * 256),
    "an empty audit key": set_audit(("", "v")),
    "an audit key in capitals": set_audit(("Note", "v")),
    "an audit key with a space": set_audit(("a note", "v")),
    "an audit key with a line end": set_audit(("note\n", "v")),
}

BAD_CONNECTS = {
    "no destination": set_destinations(),
    "a destination without an address": set_destinations(pb.Endpoint(port=9)),
}

GOOD_OPENS = {
    "16 audit entries": set_audit(*[("k", "v")] * 16),
    "2048 octets of audit": set_audit(("note", "x" * 1000), ("note", "x" * 1040)),
    "an audit key of every allowed kind": set_audit(("az_09", "")),
    "a session of 32 octets": set_bytes("session", b"s" * 32),
    "an owner of 255 octets": lambda message: setattr(message, "owner", "o" * 255),
}

GOOD_CONNECTS = {
    "32 destinations": set_destinations(*[endpoint("127.0.0.1", 9)] * 32),
    "addresses of 16 octets": set_ip("client", b"\x20\x01" + bytes(14)),
    "no client addresses": lambda message: [message.ClearField("client"),
                                            message.ClearField("client_local")],
}


def not_carried_out(server, message):
    return message.association not in server.inventory()


@pytest.mark.parametrize("change", BAD_OPENS.values(), ids=BAD_OPENS.keys())
def test_an_open_with_a_field_out_of_its_range_is_bad(server, silent, change):
    message = server.any_message(silent)
    change(message)
    assert verdict(server.ask(message)) == "BAD"
    assert not_carried_out(server, message)


@pytest.mark.relays("streams")
@pytest.mark.parametrize("change", BAD_OPENS.values(), ids=BAD_OPENS.keys())
def test_a_bind_with_a_field_out_of_its_range_is_bad(bind_server, change):
    message = bind_server.bind_message()
    change(message)
    assert verdict(bind_server.ask(message)) == "BAD"
    assert not_carried_out(bind_server, message)


@pytest.mark.relays("streams")
@pytest.mark.parametrize("change", BAD_CONNECTS.values(), ids=BAD_CONNECTS.keys())
def test_a_connect_without_a_usable_destination_is_bad(server, silent, change):
    message = server.connect_message(silent)
    change(message)
    assert verdict(server.ask(message)) == "BAD"
    assert not_carried_out(server, message)


@pytest.mark.parametrize("change", GOOD_OPENS.values(), ids=GOOD_OPENS.keys())
def test_an_open_at_the_edge_of_the_ranges_is_carried_out(server, silent, change):
    message = server.any_message(silent)
    change(message)
    answer = server.ask(message)
    assert verdict(answer) not in ("BAD", "UNSUPPORTED"), answer


@pytest.mark.relays("streams")
@pytest.mark.parametrize("change", GOOD_CONNECTS.values(), ids=GOOD_CONNECTS.keys())
def test_a_connect_at_the_edge_of_the_ranges_is_carried_out(server, silent, change):
    message = server.connect_message(silent)
    change(message)
    answer = server.ask(message)
    assert verdict(answer) not in ("BAD", "UNSUPPORTED"), answer


UNSUPPORTED_OPENS = {
    "an unknown kind": lambda m: setattr(m, "kind", 99),
    "a negative kind": lambda m: setattr(m, "kind", -1),
    "an unknown protocol": lambda m: setattr(m, "ptcl", 253),
    "a protocol beyond one octet": lambda m: setattr(m, "ptcl", 262),
}


@pytest.mark.parametrize("change", UNSUPPORTED_OPENS.values(), ids=UNSUPPORTED_OPENS.keys())
def test_an_open_of_an_unknown_word_is_unsupported(server, silent, change):
    message = server.any_message(silent)
    message.ClearField("rules")     # which are BAD for another kind, even for one that is not known
    change(message)
    assert verdict(server.ask(message)) == "UNSUPPORTED"
    assert not_carried_out(server, message)


@pytest.mark.parametrize("kind", [k for k in pb.Kind.values() if k], ids=pb.Kind.Name)
def test_a_kind_that_hello_does_not_name_is_unsupported(server, silent, kind):
    if kind in server.who.kinds:
        pytest.skip("this relay carries it")
    message = server.connect_message(silent)
    message.kind = kind
    assert verdict(server.ask(message)) == "UNSUPPORTED"


def test_an_open_without_a_kind_is_refused(server, silent):
    message = server.any_message(silent)
    message.kind = pb.KIND_NONE
    assert verdict(server.ask(message)) in ("BAD", "UNSUPPORTED")
    assert not_carried_out(server, message)


@pytest.mark.parametrize("what", [
    *[pb.Update(association=b"u" * n, revision=1) for n in (0, 15, 17)],
    *[pb.Release(association=b"r" * n) for n in (0, 15, 17)],
    *[pb.Inventory(after=b"i" * n, limit=10) for n in (1, 15, 17)],
    pb.Inventory(limit=0),
    pb.Inventory(limit=1025),
    pb.Inventory(limit=4294967295),
], ids=lambda what: f"{type(what).__name__}: {what}".replace("\n", " "))
def test_another_call_with_a_field_out_of_its_range_is_bad(server, what):
    assert verdict(server.ask(what)) == "BAD"


def test_a_bad_call_does_not_spoil_those_beside_it(server, silent):
    good, other = server.any_message(silent), server.any_message(silent)
    wrong = server.any_message(silent, association=b"short")
    answers = server.exchange(*[server.call(m) for m in (good, wrong, other)]).answers
    assert [verdict(answer) for answer in answers] == ["ACCEPTED", "BAD", "ACCEPTED"]
    assert set(server.inventory()) == {good.association, other.association}


@pytest.mark.relays("streams")
def test_a_refused_bad_open_may_be_corrected_under_the_same_id(server, target):
    message = server.connect_message(target.getsockname(), association=new_id())
    message.destinations[0].port += 65536
    assert verdict(server.ask(message)) == "BAD"
    message.destinations[0].port -= 65536
    assert server.open(message).bound.port

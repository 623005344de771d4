"""Hello, and what a connection may say before it."""

import os
import re
import socket
import stat

import pytest

import n2wire
from n2wire import ControlServer, Req, endpoint, new_id, pb, verdict

pytestmark = pytest.mark.relays("streams", "udp")
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


@pytest.mark.relays("streams")
def test_hello_says_who_the_relay_is(new_server):
    who = new_server().who
    assert NAME.match(who.relay_id)
    assert who.software
    assert pb.KIND_CONNECT in who.kinds
    assert 6 in who.ptcls
    assert 4 in who.families
    assert set(who.families) <= {4, 6}
    assert who.capacity.associations > 0
    assert who.capacity.quota > 0
    assert who.lease_ms > 0
    assert who.legs.startswith("unix:/")


def test_hello_is_accepted_with_any_relay_epoch(new_server):
    server = new_server(hello=False)
    server.relay_epoch = 0x1122334455667788
    assert verdict(server.hello()) == "ACCEPTED"


def test_every_reply_names_the_same_relay_epoch(new_server):
    server = new_server(hello=False)
    epochs = set()
    for call in (pb.Release(association=new_id()), pb.Hello(), pb.Release(association=new_id())):
        reply = server.exchange(server.call(call))
        epochs.add(reply.relay_epoch)
        server.relay_epoch = reply.relay_epoch
    assert len(epochs) == 1


@pytest.mark.parametrize("what", [
    pb.Open(association=bytes(16), kind=pb.KIND_CONNECT, ptcl=6,
            destinations=[endpoint("127.0.0.1", 9)]),
    pb.Update(association=bytes(16), revision=1),
    pb.Release(association=bytes(16)),
    pb.Watch(),
    pb.Inventory(limit=10),
], ids=lambda what: type(what).__name__)
def test_a_call_on_a_connection_without_hello_is_stale(new_server, what):
    known = new_server()
    with ControlServer(known.url, server_id=known.server_id, epoch=known.epoch) as other:
        other.relay_epoch = known.relay_epoch
        assert verdict(other.ask(what)) == "STALE"


def test_a_call_in_the_name_of_another_server_is_stale(new_server):
    mine, other = new_server(), new_server()
    answer = mine.ask(pb.Inventory(limit=1), server_id=other.server_id, server_epoch=other.epoch)
    assert verdict(answer) == "STALE"


def test_a_call_with_another_epoch_than_that_of_hello_is_stale(server):
    assert verdict(server.ask(pb.Inventory(limit=1), server_epoch=server.epoch ^ 2)) == "STALE"


def test_every_call_of_a_message_with_another_relay_epoch_is_stale(server):
    calls = [server.call(pb.Release(association=new_id())) for _ in range(3)]
    for epoch in (0, server.relay_epoch ^ 1):
        reply = server.exchange(*calls, relay_epoch=epoch)
        assert [verdict(answer) for answer in reply.answers] == ["STALE"] * 3


def test_nothing_of_a_message_with_another_relay_epoch_is_carried_out(server, target):
    grant = server.open(server.any_message(target.getsockname()))
    answer = server.ask(pb.Release(association=grant.association), relay_epoch=server.relay_epoch ^ 1)
    assert verdict(answer) == "STALE"
    assert grant.association in server.inventory()


def test_hello_stands_alone(new_server):
    server = new_server(hello=False)
    hello, release = server.call(pb.Hello()), server.call(pb.Release(association=new_id()))
    for calls in ([hello, release], [release, hello], [hello, server.call(pb.Hello())]):
        reply = server.exchange(*calls)
        says = {verdict(reply)} if reply.HasField("refused") else {verdict(a) for a in reply.answers}
        assert says <= {"BAD", "STALE"}
        assert "BAD" in says
    answer = server.ask(pb.Inventory(limit=1), relay_epoch=reply.relay_epoch)
    assert verdict(answer) == "STALE", "a Hello that was refused has bound the connection"


@pytest.mark.parametrize("name", ["", "x" * 65, "two words", "a/b", "a\n", "ä"])
def test_a_server_id_of_other_characters_or_length_is_bad(new_server, name):
    server = new_server(hello=False)
    assert verdict(server.ask(pb.Hello(), server_id=name)) == "BAD"


def test_a_server_id_of_64_octets_of_every_allowed_kind_is_accepted(new_server):
    name = ("Az09._-" + os.urandom(32).hex())[:64].ljust(64, "x")
    assert verdict(new_server(hello=False, server_id=name).hello()) == "ACCEPTED"


def test_a_server_epoch_of_zero_is_bad(new_server):
    assert verdict(new_server(hello=False, epoch=0).hello()) == "BAD"


def test_a_hello_with_a_malformed_protected_address_is_bad_and_binds_nothing(new_server):
    server = new_server(hello=False, protect=[pb.Endpoint(ip=b"123", port=1)])
    relay_epoch = server.exchange(server.call(pb.Hello())).relay_epoch
    assert verdict(server.hello()) == "BAD"
    server.server_id += "x"         # a name that no Hello was accepted for
    assert verdict(server.hello()) == "BAD"
    assert verdict(server.ask(pb.Inventory(limit=1), relay_epoch=relay_epoch)) == "STALE"


def test_a_hello_that_needs_an_unknown_feature_is_refused_and_binds_nothing(new_server):
    server = new_server(hello=False)
    call = server.call(pb.Hello(), must_understand=["no-such-feature"])
    reply = server.exchange(call)
    assert verdict(reply.answers[0]) == "UNSUPPORTED"
    assert verdict(server.ask(pb.Inventory(limit=1), relay_epoch=reply.relay_epoch)) == "STALE"


def test_a_hello_whose_deadline_has_passed_binds_nothing(new_server):
    server = new_server(hello=False)
    reply = server.exchange(server.call(pb.Hello(), remaining_ms=0))
    assert verdict(reply.answers[0]) == "EXPIRED"
    assert verdict(server.ask(pb.Inventory(limit=1), relay_epoch=reply.relay_epoch)) == "STALE"


def test_hello_may_be_said_again_on_the_same_connection(server):
    assert verdict(server.hello()) == "ACCEPTED"
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"


def test_the_same_epoch_on_a_second_connection_takes_the_binding_over(quiet_server):
    server = quiet_server
    with Req(server.url) as second:
        assert verdict(server.hello(req=second)) == "ACCEPTED"
        assert verdict(server.ask(pb.Inventory(limit=1), req=second)) == "ACCEPTED"
        assert verdict(server.ask(pb.Inventory(limit=1))) == "STALE"


def test_the_loss_of_a_former_connection_does_not_unbind_the_new_one(new_server):
    server = new_server(watch=False)
    second = Req(server.url)
    server.must_hello(req=second)
    first, server.req = server.req, second
    first.close()
    server.start_watching()
    assert verdict(server.ask(pb.Inventory(limit=1))) == "ACCEPTED"
    with ControlServer(server.url, server_id=server.server_id) as twin:
        assert verdict(twin.hello()) == "CONFLICT"


def test_the_socket_file_is_for_its_owner_only(relay):
    scheme, path = n2wire.split_url(relay.url)
    if scheme != "ipc":
        pytest.skip("the relay does not listen on a socket file")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def try_as_nobody(directory, attempt):
    """Runs `attempt` in a child process of an unprivileged user; True when it got something."""
    child = os.fork()
    if child == 0:
        outcome = 2
        try:
            # The path above may be closed to that user; this directory is entered before.
            os.chdir(directory)
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            outcome = 1 if attempt() else 0
        finally:
            os._exit(outcome)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 1), "the attempt itself has failed"
    return code == 1


@pytest.mark.parametrize("channel", ["n2", "legs"])
def test_a_process_of_another_user_is_turned_away(own_relay, channel):
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    relay = own_relay()
    path = str(relay.directory / channel)
    # The file modes are opened, so that what is tested is the check of the peer's credentials.
    os.chmod(relay.directory, 0o755)
    os.chmod(path, 0o666)

    def is_heard():
        if channel == "n2":
            try:
                with ControlServer("ipc://n2") as server:
                    return verdict(server.hello()) == "ACCEPTED"
            except (OSError, n2wire.ConnectionLost, n2wire.ReplyTimeout, n2wire.NotSP):
                return False
        with n2wire.LegChannel("unix:legs") as legs:
            return not legs.wait_lost(1)

    assert not try_as_nobody(relay.directory, is_heard)
    assert relay.alive()


def test_a_connection_that_speaks_another_protocol_is_closed(relay, new_server):
    """Every octet but the first eight would be taken for something else."""
    new_server()
    scheme, address = n2wire.split_url(relay.url)
    family = socket.AF_UNIX if scheme == "ipc" else socket.AF_INET
    for greeting in (n2wire.sp_header(0x10), b"GET / HTTP/1.1\r\n\r\n"):
        with socket.socket(family) as sock:
            sock.settimeout(5)
            sock.connect(address)
            sock.sendall(greeting)
            try:
                n2wire.read_to_end(sock)
            except ConnectionError:
                pass                # a reset is an end as well

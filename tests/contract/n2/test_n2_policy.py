"""Destinations that a relay refuses whatever the rules of a server say."""

import pytest

import n2wire
from n2wire import endpoint, endpoint_address, pb, verdict


def listening_endpoint(listener):
    return endpoint(*listener.getsockname()[:2])


@pytest.fixture(scope="module")
def kept():
    """Sockets that live as long as the relay: it goes on protecting their addresses."""
    sockets = []

    def keep(sock):
        sockets.append(sock)
        return sock
    yield keep
    for sock in sockets:
        sock.close()


@pytest.fixture
def protected(kept, sockets):
    return kept(sockets.listener().dup())


def test_the_endpoint_that_a_server_protects_is_not_dialled(new_server, protected, no_arrival):
    server = new_server(protect=[listening_endpoint(protected)])
    message = server.connect_message(protected.getsockname())
    assert verdict(server.open_refused(message)) == "POLICY"
    no_arrival(protected)


def test_it_is_protected_from_other_servers_too(new_server, protected, no_arrival):
    new_server(protect=[listening_endpoint(protected)])
    other = new_server()
    message = other.connect_message(protected.getsockname())
    assert verdict(other.open_refused(message)) == "POLICY"
    no_arrival(protected)


def test_a_protected_port_on_another_address_may_be_dialled(new_server, protected, sockets):
    server = new_server(protect=[endpoint("127.0.0.99", protected.getsockname()[1])])
    assert server.open(server.connect_message(protected.getsockname())).bound.port


@pytest.mark.parametrize("spelling", ["::ffff:127.0.0.1", "0.0.0.0", "::", "::ffff:0.0.0.0"])
def test_another_spelling_of_a_protected_address_does_not_reach_it(
        new_server, protected, no_arrival, spelling):
    server = new_server(protect=[listening_endpoint(protected)])
    server.open_refused(server.connect_message((spelling, protected.getsockname()[1])))
    no_arrival(protected)


def test_protecting_the_unspecified_address_protects_every_local_one(new_server, protected, no_arrival):
    server = new_server(protect=[endpoint("0.0.0.0", protected.getsockname()[1])])
    server.open_refused(server.connect_message(protected.getsockname()))
    no_arrival(protected)


def test_the_listeners_that_the_relay_names_are_not_dialled(new_server):
    server = new_server()
    if not server.who.protect:
        pytest.skip("this relay has no listener on TCP")
    for own in server.who.protect:
        address = endpoint_address(own)
        assert verdict(server.open_refused(server.connect_message(address))) == "POLICY"


def test_a_relay_that_listens_on_tcp_protects_that_listener(relay, new_server):
    scheme, address = n2wire.split_url(relay.url)
    if scheme != "tcp":
        pytest.skip("the relay does not listen on TCP")
    server = new_server()
    assert verdict(server.open_refused(server.connect_message(address))) == "POLICY"


def test_a_refusal_for_policy_leaves_nothing_behind(new_server, protected):
    server = new_server(protect=[listening_endpoint(protected)])
    message = server.connect_message(protected.getsockname())
    server.open_refused(message)
    assert server.inventory() == {}
    assert all(event.type != pb.EVENT_OPENED for event in server.events_of(message.association))

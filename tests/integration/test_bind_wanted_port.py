"""DST.PORT of a BIND is the port that the client would like (PROTOCOL C9)."""

import socks


def test_the_wanted_port_is_given_when_it_is_free(system, sockets):
    wanted = sockets.closed_port()[1]
    sockets.close()
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", wanted)
    sockets.keep(client)
    assert first == (socks.SUCCEEDED, "127.0.0.1", wanted)
    sockets.keep(socks.dial(("127.0.0.1", wanted)))
    assert socks.read_reply5(client).code == socks.SUCCEEDED


def test_when_the_wanted_port_is_taken_another_is_given(system, sockets, target):
    wanted = target.getsockname()[1]
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", wanted)
    sockets.keep(client)
    assert first.code == socks.SUCCEEDED and first.port not in (0, wanted)
    peer = sockets.keep(socks.dial(("127.0.0.1", first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname())
    assert system.server.metric("socksd_relay_retries_total") == 1


def test_a_privileged_port_is_not_given(system, sockets):
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 80)
    sockets.keep(client)
    assert first.code == socks.SUCCEEDED and first.port >= 1024


def test_only_ports_of_the_configured_range_are_given(start, sockets):
    port = sockets.closed_port()[1]
    sockets.close()
    system = start(relay={"relay": {"ports": str(port)}})
    first_client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(first_client)
    assert first == (socks.SUCCEEDED, "127.0.0.1", port)
    second_client, second = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(second_client)
    assert second.code == socks.GENERAL_FAILURE
    assert system.relay.metric('relayd_refusals_total{reason="no_port"}') == 1

"""A relay serves several socksd at once, and what happens to one is nothing to the other."""

import socks


def stream(system, sockets, target):
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED
    return client, sockets.accept(target)


def test_two_servers_share_a_relay(start, sockets, target):
    one = start()
    two = start(relays=0, urls=[one.relay.url], server={"id": "socksd-other"})
    one.relay.at_rest += 2                      # the other server's connections
    pairs = [stream(one, sockets, target), stream(two, sockets, target)]
    assert one.relay.metric("relayd_control_servers") == 2
    assert {a["server"] for a in one.relay.associations()} == {"socksd-test", "socksd-other"}
    assert len(one.server.associations()) == len(two.server.associations()) == 1

    two.server.kill()
    pairs.append(stream(one, sockets, target))
    for client, far in pairs:
        client.sendall(b"on")
        assert socks.read_exactly(far, 2) == b"on"
        client.close()
        far.close()
    record = one.wait_record("access", server="socksd-other")
    assert (record["octets_up"], record["reason"]) == ("2", "closed")


def test_two_servers_of_one_name_are_not_mixed_up(start, sockets, target):
    """The second is refused for as long as the first is there, and says so; the first goes on."""
    one = start()
    two = start(relays=0, urls=[one.relay.url], ready=0)
    one.relay.at_rest += 2
    assert two.server.log.wait("relay_refused_hello")["reason"] == "conflict"
    assert two.server.get("/readyz")[0] == 503
    client, far = stream(one, sockets, target)
    client.sendall(b"mine")
    assert socks.read_exactly(far, 4) == b"mine"
    assert one.relay.metric("relayd_n2_conflicts_total") >= 1

"""BND of a CONNECT is the relay's address towards the target, not socksd's towards the client."""

import socks


def test_the_bound_address_is_the_one_the_target_sees(start, sockets, target):
    system = start(relay={"relay": {"bind": ["127.0.0.5"]}})
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    far = sockets.accept(target)
    assert far.getpeername()[0] == "127.0.0.5"
    assert (reply.host, reply.port) == far.getpeername()

    client.close()
    far.close()
    assert system.access(relay="relay-0")["bound"] == f"127.0.0.5:{reply.port}"

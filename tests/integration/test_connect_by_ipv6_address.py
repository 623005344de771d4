"""CONNECT to an IPv6 address works; SOCKS 4 clients cannot ask for one."""

import socks


def test_connect_by_ipv6_address_reaches_the_target(system, sockets):
    target = sockets.listener("::1")
    port = target.getsockname()[1]
    client, reply = socks.open5(system.address, socks.CONNECT, "::1", port)
    sockets.keep(client)
    far = sockets.accept(target)
    assert reply == (socks.SUCCEEDED, "::1", far.getpeername()[1])

    client.sendall(b"six")
    assert socks.read_exactly(far, 3) == b"six"
    client.close()
    far.close()

    record = system.access(destination=f"[::1]:{port}")
    assert (record["target"], record["octets_up"]) == (f"[::1]:{port}", "3")


def test_an_ipv4_mapped_address_is_the_ipv4_address(system, sockets, target):
    host, port = target.getsockname()
    client, reply = socks.open5(system.address, socks.CONNECT, f"::ffff:{host}", port)
    sockets.keep(client)
    far = sockets.accept(target)
    assert reply == (socks.SUCCEEDED, *far.getpeername())
    client.close()
    far.close()
    assert system.access(reason="closed")["target"] == f"{host}:{port}"

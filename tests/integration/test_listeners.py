"""Several listeners, of both families; the record says which one it was."""

import pytest

import socks
from daemons import Relay


def test_several_listeners_serve_each_by_its_own_policy(start, sockets, target):
    system = start(users={"alice": "a"}, listeners=[
        {"listen": "127.0.0.1:0"}, {"listen": "[::1]:0"},
        {"listen": "127.0.0.2:0", "methods": ["username-password"]},
        {"listen": "127.0.0.3:0", "dialects": ["socks4"]}])
    plain, six, guarded, four = system.server.listeners()
    for opener, address, options, code in [
            (socks.open5, plain, {}, socks.SUCCEEDED), (socks.open5, six, {}, socks.SUCCEEDED),
            (socks.open4, six, {}, socks.GRANTED4), (socks.open4, guarded, {}, socks.REJECTED4),
            (socks.open5, guarded, {"user": "alice", "password": "a"}, socks.SUCCEEDED),
            (socks.open4, four, {}, socks.GRANTED4)]:
        client, reply = opener(address, socks.CONNECT, *target.getsockname(), **options)
        sockets.keep(client).close()
        assert reply.code == code, (address, options)
        if code != socks.REJECTED4:
            sockets.accept(target).close()
    client = sockets.keep(socks.dial(four))
    client.sendall(socks.greeting5(0))
    assert socks.read_all(client) == b"\5\xff"
    for text in ("127.0.0.1:%d" % plain[1], "[::1]:%d" % six[1], "127.0.0.2:%d" % guarded[1]):
        assert system.access(listener=text)["reason"] == "closed"


@pytest.mark.parametrize("family", ["127.0.0.1", "::1"])
def test_bind_for_anybody_listens_in_the_family_of_the_client(start, sockets, family):
    listen = f"[{family}]:0" if ":" in family else f"{family}:0"
    system = start(listeners=[{"listen": listen}],
                   rules=[{"allow": {"to": ["127.0.0.0/8", "::1"]}}, {"allow": {"commands": ["bind"]}}])
    client, first = socks.open5(system.address, socks.BIND, "0.0.0.0" if family[0] == "1" else "::", 0)
    sockets.keep(client)
    assert first.code == socks.SUCCEEDED and first.host == family
    peer = sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname()[:2])


def test_a_relay_by_tcp_serves_too(start, sockets, target, tmp_path_factory):
    port = sockets.closed_port()[1]
    sockets.close()
    target = sockets.listener()
    url = f"tcp://127.0.0.1:{port}"
    relay = Relay(tmp_path_factory.mktemp("s"), config={"n2": {"listen": [url], "insecure": True}})
    system = start(relays=0, server={"relays": [{"url": url, "insecure": True}]}, ready=1)
    system.daemons.append(relay)
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED
    sockets.accept(target)
    client, reply = socks.open5(system.address, socks.CONNECT, "127.0.0.1", port)
    sockets.keep(client)
    assert reply.code == socks.DENIED, "its control interface is no destination"


def test_a_protected_network_is_never_dialled(start, sockets, target):
    system = start(relay={"relay": {"protect": ["127.0.0.0/8"]}})
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.DENIED
    assert system.access(reply="denied")["reason"] == "policy"

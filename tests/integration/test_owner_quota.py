"""n2.owner-quota: one user does not take what is everybody's."""

import daemons
import socks
import udp


def test_a_user_holds_so_many_and_others_have_theirs(start, sockets):
    system = start(relays=0, udp=1, users={"alice": "a", "bob": "b"}, udp_relay={"n2": {"owner-quota": 3}},
                   listeners=[{"listen": "127.0.0.1:0", "methods": ["username-password"]}])

    def associate(user, password):
        return sockets.keep(udp.Association(system.address, user=user, password=password))
    crowd = [associate("alice", "a") for _ in range(3)]
    assert [a.reply.code for a in crowd] == [socks.SUCCEEDED] * 3
    assert associate("alice", "a").reply.code == socks.GENERAL_FAILURE
    assert associate("bob", "b").reply.code == socks.SUCCEEDED
    assert system.access(user="alice", reply="overloaded")["reason"] == "refused_by_relay"
    crowd[0].close()
    daemons.wait_until(lambda: system.relay.status()["load"]["associations"] == 3, "one less")
    assert associate("alice", "a").reply.code == socks.SUCCEEDED


def test_without_users_an_address_is_the_owner(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"n2": {"owner-quota": 1}})
    a = sockets.keep(udp.Association(system.address))
    assert a.reply.code == socks.SUCCEEDED
    assert sockets.keep(udp.Association(system.address)).reply.code == socks.GENERAL_FAILURE
    assert sockets.keep(udp.Association(system.address, source="127.0.0.2")).reply.code == socks.SUCCEEDED


def test_it_counts_streams_too(start, sockets):
    system = start(relay={"n2": {"owner-quota": 1}})
    target = sockets.listener()
    host, port = target.getsockname()
    first, reply = socks.open5(system.address, socks.CONNECT, host, port)
    assert reply.code == socks.SUCCEEDED
    second, reply = socks.open5(system.address, socks.CONNECT, host, port)
    sockets.keep(second)
    assert reply.code == socks.GENERAL_FAILURE
    first.close()
    target.accept()[0].close()
    daemons.wait_until(lambda: system.relay.status()["load"]["associations"] == 0, "its end")
    third, reply = socks.open5(system.address, socks.CONNECT, host, port)
    sockets.keep(third)
    assert reply.code == socks.SUCCEEDED

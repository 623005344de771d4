"""Few ports: unlocked associations of an address have one each, locked ones share."""

import socks
import udp

NO_PORT = 'socksd_relay_refusals_total{reason="no_port"}'


def start_with(start, first, last):
    return start(relays=0, udp=1, udp_relay={"relay": {"ports": f"{first}-{last}"}})


def test_the_third_unlocked_of_an_address_gets_no_port(start, sockets):
    first, last = udp.free_range(2)
    system = start_with(start, first, last)
    target = sockets.keep(udp.udp_socket())
    pair = [sockets.keep(udp.Association(system.address)) for _ in range(2)]
    assert {a.bound[1] for a in pair} == {first, last}
    for count in (1, 2):
        third = sockets.keep(udp.Association(system.address))
        assert third.reply == (socks.GENERAL_FAILURE, "0.0.0.0", 0)
        assert third.closed()
        assert system.server.metric(NO_PORT) == count
    assert system.relay.metric('relayd_refusals_total{reason="no_port"}') == 2
    assert system.relay.metric('relayd_refusals_total{reason="cannot_bind"}') == 0
    record = system.access(command="udp-associate")
    assert (record["prog"], record["reason"]) == ("socksd", "refused_by_relay")

    elsewhere = [sockets.keep(udp.Association(system.address, source="127.0.0.2")) for _ in range(2)]
    assert {a.bound[1] for a in elsewhere} == {first, last}, "another address has all of them"
    for a in pair + elsewhere:
        udp.exchange(a, target)
    assert sockets.keep(udp.Association(system.address)).reply.code == socks.GENERAL_FAILURE, \
        "locked ones are there: an unlocked one could take what is theirs"
    udp.wait_drops(system.relay)


def test_hundreds_of_hinted_ones_share_one(start, sockets):
    first, last = udp.free_range(1)
    system = start_with(start, first, last)
    target = sockets.keep(udp.udp_socket())
    crowd = [sockets.keep(udp.Association(system.address, True)) for _ in range(300)]
    assert {a.bound for a in crowd} == {("127.0.0.1", first)}
    outers = {udp.exchange(a, target, b"%d" % i) for i, a in enumerate(crowd)}
    assert len(outers) == len(crowd)
    assert udp.locks(system.relay) == {"hinted": len(crowd)}
    assert system.relay.metric('relayd_client_ports{state="open"}') == 1
    udp.wait_drops(system.relay)


def test_ports_that_another_process_has_are_passed_over(start, sockets):
    first, last = udp.free_range(3)
    taken = sockets.keep(udp.udp_socket("127.0.0.1", first + 1))
    system = start_with(start, first, last)
    target = sockets.keep(udp.udp_socket())
    pair = [sockets.keep(udp.Association(system.address)) for _ in range(2)]
    assert {a.bound[1] for a in pair} == {first, last}
    third = sockets.keep(udp.Association(system.address))
    assert third.reply.code == socks.GENERAL_FAILURE
    assert system.server.metric(NO_PORT) == 1, "none is left; the address as such is fine"
    taken.close()
    third = sockets.keep(udp.Association(system.address))
    assert third.bound[1] == first + 1
    udp.exchange(third, target)

"""UDP ASSOCIATE through the real daemons."""

import socks
import udp


def test_datagrams_go_both_ways_and_leave_a_record(start):
    system = start(relays=0, udp=1)
    with udp.udp_socket() as target:
        with udp.Association(system.address) as a:
            assert a.reply.code == socks.SUCCEEDED and a.reply.host == "127.0.0.1"
            assert udp.exchange(a, target)[1] != a.bound[1]
            udp.exchange(a, target, b"")
            udp.exchange(a, target, b"x" * 65000)
            client = a.sock.getsockname()
        record = system.access(command="udp-associate")
    assert record["prog"] == "socksd" and record["reason"] == "control_closed"
    assert record["source"] == f"{client[0]}:{client[1]}"
    assert (record["datagrams_up"], record["datagrams_down"]) == ("3", "3")
    assert (record["octets_up"], record["octets_down"]) == ("65004", "65013")

"""Associations that nobody uses: they are in nobody's way, and end."""

import socks
import udp
from daemons import wait_until

SILENT = 16


def test_sixteen_silent_ones_keep_no_seventeenth_out_and_end(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"relay": {"unused-timeout": "1s"}})
    target = sockets.keep(udp.udp_socket())
    silent = [sockets.keep(udp.Association(system.address)) for _ in range(SILENT)]
    used = sockets.keep(udp.Association(system.address))
    ports = {a.bound for a in [*silent, used]}
    assert len(ports) == SILENT + 1, "one port each"
    assert system.relay.metric('relayd_associations_active{state="unlocked"}') == SILENT + 1
    udp.exchange(used, target)
    assert all(a.closed() for a in silent), "their control connections are closed"
    wait_until(lambda: len(system.records("access", reason="unused")) == SILENT, "the records")
    for record in system.records("access", reason="unused"):
        assert (record["datagrams_up"], record["octets_up"], record["dropped"]) == ("0", "0", "0")
        assert "source" not in record, "it was never known"
    assert system.relay.metric('relayd_associations_ended_total{reason="unused"}') == SILENT
    assert system.server.metric('socksd_associations_ended_total{reason="unused"}') == SILENT
    assert system.relay.status()["load"]["associations"] == 1
    udp.exchange(used, target)                  # the one in use is not one of them


def test_a_hinted_one_that_is_silent_ends_too(start, sockets):
    system = start(relays=0, udp=1, udp_relay={"relay": {"unused-timeout": "200ms"}})
    a = sockets.keep(udp.Association(system.address, True))
    assert a.closed()
    assert system.access(command="udp-associate")["reason"] == "unused"


def test_what_is_no_datagram_of_the_client_is_no_use(start, sockets):
    """Bad headers, and strangers: the association has still not been used."""
    system = start(relays=0, udp=1, udp_relay={"relay": {"unused-timeout": "500ms"}})
    a = sockets.keep(udp.Association(system.address))
    stranger = sockets.keep(udp.udp_socket("127.0.0.2"))
    a.send_raw(b"\0\0\0\1\x7f")
    stranger.sendto(udp.header("127.0.0.1", 53) + b"x", a.bound)
    udp.wait_drops(system.relay, header=1, stranger=1)
    assert a.closed()
    assert system.access(command="udp-associate")["reason"] == "unused"


def test_their_ports_are_free_again(start, sockets):
    """Not at once: what they leave rests first."""
    first, last = udp.free_range(2)
    system = start(relays=0, udp=1, udp_relay={
        "relay": {"unused-timeout": "300ms", "ports": f"{first}-{last}", "port-rest": "300ms"}})
    silent = [sockets.keep(udp.Association(system.address)) for _ in range(2)]
    assert {a.reply.code for a in silent} == {socks.SUCCEEDED}
    assert all(a.closed() for a in silent)

    def served():
        with udp.Association(system.address) as a:
            return a.reply.code == socks.SUCCEEDED
    wait_until(served, "a port")

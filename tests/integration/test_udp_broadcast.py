"""Multicast and broadcast need a rule that names them, and even then the host sends no broadcast."""

import udp
import udp_checks

GROUPS = ["224.0.0.1", "239.255.255.250", "255.255.255.255", "ff02::1", "ff05::2", "::ffff:224.0.0.1",
          "::ffff:255.255.255.255"]


def test_they_are_denied_by_default(start, sockets):
    system = udp_checks.begin(start, rules=[{"allow": {"to": udp_checks.LOCAL}},
                                            {"allow": {"to": ["0.0.0.0/0", "::/0"]}}, {"allow": {}}])
    target = sockets.keep(udp.udp_socket())
    with udp.Association(system.address) as a:
        with udp_checks.dropping(system.relay, denied=len(GROUPS)):
            for host in GROUPS:
                a.send((host, 9), b"x")
        udp.exchange(a, target)
    assert system.access(command="udp-associate")["datagrams_up"] == "1"


def test_a_broadcast_that_is_allowed_harms_nothing(start, sockets):
    """The kernel refuses it to a socket that has not asked for it."""
    system = udp_checks.begin(start, rules=[{"allow": {"to": ["255.255.255.255", "127.0.0.0/8"]}}])
    target = sockets.keep(udp.udp_socket())
    with udp.Association(system.address) as a:
        for _ in range(5):
            a.send(("255.255.255.255", 9), b"x")
            a.send(("127.255.255.255", 9), b"x")
            udp.exchange(a, target)
        assert system.relay.metric('relayd_engine_errors_total{error="send_failed"}') == 10

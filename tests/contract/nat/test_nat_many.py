"""Ten thousand associations on one port, each of them its own."""

import random
import time

from nat_world import UDP

MANY = 10000


def test_ten_thousand_on_one_port(world):
    """A hundred client addresses, a hundred ports each."""
    world.client.sh("for i in $(seq 1 100); do ip addr add 10.3.0.$i/32 dev lo; done")
    world.relay.ip("route add 10.3.0.0/24 via 10.1.0.2")
    d = world.driver()
    d.hold("10.1.0.1:30000", UDP)
    d.lease()
    for port in range(40000, 40100):
        d.tell(f"fill {MANY // 100} 17 10.3.0.1:{port} 10.1.0.1:30000 10.2.0.2:53 1 100")
        d.expect("filled")
    assert d.stats()["live"] == MANY
    far = world.target_udp()
    for _ in range(50):
        source = (f"10.3.0.{random.randint(1, 100)}", random.randint(40000, 40099))
        near = world.client.udp(source)
        near.sendto(repr(source).encode(), ("10.1.0.1", 30000))
        data, peer = far.recvfrom(100)
        assert data == repr(source).encode()
        far.sendto(data, peer)
        assert near.recv(100) == data
        near.close()
    stranger = world.keep(world.client.udp(("10.3.0.1", 40100)))
    before = world.seen()
    stranger.sendto(b"x", ("10.1.0.1", 30000))
    time.sleep(0.2)
    assert world.seen() == before
    d.tell("drain 1000")
    d.expect("drained", 30)
    assert d.stats()["entries"] == 0
    assert not [line for line in world.tracked() if "dst=10.1.0.1 sport" in line]

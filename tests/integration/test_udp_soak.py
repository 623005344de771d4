"""Twenty thousand UDP associations leave nothing behind: most carry a datagram there and back, some
are silent, some end by RST, with a datagram or the request itself on its way, some have a second
socket (tests/bench/load_udp_soak.c)."""

import os

import pytest

import soak

COUNT = int(os.environ.get("UDP_SOAK", "20000"))
GROWTH = 8 << 20        # resident octets of a sanitized build, whose allocator keeps what it had


@pytest.fixture
def soaked(tmp_path):
    made = soak.Soak(tmp_path)
    yield made
    made.close()


def ended(server):
    return sum(value for name, value in server.metrics().items()
               if name.startswith("socksd_associations_ended_total"))


def complaints(soaked):
    return {(r["prog"], r["event"], r.get("error", r.get("reason"))) for r in soaked.complaints()}


@pytest.mark.slow
def test_twenty_thousand_associations_leave_nothing_behind(soaked):
    before = soaked.figures()
    results = [soaked.run(COUNT // 5)]
    soaked.settle()
    first = soaked.figures()
    results.append(soaked.run(COUNT - COUNT // 5))
    soaked.settle({name: figures.descriptors for name, figures in before.items()})
    for daemon in soaked.daemons:
        figures = soaked.figures()[daemon.name]
        assert figures.held == 0, daemon.name
        assert figures.descriptors <= before[daemon.name].descriptors, (daemon.name,
                                                                        daemon.descriptors())
        assert figures.memory - first[daemon.name].memory < GROWTH, (daemon.name, first, figures)
    assert not complaints(soaked)
    assert ended(soaked.server) == soaked.server.metric("socksd_associations_total")
    # What second sockets sent, and nothing else, came from a port that was not the client's.
    assert (soaked.relay.metric('relayd_drops_total{reason="source_port"}')
            == sum(result["two_sockets"] for result in results))

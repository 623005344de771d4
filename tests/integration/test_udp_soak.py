"""Twenty thousand UDP associations leave nothing behind: most carry a datagram there and back, some
are silent, some end by RST, with a datagram or the request itself on its way, some have a second
socket (tests/bench/load_udp_soak.c)."""

import os

import pytest

import soak

COUNT = int(os.environ.get("UDP_SOAK", "20000"))
GROWTH = 8 << 20        # resident octets, of a sanitized build: its allocator keeps what it had


@pytest.fixture
def soaked(tmp_path):
    made = soak.Soak(tmp_path)
    yield made
    made.close()


def of_each(complaints):
    return sorted({(r["prog"], r["event"], r.get("error", r.get("reason", ""))) for r in complaints})


@pytest.mark.slow
def test_associations_leave_nothing_behind(soaked):
    before = soaked.figures()
    soaked.run(COUNT // 5)
    soaked.settle()
    first = soaked.figures()
    soaked.run(COUNT - COUNT // 5)
    soaked.settle({name: figures.descriptors for name, figures in before.items()})
    last = soaked.figures()
    for name, figures in last.items():
        assert figures.held == 0, name
        assert figures.descriptors <= before[name].descriptors, (
            name, [d.descriptors() for d in soaked.daemons if d.name == name])
        assert figures.memory - first[name].memory < GROWTH, (name, first[name], figures)
    assert of_each(soaked.complaints()) == []

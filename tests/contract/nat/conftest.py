"""The kernel NAT of shared/nat, tested from outside: real packets through three networks.

    NAT_DRIVER=build/asan/tests/contract/nat_driver /usr/bin/python3 -B -m pytest tests/contract/nat
"""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "lib"))

import nat_world                                                    # noqa: E402

REASON = nat_world.why_not()


@pytest.fixture
def world():
    if REASON:
        pytest.skip(REASON)
    assert pathlib.Path(nat_world.DRIVER).exists(), f"{nat_world.DRIVER} is not built"
    w = nat_world.World()
    yield w
    w.close()

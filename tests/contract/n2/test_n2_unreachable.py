"""Causes that only a network gives, in a network namespace made for the purpose."""

import os
import shutil
import subprocess

import pytest

from n2wire import verdict

# Inside there are loopback, a route that answers "host unreachable", one that answers "prohibited",
# and no default route.
SETUP = ("ip link set lo up && ip route add unreachable 192.0.2.0/24 "
         "&& ip route add prohibit 198.51.100.0/24 && exec \"$@\"")
PREFIX = ["unshare", "--net", "sh", "-c", SETUP, "sh"]


@pytest.fixture
def isolated_server(own_relay, servers):
    if os.geteuid() != 0:
        pytest.skip("only root can make a network namespace")
    if not shutil.which("unshare") or not shutil.which("ip"):
        pytest.skip("unshare or ip is not installed")
    if subprocess.run(PREFIX + ["true"], capture_output=True).returncode != 0:
        pytest.skip("no network namespace can be made here")
    return servers(own_relay(PREFIX))


def test_no_route_is_network_unreachable(isolated_server):
    message = isolated_server.connect_message(("203.0.113.1", 80))
    assert verdict(isolated_server.open_refused(message)) == "UNREACHABLE NETWORK_UNREACHABLE"


def test_an_unreachable_host_is_host_unreachable(isolated_server):
    message = isolated_server.connect_message(("192.0.2.1", 80))
    assert verdict(isolated_server.open_refused(message)) == "UNREACHABLE HOST_UNREACHABLE"


def test_a_prohibited_destination_is_unreachable_for_some_cause(isolated_server):
    message = isolated_server.connect_message(("198.51.100.1", 80))
    assert verdict(isolated_server.open_refused(message)).startswith("UNREACHABLE ")

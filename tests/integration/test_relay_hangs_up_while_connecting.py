"""A relay that is killed while it starts hangs up on socksd in the middle of a handshake: however often
that happens, the relay that comes at last is used."""

import contextlib
import os
import socket
import time

import socks
from daemons import Relay


def hang_up_on_everybody(path, seconds):
    """Listens where the relay should, accepts, and closes."""
    accepted = 0
    until = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(16)
        listener.settimeout(0.2)
        while time.monotonic() < until:
            with contextlib.suppress(TimeoutError):
                listener.accept()[0].close()
                accepted += 1
    os.unlink(path)
    return accepted


def test_the_relay_that_comes_at_last_is_used(start, sockets, target, tmp_path_factory):
    directories = [tmp_path_factory.mktemp("s") for _ in range(4)]      # each has accidents of its own
    systems = [start(relays=0, urls=[f"ipc://{d}/relay-0.n2"], ready=0) for d in directories]
    for directory in directories:
        assert hang_up_on_everybody(f"{directory}/relay-0.n2", 1) > 0
    for directory, system in zip(directories, systems):
        system.daemons.append(Relay(directory))
    for system in systems:
        system.server.wait_relays(1)
        client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
        sockets.keep(client)
        assert reply.code == socks.SUCCEEDED

"""A log that nobody reads stops nobody."""

import fcntl
import os

import socks
from daemons import parse_logfmt, wait_until

F_SETPIPE_SZ = 1031


def test_a_full_pipe_as_stderr_does_not_stop_service(start, sockets, target):
    reader, writer = os.pipe()
    fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 100)
    except BlockingIOError:
        pass
    os.set_blocking(writer, True)
    system = start(stderr=writer, wait=False)
    os.close(writer)
    wait_until(lambda: os.path.exists(system.server.status_path), "the status socket")
    system.address, = system.server.listeners()
    system.server.wait_relays(1)
    # The records of refused clients are socksd's own: far more than its buffer holds.
    for _ in range(600):
        client, reply = socks.open5(system.address, socks.CONNECT, "127.0.0.9", 1)
        client.close()
        assert reply.code == socks.REFUSED
    assert system.server.metric("socksd_log_dropped_total") > 0
    client, reply = socks.open5(system.address, socks.CONNECT, *target.getsockname())
    sockets.keep(client)
    assert reply.code == socks.SUCCEEDED
    client.sendall(b"through")
    assert socks.read_exactly(sockets.accept(target), 7) == b"through"

    # Whole records come once somebody reads.
    os.set_blocking(reader, False)
    os.read(reader, 1 << 20)
    socks.open5(system.address, socks.CONNECT, "127.0.0.9", 1)[0].close()
    wait_until(lambda: system.server.get("/livez")[0] == 200, "an iteration")
    text = os.read(reader, 1 << 20).decode()
    os.close(reader)
    assert text and all(parse_logfmt(line) for line in text.splitlines())

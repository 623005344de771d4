"""A BIND waits for its peer for so long, and not longer."""

import time

import pytest

import socks

VERSIONS = {4: (socks.open4, socks.read_reply4, socks.REJECTED4),
            5: (socks.open5, socks.read_reply5, socks.TTL_EXPIRED)}


@pytest.mark.parametrize("version", VERSIONS)
def test_when_no_peer_comes_the_second_reply_says_so(start, sockets, version):
    opener, read_reply, code = VERSIONS[version]
    system = start(server={"timeouts": {"bind": "600ms"}})
    client, first = opener(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    began = time.monotonic()
    assert read_reply(client).code == code
    assert time.monotonic() - began >= 0.5
    assert socks.read_all(client) == b""
    with pytest.raises(ConnectionRefusedError):
        socks.dial((first.host, first.port))
    assert system.access(command="bind")["reply"] == "timed_out"


def test_the_time_limit_is_not_that_of_the_request(start, sockets):
    system = start(server={"timeouts": {"bind": "20s", "connect": "200ms", "handshake": "300ms"}})
    client, first = socks.open5(system.address, socks.BIND, "127.0.0.1", 0)
    sockets.keep(client)
    time.sleep(0.8)
    peer = sockets.keep(socks.dial((first.host, first.port)))
    assert socks.read_reply5(client) == (socks.SUCCEEDED, *peer.getsockname())

"""Logs as JSON: one object per line, hostile names included."""

import copy
import json

import socks
from daemons import wait_until


def records(daemon):
    found = []
    for line in daemon.log.text().splitlines():
        if line.startswith("{"):
            found.append(json.loads(line))
    return found


def test_every_record_is_a_json_object(system, sockets, target):
    """Switched on by a reload, which also shows that this works."""
    config = copy.deepcopy(system.server.config)
    config["log"] = {"format": "json"}
    system.server.write_config(config)
    system.server.hang_up()
    wait_until(lambda: [r for r in records(system.server) if r["event"] == "reloaded"], "the reload")
    relay_config = json.loads(system.relay.config_path.read_text())
    relay_config["log"] = {"format": "json"}
    system.relay.config_path.write_text(json.dumps(relay_config))
    system.relay.hang_up()
    wait_until(lambda: [r for r in records(system.relay) if r["event"] == "reloaded"], "the reload")

    userid = b'"},{"event":"\r\n\\ \xff'
    client, reply = socks.open4(system.address, socks.CONNECT, *target.getsockname(), userid)
    assert reply.code == socks.GRANTED4
    client.close()
    sockets.accept(target).close()
    record, = wait_until(lambda: [r for r in records(system.relay) if r["event"] == "access"], "the record")
    assert record["octets_up"] == 0 and record["userid"].startswith('"},{"event":"\r\n\\ ')
    for daemon in system.daemons:
        daemon.checked = True                   # its log is no logfmt

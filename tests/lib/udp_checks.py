"""What tests of single datagrams ask again and again: a system for them, what was dropped, reloads."""

import contextlib
import json
import threading

import daemons
import fakedns
import udp

LOCAL = ["127.0.0.0/8", "::1"]
UPDATES = 'relayd_n2_calls_total{call="update"}'
# Names that are never answered are given up soon.
RESOLVER = {"timeout": "300ms", "tries": 1}


def begin(start, rules=None, names=None, relay=None, resolver=None, **options):
    """One socksd, one relayd-udp. names: a FakeDNS for the relay; relay: keys of its `relay:`."""
    config = {"relay": relay or {}}
    if names is not None:
        config["resolver"] = {"servers": [names.address]} | (RESOLVER if resolver is None else resolver)
    return start(relays=0, udp=1, udp_relay=config, rules=rules, **options)


@contextlib.contextmanager
def dropping(relay, timeout=5, **reasons):
    """What happens within it makes the relay drop exactly these datagrams."""
    def count():
        return udp.counts(relay, "relayd_drops_total", "reason")

    def more():
        now = count()
        return {r: now[r] - before.get(r, 0) for r in now if now[r] != before.get(r, 0)}
    before = count()
    yield
    with contextlib.suppress(AssertionError):
        daemons.wait_until(lambda: more() == reasons, timeout=timeout)
    assert more() == reasons


def got(target):
    """The payload that comes next."""
    return target.recvfrom(65536)[0]


def nothing_waits(target):
    """Nothing has come to it. Only after something later has been seen to arrive elsewhere."""
    target.setblocking(False)
    try:
        return not target.recvfrom(65536)
    except BlockingIOError:
        return True
    finally:
        target.settimeout(30)


def reload(daemon, config=None):
    """SIGHUP, with a file changed before; the record that answers it."""
    def answers():
        return daemon.log.records("reloaded") + daemon.log.records("reload_failed")
    if config is not None:
        text = config if isinstance(config, str) else json.dumps(config)
        daemon.config_path.write_text(text)
    before = len(answers())
    daemon.hang_up()
    daemons.wait_until(lambda: len(answers()) > before, f"the reload of {daemon.name}")
    return max(answers(), key=lambda r: r["ts"])


def reload_rules(system, rules, updates=None, **changes):
    """New rules for socksd, and so many associations that have them now (all that run by default)."""
    if updates is None:
        updates = len(system.relay.associations())
    before = system.relay.metric(UPDATES)
    record = reload(system.server, system.server.config | {"rules": rules} | changes)
    assert record["event"] == "reloaded", record
    daemons.wait_until(lambda: system.relay.metric(UPDATES) >= before + updates, "the updates")


def relay_config(relay):
    return json.loads(relay.config_path.read_text())


class HeldDNS(fakedns.FakeDNS):
    """Answers nothing until it is let go."""

    def __init__(self, *arguments, **options):
        self._free = threading.Event()
        super().__init__(*arguments, **options)

    def let_go(self):
        self._free.set()

    def close(self):
        self._free.set()
        super().close()

    def _answer(self, message):
        self._free.wait(30)
        return super()._answer(message)

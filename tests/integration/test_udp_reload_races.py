"""SIGHUP of socksd while a relay opens an association: what it was opened with is not what it lives with."""

import contextlib
import signal
import threading

import pytest

import socks
import udp
import udp_checks
from daemons import wait_until

A, B = "127.0.0.2", "127.0.0.3"
OLD, NEW = [{"allow": {"to": [A]}}], [{"allow": {"to": [B]}}]


@pytest.fixture
def ends(sockets):
    return [sockets.keep(udp.udp_socket(host)) for host in (A, B)]


@pytest.fixture
def system(start):
    return udp_checks.begin(start, rules=OLD)


def known(system):
    """Associations that socksd has or has asked for."""
    return system.server.relays()[0]["associations"]


class Opening:
    """Clients whose Opens are with a relay that does not move, until this ends."""

    def __init__(self, system, sockets, count):
        self.associations = []
        self._system, self._sockets = system, sockets
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(count)]

    def _ask(self):
        self.associations.append(self._sockets.keep(udp.Association(self._system.address)))

    def __enter__(self):
        self._system.relay.signal(signal.SIGSTOP)
        for thread in self._threads:
            thread.start()
        wait_until(lambda: known(self._system) == len(self._threads), "the Opens")
        return self.associations

    def __exit__(self, *exception):
        self._system.relay.signal(signal.SIGCONT)
        for thread in self._threads:
            thread.join(30)
        assert len(self.associations) == len(self._threads)


def reload_rules(system, rules):
    assert udp_checks.reload(system.server, system.server.config | {"rules": rules})["event"] == "reloaded"


def wait_updates(system, count):
    wait_until(lambda: system.relay.metric(udp_checks.UPDATES) == count, "the updates")
    wait_until(lambda: system.relay.metric("relayd_rule_sets") == 1, "the end of the old rules")


@pytest.mark.parametrize("count, reloads", [(1, [NEW]), (1, [OLD, NEW, OLD, NEW]), (40, [NEW])])
def test_it_has_the_new_rules(system, sockets, ends, count, reloads):
    with Opening(system, sockets, count) as crowd:
        for rules in reloads:
            reload_rules(system, rules)
    wait_updates(system, count)
    for a in crowd:
        assert a.reply.code == socks.SUCCEEDED
        with udp_checks.dropping(system.relay, denied=1):
            a.send(ends[0].getsockname(), b"forbidden by now")
            udp.exchange(a, ends[1])
    assert udp_checks.nothing_waits(ends[0])


def test_nothing_is_allowed_any_more(system, sockets, ends):
    with Opening(system, sockets, 1) as crowd:
        reload_rules(system, [{"deny": {}}])
    wait_updates(system, 1)
    with udp_checks.dropping(system.relay, denied=2):
        for target in ends:
            crowd[0].send(target.getsockname(), b"x")
    assert all(udp_checks.nothing_waits(target) for target in ends)


def test_the_idle_time_is_the_new_one(system, sockets, ends):
    with Opening(system, sockets, 1) as crowd:
        udp_checks.reload(system.server, system.server.config | {"timeouts": {"idle": "1s"}})
    udp.exchange(crowd[0], ends[0])
    assert crowd[0].closed()
    assert system.access(command="udp-associate")["reason"] == "idle_timeout"


def test_a_broken_file_changes_nothing(system, sockets, ends):
    with Opening(system, sockets, 1) as crowd:
        assert udp_checks.reload(system.server, "rules: [\n")["event"] == "reload_failed"
    with udp_checks.dropping(system.relay, denied=1):
        crowd[0].send(ends[1].getsockname(), b"x")
        udp.exchange(crowd[0], ends[0])
    assert system.relay.metric(udp_checks.UPDATES) == 0


def test_who_comes_after_a_reload_needs_no_update(system, sockets, ends):
    reload_rules(system, NEW)
    with udp.Association(system.address) as a, udp_checks.dropping(system.relay, denied=1):
        a.send(ends[0].getsockname(), b"x")
        udp.exchange(a, ends[1])
    assert system.relay.metric(udp_checks.UPDATES) == 0


def test_clients_that_leave_meanwhile_leave_nothing(system, sockets, ends):
    """They ask, and are gone before the relay has answered."""
    system.relay.signal(signal.SIGSTOP)
    clients = [sockets.keep(socks.dial(system.address)) for _ in range(20)]
    for client in clients:
        client.sendall(socks.greeting5(socks.NONE) + socks.request5(socks.UDP_ASSOCIATE, *udp.ANY))
    wait_until(lambda: known(system) == len(clients), "the Opens")
    reload_rules(system, NEW)
    for client in clients:
        client.close()
    system.relay.signal(signal.SIGCONT)
    wait_until(lambda: known(system) == 0 and not system.relay.associations(), "the end of them all")
    with contextlib.closing(udp.Association(system.address)) as a:
        udp.exchange(a, ends[1])

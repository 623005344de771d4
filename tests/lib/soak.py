"""UDP associations without number: one socksd, one relayd-udp, and `socksbench udp-soak` as client.

    soak = Soak(directory)
    result = soak.run(4000)             opens, uses and closes so many; fails if one failed
    soak.settle()                       waits until nothing is held any more
    soak.figures()                      {"socksd": Figures(...), "relayd-udp": Figures(...)}
    soak.close()
"""

import collections
import contextlib
import json
import os
import pathlib
import subprocess

import daemons

Figures = collections.namedtuple("Figures", "memory descriptors held")

# Not where the relay sends from: a reply to a client that has left may meet a socket of the relay
# on the same port, and would be let in there as if the target had sent it.
TARGET = "127.0.0.2"
# Short, so that the table of what rests has met its size after seconds.
RELAY = {"port-rest": "1s"}
# Freed memory would wait there, and look like a leak.
SANITIZER = {"ASAN_OPTIONS": "detect_leaks=1:exitcode=99:abort_on_error=0:quarantine_size_mb=1:"
                             "thread_local_quarantine_size_kb=64"}


def generator():
    """socksbench is built without sanitizers, one level up from a build that has them."""
    for directory in (daemons.build_dir(), daemons.build_dir().parent):
        if (directory / "socksbench").exists():
            return str(directory / "socksbench")
    raise AssertionError(f"socksbench is neither in {daemons.build_dir()} nor above it: build it")


class UdpRelay(daemons.Daemon):
    def __init__(self, directory, config, environment):
        self.url = f"ipc://{directory}/udp.n2"
        status = f"{directory}/udp.status"
        path = directory / "relayd-udp.yaml"
        path.write_text(json.dumps(config | {"n2": {"listen": [self.url]},
                                             "status": {"listen": [f"unix:{status}"]}}))
        super().__init__("relayd-udp", [daemons.program("relayd-udp"), "-c", path], directory,
                         status=status, environment=environment)


class Soak:
    def __init__(self, directory, log_level="info", relay=RELAY):
        directory = pathlib.Path(directory)
        log = {"level": log_level}
        self.daemons = []
        self.target = subprocess.Popen([generator(), "target", TARGET], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, text=True)
        try:
            self.echo = json.loads(self.target.stdout.readline())["udp_echo"]
            self.relay = UdpRelay(directory, {"relay": relay, "log": log}, SANITIZER)
            self.daemons.append(self.relay)
            self.server = daemons.Server(directory, {
                "listeners": [{"listen": "127.0.0.1:0"}], "rules": daemons.LOOPBACK,
                "relays": [{"url": self.relay.url}], "log": log}, environment=SANITIZER, wait=False)
            self.daemons.insert(0, self.server)
            daemons.wait_until(self.ready, "socksd with its relay")
        except BaseException:
            self.close(gently=False)
            raise
        self.address = self.server.listeners()[0]

    def ready(self):
        for daemon in self.daemons:
            assert daemon.alive(), daemon.log.text()
        with contextlib.suppress(OSError):
            return [r for r in self.server.relays() if r["state"] == "ready"]

    def run(self, count, streams=64, seconds=3600):
        """The generator's last line. Fails when an association did not do what it should."""
        host, port = self.address
        done = subprocess.run([generator(), "udp-soak", "--server", f"{host}:{port}", "--target",
                               f"{TARGET}:{self.echo}", "--count", str(count), "--streams",
                               str(streams), "--seconds", str(seconds)], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        result = json.loads(done.stdout.splitlines()[-1])
        assert done.returncode == 0 and result["count"] == count, result
        # What is under way to a port that was somebody else's a moment ago: once in a million.
        assert result["stale"] <= 1 + count // 10000, result
        return result

    def held(self, daemon):
        load = daemon.status()["load"]
        return load.get("sessions", 0) + load["associations"]

    def settle(self, descriptors=None):
        """descriptors: how many to come down to, by daemon; sockets of ports that rest stay for a
        while."""
        daemons.wait_until(lambda: not any(self.held(d) for d in self.daemons), "empty daemons")
        if descriptors:
            def restored():
                return all(len(d.descriptors()) <= descriptors[d.name] for d in self.daemons)
            with contextlib.suppress(AssertionError):   # the caller says what is too many
                daemons.wait_until(restored, timeout=20)

    def figures(self):
        return {d.name: Figures(d.memory(), len(d.descriptors()), self.held(d))
                for d in self.daemons}

    def complaints(self):
        """Records of warnings and errors."""
        return [r for d in self.daemons for r in d.log.records() if r["level"] in ("warn", "error")]

    def close(self, gently=True):
        """Fails for what a daemon left behind; gently=False: just ends them."""
        self.target.stdin.close()
        self.target.wait()
        for daemon in self.daemons:
            if gently:
                daemon.finish()
            elif daemon.alive():
                daemon.kill()

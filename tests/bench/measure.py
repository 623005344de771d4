"""One cell: a mode on a server. And the rounds of all cells."""

import json
import os
import random
import signal
import subprocess
import sys
import time

from accounts import Memory, choose_account
from places import Loopback, Veth
from servers import Failed, Instance

ENDING = {signal.SIGINT, signal.SIGTERM}


class Bench:
    def __init__(self, options, directory):
        self.options = options
        self.dir = directory
        self.instances = []  # started and not yet stopped: one, but for a moment
        self.generator = os.path.join(options.build, "socksbench")
        self.new_account, self.account_kind = choose_account()
        cpus = sorted(os.sched_getaffinity(0))
        self.pinned = not options.unpinned and len(cpus) > 1
        self.server_cpus, self.load_cpus = ({cpus[0]}, {cpus[1]}) if self.pinned else (cpus, cpus)
        self.places = {}

    def start(self, argv, cpus, account=None, **how):
        """Signals wait until the account knows the process: nothing is started and forgotten."""
        def enter():
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
            os.sched_setaffinity(0, cpus)
            if account:
                account.enter()
            else:  # generator and target share a CPU: no wake-up preempts the other
                os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            if self.options.boost:
                with open("/proc/self/autogroup", "w") as f:
                    f.write("-20")
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        try:
            process = subprocess.Popen(argv, start_new_session=True, preexec_fn=enter, **how)
            if account:
                account.process = process
            return process
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def close(self):
        self.stop_servers()
        while self.places:
            self.places.popitem()[1].close()

    def place(self, name):
        if name not in self.places:
            self.places[name] = (Veth if name == "veth" else Loopback)(self)
        return self.places[name]

    def stop_servers(self):
        """Not to be interrupted half-way: a second signal would leave processes behind."""
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        while self.instances:
            self.instances[-1].stop()
            self.instances.pop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def measure(self, mode, command):
        """One cell of one round: a dict of figures. Raises Failed."""
        server = None
        place = self.place(mode.place)
        try:
            if command:
                server = Instance(self, command, place, "udp" if mode.udp else "tcp")
            return self.measure_with(mode, place, server)
        except Failed as e:
            if server and server.ended():
                raise Failed(f"{e}; the server ended: {server.last_words()}")
            raise
        finally:
            self.stop_servers()

    def measure_with(self, mode, place, server):
        argv = [*place.load_prefix, self.generator, *mode.arguments(place), "--gated",
                "--target-pid", str(place.target.pid), "--warm-up", str(self.options.warm_up),
                "--seconds", str(30 if mode.held else self.options.seconds)]
        if server:
            argv += ["--server", server.address()]
        rest = self.at_rest(server) if mode.held else None
        load = self.start(argv, self.load_cpus, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True)
        try:
            self.next_line(load, "ready")
            if mode.held:
                return self.held(mode, server, rest, load)
            before = server.account.cpu_seconds() if server else 0
            self.go(load)
            result = self.next_line(load, "seconds")
            spent = server.account.cpu_seconds() - before if server else None
            self.go(load)
        finally:
            load.stdin.close()
            try:
                load.wait(timeout=2)
            except subprocess.TimeoutExpired:
                load.kill()
                load.wait()
        return self.figures(mode, result, spent)

    @staticmethod
    def go(load):
        try:
            load.stdin.write("\n")
            load.stdin.flush()
        except BrokenPipeError:
            raise Failed("the generator ended")

    @staticmethod
    def next_line(load, wanted):
        """The generator bounds its own time, so this ends."""
        line = load.stdout.readline()
        if not line:
            raise Failed(f"the generator ended with status {load.wait()}")
        line = json.loads(line)
        if wanted not in line:
            raise Failed(f"{line['first_failure']} ({line['failed']} failures, "
                         f"{line['open']} connections open)")
        if line.get("failed"):
            raise Failed(f"{line['first_failure']} ({line['failed']} failures beside "
                         f"{line['count']} successes)")
        return line

    @staticmethod
    def figures(mode, result, spent):
        if result["count"] == 0:
            raise Failed("nothing passed")
        figures = {"value": mode.value(result),
                   "generator": result["cpu_own"] + result["cpu_target"], "result": result}
        if mode.kind not in ("bulk", "udp-flood"):
            figures["p50_us"] = result["latency_us"]["p50"]
            figures["p99_us"] = result["latency_us"]["p99"]
        if mode.kind == "rate":
            figures["handshake_p50_us"] = result["handshake_us"]["p50"]
            figures["handshake_p99_us"] = result["handshake_us"]["p99"]
        if mode.lost(result) is not None:
            figures["lost"] = mode.lost(result)
            figures["sink_dropped"] = result.get("sink_dropped", 0)
        if spent is not None:
            figures["cpu"] = mode.cpu(result, spent)
            figures["server_cpu_share"] = spent / result["seconds"]
        return figures

    @staticmethod
    def at_rest(server):
        time.sleep(0.3)  # what it has just done for a connection may not be tidied up yet
        return Memory.read(server.account.pids())

    def held(self, mode, server, rest, load):
        now = self.at_rest(server)
        self.go(load)
        self.next_line(load, "seconds")
        names = set(now.descriptors) | set(rest.descriptors)
        return {"value": (now.pss - rest.pss) / mode.streams,
                "cpu": (now.dirty - rest.dirty) / mode.streams,
                "rest_pss_kib": rest.pss, "rest_dirty_kib": rest.dirty,
                "descriptors": {n: (now.descriptors[n] - rest.descriptors[n]) / mode.streams
                                for n in sorted(names)},
                "pss_of": {n: (now.pss_of[n] - rest.pss_of[n]) / mode.streams
                           for n in sorted(names)},
                "processes": dict(now.processes), "rest_processes": dict(rest.processes)}


def run_rounds(bench, modes, servers, rounds):
    """All cells: {(mode name, server): {"rounds": [...], "failures": [...]}}"""
    cells = {}
    for number in range(rounds):
        order = [(m, s) for m in modes for s in servers if m.takes(servers[s])]
        random.shuffle(order)
        for done, (mode, name) in enumerate(order):
            cell = cells.setdefault((mode.name, name), {"rounds": [], "failures": []})
            if sys.stderr.isatty():
                print(f"\r\033[Kround {number + 1}/{rounds} {done + 1}/{len(order)}: {mode.name} "
                      f"{name}", end="", file=sys.stderr, flush=True)
            try:
                cell["rounds"].append(bench.measure(mode, servers[name].command))
            except Failed as e:
                cell["failures"].append(str(e))
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return cells

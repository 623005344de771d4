"""Where a cell runs: generator, server and target on one loopback, or each in a network namespace
of its own, with a veth pair between neighbours:

    generator 10.77.1.2 ── 10.77.1.1 server 10.77.2.1 ── 10.77.2.2 target

The server's namespace is that of this process. It forwards, so that `direct` has a way."""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))

import netns  # noqa: E402


class Loopback:
    name = "loopback"
    listens = dials = target_host = "127.0.0.1"
    load_prefix = target_prefix = ()
    networks = ["127.0.0.0/8"]

    def __init__(self, bench):
        self.target = bench.start([*self.target_prefix, bench.generator, "target",
                                   self.target_host], bench.load_cpus, stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, text=True)
        self.ports = json.loads(self.target.stdout.readline())

    def at(self, service):
        return f"{self.target_host}:{self.ports[service]}"

    def close(self):
        self.target.stdin.close()
        self.target.wait()


class Veth(Loopback):
    name = "veth"
    listens, dials, target_host = "10.77.1.1", "10.77.2.1", "10.77.2.2"
    networks = ["10.77.2.0/24"]

    def __init__(self, bench):
        self.ends = []
        try:
            for own, other in (("10.77.1.1", "10.77.1.2"), (self.dials, self.target_host)):
                self.ends.append(self.connect(own, other))
            with open("/proc/sys/net/ipv4/ip_forward", "w") as f:
                f.write("1")
            self.load_prefix, self.target_prefix = (end.prefix for end in self.ends)
            super().__init__(bench)
        except (OSError, subprocess.SubprocessError):
            self.close_ends()
            raise

    def connect(self, own, other):
        """A namespace at the other end of a pair."""
        end = netns.NetNS()
        name = f"pair{len(self.ends)}"
        for words in (f"link add {name} type veth peer name eth0 netns {end.path}",
                      f"addr add {own}/24 dev {name}", f"link set {name} up"):
            subprocess.run(["ip", *words.split()], check=True)
        for words in (f"addr add {other}/24 dev eth0", "link set eth0 up",
                      f"route add default via {own}"):
            end.ip(words)
        return end

    def close_ends(self):
        while self.ends:
            self.ends.pop().close()

    def close(self):
        super().close()
        self.close_ends()


def why_no_veth(own_network):
    """Why there can be no Veth; None if there can."""
    if not own_network:
        return "this process has no network of its own"
    reason = netns.why_not()
    if reason:
        return reason
    for words in ("link add pair9 type veth peer name pair10", "link del pair9"):
        made = subprocess.run(["ip", *words.split()], capture_output=True, text=True)
        if made.returncode:
            return made.stderr.strip()
    return None

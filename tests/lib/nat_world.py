"""Three networks in a row, and shared/nat in the middle one, driven by hand.

    client 10.1.0.2, .3 ── relay 10.1.0.1 | 10.2.0.1 ── target 10.2.0.2, .3      (fd01::, fd02:: likewise)

The target has no route to the client's network: what reaches it must have been masqueraded, and
whatever reaches it is counted there.
"""

import os
import pathlib
import queue
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

import netns

ROOT = pathlib.Path(__file__).resolve().parents[2]
DRIVER = os.environ.get("NAT_DRIVER") or str(
    pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build" / "asan"))
    / "tests" / "contract" / "nat_driver")

TCP, UDP, SCTP, UDPLITE = 6, 17, 132, 136
MARK, MASK, TAGS = 0x4E010000, 0xFFFF0000, 0x0000FF00
PORTS = "30000-30999"

COUNT = """
table inet seen {
    counter payload { }
    chain in { type filter hook prerouting priority -300;
        meta l4proto { tcp, udp, sctp, udplite } counter name payload; }
}
"""


def why_not():
    """Why none of this can be had here; None if it can."""
    reason = netns.why_not()
    if reason:
        return reason
    for tool in ("conntrack", "nft", "sysctl"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    net = netns.NetNS()
    try:
        probe = subprocess.run([*net.prefix, "nft", "-f", "-"], input=COUNT, text=True,
                               capture_output=True)
        return None if probe.returncode == 0 else f"nft: {probe.stderr.strip()}"
    finally:
        net.close()


class Host(netns.NetNS):
    """A network with what tests do in it."""

    def __init__(self):
        super().__init__()
        self.pid = self.path.split("/")[2]

    def sh(self, command, **options):
        """Runs a shell command; its output."""
        return subprocess.run([*self.prefix, "sh", "-ec", command], check=True, text=True,
                              capture_output=True, **options).stdout

    def nft(self, text):
        """Loads rules."""
        subprocess.run([*self.prefix, "nft", "-f", "-"], input=text, check=True, text=True,
                       capture_output=True)

    def sysctl(self, *settings):
        subprocess.run([*self.prefix, "sysctl", "-q", "-w", *settings], check=True)

    def socket(self, address, kind=socket.SOCK_STREAM, proto=0, listen=False):
        """A socket in here, bound to address (host, port); it times out."""
        def make():
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            sock = socket.socket(family, kind, proto)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.settimeout(5)
            sock.bind(address)
            if listen:
                sock.listen(64)
            return sock
        return self.run(make)

    def udp(self, address):
        return self.socket(address, socket.SOCK_DGRAM)


class World:
    def __init__(self):
        self.client, self.relay, self.target = Host(), Host(), Host()
        self._drivers, self._sockets = [], []
        self._wire(self.client, "10.1.0", "fd01::", "c0")
        self._wire(self.target, "10.2.0", "fd02::", "t0")
        self.client.ip("route add default via 10.1.0.1")
        self.client.ip("-6 route add default via fd01::1")
        self.target.nft(COUNT)
        self.relay.sysctl("net.ipv4.conf.c0.forwarding=1", "net.ipv4.conf.t0.forwarding=1",
                          "net.ipv6.conf.all.forwarding=1", "net.netfilter.nf_conntrack_acct=1",
                          "net.netfilter.nf_conntrack_tcp_be_liberal=1")

    def _wire(self, host, v4, v6, name):
        self.relay.ip(f"link add {name} type veth peer name eth0 netns {host.pid}")
        self.relay.ip(f"addr add {v4}.1/24 dev {name}")
        self.relay.ip(f"-6 addr add {v6}1/64 dev {name} nodad")
        self.relay.ip(f"link set {name} up")
        for last in (2, 3):
            host.ip(f"addr add {v4}.{last}/24 dev eth0")
            host.ip(f"-6 addr add {v6}{last}/64 dev eth0 nodad")
        host.ip("link set eth0 up")

    def driver(self, ident="one", mark=MARK, expect="open", **options):
        d = Driver(self.relay, ident, mark, **options)
        self._drivers.append(d)
        if expect:
            d.expect(expect)
        return d

    def keep(self, sock):
        self._sockets.append(sock)
        return sock

    def listener(self, address=("10.2.0.2", 80)):
        return self.keep(self.target.socket(address, listen=True))

    def target_udp(self, address=("10.2.0.2", 53)):
        return self.keep(self.target.udp(address))

    def client_udp(self, address=("10.1.0.2", 40000)):
        return self.keep(self.client.udp(address))

    def dial(self, to, source=("10.1.0.2", 40000), timeout=5):
        """A TCP connection from the client's network. TimeoutError, ConnectionRefusedError."""
        sock = self.keep(self.client.socket(source))
        sock.settimeout(timeout)
        sock.connect(to)
        sock.settimeout(5)
        return sock

    def seen(self):
        """Packets with payload protocols that have reached the target's network so far."""
        return int(re.search(r"packets (\d+)", self.target.sh("nft list counter inet seen payload"))[1])

    def tracked(self, words=""):
        """What conntrack holds in the relay's network."""
        return self.relay.sh(f"conntrack -L {words} 2>/dev/null").splitlines()

    def close(self):
        for sock in self._sockets:
            sock.close()
        try:
            for driver in self._drivers:
                driver.close()
        finally:
            for host in (self.client, self.relay, self.target):
                host.close()


class Driver:
    """tests/contract/nat_driver.c in a network."""

    def __init__(self, host, ident, mark, sample=200, gap=0, capacity=20000, events=0, prefix=()):
        self._process = subprocess.Popen(
            [*host.prefix, *prefix, DRIVER, "--sample", str(sample), "--gap", str(gap),
             "--capacity", str(capacity), "--events", str(events), ident, hex(mark), hex(MASK), hex(TAGS), PORTS],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines = []
        self._stopped = False
        self._queue = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self._process.stdout:
            self._queue.put(line.strip())

    def tell(self, command):
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def expect(self, start, timeout=10):
        """The next line that starts so; others are kept in `lines`."""
        for line in self.lines:
            if line.startswith(start):
                self.lines.remove(line)
                return line
        deadline = time.monotonic() + timeout
        while True:
            try:
                line = self._queue.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no line {start!r} but {self.lines}") from None
            if line.startswith(start):
                return line
            self.lines.append(line)

    def ask(self, command, start):
        self.tell(command)
        return self.expect(start)

    def silent(self, start, seconds=0.5):
        """Nothing of the kind is said for a while."""
        time.sleep(seconds)
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        assert not [line for line in self.lines if line.startswith(start)], self.lines

    def hold(self, bound, ptcl=TCP):
        assert self.ask(f"hold {ptcl} {bound}", "held") == "held ok"

    def lease(self, ms=60000, tag=1):
        assert self.ask(f"lease {tag} {ms}", "lease") == "lease ok"

    def add(self, name, source, bound, target, ptcl=TCP, tag=1, sender="-", idle=0, result="ok"):
        line = self.ask(f"add {name} {ptcl} {source} {bound} {target} {tag} {sender} {idle}",
                        f"added {name}")
        assert line == f"added {name} {result}"

    def remove(self, name):
        """Its counters, once the key is free."""
        return numbers(self.ask(f"remove {name}", f"removed {name}"))

    def counts(self, name):
        return numbers(self.ask(f"counts {name}", f"counts {name}"))

    def stats(self):
        return numbers(self.ask("stats", "stats"))

    def signal(self, number):
        self._process.send_signal(number)
        self._stopped = number == signal.SIGSTOP
        if number == signal.SIGKILL:
            self._process.wait()

    def close(self):
        """Ends it in good order, if it still lives; a sanitizer's complaint is a failure."""
        if self._process.poll() is None:
            if self._stopped:               # else it would disturb a sanitizer's last look
                self._process.send_signal(signal.SIGCONT)
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                raise
        complaint = self._process.stderr.read()
        assert self._process.returncode in (0, 1, -signal.SIGKILL), complaint


def numbers(line):
    """k=v k=v, as a dictionary."""
    return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)}

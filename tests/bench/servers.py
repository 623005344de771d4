"""The servers that are compared: their command lines, their start and their end."""

import collections
import json
import os
import random
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

class Failed(Exception):
    """One cell could not be measured; the text is for the reader."""


DANTED_CONF = """\
logoutput: {dir}/danted.log
internal: {place.listens} port = {port}
external: {place.dials}
clientmethod: none
socksmethod: none
{users}client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""

# What is compared. command: a function (place, port, directory, protocol) that returns the command
# line, None for no server. tcp, udp: what it is measured with; only: modes that begin so; most: idle
# ones that it can be asked to hold.
Server = collections.namedtuple("Server", "command tcp udp only most",
                                defaults=(True, True, None, float("inf")))


def danted_command(place, port, directory, protocol):
    users = "user.privileged: root\nuser.unprivileged: nobody\n" if os.geteuid() == 0 else ""
    with open(directory + "/danted.conf", "w") as f:
        f.write(DANTED_CONF.format(dir=directory, place=place, port=port, users=users))
    return ["danted", "-f", directory + "/danted.conf", "-p", directory + "/danted.pid"]


def microsocks_command(place, port, directory, protocol):
    return ["microsocks", "-i", place.listens, "-p", str(port)]


class Ours:
    """socksd and its children: for TCP as it comes, by --standalone."""

    def __init__(self, build, relay=None):
        self.build = build
        self.relay = relay or {}  # `relay:` of relayd-udp

    def __call__(self, place, port, directory, protocol):
        program = os.path.join(self.build, "socksd")
        if protocol == "tcp":
            return [program, "--standalone", "--listen", f"{place.listens}:{port}"]
        udp = self.write(directory + "/relayd-udp.yaml", {"relay": self.relay})
        config = {
            "listeners": [{"listen": f"{place.listens}:{port}", "insecure": True}],
            "rules": [{"allow": {"to": place.networks}}],
            "relays": [{"spawn": {"program": os.path.join(self.build, "relayd-tcp")}},
                       {"spawn": {"program": os.path.join(self.build, "relayd-udp"),
                                  "config": udp}}],
            "run-dir": directory + "/run",
        }
        return [program, "-c", self.write(directory + "/socksd.yaml", config)]

    @staticmethod
    def write(path, config):
        with open(path, "w") as f:
            json.dump(config, f)  # which is YAML too
        return path


def known_servers(build):
    return {
        "direct": Server(None),
        "danted": Server(danted_command, most=1000),  # half a MiB for each association
        "microsocks": Server(microsocks_command, udp=False),
        "socksd": Server(Ours(build)),
        "socksd-plain": Server(Ours(build, {"engines": ["plain"]}), tcp=False, only="udp-flood"),
    }


def template_server(template):
    words = shlex.split(template)
    return Server(lambda place, port, directory, protocol: [
        w.replace("{port}", str(port)).replace("{dir}", directory) for w in words], udp=False)


def free_port(host):
    """Below the namespace's ephemeral range: no connection of the load takes it meanwhile."""
    while True:
        port = random.randrange(2000, 10000)
        with socket.socket() as s:
            try:
                s.bind((host, port))
                return port
            except OSError:
                continue


def exactly(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            raise OSError("it closed the connection")
        data += part
    return data


def ask(s, command, host, port):
    """The address in the reply to a request."""
    s.sendall(b"\5\1\0")
    if exactly(s, 2) != b"\5\0":
        raise OSError("it does not offer method 0")
    s.sendall(bytes((5, command, 0, 1)) + socket.inet_aton(host) + struct.pack(">H", port))
    reply = exactly(s, 4)
    if reply[1] != 0:
        raise OSError(f"SOCKS reply {reply[1]}")
    address = exactly(s, 18 if reply[3] == 4 else 6)
    return socket.inet_ntoa(address[:4]), struct.unpack(">H", address[-2:])[0]


def one_datagram(s, place):
    """There and back through the association that s asks for."""
    target = socket.inet_aton(place.target_host) + struct.pack(">H", place.ports["udp_echo"])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(0.5)
        udp.bind((s.getsockname()[0], 0))
        relay = ask(s, 3, *udp.getsockname())
        udp.sendto(b"\0\0\0\1" + target + b"x", relay)
        if udp.recv(64)[-1:] != b"x":
            raise OSError("a datagram came back changed")


def serves(place, port, protocol):
    """One whole connection or association through the server; why not, or None."""
    try:
        with socket.create_connection((place.listens, port), timeout=2) as s:
            if protocol == "udp":
                one_datagram(s, place)
            else:
                ask(s, 1, place.target_host, place.ports["once"])
                s.sendall(b"x")
                exactly(s, 1)
            return None
    except OSError as e:
        return str(e)


class Instance:
    """One started server and all its processes."""

    def __init__(self, bench, command, place, protocol):
        self.place = place
        self.port = free_port(place.listens)
        self.dir = tempfile.mkdtemp(prefix="server-", dir=bench.dir)
        os.chmod(self.dir, 0o755)
        self.log = self.dir + "/output"
        argv = command(place, self.port, self.dir, protocol)
        if shutil.which(argv[0]) is None:
            raise Failed(f"{argv[0]} is not there")
        self.account = bench.new_account()
        bench.instances.append(self)
        try:
            with open(self.log, "wb") as log:
                bench.start(argv, bench.server_cpus, account=self.account,
                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                            env={**os.environ, "TMPDIR": self.dir})
        except (OSError, subprocess.SubprocessError) as e:
            raise Failed(f"{argv[0]}: {e}")
        self.wait_until_it_serves(protocol)

    def wait_until_it_serves(self, protocol):
        until = time.monotonic() + 10
        while True:
            why = serves(self.place, self.port, protocol)
            if why is None:
                return
            if self.ended():
                raise Failed(f"it ended with status {self.account.process.returncode}: "
                             f"{self.last_words()}")
            if time.monotonic() > until:
                raise Failed(f"it does not serve: {why}; {self.last_words()}")
            time.sleep(0.02)

    def address(self):
        return f"{self.place.listens}:{self.port}"

    def ended(self):
        return self.account.process is not None and self.account.process.poll() is not None

    def last_words(self):
        with open(self.log, errors="replace") as f:
            lines = f.read().strip().split("\n")
        return lines[-1][:300] or "no output"

    def stop(self):
        """Asks first, so that it can tidy up; then kills what is left of its processes."""
        if self.account.process:
            self.account.process.terminate()
        asked = time.monotonic()
        while self.left():
            if time.monotonic() > asked + 3:
                for pid in self.account.pids():
                    kill_quietly(pid)
            if time.monotonic() > asked + 6:
                break
            time.sleep(0.01)
        self.account.close()
        shutil.rmtree(self.dir, ignore_errors=True)

    def left(self):
        self.ended()  # waits for it, or it would stay in the list
        return self.account.pids()


def kill_quietly(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass

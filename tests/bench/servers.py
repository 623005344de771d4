"""The servers that are compared: their command lines, their start and their end."""

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

HOST = "127.0.0.1"


class Failed(Exception):
    """One cell could not be measured; the text is for the reader."""


DANTED_CONF = """\
logoutput: {dir}/danted.log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: none
{users}client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
"""


def danted_command(port, directory):
    users = "user.privileged: root\nuser.unprivileged: nobody\n" if os.geteuid() == 0 else ""
    with open(directory + "/danted.conf", "w") as f:
        f.write(DANTED_CONF.format(dir=directory, port=port, users=users))
    return ["danted", "-f", directory + "/danted.conf", "-p", directory + "/danted.pid"]


def known_servers(build):
    """Name to a function (port, directory) that returns the command line; None needs no server."""
    return {
        "direct": None,
        "danted": danted_command,
        "microsocks": lambda port, directory: ["microsocks", "-i", HOST, "-p", str(port)],
        "socksd": lambda port, directory: [os.path.join(build, "socksd"), "--standalone",
                                           "--listen", f"{HOST}:{port}"],
    }


def template_command(template):
    words = shlex.split(template)
    return lambda port, directory: [
        w.replace("{port}", str(port)).replace("{dir}", directory) for w in words]


def free_port():
    """Below the namespace's ephemeral range: no connection of the load takes it meanwhile."""
    while True:
        port = random.randrange(2000, 10000)
        with socket.socket() as s:
            try:
                s.bind((HOST, port))
                return port
            except OSError:
                continue


def serves(port, target_port):
    """One whole connection through the server; why not, or None."""
    def exactly(s, n):
        data = b""
        while len(data) < n:
            part = s.recv(n - len(data))
            if not part:
                raise OSError("it closed the connection")
            data += part
        return data
    try:
        with socket.create_connection((HOST, port), timeout=2) as s:
            s.sendall(b"\5\1\0")
            if exactly(s, 2) != b"\5\0":
                return "it does not offer method 0"
            s.sendall(b"\5\1\0\1" + socket.inet_aton(HOST) + struct.pack(">H", target_port))
            reply = exactly(s, 4)
            if reply[1] != 0:
                return f"SOCKS reply {reply[1]}"
            exactly(s, 18 if reply[3] == 4 else 6)
            s.sendall(b"x")
            exactly(s, 1)
            return None
    except OSError as e:
        return str(e)


class Instance:
    """One started server and all its processes."""

    def __init__(self, bench, command):
        self.port = free_port()
        self.dir = tempfile.mkdtemp(prefix="server-", dir=bench.dir)
        os.chmod(self.dir, 0o755)
        self.log = self.dir + "/output"
        argv = command(self.port, self.dir)
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
        self.wait_until_it_serves(bench.ports["once"])

    def wait_until_it_serves(self, target_port):
        until = time.monotonic() + 10
        while True:
            why = serves(self.port, target_port)
            if why is None:
                return
            if self.ended():
                raise Failed(f"it ended with status {self.account.process.returncode}: "
                             f"{self.last_words()}")
            if time.monotonic() > until:
                raise Failed(f"it does not serve: {why}; {self.last_words()}")
            time.sleep(0.02)

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

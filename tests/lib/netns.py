"""A network namespace of one's own, where a test may make routes as it needs them.

    net = NetNS()                      loopback is up
    net.ip("route add unreachable 198.51.100.1")
    start(prefix=net.prefix)           daemons in it
    sock = net.run(lambda: socks.dial(address))

It lives as long as a process that sleeps in it; close() ends that process by its id.
"""

import ctypes
import os
import shutil
import subprocess
import threading
import time

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def why_not():
    """Why namespaces cannot be made here; None if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, text=True)
    return None if probe.returncode == 0 else f"unshare -n: {probe.stderr.strip()}"


class NetNS:
    def __init__(self):
        self._holder = subprocess.Popen(["unshare", "-n", "sleep", "infinity"])
        self.path = f"/proc/{self._holder.pid}/ns/net"
        self.prefix = ("nsenter", f"--net={self.path}")
        self._wait_until_apart()
        self.ip("link set lo up")

    def _wait_until_apart(self):
        ours = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 10
        while os.readlink(self.path) == ours:
            assert time.monotonic() < deadline, "no namespace was made"
            time.sleep(0.005)

    def ip(self, words):
        subprocess.run([*self.prefix, "ip", *words.split()], check=True)

    def run(self, function):
        """Calls function in a thread that is in the namespace; sockets that it makes stay there."""
        result = {}

        def enter():
            try:
                fd = os.open(self.path, os.O_RDONLY)
                try:
                    if _libc.setns(fd, CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                finally:
                    os.close(fd)
                result["value"] = function()
            except BaseException as error:      # handed to the caller
                result["error"] = error
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        if "error" in result:
            raise result["error"]
        return result["value"]

    def close(self):
        self._holder.kill()
        self._holder.wait()

"""What the bench runs on: a network of its own, and a description for the report."""

import ctypes
import fcntl
import os
import platform
import socket
import struct
import subprocess
import sys
import time


def own_network():
    """A network namespace with nothing but loopback, for this process and what it starts."""
    if os.geteuid() != 0 or ctypes.CDLL(None, use_errno=True).unshare(0x40000000) != 0:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh14x", b"lo", 0x1)  # IFF_UP
        fcntl.ioctl(s, 0x8914, request)  # SIOCSIFFLAGS
    for key, value in {"ip_local_port_range": "10240 65535", "tcp_tw_reuse": "1",
                       "tcp_congestion_control": "reno", "tcp_max_tw_buckets": "262144"}.items():
        try:
            with open("/proc/sys/net/ipv4/" + key, "w") as f:
                f.write(value)
        except OSError as e:
            print(f"note: net.ipv4.{key} stays as it is: {e.strerror}", file=sys.stderr)
    return True


def first_line(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
        return out.strip().split("\n")[0]
    except (OSError, subprocess.TimeoutExpired):
        return ""


def irq_time_is_apart():
    """Whether the kernel charges softirq work to no process; None when it does not say."""
    for command in (["zcat", "/proc/config.gz"], ["cat", "/boot/config-" + platform.release()]):
        try:
            config = subprocess.run(command, capture_output=True, text=True).stdout
        except OSError:
            continue
        if config:
            return "CONFIG_IRQ_TIME_ACCOUNTING=y" in config
    return None


def describe_machine(build):
    cpu = ""
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                cpu = line.split(":", 1)[1].strip()
                break
    packages = {p: first_line(["dpkg-query", "-W", "-f", "${Version}", p])
                for p in ("dante-server", "microsocks")}
    return {"cpu": cpu, "cpus": os.cpu_count(), "kernel": platform.release(),
            "load_average": os.getloadavg()[0], "packages": packages,
            "socksd": first_line([os.path.join(build, "socksd"), "--version"]),
            "irq_time_apart": irq_time_is_apart(), "time": time.strftime("%Y-%m-%dT%H:%M:%SZ",
                                                                         time.gmtime())}

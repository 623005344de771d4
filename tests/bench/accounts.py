"""The processes of one server: which they are, the CPU and memory they took."""

import collections
import os
import subprocess
import time


def stat_fields(pid):
    """The fields of /proc/PID/stat behind the name: state is [0], ppid [1], session [3]."""
    with open(f"/proc/{pid}/stat") as f:
        return f.read().rpartition(")")[2].split()


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


class ProcAccount:
    """Finds processes by descent and session, their CPU by /proc/PID/stat."""
    how = "/proc"

    def __init__(self):
        self.process = None  # the one that was started

    def enter(self):
        pass

    def pids(self):
        parent, session = {}, {}
        leader = self.process.pid if self.process else -1
        for pid in all_pids():
            try:
                fields = stat_fields(pid)
            except OSError:
                continue
            parent[pid], session[pid] = int(fields[1]), int(fields[3])
        found = {pid for pid in session if leader in (session[pid], pid)}
        more = True
        while more:
            more = {pid for pid in parent if parent[pid] in found} - found
            found |= more
        return sorted(found)

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            try:
                ticks += sum(int(field) for field in stat_fields(pid)[11:15])
            except OSError:
                continue
        return ticks / os.sysconf("SC_CLK_TCK")

    def close(self):
        pass


class CgroupAccount:
    """A cgroup of its own: knows its processes wherever they go, and the CPU of those that died."""
    serial = 0

    def __init__(self, parent, version):
        CgroupAccount.serial += 1
        self.process = None
        self.how = f"cgroup v{version}"
        self.version = version
        self.path = os.path.join(parent, f"socksbench-{os.getpid()}-{CgroupAccount.serial}")
        os.mkdir(self.path)

    def enter(self):
        with open(self.path + "/cgroup.procs", "w") as f:
            f.write("0")

    def pids(self):
        with open(self.path + "/cgroup.procs") as f:
            return sorted({int(line) for line in f})

    def cpu_seconds(self):
        if self.version == 1:
            with open(self.path + "/cpuacct.usage") as f:
                return int(f.read()) / 1e9
        with open(self.path + "/cpu.stat") as f:
            return int(dict(line.split() for line in f)["usage_usec"]) / 1e6

    def close(self):
        for _ in range(100):
            try:
                os.rmdir(self.path)
                return
            except OSError:
                time.sleep(0.02)


def cgroup_parents():
    """Where this process is in the hierarchies that count CPU: (directory, version)."""
    own = {}
    with open("/proc/self/cgroup") as f:
        for line in f:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                own[controller] = path
    with open("/proc/self/mounts") as f:
        for line in f:
            _, mount, kind, options = line.split()[:4]
            if kind == "cgroup2" and "" in own:
                yield mount + own[""], 2
            if kind == "cgroup" and "cpuacct" in options.split(",") and "cpuacct" in own:
                yield mount + own["cpuacct"], 1


def choose_account():
    """A function that makes accounts of the best kind that works here, and that kind's name."""
    for parent, version in sorted(cgroup_parents(), key=lambda found: -found[1]):
        try:
            account = CgroupAccount(parent, version)
        except OSError:
            continue
        try:
            subprocess.run(["true"], preexec_fn=account.enter, check=True)
            account.cpu_seconds()
            return lambda: CgroupAccount(parent, version), account.how
        except (OSError, KeyError, subprocess.SubprocessError):
            continue
        finally:
            account.close()
    return ProcAccount, ProcAccount.how


class Memory(collections.namedtuple("Memory", "pss dirty pss_of descriptors processes")):
    """KiB, and PSS, descriptors and processes by program name, of all processes of a server."""

    @staticmethod
    def read(pids):
        pss = dirty = 0
        pss_of, descriptors, processes = (collections.Counter() for _ in range(3))
        for pid in pids:
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    rollup = {line.split(":")[0]: line.split()[1] for line in f if "kB" in line}
                with open(f"/proc/{pid}/comm") as f:
                    name = f.read().strip()
                count = len(os.listdir(f"/proc/{pid}/fd"))
            except OSError:
                continue  # it ended meanwhile
            pss += int(rollup.get("Pss", 0))
            dirty += int(rollup.get("Private_Dirty", 0))
            pss_of[name] += int(rollup.get("Pss", 0))
            descriptors[name] += count
            processes[name] += 1
        return Memory(pss, dirty, pss_of, descriptors, processes)

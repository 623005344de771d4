"""The modes: what each runs, and how its figures read."""

import re

FORM = {
    "rate": r"rate-(?P<n>\d+)",
    "rr": r"rr-(?P<n>\d+)",
    "bulk": r"bulk-(?P<n>\d+)-(?P<direction>up|down)",
    "hold": r"hold-(?P<n>\d+)",
    "udp-echo": r"udp-echo-(?P<n>\d+)(?P<veth>-veth)?",
    "udp-flood": r"udp-flood-(?P<rate>max|\d+k)(?P<veth>-veth)?",
    "udp-idle": r"udp-idle-(?P<n>\d+)",
    "udp-silent": r"udp-silent-(?P<n>\d+)",
}
UNITS = {"rate": ("conn/s", "us/conn"), "rr": ("rt/s", "us/rt"), "bulk": ("Gbit/s", "s/GB"),
         "hold": ("KiB/conn", "KiB dirty"), "udp-echo": ("echo/s", "us/echo"),
         "udp-flood": ("dgram/s", "us/dgram"), "udp-idle": ("KiB/assoc", "KiB dirty"),
         "udp-silent": ("KiB/assoc", "KiB dirty")}
SERVICES = {"rate": "once", "rr": "echo", "hold": "echo", "udp-flood": "udp_sink"}
PROGRAMS = {"udp-idle": "udp-hold", "udp-silent": "udp-hold"}


class Mode:
    def __init__(self, name):
        for self.kind, form in FORM.items():
            found = re.fullmatch(form, name)
            if found:
                break
        else:
            raise ValueError(f"no such mode: {name}")
        found = found.groupdict()
        self.name = name
        self.streams = int(found.get("n", 1))
        if self.streams == 0:
            raise ValueError(f"no such mode: {name}")
        self.direction = found.get("direction")
        self.rate = int(found["rate"][:-1]) * 1000 if found.get("rate", "max") != "max" else None
        self.udp = self.kind.startswith("udp-")
        self.held = self.kind in ("hold", "udp-idle", "udp-silent")
        self.place = "veth" if found.get("veth") else "loopback"
        self.unit, self.cpu_unit = UNITS[self.kind]
        self.service = SERVICES.get(self.kind, "udp_echo" if self.udp else
                                    "sink" if self.direction == "up" else "source")

    def takes(self, server):
        """Whether this mode says something of that server."""
        if self.held and (server.command is None or self.streams > server.most):
            return False
        if server.only and not self.kind.startswith(server.only):
            return False
        return server.udp if self.udp else server.tcp

    def arguments(self, place):
        words = [PROGRAMS.get(self.kind, self.kind), "--streams", str(self.streams)]
        if self.direction == "up":
            words.append("--up")
        if self.kind == "udp-silent":
            words.append("--silent")
        if self.kind == "udp-flood":
            words += ["--counter", place.at("udp_count")]
        if self.rate:
            words += ["--rate", str(self.rate)]
        return words + ["--target", place.at(self.service)]

    def value(self, result):
        rate = result["per_second"]
        return rate * 8 / 1e9 if self.kind == "bulk" else rate

    def cpu(self, result, seconds):
        return seconds / result["count"] * (1e9 if self.kind == "bulk" else 1e6)

    def lost(self, result):
        """The share of datagrams that did not arrive; None where there are none."""
        if "lost" not in result:
            return None
        return result["lost"] / max(1, result.get("sent", result["count"] + result["lost"]))

"""The table and the JSON document."""

import json
import statistics

from modes import Mode

PEERS = ("danted", "microsocks")
UDP_PEERS = ("danted", "socksd-plain")

# mode, figure, of whom the share is (None: the figure itself), bound: at least or at most
GOALS = [
    ("udp-echo-16", "value", "danted", ">=", 1.8),
    ("udp-echo-16", "cpu", "danted", "<=", 0.5),
    ("udp-flood-max", "value", "socksd-plain", ">=", 3),
    ("udp-flood-max-veth", "value", "socksd-plain", ">=", 3),
    ("udp-flood-300k", "lost", None, "<=", 0),
    ("udp-flood-300k-veth", "lost", None, "<=", 0),
    ("udp-idle-8000", "value", None, "<=", 1),
]


def summarise(cells):
    for cell in cells.values():
        keys = {k for r in cell["rounds"] for k, v in r.items() if isinstance(v, (int, float))}
        cell["median"], cell["spread"] = {}, {}
        for key in sorted(keys):
            numbers = [r[key] for r in cell["rounds"] if key in r]
            middle = cell["median"][key] = statistics.median(numbers)
            cell["spread"][key] = (max(numbers) - min(numbers)) / middle if middle else 0
    for (mode, _), cell in cells.items():
        cell["ratio"] = {}
        for peer in {*PEERS, *UDP_PEERS}:
            other = cells.get((mode, peer), {}).get("median", {})
            cell["ratio"][peer] = {k: cell["median"][k] / other[k] for k in ("value", "cpu")
                                   if cell["median"].get(k) is not None and other.get(k)}


def number(x):
    if x is None:
        return "-"
    return f"{x:.0f}" if abs(x) >= 1000 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.3f}"


def ratio_text(ratio):
    return " / ".join(f"{ratio[k]:.2f}" if k in ratio else "-" for k in ("value", "cpu"))


def spread_text(spread):
    return " / ".join(f"{spread[k]:.0%}" if k in spread else "-" for k in ("value", "cpu"))


def shares_text(median):
    server = median.get("server_cpu_share")
    return ("-" if server is None else f"{server:.2f}") + f" / {median['generator']:.2f}"


def traffic_row(mode, name, cell):
    m, r = cell["median"], cell["ratio"]
    if not cell["rounds"]:
        return [mode.name, name, "failed"]
    mark = "*" if m["generator"] >= 0.9 else ""
    return [mode.name, name, f"{number(m['value'])}{mark} {mode.unit}",
            f"{number(m['cpu'])} {mode.cpu_unit}" if "cpu" in m else "-",
            f"{number(m['p50_us'])} / {number(m['p99_us'])}" if "p50_us" in m else "-",
            spread_text(cell["spread"]), shares_text(m)] + [
                ratio_text(r[p]) for p in PEERS]


def udp_row(mode, name, cell):
    row = traffic_row(mode, name, cell)
    if len(row) > 3:
        row[3:3] = [f"{cell['median']['lost']:.1%}"]
        row[-len(PEERS):] = [ratio_text(cell["ratio"][p]) for p in UDP_PEERS]
    return row


def hold_row(mode, name, cell):
    m, r = cell["median"], cell["ratio"]
    if not cell["rounds"]:
        return [mode.name, name, "failed"]
    last = cell["rounds"][-1]
    parts = ", ".join(f"{n} x{last['processes'].get(n, 0)} {last['pss_of'][n]:.2f} KiB {v:.2f}"
                      for n, v in last["descriptors"].items())
    return [mode.name, name, f"{m['value']:.2f}", f"{m['cpu']:.2f}", f"{m['rest_pss_kib']:.0f}",
            spread_text(cell["spread"])] + [ratio_text(r[p]) for p in PEERS] + [parts]


def was_disturbed(mode, cell):
    """With enough on its way, either the server or the load is always at work."""
    shares = [cell["median"].get(k, 0) for k in ("server_cpu_share", "generator")] if cell else []
    return (mode.kind in ("rate", "rr", "bulk", "udp-echo") and mode.streams >= 8 and any(shares)
            and max(shares) < 0.85)


def print_table(rows):
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(len(rows[0]))]
    previous = None
    for row in rows:
        if previous is not None and row[0] != previous:
            print()
        previous = row[0] if row is not rows[0] else None
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    print()


def print_tables(modes, servers, cells):
    against, udp_against = ([f"x {peer}" for peer in peers] for peers in (PEERS, UDP_PEERS))
    head = ["server", "value", "server CPU", "p50 / p99 us", "spread", "busy"]
    idle = (["idle", "server", "PSS KiB each", "dirty KiB each", "rest PSS KiB", "spread"] + against
            + ["programs: processes, PSS each, descriptors each"])
    tables = [
        (["mode", *head, *against], traffic_row, lambda m: not m.held and not m.udp),
        (["udp", *head[:2], "lost", *head[2:], *udp_against], udp_row,
         lambda m: not m.held and m.udp),
        (idle, hold_row, lambda m: m.held),
    ]
    for head, row, belongs in tables:
        rows = [row(m, s, cells[m.name, s]) for m in modes if belongs(m) for s in servers
                if (m.name, s) in cells]
        if rows:
            print_table([head] + rows)


def print_goals(cells):
    """Of the modes that ran; for the reader, the exit status does not tell."""
    for mode, figure, peer, relation, bound in GOALS:
        cell = cells.get((mode, "socksd"), {})
        got = cell.get("ratio", {}).get(peer, {}) if peer else cell.get("median", {})
        if got.get(figure) is None:
            continue
        met = got[figure] >= bound if relation == ">=" else got[figure] <= bound
        name = {"value": Mode(mode).unit, "cpu": Mode(mode).cpu_unit}.get(figure, figure)
        print(f"goal: {mode} socksd {name}{' x ' + peer if peer else ''} {relation} {bound}: "
              f"{got[figure]:.3g}, {'met' if met else 'NOT MET'}")
    print()


def report(bench, modes, servers, cells, machine):
    print(f"{machine['cpu']}, {machine['cpus']} CPUs, Linux {machine['kernel']}, load "
          f"{machine['load_average']:.2f}; dante-server {machine['packages']['dante-server']}, "
          f"microsocks {machine['packages']['microsocks']}")
    print(f"rounds: {bench.options.rounds}, windows of {bench.options.seconds} s; "
          f"{'server on one CPU, load on another' if bench.pinned else 'unpinned'}; CPU by "
          f"{bench.account_kind}; {'own' if bench.options.own_network else 'host'} network; "
          f"ratios are value / CPU per unit\n")
    print_tables(modes, servers, cells)
    print_goals(cells)
    if machine["irq_time_apart"]:
        print("note: this kernel charges softirq work to no process; server CPU leaves it out")
    disturbed = [f"{m.name} {s}" for m in modes for s in servers
                 if was_disturbed(m, cells.get((m.name, s)))]
    if disturbed:
        print("note: other work had the CPUs; run again, or trust CPU only, for: "
              + ", ".join(disturbed))
    full = [f"{mode} {name}" for (mode, name), cell in cells.items()
            if cell["median"].get("sink_dropped")]
    if full:
        print("note: more arrived than the sink could take (root has room for more): "
              + ", ".join(full))
    for mode, reason in bench.options.skipped.items():
        print(f"skipped: {mode}: {reason}")
    for (mode, name), cell in cells.items():
        for text in sorted(set(cell["failures"])):
            print(f"FAILED {mode} {name} ({cell['failures'].count(text)} of {bench.options.rounds} "
                  f"rounds): {text}")


def write_json(path, bench, cells, machine):
    document = {"machine": machine,
                "method": {"rounds": bench.options.rounds, "seconds": bench.options.seconds,
                           "warm_up": bench.options.warm_up, "pinned": bench.pinned,
                           "cpu_by": bench.account_kind, "own_network": bench.options.own_network},
                "cells": [{"mode": m, "server": s, "unit": Mode(m).unit,
                           "cpu_unit": Mode(m).cpu_unit, **cell} for (m, s), cell in cells.items()]}
    with open(path, "w") as f:
        json.dump(document, f, indent=1)
        f.write("\n")

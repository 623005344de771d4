"""Real daemons for tests: start them, ask them, read their records, end them, find what they leaked.

    system = System(directory)                      one socksd, one relayd-tcp, on ephemeral ports
    system = System(directory, relays=2, users={"alice": "secret"}, rules=[...])
    system = System(directory, relays=0, udp=1)     one socksd, one relayd-udp
    system.address                                  where clients connect
    system.access(destination="127.0.0.1:80")       waits for the access record
    system.close()                                  ends all; fails on leaks and sanitizer reports

The programs come from $BUILD_DIR; without it from build/asan if that was built, else from build.
Sockets live in short directories of their own, so that parallel workers never meet. Every process
is ended by its process id.
"""

import contextlib
import copy
import ctypes
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
REPORT = re.compile(r"ERROR: AddressSanitizer|runtime error:|LeakSanitizer|ThreadSanitizer")
LOOPBACK = [{"allow": {"to": ["127.0.0.0/8", "::1"]}}]
PATIENCE = 30                   # seconds; a busy machine under sanitizers is slow


def build_dir():
    named = os.environ.get("BUILD_DIR")
    if named:
        return ROOT / named
    sanitized = ROOT / "build" / "asan"
    return sanitized if (sanitized / "socksd").exists() else ROOT / "build"


def program(name):
    return str(build_dir() / name)


def wait_until(condition, what="the condition", timeout=PATIENCE):
    """Returns the first true value of condition()."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


# -------------------------------------------------------------------------------------------- records

FIELD = re.compile(r'([a-z0-9_]+)=(?:"((?:[^"\\]|\\x[0-9a-f]{2})*)"|([^ "=\\]*))(?: |$)')


def _unescape(text):
    return re.sub(r"\\x([0-9a-f]{2})", lambda m: chr(int(m.group(1), 16)), text)


def parse_logfmt(line):
    """The fields of one record. Raises ValueError for what is no record."""
    fields, at = {}, 0
    while at < len(line):
        match = FIELD.match(line, at)
        if not match:
            raise ValueError(f"no logfmt at {at}: {line!r}")
        key, quoted, plain = match.groups()
        if key in fields:
            raise ValueError(f"{key} twice: {line!r}")
        fields[key] = _unescape(quoted) if quoted is not None else plain
        at = match.end()
    if not {"ts", "level", "prog", "event"} <= fields.keys():
        raise ValueError(f"not a record: {line!r}")
    return fields


class Log:
    """What a daemon (and its children) wrote to stderr, from a file."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self._at = 0
        self._records = []
        self.strays = []            # lines that are no records

    def text(self):
        return self.path.read_text(errors="replace") if self.path.exists() else ""

    def records(self, event=None, **fields):
        """Those that have all these fields, in their order."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                file.seek(self._at)
                fresh = file.read()
            whole = fresh[:fresh.rfind(b"\n") + 1]
            self._at += len(whole)
            for line in whole.decode(errors="replace").split("\n")[:-1]:
                try:
                    self._records.append(parse_logfmt(line))
                except ValueError:
                    self.strays.append(line)
        if event is not None:
            fields["event"] = event
        wanted = {key: str(value) for key, value in fields.items()}
        return [r for r in self._records if wanted.items() <= r.items()]

    def wait(self, event, timeout=PATIENCE, **fields):
        """The first such record."""
        return wait_until(lambda: self.records(event, **fields),
                          f"a record {event} {fields} in {self.path.name}", timeout)[0]


# ------------------------------------------------------------------------------------------ processes

class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def http_get(socket_path, path):
    """HTTP status and text, from a status socket."""
    connection = UnixConnection(socket_path)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)')


def parse_metrics(text):
    """{'name' or 'name{label="x"}': value}"""
    values = {}
    for line in text.splitlines():
        match = SAMPLE.fullmatch(line)
        if match and not line.startswith("#"):
            name, labels, value = match.groups()
            values[name + ("{%s}" % labels if labels else "")] = float(value)
    return values


def _unused(directory, name):
    """A file for the log of this life of a daemon."""
    path, life = directory / f"{name}.log", 2
    while path.exists():
        path, life = directory / f"{name}.{life}.log", life + 1
    return path


class Daemon:
    """A process with a log, and maybe a status socket."""

    def __init__(self, name, arguments, directory, prefix=(), status=None, environment=None,
                 stdout=subprocess.DEVNULL, stderr=None):
        self.name = name
        self.program = os.path.basename(arguments[0])
        self.directory = pathlib.Path(directory)
        self.status_path = status
        self.log = Log(_unused(self.directory, name))
        self.killed = False         # on purpose: its exit code says nothing
        self.at_rest = None         # descriptors that it holds when it has nothing to do
        self.checked = False
        env = dict(os.environ, **(environment or {}))
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:exitcode=99:abort_on_error=0")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1:exitcode=99")
        env.setdefault("TSAN_OPTIONS", "exitcode=99:atexit_sleep_ms=0")
        self.arguments = [str(a) for a in [*prefix, *arguments]]
        with open(self.log.path, "ab") as log:
            self.process = subprocess.Popen(self.arguments, stdin=subprocess.DEVNULL, stdout=stdout,
                                            stderr=log if stderr is None else stderr, env=env)
        self.pid = self.process.pid

    # -- life

    def alive(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.alive():
            os.kill(self.pid, number)

    def terminate(self):
        self.signal(signal.SIGTERM)

    def hang_up(self):
        self.signal(signal.SIGHUP)

    def kill(self):
        self.killed = True
        self.signal(signal.SIGKILL)
        self.process.wait(PATIENCE)

    def wait(self, timeout=PATIENCE):
        """The exit code."""
        return self.process.wait(timeout)

    def wait_started(self):
        def started():
            if not self.alive():
                raise AssertionError(f"{self.name} ended with {self.process.returncode} at its "
                                     f"start\n{self.log.text()}")
            return self.log.records("started", prog=self.program)
        return wait_until(started, f"the start of {self.name}")[0]

    def finish(self):
        """Ends it, gently first, and fails if it did not end well. Harmless the second time."""
        if self.alive():
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(1)
        if self.alive():
            if not self.log.records("stopped", prog=self.program):      # now: it still drains
                self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE)
        hung = self.alive()
        if hung:
            self.kill()
        if self.checked:
            return
        self.checked = True
        text = self.log.text()
        assert not hung, f"{self.name} did not end after two SIGTERM\n{text}"
        assert not REPORT.search(text), f"{self.name}: sanitizer report\n{text}"
        assert self.killed or self.process.returncode == 0, \
            f"{self.name} ended with {self.process.returncode}\n{text}"
        self.log.records()
        if not self.killed:
            assert not self.log.strays, f"{self.name}: lines that are no records: {self.log.strays}"

    # -- questions

    def get(self, path):
        """HTTP status and text."""
        return http_get(self.status_path, path)

    def status(self):
        return json.loads(self.get("/status")[1])

    def metrics(self):
        return parse_metrics(self.get("/metrics")[1])

    def metric(self, name):
        return self.metrics()[name]

    def associations(self, query=""):
        return json.loads(self.get("/associations" + query)[1])["associations"]

    def descriptors(self):
        return descriptors(self.pid)

    def memory(self):
        """Resident octets."""
        return memory(self.pid)


def descriptors(pid):
    """What each open descriptor is, by number."""
    found = {}
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found[int(entry.name)] = os.readlink(entry.path)
    return found


def memory(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", text).group(1)) * 1024


def children(pid):
    """Process ids of the children that live."""
    found = []
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(p) for p in (task / "children").read_text().split()]
    return found


def alive(pid):
    """A process that was reaped or is a zombie is not alive."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


class Relay(Daemon):
    """A relay by itself, with private sockets. config: its own, as a dict."""

    def __init__(self, directory, name="relay-0", config=None, prefix=(), arguments=(),
                 kind="relayd-tcp"):
        directory = pathlib.Path(directory)
        self.config = copy.deepcopy(config or {})
        self.url = f"ipc://{directory}/{name}.n2"
        self.legs = f"unix:{directory}/{name}.legs" if kind == "relayd-tcp" else None
        status = f"{directory}/{name}.status"
        whole = {"n2": {}, "relay": {"id": name}, "status": {}}
        if self.legs:
            whole["legs"] = {"listen": [self.legs]}
        merge(whole, copy.deepcopy(config or {}))
        whole["status"].setdefault("listen", []).append(f"unix:{status}")
        whole["n2"].setdefault("listen", [self.url])
        self.config_path = directory / f"{name}.yaml"
        self.config_path.write_text(json.dumps(whole))
        super().__init__(name, [program(kind), "-c", self.config_path, *arguments], directory,
                         prefix, status)
        self.wait_started()
        # Beside these, one server costs it a connection for calls and one for legs.
        self.at_rest = len(self.descriptors()) + (2 if self.legs else 1)


class StubRelay(Daemon):
    """tests/lib/stub_relay.py, which may misbehave."""

    def __init__(self, directory, name="stub", misbehave=(), arguments=()):
        directory = pathlib.Path(directory)
        self.url = f"ipc://{directory}/{name}.n2"
        words = [x for word in misbehave for x in ("--misbehave", word)]
        super().__init__(name, ["/usr/bin/python3", ROOT / "tests/lib/stub_relay.py", "--n2", self.url,
                                "--legs", f"unix:{directory}/{name}.legs", "--id", name, *words,
                                *arguments], directory)
        wait_until(lambda: not self.alive() or os.path.exists(f"{directory}/{name}.legs"),
                   f"the start of {name}")

    def finish(self):
        """It may end as it likes: it is not what we test."""
        if self.alive():
            self.kill()


class Server(Daemon):
    """socksd with a configuration file: a dict, or its text."""

    def __init__(self, directory, config, name="socksd", prefix=(), environment=None, wait=True,
                 stderr=None):
        directory = pathlib.Path(directory)
        self.config_path = directory / f"{name}.yaml"
        status = f"{directory}/{name}.status"
        if isinstance(config, dict):
            config.setdefault("status", {}).setdefault("listen", []).append(f"unix:{status}")
        self.config = config
        self.write_config(config)
        super().__init__(name, [program("socksd"), "-c", self.config_path], directory, prefix, status,
                         environment, stderr=stderr)
        if wait:
            self.started = self.wait_started()

    def write_config(self, config):
        """For the next reload."""
        text = config if isinstance(config, str) else json.dumps(config, indent=2)
        self.config_path.write_text(text)

    def listeners(self):
        """(host, port) of each."""
        return [split_address(text) for text in self.status()["listeners"]]

    def relays(self):
        return json.loads(self.get("/relays")[1])["relays"]

    def wait_relays(self, count, state="ready"):
        wait_until(lambda: sum(r["state"] == state for r in self.relays()) >= count,
                   f"{count} relays that are {state}")


def merge(base, over):
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def split_address(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def crypt_hash(password):
    """A hash that is cheap to check (Python's own module for this is on its way out)."""
    libcrypt = ctypes.CDLL("libcrypt.so.1")
    libcrypt.crypt.restype = ctypes.c_char_p
    return libcrypt.crypt(password.encode(), b"$6$saltsalt$").decode()


# --------------------------------------------------------------------------------------------- system

class System:
    """One socksd and its relays.

    relays      how many relayd-tcp by url
    udp         how many relayd-udp by url; udp_relay: their configuration
    spawn       how many relayd-tcp as children of socksd
    urls        further relays that run already (a StubRelay's url)
    relay       configuration of every relay, as a dict
    server      configuration of socksd over the defaults here (loopback is allowed), as a dict
    rules, users, listeners    short cuts for the common parts; users: {name: password}
    ready       how many relays to wait for; all of them if it is not given
    prefix      words in front of every daemon (nsenter, prlimit); server_prefix, relay_prefix too
    """

    def __init__(self, directory=None, relays=1, spawn=0, urls=(), relay=None, server=None, rules=None,
                 users=None, listeners=None, prefix=(), server_prefix=None, relay_prefix=None,
                 wait=True, ready=None, stderr=None, udp=0, udp_relay=None):
        self._own = directory is None
        self.directory = pathlib.Path(directory or tempfile.mkdtemp(prefix="sys-"))
        self.daemons = []
        self.expect_clean = True    # at close; a test that kills a daemon need not care
        self._closed = False
        try:
            self.relays = []
            relay_words = prefix if relay_prefix is None else relay_prefix
            for number in range(udp):
                self.add_udp_relay(f"udp-{number}", udp_relay, relay_words)
            self._start(relays, spawn, urls, relay, server, rules, users, listeners,
                        prefix if server_prefix is None else server_prefix,
                        prefix if relay_prefix is None else relay_prefix, wait, ready, stderr)
        except BaseException:
            for daemon in self.daemons:
                if daemon.alive():
                    daemon.kill()
            for name, text in self.logs():
                print(f"--- {name}\n{text}")
            self.remove()
            raise

    def _start(self, relays, spawn, urls, relay, server, rules, users, listeners, server_prefix,
               relay_prefix, wait, ready, stderr):
        for number in range(relays):
            self.add_relay(f"relay-{number}", relay, relay_prefix)
        config = {"id": "socksd-test",
                  "listeners": listeners or [{"listen": "127.0.0.1:0"}],
                  "rules": LOOPBACK if rules is None else rules,
                  "relays": [{"url": r.url} for r in self.relays] + [{"url": u} for u in urls],
                  "run-dir": str(self.directory / "run")}
        if spawn:
            entry = {"program": program("relayd-tcp"), "count": spawn}
            if relay:
                path = self.directory / "children.yaml"
                path.write_text(json.dumps(relay))
                entry["config"] = str(path)
            config["relays"].append({"spawn": entry})
        if users is not None:
            self.write_users(users)
            config["users"] = {"file": str(self.directory / "users")}
        merge(config, server or {})
        self.server = Server(self.directory, config, prefix=server_prefix, wait=wait, stderr=stderr)
        self.daemons.insert(0, self.server)
        if not wait:
            return
        self.address = split_address(self.server.started["listen"])
        self.server.wait_relays(len(self.relays) + len(urls) + spawn if ready is None else ready)
        if ready is None:
            self.server.at_rest = len(self.server.descriptors())

    def add_relay(self, name, config=None, prefix=()):
        relay = Relay(self.directory, name, config, prefix)
        self.relays.append(relay)
        self.daemons.append(relay)
        return relay

    def add_udp_relay(self, name, config=None, prefix=()):
        """What has ended rests only shortly, so that tests need not wait for it; the ports are not those
        of every other test."""
        first = 22000 + random.randrange(38) * 256
        whole = merge({"relay": {"port-rest": "300ms", "ports": f"{first}-{first + 255}"}},
                      copy.deepcopy(config or {}))
        relay = Relay(self.directory, name, whole, prefix, kind="relayd-udp")
        self.relays.append(relay)
        self.daemons.append(relay)
        return relay

    def restart_server(self, **changes):
        """The same configuration but for the changes, a new process, a new port."""
        assert not self.server.alive()
        config = merge(copy.deepcopy(self.server.config), changes)
        config["status"]["listen"].pop()
        self.server = Server(self.directory, config)
        self.daemons.insert(0, self.server)
        self.address = split_address(self.server.started["listen"])
        self.server.wait_relays(len(config["relays"]))

    def restart_relay(self, relay, config=None, prefix=()):
        """The same name and sockets, a new process."""
        assert not relay.alive()
        self.relays.remove(relay)
        if relay.program == "relayd-udp":       # the same ports
            config = merge(copy.deepcopy(relay.config), copy.deepcopy(config or {}))
        fresh = Relay(self.directory, relay.name, config, prefix, kind=relay.program)
        self.relays.append(fresh)
        self.daemons.append(fresh)
        return fresh

    @property
    def relay(self):
        return self.relays[0]

    def busy_relay(self):
        """The first relay that holds something; waits for one."""
        def find():
            return [r for r in self.relays if r.alive() and r.status()["load"]["associations"]]
        return wait_until(find, "a relay that holds something")[0]

    @property
    def port(self):
        return self.address[1]

    def write_users(self, users):
        lines = [f"{name}:{crypt_hash(password)}\n" for name, password in users.items()]
        (self.directory / "users").write_text("".join(lines))

    # -- records

    def records(self, event=None, **fields):
        return [r for d in self.daemons for r in d.log.records(event, **fields)]

    def access(self, timeout=PATIENCE, **fields):
        """The first access record with these fields; who wrote it stands in `prog`."""
        return self.wait_record("access", timeout, **fields)

    def wait_record(self, event, timeout=PATIENCE, **fields):
        return wait_until(lambda: self.records(event, **fields), f"a record {event} {fields}", timeout)[0]

    # -- counts

    def metrics(self):
        """Of all daemons that live and have a status."""
        found = {}
        for daemon in self.daemons:
            if daemon.alive() and daemon.status_path:
                found.update(daemon.metrics())
        return found

    def counts(self):
        """What each daemon holds: sessions and associations of socksd, associations of relays."""
        held = {}
        for daemon in self.daemons:
            if not daemon.alive() or not daemon.status_path:
                continue
            try:
                load = daemon.status()["load"]
            except ConnectionError:     # it is just leaving
                continue
            held[daemon.name] = load.get("sessions", 0) + load.get("controls", 0) + \
                load["associations"]
        for path in (self.directory / "run").glob("*.status"):      # children of socksd
            with contextlib.suppress(OSError):
                load = json.loads(http_get(str(path), "/status")[1])["load"]
                held[path.stem] = load["associations"]
        return held

    def assert_clean(self):
        """Nothing is held any more: no session, no association, no descriptor."""
        wait_until(lambda: not any(self.counts().values()), f"empty daemons {self.counts()}")
        for daemon in self.daemons:
            if daemon.alive() and daemon.status_path and daemon.at_rest and not _restored(daemon):
                raise AssertionError(f"{daemon.name} holds descriptors that it did not hold at the "
                                     f"start ({daemon.at_rest}): {daemon.descriptors()}")

    # -- the end

    def close(self):
        """Ends every daemon; fails for what one left behind. Harmless the second time."""
        if self._closed:
            return
        self._closed = True
        failures = []
        if self.expect_clean and not any(d.killed for d in self.daemons):
            _collect(failures, self.assert_clean)
        for daemon in self.daemons:
            _collect(failures, daemon.finish)
        if failures:
            raise AssertionError("\n\n".join(str(f) for f in failures))

    def logs(self):
        """(name, text) of each, for the report of a failed test."""
        return [(d.log.path.name, d.log.text()[-20000:]) for d in self.daemons]

    def remove(self):
        if self._own:
            shutil.rmtree(self.directory, ignore_errors=True)


def _restored(daemon):
    """Its descriptors are as few as at the start, pipes and ports that it keeps for later aside."""
    def restored():
        metrics = daemon.metrics()
        kept = 2 * sum(v for k, v in metrics.items() if k.startswith("relayd_pipes{"))
        kept += metrics.get('relayd_client_ports{state="open"}', 0)
        kept += metrics.get('relayd_listeners{state="open"}', 0)
        return len(daemon.descriptors()) - kept <= daemon.at_rest
    with contextlib.suppress(AssertionError):
        return wait_until(restored, timeout=10)
    return False


def _collect(failures, check):
    try:
        check()
    except (AssertionError, OSError) as failure:
        failures.append(failure)

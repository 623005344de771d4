"""sockscat for tests: one that runs to its end, or one that is talked to while it runs.

$SOCKSCAT names the program; without it, the one beside the daemons.
"""

import contextlib
import os
import subprocess
import threading

import daemons

DONE, FAILED, USAGE = 0, 1, 2


def program():
    return os.environ.get("SOCKSCAT") or daemons.program("sockscat")


def environment(**more):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SOCKSCAT_")}
    return {**clean, **more}


def words(proxy, subcommand, *arguments):
    host = f"[{proxy[0]}]" if ":" in proxy[0] else proxy[0]
    return [program(), subcommand, "--proxy", f"{host}:{proxy[1]}", *map(str, arguments)]


def run(arguments, octets=b"", timeout=60, **env):
    """Runs it with these octets as standard input: (exit code, standard output, standard error)."""
    done = subprocess.run([str(a) for a in arguments], input=octets, capture_output=True,
                          timeout=timeout, env=environment(**env), check=False)
    error = done.stderr.decode()
    assert not daemons.REPORT.search(error), error
    return done.returncode, done.stdout, error


class Cat:
    """A sockscat that runs: say() and end() are its standard input, hear() its standard output."""

    def __init__(self, *arguments, **env):
        self.process = subprocess.Popen([str(a) for a in arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=environment(**env), bufsize=0)

    def say(self, octets):
        self.process.stdin.write(octets)

    def end(self):
        self.process.stdin.close()

    def hear(self, count):
        octets = b""
        while len(octets) < count:
            more = self.process.stdout.read(count - len(octets))
            assert more, (octets, self.process.stderr.read())
            octets += more
        return octets

    def line(self):
        """One line of standard error."""
        line = b""
        while not line.endswith(b"\n"):
            more = self.process.stderr.read(1)
            assert more, line
            line += more
        return line.decode().rstrip("\n")

    def address(self):
        """The first line, of --print: (host, port)"""
        return daemons.split_address(self.line())

    def wait(self, timeout=60):
        """(exit code, the rest of standard output, the rest of standard error)"""
        rest = {}
        pipes = {"output": self.process.stdout, "error": self.process.stderr}

        def read(name):
            rest[name] = pipes[name].read()
        readers = [threading.Thread(target=read, args=(name,), daemon=True) for name in pipes]
        for reader in readers:
            reader.start()
        code = self.process.wait(timeout)
        for reader in readers:
            reader.join(timeout)
        error = rest["error"].decode()
        assert not daemons.REPORT.search(error), error
        return code, rest["output"], error

    def close(self):
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

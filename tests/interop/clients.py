"""Running other people's programs: which are there, in which network, and what they did."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
import threading

import pytest

import daemons

PATIENCE = 30
SBIN = ["/usr/sbin", "/sbin"]


def program(name):
    """Its path, or None. Daemons are found too when PATH has no sbin."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))


def needs(name, package):
    """Marks tests that cannot run without a program."""
    return pytest.mark.skipif(program(name) is None,
                              reason=f"{name} is not installed (Debian package {package})")


def needs_python(distribution, package):
    """The same for a Python package. It is never imported here: tests/lib has a socks.py too."""
    try:
        importlib.metadata.distribution(distribution)
        missing = False
    except importlib.metadata.PackageNotFoundError:
        missing = True
    return pytest.mark.skipif(missing, reason=f"Python's {distribution} is not installed "
                                              f"(Debian package {package})")


def node_modules():
    """Where tests/interop/setup has put npm's packages; None if it has not."""
    for directory in (daemons.build_dir(), *daemons.build_dir().parents):
        found = directory / "interop" / "node_modules"
        if (found / "socks").is_dir():
            return found
        if directory == daemons.ROOT:
            return None
    return None


def environment(extra=None):
    """Without variables that send a client to another proxy, or past ours."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    kept["LC_ALL"] = "C"
    return kept | (extra or {})


def run(*command, input=None, env=None, prefix=(), directory=None):
    """Runs a client to its end. Output is octets; `input` too."""
    return subprocess.run([str(word) for word in (*prefix, *command)], input=input or b"",
                          capture_output=True, env=environment(env), cwd=directory,
                          timeout=PATIENCE)


def python(script, *words, **options):
    """Runs a script as a program of its own, that sees installed packages only."""
    return run(sys.executable, "-I", "-c", script, *words, **options)


def checked(done):
    """What a client printed, if it says that all went well."""
    assert done.returncode == 0, done
    return done.stdout


class BindClient:
    """A client that BINDs and converses as npm_socks.js and the script in test_perl.py do.

    It prints `bound HOST PORT` for the first reply and `peer HOST PORT` for the second one; then it
    prints `got LINE` for a line of the peer, answers `pong` and closes.
    """

    def __init__(self, *command, env=None, prefix=()):
        self._process = subprocess.Popen([str(word) for word in (*prefix, *command)],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, text=True, env=environment(env))
        self._end = threading.Timer(PATIENCE, self._process.kill)
        self._end.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
        self._end.cancel()

    def said(self, word):
        """The next line without its first word, which must be this one."""
        line = self._process.stdout.readline().rstrip("\n")
        first, _, rest = line.partition(" ")
        assert first == word, (line, self._process.communicate())
        return rest

    def address(self, word):
        host, port = self.said(word).split()
        return host, int(port)

    def exit_code(self):
        return self._process.wait()


def converse(client, peer):
    """The peer is a socket that has come to the bound address. Returns its own address."""
    here = peer.getsockname()[:2]
    assert client.address("peer") == here
    peer.sendall(b"ping\n")
    assert client.said("got") == "ping"
    with peer.makefile("rb") as stream:
        assert stream.read() == b"pong\n"
    peer.close()
    assert client.exit_code() == 0
    return here

"""Running other people's programs: which are there, in which network, and what they did."""

import importlib.metadata
import ipaddress
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


def put_by_setup(name):
    """What tests/interop/setup has put there under this name; None if it has not."""
    for directory in (daemons.build_dir(), *daemons.build_dir().parents):
        found = directory / "interop" / name
        if found.exists():
            return found
        if directory == daemons.ROOT:
            return None
    return None


def node_modules():
    """Where npm's packages are, or None."""
    found = put_by_setup("node_modules")
    return found if found and (found / "socks").is_dir() else None


def python_with(module):
    """The words before the text of a script that imports what Debian 12 lacks; None if none can.

    That is this Python if it has the module, or a later Debian's, by its own loader and libraries.
    """
    root = put_by_setup("trixie")
    later = []
    if root:
        libraries = ":".join(str(path) for path in sorted(root.glob("usr/lib/*-linux-gnu*")))
        loaders = sorted(root.glob("usr/lib*/ld-linux*.so.*"))
        later = [[loader, "--library-path", libraries, root / "usr/bin/python3"]
                 for loader in loaders]
    for python in ([sys.executable], *later):
        words = [*python, "-I", "-c"]
        if run(*words, f"import {module}").returncode == 0:
            return words
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


def python_words(script, *words):
    """The command of a script as a program of its own, that sees installed packages only."""
    return [sys.executable, "-I", "-c", script, *words]


def python(script, *words, **options):
    return run(*python_words(script, *words), **options)


def checked(done):
    """What a client printed, if it says that all went well."""
    assert done.returncode == 0, done
    return done.stdout


def addresses(output):
    """[(host, port)] of lines `HOST PORT`, however they spell it."""
    lines = [line.split() for line in output.decode().splitlines()]
    return [(str(ipaddress.ip_address(host)), int(port)) for host, port in lines]


def certificate(directory, name, *words):
    """Files of a certificate that it has signed itself, and of its key."""
    files = directory / f"{name}.crt", directory / f"{name}.key"
    checked(run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", f"/CN={name}",
                *words, "-out", files[0], "-keyout", files[1]))
    return files


class Conversation:
    """A client whose input and output are pipes."""

    def __init__(self, *command, env=None, prefix=()):
        self._process = subprocess.Popen([str(word) for word in (*prefix, *command)], bufsize=0,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=subprocess.PIPE, env=environment(env))
        self._end = threading.Timer(PATIENCE, self._process.kill)
        self._end.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.kill()
        self._process.communicate()
        self._end.cancel()

    def exchange(self, octets):
        """Writes octets, and returns as many of what it prints."""
        self._process.stdin.write(octets)
        got = b""
        while len(got) < len(octets):
            more = self._process.stdout.read(len(octets) - len(got))
            assert more, (got, self._process.communicate())
            got += more
        return got

    def line(self):
        """The next one that it prints."""
        got = b""
        while not got.endswith(b"\n"):
            more = self._process.stdout.read(1)
            assert more, (got, self._process.communicate())
            got += more
        return got.decode().rstrip("\n")

    def finish(self):
        """Ends its input and waits. Returns what else it printed."""
        rest, errors = self._process.communicate()
        assert self._process.returncode == 0, (self._process.returncode, errors)
        return rest


class BindClient(Conversation):
    """A client that BINDs and converses as npm_socks.js and the script in test_perl.py do.

    It prints `bound HOST PORT` for the first reply and `peer HOST PORT` for the second one; then it
    prints `got LINE` for a line of the peer, answers `pong` and closes.
    """

    def said(self, word):
        """The next line without its first word, which must be this one."""
        line = self.line()
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

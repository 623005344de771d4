"""OpenSSH through nc and ncat as ProxyCommand, to an sshd of the test's own."""

import os
import pathlib
import pwd
import subprocess
import threading

import pytest

import clients
import targets

SSHD = clients.program("sshd")
pytestmark = [clients.needs("ssh", "openssh-client"), clients.needs("sshd", "openssh-server"),
              clients.needs("nc.openbsd", "netcat-openbsd")]


class Sshd:
    """One `sshd -i` per connection to a listener of ours, so that no port need be found for it."""

    def __init__(self, directory, listener):
        self._listener = listener
        self._config = directory / "sshd_config"
        self.host, self.port = listener.getsockname()[:2]
        self.key = self._make_key(directory / "user")
        host_key = self._make_key(directory / "host")
        self._config.write_text(f"HostKey {host_key}\nAuthorizedKeysFile {self.key}.pub\n"
                                "StrictModes no\nUsePAM yes\nPasswordAuthentication no\n"
                                "PermitRootLogin yes\nPidFile none\n")
        self.processes = []
        listener.settimeout(None)
        threading.Thread(target=self._serve, daemon=True).start()

    @staticmethod
    def _make_key(path):
        clients.checked(clients.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path))
        return path

    def _serve(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with sock:
                self.processes.append(subprocess.Popen([SSHD, "-i", "-e", "-f", self._config],
                                                       stdin=sock, stdout=sock,
                                                       stderr=subprocess.DEVNULL))


@pytest.fixture
def sshd(tmp_path, sockets):
    if os.geteuid() == 0:
        pathlib.Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)      # sshd chroots to it
    server = Sshd(tmp_path, sockets.listener())
    yield server
    sockets.close()
    for process in server.processes:
        process.kill()
        process.wait()


def ssh(sshd, host, proxy_command, *words, octets=b""):
    user = pwd.getpwuid(os.geteuid()).pw_name
    options = {"ProxyCommand": proxy_command, "IdentityFile": sshd.key, "IdentitiesOnly": "yes",
               "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null", "BatchMode": "yes",
               "LogLevel": "ERROR"}
    flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    return clients.run("ssh", "-F", "none", *flags, "-p", sshd.port, "-l", user, host, *words,
                       input=octets)


@pytest.mark.parametrize("version, host", [(4, "127.0.0.1"), (5, "127.0.0.1"),
                                           (5, "web.interop.test")])
def test_ssh_by_nc_moves_data_both_ways(proxy, sshd, access, version, host):
    octets = targets.pattern(1 << 20)
    command = f"nc.openbsd -X {version} -x {proxy.address} %h %p"
    assert clients.checked(ssh(sshd, host, command, "cat", octets=octets)) == octets
    record = access(destination=f"{host}:{sshd.port}", version=f"socks{version}")
    assert int(record["octets_up"]) > len(octets) and int(record["octets_down"]) > len(octets)


@clients.needs("ncat", "ncat")
def test_ssh_by_ncat_with_a_password(proxy, sshd, access):
    command = (f"ncat --proxy-type socks5 --proxy {proxy.auth_address} "
               f"--proxy-auth {proxy.user}:{proxy.password} %h %p")
    assert clients.checked(ssh(sshd, sshd.host, command, "echo", "hello")) == b"hello\n"
    access(destination=f"{sshd.host}:{sshd.port}", user=proxy.user)

"""What the clients meet: our daemons, the servers behind them, and three hosts to put them on."""

import functools
import http.server
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

import clients
import daemons
import netns

PAGE = b"<html><body>through the proxy</body></html>\n"
USER, PASSWORD = "alice", "open-sesame"


class Proxy:
    """Our daemons as clients see them: a listener for everybody, and one that wants a password."""

    user, password = USER, PASSWORD

    def __init__(self, host, **options):
        self.host = host
        written = f"[{host}]" if ":" in host else host
        self.system = daemons.System(
            listeners=[{"listen": f"{written}:0", "insecure": True},
                       {"listen": f"{written}:0", "methods": ["username-password"]}],
            users={USER: PASSWORD}, **options)
        self.port, self.auth_port = [port for _, port in self.system.server.listeners()]
        self.address = f"{written}:{self.port}"
        self.auth_address = f"{written}:{self.auth_port}"

    def close(self):
        try:
            self.system.close()
        finally:
            self.system.remove()


class UdpProxy(Proxy):
    """The same for UDP ASSOCIATE: its relay is a relayd-udp, a child of socksd.

    relay: its configuration, as a dict; a file in `directory` holds it.
    """

    def __init__(self, host, directory, relay=None, **options):
        config = pathlib.Path(directory) / "relayd-udp.yaml"
        config.write_text(json.dumps(relay or {}))
        child = {"program": daemons.program("relayd-udp"), "config": str(config)}
        server = {"relays": [{"spawn": child}]} | options.pop("server", {})
        super().__init__(host, relays=0, ready=1, server=server, **options)


class UdpEcho:
    """Sends every datagram back to where it came from."""

    def __init__(self, host="127.0.0.1"):
        self._sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                                   socket.SOCK_DGRAM)
        self._sock.bind((host, 0))
        self.address = self.host, self.port = self._sock.getsockname()[:2]
        self.sources = set()            # hosts that it was sent something from
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            octets, source = self._sock.recvfrom(65535)
            if self._closing:
                return
            self.sources.add(source[0])
            self._sock.sendto(octets, source)

    def close(self):
        self._closing = True
        self._sock.sendto(b"", self._sock.getsockname())
        self._thread.join()
        self._sock.close()


class FtpServer:
    """An FTP server: anybody may read and write its directory."""

    def __init__(self, directory, host="127.0.0.1", port=0, prefix=()):
        self.directory = pathlib.Path(directory)
        words = ["-m", "pyftpdlib", "-i", host, "-p", str(port), "-d", str(directory), "-w"]
        self._process = subprocess.Popen([*prefix, sys.executable, "-I", "-W", "ignore", *words],
                                         stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                         stderr=subprocess.PIPE, text=True)
        for line in self._process.stderr:
            if "starting FTP server on" in line:
                address = line.split(" on ")[1].split(",")[0]
                self.address = daemons.split_address(address)
                break
        else:
            raise AssertionError("the FTP server did not start")
        threading.Thread(target=self._process.stderr.read, daemon=True).start()

    def url(self, path):
        return "ftp://%s:%d/%s" % (*self.address, path)

    def close(self):
        self._process.kill()
        self._process.wait()


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Web(http.server.ThreadingHTTPServer):
    """Serves the files of a directory by HTTP on one address."""

    def __init__(self, directory, host="127.0.0.1"):
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.directory = pathlib.Path(directory)
        super().__init__((host, 0), functools.partial(Handler, directory=str(directory)))
        self.host, self.port = self.server_address[:2]
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def destination(self, host=None):
        """As our access record has it."""
        host = host or self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def url(self, path="", host=None):
        return f"http://{self.destination(host)}/{path}"

    def close(self):
        self.shutdown()
        self.server_close()


class Lab:
    """Three hosts, of which only the middle one sees both others.

          client                        proxy                         server
        10.98.1.2 ------------ 10.98.1.1     10.98.2.1 ------------ 10.98.2.2
        fd98:1::2              fd98:1::1     fd98:2::1              fd98:2::2
    """

    client_ip, proxy_ip, outer_ip, server_ip = "10.98.1.2", "10.98.1.1", "10.98.2.1", "10.98.2.2"
    server_ip6 = "fd98:2::2"
    no_route, no_host = "203.0.113.1", "10.98.9.9"

    def __init__(self, files):
        self._kept = []
        self.has_ipv6 = os.path.exists("/proc/net/if_inet6")
        try:
            self._start(files)
        except BaseException:
            self.close()
            raise

    def _start(self, files):
        self.client, self.middle, self.server = [self._keep(netns.NetNS()) for _ in range(3)]
        self._join(1, self.client)
        self._join(2, self.server)
        self.middle.ip(f"route add unreachable {self.no_host}")
        self.proxy = self._keep(Proxy(self.proxy_ip, prefix=self.middle.prefix, rules=[
            {"allow": {"to": ["10.98.2.0/24", "fd98:2::/64", self.no_route, self.no_host]}}]))
        self.web = self._keep(self.server.run(lambda: Web(files, self.server_ip)))
        if self.has_ipv6:
            self.web6 = self._keep(self.server.run(lambda: Web(files, self.server_ip6)))

    def _keep(self, thing):
        self._kept.append(thing)
        return thing

    def _join(self, net, host):
        host.ip(f"link add net{net} type veth peer name net{net} netns {self.middle.path}")
        for end, number in ((host, 2), (self.middle, 1)):
            end.ip(f"address add 10.98.{net}.{number}/24 dev net{net}")
            if self.has_ipv6:
                end.ip(f"address add fd98:{net}::{number}/64 dev net{net} nodad")
            end.ip(f"link set net{net} up")

    def run(self, *command, **options):
        """A client, on the client's host."""
        return clients.run(*command, prefix=self.client.prefix, **options)

    def connect(self, address):
        """From the server's host."""
        return self.server.run(lambda: socket.create_connection(address, 10))

    def close(self):
        while self._kept:
            self._kept.pop().close()

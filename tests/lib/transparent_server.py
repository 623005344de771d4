"""A SOCKS server for tests of clients: it speaks TRANSPARENT (command 4), and forwards by itself.

    with TransparentServer() as server:
        server.address                      where clients connect
        server.requests                     what was asked: Request, in their order
        server.strangers                    connections and datagrams from elsewhere, dropped

manner: "serve"; or a number, the REP to refuse with; "end": grants, and ends the control connection as
soon as the first data came; "http", "silent": no SOCKS at all. single: the control connection ends when
the first stream has ended, as section 6 of the draft recommends.
"""

import collections
import contextlib
import ipaddress
import socket
import struct
import threading

import socks

TCP, UDP = 6, 17
Request = collections.namedtuple("Request", "dest protocol source user")


def read_address(sock):
    kind = socks.read_exactly(sock, 1)[0]
    if kind == 3:
        host = socks.read_exactly(sock, socks.read_exactly(sock, 1)[0]).decode()
    else:
        host = str(ipaddress.ip_address(socks.read_exactly(sock, {1: 4, 4: 16}[kind])))
    return host, int.from_bytes(socks.read_exactly(sock, 2), "big")


def reply(code, host="0.0.0.0", port=0):
    return bytes([5, code, 0]) + socks.address5(host) + struct.pack("!H", port)


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


class TransparentServer:
    def __init__(self, host="127.0.0.1", manner="serve", users=None, bound=None, single=True):
        self.host, self.manner, self.users, self.single = host, manner, users, single
        self.bound = bound              # the address that is told in place of the true one
        self.requests, self.strangers = [], 0
        self._open = set()
        self._listener = self._keep(socket.create_server((host, 0), family=family(host)))
        self.address = self._listener.getsockname()[:2]
        self._spawn(self._accept)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for sock in list(self._open):
            self._drop(sock)

    def _keep(self, sock):
        self._open.add(sock)
        return sock

    def _drop(self, sock):
        self._open.discard(sock)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)     # wakes whoever waits in another thread
        sock.close()

    def _spawn(self, run, *arguments):
        def quietly():
            with contextlib.suppress(OSError, EOFError):
                run(*arguments)
        threading.Thread(target=quietly, daemon=True).start()

    def _accept(self):
        while True:
            self._spawn(self._serve, self._keep(self._listener.accept()[0]))

    def _serve(self, control):
        try:
            if self.manner == "http":
                control.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            elif self.manner != "silent":
                self._handshake(control)
                return
            socks.read_all(control)
        finally:
            self._drop(control)

    def _handshake(self, control):
        methods = socks.read_exactly(control, socks.read_exactly(control, 2)[1])
        user = None
        if self.users is None:
            control.sendall(b"\5\0")
        else:
            assert socks.USERPASS in methods
            control.sendall(bytes([5, socks.USERPASS]))
            user, password = self._credentials(control)
            right = self.users.get(user) == password
            control.sendall(bytes([1, 0 if right else 1]))
            if not right:
                return
        version, command, reserved = socks.read_exactly(control, 3)
        assert (version, command, reserved) == (5, 4, 0)
        dest = read_address(control)
        protocol = socks.read_exactly(control, 1)[0]
        source = read_address(control)
        self.requests.append(Request(dest, protocol, source, user))
        if isinstance(self.manner, int):
            control.sendall(reply(self.manner))
            return
        if source[0] in ("0.0.0.0", "::"):
            source = (control.getpeername()[0], source[1])
        {TCP: self._stream, UDP: self._datagrams}.get(protocol, self._other)(control, dest, source)

    @staticmethod
    def _credentials(control):
        parts = []
        assert socks.read_exactly(control, 1) == b"\1"
        for _ in range(2):
            parts.append(socks.read_exactly(control, socks.read_exactly(control, 1)[0]).decode())
        return parts

    def _grant(self, control, sock):
        host, port = sock.getsockname()[:2]
        control.sendall(reply(0, self.bound or host, port))

    def _other(self, control, _dest, _source):
        control.sendall(reply(0, self.host, 9))
        socks.read_all(control)

    # -- TCP

    def _stream(self, control, dest, source):
        listener = self._keep(socket.create_server((self.host, 0), family=family(self.host)))
        self._grant(control, listener)
        self._spawn(self._accept_from, control, listener, dest, source)
        socks.read_all(control)
        self._drop(listener)

    def _accept_from(self, control, listener, dest, source):
        while True:
            near, peer = listener.accept()
            if peer[0] != source[0] or source[1] not in (0, peer[1]):
                self.strangers += 1
                near.close()
                continue
            source = peer[:2]
            far = self._keep(socket.create_connection(dest, 30))
            self._keep(near)
            if self.manner == "end":
                near.recv(1)
                self._drop(control)
                return
            back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
            back.start()
            self._copy(near, far)
            back.join()
            self._drop(near)
            self._drop(far)
            if self.single:
                self._drop(control)
                return

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while octets := one.recv(65536):
                other.sendall(octets)
            other.shutdown(socket.SHUT_WR)

    # -- UDP

    def _datagrams(self, control, dest, source):
        near = self._keep(socket.socket(family(self.host), socket.SOCK_DGRAM))
        near.bind((self.host, 0))
        far = self._keep(socket.socket(family(dest[0]), socket.SOCK_DGRAM))
        far.connect(dest)
        self._grant(control, near)
        self._spawn(self._forward, control, near, far, source)
        socks.read_all(control)
        self._drop(near)
        self._drop(far)

    def _forward(self, control, near, far, source):
        back = False
        while True:
            octets, peer = near.recvfrom(65536)
            if peer is None:            # it was shut down
                return
            if peer[0] != source[0] or source[1] not in (0, peer[1]):
                self.strangers += 1
                continue
            source = peer[:2]
            if self.manner == "end":
                self._drop(control)
                return
            if not back:
                back = True
                self._spawn(self._back, near, far, source)
            far.send(octets)

    @staticmethod
    def _back(near, far, source):
        while True:
            near.sendto(far.recv(65536), source)

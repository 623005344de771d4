"""Far ends for tests: listeners that a test accepts from by hand, and ones that serve by themselves."""

import random
import socket
import struct
import threading


def pattern(count, seed=1):
    """Octets that are the same every time and repeat nowhere near."""
    return random.Random(seed).randbytes(count)


def reset(sock):
    """Closes with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def saw_reset(sock):
    """True if the other side has reset the connection; reads what is left first."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


class Sockets:
    """Sockets and servers of a test; all of them are closed at its end."""

    def __init__(self, timeout=30):
        self._timeout = timeout
        self._kept = []

    def keep(self, thing):
        if isinstance(thing, socket.socket):
            thing.settimeout(self._timeout)
        self._kept.append(thing)
        return thing

    def listener(self, host="127.0.0.1", port=0, backlog=128):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self.keep(socket.create_server((host, port), family=family, backlog=backlog))

    def accept(self, listener):
        return self.keep(listener.accept()[0])

    def closed_port(self, host="127.0.0.1"):
        """(host, port) that refuses: bound, so that nobody else takes it, and not listening."""
        sock = self.keep(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET))
        sock.bind((host, 0))
        return sock.getsockname()[:2]

    def silent_listener(self):
        """A listener that answers no SYN, because its queue is full; accepting from it ends that, and
        a SYN that is repeated later gets through. None if this kernel answers all the same."""
        listener = self.keep(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(8):
            filler = self.keep(socket.socket())
            filler.settimeout(0.05)
            try:
                filler.connect(listener.getsockname())
            except TimeoutError:
                filler.close()
                return listener
        return None

    def echo(self, host="127.0.0.1"):
        return self.keep(Service(self.listener(host), _echo))

    def source(self, octets, host="127.0.0.1"):
        """Sends octets to whoever connects, then FIN."""
        def serve(sock):
            sock.sendall(octets)
            sock.shutdown(socket.SHUT_WR)
            _swallow(sock)
        return self.keep(Service(self.listener(host), serve))

    def sink(self, host="127.0.0.1"):
        """Reads until FIN and keeps it in .received, one entry per connection."""
        service = Service(None, None)
        service.received = []

        def serve(sock):
            chunks = []
            while chunk := sock.recv(1 << 20):
                chunks.append(chunk)
            service.received.append(b"".join(chunks))
        service.start(self.listener(host), serve)
        return self.keep(service)

    def resetting(self, host="127.0.0.1"):
        return self.keep(Service(self.listener(host), reset))

    def close(self):
        while self._kept:
            self._kept.pop().close()


def _echo(sock):
    while chunk := sock.recv(65536):
        sock.sendall(chunk)
    sock.shutdown(socket.SHUT_WR)


def _swallow(sock):
    while sock.recv(65536):
        pass


class Service:
    """Serves every connection of a listener in a thread of its own."""

    def __init__(self, listener, serve):
        self._open = set()
        self.accepted = 0
        if listener:
            self.start(listener, serve)

    def start(self, listener, serve):
        self.address = listener.getsockname()[:2]
        self._listener = listener
        self._serve = serve
        listener.settimeout(None)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.add(sock)
            threading.Thread(target=self._run, args=(sock,), daemon=True).start()

    def _run(self, sock):
        try:
            self._serve(sock)
        except OSError:
            pass
        finally:
            self._open.discard(sock)
            sock.close()

    def close(self):
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for sock in list(self._open):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

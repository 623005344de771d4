"""A client of CMD 4 by hand (draft-lucioni-a-socks-transparent-proxy-method-00)."""

import socket
import struct

import socks

TRANSPARENT = 4
PROTOCOL_UNSUPPORTED = 9


def request(host, port, ptcl, source_host, source_port, reserved=0, **kinds):
    """kinds: name=True or source_name=True send that address as a name."""
    return (bytes([5, TRANSPARENT, reserved]) + socks.address5(host, kinds.get("name", False))
            + struct.pack("!HB", port, ptcl) + socks.address5(source_host, kinds.get("source_name", False))
            + struct.pack("!H", source_port))


class Transparent:
    """The control connection of one association, and where to send (`bound`)."""

    def __init__(self, address, target, ptcl=socket.IPPROTO_UDP, source=("0.0.0.0", 0), client=None, **kinds):
        self.control = socket.create_connection(address, 30, (client, 0) if client else None)
        self.control.sendall(socks.greeting5(socks.NONE))
        assert socks.read_exactly(self.control, 2) == b"\5\0"
        self.control.sendall(request(*target[:2], ptcl, *source[:2], **kinds))
        self.reply = socks.read_reply5(self.control)

    @property
    def bound(self):
        assert self.reply.code == socks.SUCCEEDED, self.reply
        return self.reply.host, self.reply.port

    def closed(self, timeout=30):
        """Waits until the other side has closed it."""
        self.control.settimeout(timeout)
        try:
            return self.control.recv(1) == b""
        except ConnectionResetError:
            return True

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.control.close()

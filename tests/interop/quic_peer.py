"""Two peers that speak QUIC by aioquic, as programs for test_aioquic.py.

    quic_peer.py serve HOST CERTIFICATE KEY FILE
    quic_peer.py fetch HOST PORT CERTIFICATE PROXY PROXY_PORT [USER PASSWORD]

serve prints `ready PORT` and serves FILE until its input ends; fetch prints what it was served.

aioquic knows nothing of proxies: what it sends passes Through, which adds the header of RFC 1928,
and what comes passes the other way.
"""

import asyncio
import ipaddress
import struct
import sys

from aioquic.asyncio import QuicConnectionProtocol, serve
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

PROTOCOLS = ["interop"]


class Through(asyncio.DatagramTransport, asyncio.DatagramProtocol):
    """To aioquic it is the transport, to the socket the protocol."""

    def __init__(self, user):
        super().__init__()
        self._user = user

    def connection_made(self, transport):
        self._socket = transport

    def sendto(self, octets, target):
        ip = ipaddress.ip_address(target[0]).packed
        header = bytes([0, 0, 0, 1 if len(ip) == 4 else 4]) + ip + struct.pack("!H", target[1])
        self._socket.sendto(header + octets)

    def datagram_received(self, octets, _):
        assert octets[:4] in (b"\0\0\0\1", b"\0\0\0\4"), octets[:4]
        end = 8 if octets[3] == 1 else 20
        source = str(ipaddress.ip_address(octets[4:end]))
        port, = struct.unpack("!H", octets[end:end + 2])
        self._user.datagram_received(octets[end + 2:], (source, port))

    def close(self):
        self._socket.close()


async def associate(proxy, port, user=None, password=None):
    """The control connection, and where datagrams go."""
    reader, writer = await asyncio.open_connection(proxy, port)
    writer.write(bytes([5, 1, 2 if user else 0]))
    assert await reader.readexactly(2) == bytes([5, 2 if user else 0])
    if user:
        words = [word.encode() for word in (user, password)]
        writer.write(b"\1" + b"".join(bytes([len(word)]) + word for word in words))
        assert await reader.readexactly(2) == b"\1\0"
    writer.write(bytes([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]))
    reply = await reader.readexactly(10)
    assert reply[:4] == bytes([5, 0, 0, 1]), reply
    return writer, (str(ipaddress.ip_address(reply[4:8])), int.from_bytes(reply[8:], "big"))


async def run_fetch(host, port, certificate, proxy, proxy_port, *credentials):
    configuration = QuicConfiguration(alpn_protocols=PROTOCOLS, server_name="server")
    configuration.load_verify_locations(certificate)
    client = QuicConnectionProtocol(QuicConnection(configuration=configuration))
    control, relay = await associate(proxy, int(proxy_port), *credentials)
    loop = asyncio.get_running_loop()
    _, through = await loop.create_datagram_endpoint(lambda: Through(client), remote_addr=relay)
    client.connection_made(through)
    client.connect((host, int(port)))
    await client.wait_connected()
    reader, writer = await client.create_stream()
    writer.write_eof()
    sys.stdout.buffer.write(await reader.read())
    client.close()
    await client.wait_closed()
    through.close()
    control.close()
    await control.wait_closed()


async def run_serve(host, certificate, key, path):
    configuration = QuicConfiguration(alpn_protocols=PROTOCOLS, is_client=False)
    configuration.load_cert_chain(certificate, key)
    with open(path, "rb") as file:
        content = file.read()

    async def answer(reader, writer):
        await reader.read()
        writer.write(content)
        writer.write_eof()

    tasks = set()

    def start(reader, writer):
        tasks.add(asyncio.ensure_future(answer(reader, writer)))

    server = await serve(host, 0, configuration=configuration, stream_handler=start)
    print("ready", server._transport.get_extra_info("sockname")[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run({"serve": run_serve, "fetch": run_fetch}[sys.argv[1]](*sys.argv[2:]))

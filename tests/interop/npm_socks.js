// npm's `socks` as a program, for test_npm_socks.py:
//     node npm_socks.js COMMAND '{"host": PROXY, "port": PORT, "type": 4|5, ...}' HOST PORT
// connect asks HOST for / by HTTP and prints what comes. bind converses as clients.BindClient says.
// associate sends datagrams of several sizes, checks that each comes back, and prints from where.
'use strict';
const assert = require('assert');
const dgram = require('dgram');
const net = require('net');
const { SocksClient } = require('socks');

const [command, proxy, host, port] = process.argv.slice(2);
const client = new SocksClient({
  command,
  proxy: JSON.parse(proxy),
  // For associate it is where we shall send from, and that is not known yet.
  destination: command === 'associate'
    ? { host: '0.0.0.0', port: 0 }
    : { host, port: Number(port) },
});

const say = (word, address) => console.log(`${word} ${address.host} ${address.port}`);

client.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});

client.on('bound', ({ remoteHost }) => say('bound', remoteHost));

// The frames are the library's, the socket is ours: connected, it takes the relay's datagrams only.
function exchange(control, relay) {
  const udp = dgram.createSocket(net.isIPv6(relay.host) ? 'udp6' : 'udp4');
  const datagrams = [1, 1400, 0, 65000].map((size) => Buffer.alloc(size, 'datagram'));
  const send = () => udp.send(SocksClient.createUDPFrame({
    remoteHost: { host, port: Number(port) },
    data: datagrams[0],
  }));

  udp.on('connect', send);
  udp.on('message', (frame) => {
    const { frameNumber, remoteHost, data } = SocksClient.parseUDPFrame(frame);
    assert.deepStrictEqual([frameNumber, data], [0, datagrams.shift()]);
    console.log(`${remoteHost.host} ${remoteHost.port}`);
    if (datagrams.length > 0) {
      send();
      return;
    }
    udp.close();
    control.destroy();
  });
  udp.connect(relay.port, relay.host);
}

client.on('established', ({ socket, remoteHost }) => {
  if (command === 'associate') {
    exchange(socket, remoteHost);
    return;
  }
  if (command === 'connect') {
    socket.pipe(process.stdout);
    socket.write('GET / HTTP/1.0\r\n\r\n');
    return;
  }
  say('peer', remoteHost);
  socket.on('data', (octets) => {
    process.stdout.write(`got ${octets}`);
    socket.end('pong\n');
  });
});

client.connect();

// npm's `socks` as a program, for test_npm_socks.py:
//     node npm_socks.js connect|bind '{"host": PROXY, "port": PORT, "type": 4|5, ...}' HOST PORT
// connect asks HOST for / by HTTP and prints what comes. bind converses as clients.BindClient says.
'use strict';
const { SocksClient } = require('socks');

const [command, proxy, host, port] = process.argv.slice(2);
const client = new SocksClient({
  command,
  proxy: JSON.parse(proxy),
  destination: { host, port: Number(port) },
});

const say = (word, address) => console.log(`${word} ${address.host} ${address.port}`);

client.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});

client.on('bound', ({ remoteHost }) => say('bound', remoteHost));

client.on('established', ({ socket, remoteHost }) => {
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

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { expect, test } from 'vitest';
import { listeningPorts, portsIn } from './listening-ports.js';

test('a port is named while a program waits on it, by IPv4 or IPv6, and no longer', async () => {
  const server = createServer().listen(0, '::1');
  const socket = createSocket('udp4').bind(0, '127.0.0.1');
  await Promise.all([once(server, 'listening'), once(socket, 'listening')]);
  const tcp = `tcp/${(server.address() as AddressInfo).port}`;
  const udp = `udp/${socket.address().port}`;
  expect(listeningPorts()).toEqual(expect.arrayContaining([tcp, udp]));
  server.close();
  socket.close();
  await Promise.all([once(server, 'close'), once(socket, 'close')]);
  expect(listeningPorts()).not.toContain(tcp);
});

test('connections and other lines are no listeners', () => {
  const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1B9E 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
   1: 0100007F:1B9F 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 100 0 0 10 0

`;
  expect(portsIn(table, '0A')).toEqual([7070]);
});

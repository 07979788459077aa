import { BlockList, isIPv6 } from 'node:net';
import type { FastifyRequest } from 'fastify';

const loopback = new BlockList();
loopback.addSubnet('127.0.0.0', 8);
loopback.addAddress('::1', 'ipv6');

/**
 * Whether a request was made on this machine, by somebody for himself: what a proxy here passes on comes from loopback too,
 * and says so.
 */
export function isLocal({ socket, headers }: Pick<FastifyRequest, 'socket' | 'headers'>): boolean {
  const address = (socket.remoteAddress ?? '').replace(/^::ffff:(?=\d+\.)/, '');
  const forwarded = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'].some(
    (h) => headers[h] !== undefined,
  );
  return !forwarded && address !== '' && loopback.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

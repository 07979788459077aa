import { readFileSync } from 'node:fs';
import { hasCode } from './errno.js';

/** State numbers of the kernel (net/tcp_states.h): TCP_LISTEN, and TCP_CLOSE, which is that of a bound UDP socket. */
const listening = { tcp: '0A', udp: '07' } as const;

/** Ports on which a program waits in this network namespace, as `tcp/22`: proc(5), /proc/net/tcp and its like. */
export function listeningPorts(): string[] {
  const found = new Set<string>();
  for (const protocol of ['tcp', 'udp'] as const)
    for (const file of [protocol, `${protocol}6`])
      for (const port of portsIn(tableOf(file), listening[protocol])) found.add(`${protocol}/${port}`);
  return [...found].sort();
}

/** Local ports of the sockets in one state. @param table text of /proc/net/{tcp,udp}{,6} */
export function portsIn(table: string, state: string): number[] {
  return table.split('\n').flatMap((line) => {
    const found = /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:[0-9A-F]{4} ([0-9A-F]{2}) /.exec(line);
    return found?.[1] === undefined || found[2] !== state ? [] : [Number.parseInt(found[1], 16)];
  });
}

function tableOf(name: string): string {
  try {
    // Of this thread: namespaces belong to threads.
    return readFileSync(`/proc/thread-self/net/${name}`, 'utf8');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return ''; // a kernel without IPv6
    throw error;
  }
}

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ipv4Encode } from '@berth/linux';
import { GuestDns, Name } from '@berth/model';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { identityFiles } from '@berth/runtime';
import { guestIdentityWrite } from './guest-identity.js';

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), 'berth-identity-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const piece = fc.constantFrom(
  ...[
    '\n',
    '\r',
    '\0',
    ' ',
    '\t',
    '#',
    '"',
    "'",
    '\\',
    '..',
    '$(id)',
    ';',
    '\u2028',
    '\u00a0',
    'é',
    'A',
    '-',
    '0',
  ],
  ...['\nnameserver 6.6.6.6', '\n6.6.6.6 bank.example'],
);
const around = (...honest: string[]) =>
  fc.oneof(
    { arbitrary: fc.constantFrom(...honest), weight: 8 },
    fc
      .tuple(fc.constantFrom(...honest), piece, fc.nat(12))
      .map(([h, p, i]) => h.slice(0, i) + p + h.slice(i)),
    fc.string({ unit: 'binary', maxLength: 70 }),
    fc.stringMatching(/^[a-z0-9.-]{1,70}$/),
  );

function isAddress(text: string): boolean {
  try {
    return ipv4Encode(text).length === 4;
  } catch {
    return false;
  }
}

const written = (name: string): string => readFileSync(join(dir, name), 'utf8');

/** hosts(5) and resolv.conf(5) as glibc reads them: lines of words, `#` (and `;` in resolv.conf) begins a comment. */
const words = (text: string, comment: RegExp) =>
  text
    .split('\n')
    .map((line) => line.replace(comment, '').split(/\s+/).filter(Boolean))
    .filter((line) => line.length > 0);

it('10,000 names and addresses that pass their gates come back from the written files as they are', () => {
  let taken = 0;
  const identity = fc.record({
    hostname: around('web', 'db-1'),
    address: around('10.77.1.5'),
    network: around('default'),
    project: around('demo'),
  });
  fc.assert(
    fc.property(identity, ({ hostname, address, network, project }) => {
      // The gates of these writers: the model for names, the network room for addresses, before a container starts.
      const names = [hostname, network, project].every((name) => Name.safeParse(name).success);
      if (!names || !isAddress(address)) return;
      taken++;
      const search = `${network}.${project}.berth.internal`;
      const mounts = guestIdentityWrite(dir, {
        hostname,
        addresses: [address],
        resolver: { nameserver: address, search },
      });
      expect(mounts.every((m) => m.options.includes('ro'))).toBe(true);
      expect(written('hostname').split('\n')).toEqual([hostname, '']);
      expect(words(written('hosts'), /#.*/s).slice(2)).toEqual([[address, hostname]]);
      expect(words(written('resolv.conf'), /[#;].*/s)).toEqual([
        ['search', search],
        ['nameserver', address],
      ]);
    }),
    { numRuns: 10_000 },
  );
  expect(taken).toBeGreaterThan(100);
}, 120_000);

it('10,000 servers, domains, options and hosts that pass the model come back from the files as they are', () => {
  let taken = 0;
  const dns = fc
    .tuple(
      around('9.9.9.9', '2001:db8::53'),
      around('example.net', 'lan'),
      around('ndots:2', 'rotate'),
      around('10.1.1.1', 'fd00::1'),
      around('db', 'db.example.net'),
    )
    .map(([server, domain, option, address, name]) => ({
      servers: [server],
      search: [domain, 'lan'],
      options: [option],
      hosts: [{ address, names: [name, 'db'] }],
    }));
  fc.assert(
    fc.property(dns, (asked) => {
      if (!GuestDns.safeParse(asked).success) return;
      taken++;
      const files = identityFiles({ hostname: 'web', addresses: [], resolver: null, dns: asked });
      expect(words(files['/etc/hosts'], /#.*/s).slice(2)).toEqual(
        asked.hosts.map(({ address, names }) => [address, ...names]),
      );
      expect(words(files['/etc/resolv.conf'], /[#;].*/s)).toEqual([
        ['search', ...asked.search],
        ['nameserver', ...asked.servers],
        ['options', ...asked.options],
      ]);
    }),
    { numRuns: 10_000 },
  );
  expect(taken).toBeGreaterThan(100);
}, 120_000);

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ipv4Encode } from '@berth/linux';
import { Name } from '@berth/model';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
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

/** hosts(5) and resolv.conf(5) as glibc reads them: lines of words, `#` (and `;` in resolv.conf) begins a comment. */
const words = (name: string, comment: RegExp) =>
  readFileSync(join(dir, name), 'utf8')
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
      expect(readFileSync(join(dir, 'hostname'), 'utf8').split('\n')).toEqual([hostname, '']);
      expect(words('hosts', /#.*/s).slice(2)).toEqual([[address, hostname]]);
      expect(words('resolv.conf', /[#;].*/s)).toEqual([
        ['search', search],
        ['nameserver', address],
      ]);
    }),
    { numRuns: 10_000 },
  );
  expect(taken).toBeGreaterThan(100);
}, 120_000);

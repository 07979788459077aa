import { macEncode } from '@berth/linux';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dnsmasqConfig, dnsmasqHosts, dnsmasqLeases, type DnsmasqSettings } from './dnsmasq-config.js';
import { nftApply, nftRules, type NftSettings } from './nft-ruleset.js';
import { subnetParse } from './subnet.js';

/**
 * Each writer gets 10,000 strings. What it writes is read back by the reader's own rules (dnsmasq: option.c and
 * cache.c; nft: scanner.l), and must say what was asked for and nothing else; or the writer refuses.
 */
const RUNS = { numRuns: 10_000 };
const settings: DnsmasqSettings = {
  bridge: 'bb0123456789abc',
  subnet: subnetParse('10.77.1.0/24'),
  gateway: '10.77.1.1',
  domain: 'default.demo.berth.internal',
  mtu: 1500,
  user: 'dnsmasq',
  hostsFile: '/run/x/hosts',
  leasesFile: '/run/x/leases',
  resolvFile: null,
};

/** Honest words with something in, before or after them: most random text would fail at its first character. */
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
    ',',
    '=',
    ':',
    '/',
    '..',
    '$(id)',
    '`x`',
    ';',
    '|',
    '&',
    '*',
  ],
  ...[
    '\u2028',
    '\u00a0',
    '\u202e',
    'é',
    '\ud800',
    '\x1b[2J',
    '{',
    '}',
    '%n',
    '0',
    '-',
    'A',
    '\nserver=6.6.6.6',
    ',set:x',
  ],
);
const spoiled = (honest: readonly string[]) =>
  fc.tuple(fc.constantFrom(...honest), fc.nat(70), piece).map(([h, i, p]) => h.slice(0, i) + p + h.slice(i));
const around = (...honest: string[]) =>
  fc.oneof(
    fc.constantFrom(...honest),
    spoiled(honest),
    fc.string({ unit: 'binary', maxLength: 70 }),
    fc.stringMatching(/^[a-z0-9./:_-]{1,70}$/),
  );

function written(write: () => string): string | null {
  try {
    return write();
  } catch {
    return null;
  }
}

/** read_file() of dnsmasq: quotes and escapes, `#` after a blank begins a comment, blanks around are cut, `=` splits. */
function dnsmasqParse(text: string): [string, string | null][] {
  const found: [string, string | null][] = [];
  for (const line of text.split('\n')) {
    let out = '';
    let isQuoted = false;
    let isAfterBlank = true;
    for (let i = 0; i < line.length && line[i] !== '\0'; i++) {
      let letter = line[i] ?? '';
      if (letter === '"') {
        isQuoted = !isQuoted;
        continue;
      }
      if (!isQuoted && isAfterBlank && letter === '#') break;
      if (isQuoted && letter === '\\') letter = line[++i] ?? '';
      isAfterBlank = /[\t\n\v\f\r ]/.test(letter);
      out += letter;
    }
    const clean = out.replace(/^[\t\v\f\r ]+|[\t\v\f\r ]+$/g, '');
    if (clean === '') continue;
    const split = clean.indexOf('=');
    const key = split < 0 ? clean : clean.slice(0, split).trim();
    found.push([key, split < 0 ? null : clean.slice(split + 1).trim()]);
  }
  return found;
}

test('dnsmasq reads from its configuration what was asked for, and nothing else', () => {
  const fields = {
    bridge: 'br0',
    gateway: '10.77.1.9',
    domain: 'a.b',
    user: 'nobody',
    hostsFile: '/a/b',
    leasesFile: '/c',
    resolvFile: '/etc/r',
  };
  const clean = dnsmasqParse(dnsmasqConfig({ ...settings, resolvFile: '/etc/resolv.conf' }));
  // Not by chain(): that would build its arbitraries anew for each run.
  const asked = fc.oneof(
    ...(Object.keys(fields) as (keyof typeof fields)[]).map((key) =>
      fc.tuple(fc.constant(key), around(fields[key])),
    ),
  );
  let taken = 0;
  fc.assert(
    fc.property(asked, ([key, value]) => {
      const given = { ...settings, resolvFile: '/etc/resolv.conf', [key]: value };
      const text = written(() => dnsmasqConfig(given));
      if (text === null) return;
      taken++;
      const places: Record<keyof typeof fields, [string, string][]> = {
        bridge: [['interface', value]],
        gateway: [
          ['dhcp-option', `option:router,${value}`],
          ['dhcp-option', `option:dns-server,${value}`],
        ],
        domain: [
          ['domain', value],
          ['local', `/${value}/`],
        ],
        user: [['user', value]],
        hostsFile: [['addn-hosts', value]],
        leasesFile: [['dhcp-hostsfile', value]],
        resolvFile: [['resolv-file', value]],
      };
      const was = { ...settings, resolvFile: '/etc/resolv.conf' }[key];
      const wanted = clean.map(([k, v]) => {
        const place = places[key].find(([pk, pv]) => pk === k && pv.replace(value, () => String(was)) === v);
        return place ?? [k, v];
      });
      expect(dnsmasqParse(text)).toEqual(wanted);
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(1000);
});

test('dnsmasq reads one lease and one host for each that was given', () => {
  const lease = fc.record({
    name: around('web', 'db-1'),
    mac: fc.oneof(around('02:00:00:00:00:01'), fc.constant('02:00:00:00:00:0A')),
    ipv4: around('10.77.1.5'),
  });
  let taken = 0;
  fc.assert(
    fc.property(fc.array(lease, { minLength: 1, maxLength: 2 }), (leases) => {
      const text = written(() => dnsmasqLeases(leases));
      if (text !== null) {
        taken++;
        const read = dnsmasqParse(text).map(([line]) => line.split(','));
        expect(read).toEqual(
          leases.map((l) => [
            macEncode(l.mac)
              .toString('hex')
              .replace(/..(?!$)/g, '$&:'),
            l.ipv4,
            l.name,
          ]),
        );
      }
      const hosts = written(() => dnsmasqHosts(leases, { name: '_s', address: '10.77.1.1' }));
      if (hosts === null) return;
      // read_hostsfile(): the rest of a line after `#` is dropped, words are split at blanks.
      const lines = hosts.split('\n').map((line) =>
        line
          .replace(/#.*/s, '')
          .split(/[\t\v\f\r ]+/)
          .filter(Boolean),
      );
      expect(lines.filter((l) => l.length > 0)).toEqual([
        ['10.77.1.1', '_s'],
        ...leases.map((l) => [l.ipv4, l.name]),
      ]);
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(100);
});

test('nft reads one word for each name, in the place where it was given', () => {
  const nft: NftSettings = {
    table: 'berth_x',
    bridge: 'bb0',
    subnet: settings.subnet,
    gateway: settings.gateway,
  };
  const honest = { table: 'berth_0a1', bridge: 'bb01' };
  const asked = fc.oneof(
    ...(['table', 'bridge'] as const).map((key) => fc.tuple(fc.constant(key), around(honest[key]))),
  );
  let taken = 0;
  fc.assert(
    fc.property(asked, ([key, value]) => {
      const text = written(() => JSON.stringify(nftApply({ ...nft, [key]: value })));
      if (text === null) return;
      taken++;
      expect(nftWords(value)).toBe(1);
      const places = JSON.stringify(nftRules(nft)).split(`"${nft.bridge}"`).length - 1;
      const read = strings(JSON.parse(text)).filter((s) => s === value).length;
      expect(read).toBeGreaterThanOrEqual(key === 'table' ? 3 : places);
      expect(strings(JSON.parse(text))).toHaveLength(strings(nftApply(nft)).length);
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(500);
});

/** Words that nft's scanner makes of a text; a character that none of its words may hold counts as one more. */
function nftWords(text: string): number {
  let words = 0;
  for (let at = 0; at < text.length; words++) {
    const word = /^[A-Za-z0-9_.-][A-Za-z0-9/_.-]*/.exec(text.slice(at))?.[0];
    at += word?.length ?? 1;
    if (word === undefined) words++;
  }
  return words;
}

/** Every text in a document. */
function strings(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(strings) : [];
}

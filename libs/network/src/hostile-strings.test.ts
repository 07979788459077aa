import { ipv6Encode, macEncode } from '@berth/linux';
import { ipv6Number, ipv6Text } from '@berth/model';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { dnsmasqConfig, dnsmasqHosts, dnsmasqLeases, type DnsmasqSettings } from './dnsmasq-config.js';
import { guardApply } from './nft-guard.js';
import { groupRules } from './nft-groups.js';
import { nftApply, nftRules, type NftSettings } from './nft-ruleset.js';
import { subnet6Parse, subnetParse } from './subnet.js';

/**
 * Each writer gets 10,000 strings. What it writes is read back by the reader's own rules (dnsmasq: option.c and
 * cache.c; nft: scanner.l), and must say what was asked for and nothing else; or the writer refuses.
 */
const RUNS = { numRuns: 10_000 };
const settings: DnsmasqSettings = {
  bridge: 'bb0123456789abc',
  subnet: subnetParse('10.77.1.0/24'),
  gateway: '10.77.1.1',
  ipv6: { subnet: subnet6Parse('fd77:1::/64'), gateway: 'fd77:1::1' },
  wayOut: true,
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
        bridge: [
          ['interface', value],
          ['ra-param', `${value},mtu:1500,low,600`],
        ],
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
    ipv6: fc.oneof(fc.constant(undefined), fc.constantFrom('fd77:1::5', 'FD77:1:0::a'), around('fd77:1::5')),
  });
  const canonical = (text: string) => new URL(`http://[${text}]`).hostname.slice(1, -1);
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
            ...(l.ipv6 === undefined ? [] : [`[${canonical(l.ipv6)}]`]),
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
        ...leases.flatMap((l) => [
          [l.ipv4, l.name],
          ...(l.ipv6 === undefined ? [] : [[canonical(l.ipv6), l.name]]),
        ]),
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
    ports: [],
    groups: [],
    members: [],
    secondary: [],
    ipv6: settings.ipv6,
    internal: false,
  };
  const honest = { table: 'berth_0a1', bridge: 'bb01' };
  const asked = fc.oneof(
    ...(['table', 'bridge'] as const).map((key) => fc.tuple(fc.constant(key), around(honest[key]))),
  );
  const places = JSON.stringify(nftRules(nft)).split(`"${nft.bridge}"`).length - 1;
  const all = strings(nftApply(nft)).length;
  let taken = 0;
  fc.assert(
    fc.property(asked, ([key, value]) => {
      const text = written(() => JSON.stringify(nftApply({ ...nft, [key]: value })));
      if (text === null) return;
      taken++;
      expect(nftWords(value)).toBe(1);
      const read = strings(JSON.parse(text));
      expect(read.filter((s) => s === value).length).toBeGreaterThanOrEqual(key === 'table' ? 3 : places);
      expect(read).toHaveLength(all);
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(500);
});

test('nft reads one rule for each place of a published port, with its numbers and its address', () => {
  const nft: NftSettings = {
    table: 'berth_x',
    bridge: 'bb0',
    subnet: settings.subnet,
    gateway: settings.gateway,
    ports: [],
    groups: [],
    members: [],
    secondary: [],
    ipv6: settings.ipv6,
    internal: false,
  };
  const bare = nftRules(nft).length;
  const number = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 65_535 }) },
    fc.double(),
    fc.integer(),
    around('80', '8080') as fc.Arbitrary<unknown>,
  );
  const port = fc.record({
    protocol: fc.oneof(fc.constantFrom('tcp', 'udp'), around('tcp')),
    hostPort: number,
    guestPort: number,
    ipv4: fc.oneof(fc.constantFrom('10.77.1.5', '10.77.1.254'), around('10.77.1.5')),
  });
  const gateway = fc.oneof(fc.constant(settings.gateway), around(settings.gateway));
  let taken = 0;
  fc.assert(
    fc.property(port, gateway, (one, at) => {
      const given = { ...nft, gateway: at, ports: [one as never] };
      const text = written(() => JSON.stringify(nftApply(given)));
      if (text === null) return;
      taken++;
      expect(one.protocol).toMatch(/^(tcp|udp)$/);
      for (const n of [one.hostPort, one.guestPort]) expect(Number.isInteger(n)).toBe(true);
      // The reader of its JSON scans each text anew: an address is one word of four numbers, nothing else.
      for (const address of [one.ipv4, at]) expect(address).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
      const rules = nftRules(given);
      expect(rules).toHaveLength(bare + 5);
      expect(rules.filter((r) => JSON.stringify(r).includes('dnat":{'))).toEqual(
        ['prerouting', 'output'].map((chain) => ({
          chain,
          expr: [
            { match: { op: '==', left: { meta: { key: 'nfproto' } }, right: 'ipv4' } },
            {
              match: {
                op: '==',
                left: { payload: { protocol: one.protocol, field: 'dport' } },
                right: one.hostPort,
              },
            },
            { dnat: { family: 'ip', addr: one.ipv4, port: one.guestPort } },
          ],
        })),
      );
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(200);
});

test("nft reads from a guard one word for each part of a nic's identity, in the place where it was given", () => {
  const nic = { ifname: 'bv01', mac: '02:00:00:00:00:01', ipv4: '10.77.1.5' };
  const guard = { table: 'berth_x', prefixes: ['bt012', 'bv012'] };
  const given = fc.record({
    ifname: around(nic.ifname),
    mac: fc.oneof(fc.constantFrom(nic.mac, '02:00:00:00:00:0A'), around(nic.mac)),
    ipv4: fc.oneof(fc.constant(nic.ipv4), around(nic.ipv4)),
    table: fc.oneof(fc.constant(guard.table), around(guard.table)),
    prefix: fc.oneof(fc.constant('bt012'), around('bt012')),
    older: fc.oneof(fc.constant('bt0'), around('bt0')),
  });
  const clean = strings(guardApply(guard, [nic], ['bt0'])).length;
  let taken = 0;
  fc.assert(
    fc.property(given, ({ table, prefix, older, ...one }) => {
      const text = written(() =>
        JSON.stringify(guardApply({ table, prefixes: [prefix, 'bv012'] }, [one], [older])),
      );
      if (text === null) return;
      taken++;
      for (const word of [table, prefix, older, one.ifname]) expect(nftWords(word)).toBe(1);
      const all = strings(JSON.parse(text));
      expect(all).toHaveLength(clean);
      const elements = (JSON.parse(text) as { nftables: { add?: { element?: unknown } }[] }).nftables;
      const mac = macEncode(one.mac)
        .toString('hex')
        .replace(/..(?!$)/g, '$&:');
      expect(elements.flatMap((e) => e.add?.element ?? [])).toEqual([
        { family: 'bridge', table, name: 'macs', elem: [{ concat: [one.ifname, mac] }] },
        { family: 'bridge', table, name: 'nics', elem: [{ concat: [one.ifname, mac, one.ipv4] }] },
        { family: 'bridge', table, name: 'unguarded', elem: [older] },
      ]);
      expect(all.filter((s) => s === `${prefix}*`)).toHaveLength(1);
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(20);
});

test('nft reads from a security group what its rules say, each text one word or number, or it is refused', () => {
  const nft = {
    table: 'berth_x',
    bridge: 'bb0',
    subnet: settings.subnet,
    gateway: settings.gateway,
    ports: [],
    secondary: [],
    ipv6: settings.ipv6,
    internal: false,
  };
  const number = fc.oneof(
    fc.integer({ min: 1, max: 65_535 }),
    fc.double(),
    around('80') as fc.Arbitrary<unknown>,
  );
  const given = fc.record({
    ipv4: fc.oneof(fc.constant('10.77.1.5'), around('10.77.1.5')),
    group: around('web'),
    rule: fc.record(
      {
        direction: fc.constantFrom('ingress', 'egress'),
        protocol: fc.oneof(fc.constantFrom('tcp', 'udp', 'icmp'), around('tcp')),
        ports: fc.record({ first: number, last: number }),
        cidr: fc.oneof(fc.constantFrom('0.0.0.0/0', '10.0.0.0/8'), around('10.0.0.0/8')),
        group: fc.oneof(fc.constant('web'), around('web')),
      },
      { requiredKeys: ['direction'] },
    ),
  });
  let taken = 0;
  fc.assert(
    fc.property(given, ({ ipv4, group, rule }) => {
      const members = [{ ipv4, groups: ['web', group] }];
      const rules = written(() =>
        JSON.stringify(groupRules({ members, groups: [{ name: group, rules: [rule as never] }] })),
      );
      if (rules === null) return;
      taken++;
      // No name of a group gets there at all: it is rendered as the addresses of who is in it.
      for (const s of strings(JSON.parse(rules))) expect(s).toMatch(/^(\d+(\.\d+){3}|[a-z]+|==)$/);
      const { length } = JSON.parse(rules) as unknown[];
      expect(length).toBeLessThanOrEqual(3);
      const whole = { ...nft, members, groups: [{ name: group, rules: [rule as never] }] };
      expect(nftRules(whole)).toHaveLength(nftRules({ ...nft, members: [], groups: [] }).length + length);
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(100);
});

test('nft reads an IPv6 address in its canonical text and nothing else, wherever one is given, or it is refused', () => {
  const honest = 'fd77:1::abcd';
  const digits = (address: string) => `0x${ipv6Encode(address).toString('hex')}`;
  const nic = { ifname: 'bv01', mac: '02:00:00:00:00:01', ipv4: '10.77.1.5' };
  const port = { protocol: 'tcp' as const, hostPort: 8080, guestPort: 80, ipv4: '10.77.1.5' };
  const rule = { direction: 'ingress' as const, protocol: 'icmp' as const };
  const base: NftSettings = {
    table: 'berth_x',
    bridge: 'bb0',
    ...{ subnet: settings.subnet, gateway: settings.gateway, ipv6: settings.ipv6, internal: false },
    ...{ ports: [], secondary: [], members: [], groups: [] },
  };
  const places: readonly ((address: string) => object)[] = [
    (ipv6) => guardApply({ table: 'berth_x', prefixes: ['bv'] }, [{ ...nic, ipv6 }], []),
    (gateway) => nftApply({ ...base, ipv6: { subnet: settings.ipv6!.subnet, gateway } }),
    (ipv6) => nftApply({ ...base, ports: [{ ...port, ipv6 }], secondary: [{ ipv4: '10.77.1.5', ipv6 }] }),
    (ipv6) => ({
      nftables: groupRules({
        members: [{ ipv4: '10.77.1.5', ipv6, groups: ['web'] }],
        groups: [{ name: 'web', rules: [rule, { ...rule, cidr: `${ipv6}/128` }] }],
      }),
    }),
  ];
  // The marks in comments are of the rules' content.
  const rendered = (document: object) => JSON.stringify(document).replace(/berth [0-9a-f]{16}/g, 'mark');
  const clean = places.map((place) => rendered(place(honest)));
  for (const text of clean) expect(text).toContain(honest);
  const spelled = fc.oneof(
    around(honest, 'fd77:1:0:0::ABCD', '::ffff:1.2.3.4'),
    fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map(ipv6Text),
    fc.constantFrom('FD77:0001::0A', 'fd77:1::%eth0', '::', 'fd77::1::2', '1:2:3:4:5:6:7', '10.77.1.5'),
  );
  let taken = 0;
  fc.assert(
    fc.property(fc.nat(places.length - 1), spelled, (at, address) => {
      const text = written(() => rendered(places[at]!(address)));
      if (text === null) return;
      taken++;
      const canonical = ipv6Text(ipv6Number(address));
      const wanted = clean[at]!.replaceAll(honest, () => canonical).replaceAll(
        digits(honest),
        digits(canonical),
      );
      expect(text).toBe(wanted);
      expect(canonical).toMatch(/^[0-9a-f:]+$/);
    }),
    RUNS,
  );
  expect(taken).toBeGreaterThan(1000);
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

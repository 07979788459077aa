import { run } from '@berth/linux';
import { HostNetworkSpec } from '@berth/model';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { dnsmasqConfig, dnsmasqHosts, dnsmasqLeases, type DnsmasqSettings } from './dnsmasq-config.js';
import { leasesMerge, specCheck } from './lease-book.js';
import { networkDomain, NetworkNames } from './network-names.js';
import { guardAdmit, guardApply, guardExpel } from './nft-guard.js';
import { nftApply, nftMark, nftRules, type NftSettings } from './nft-ruleset.js';
import { nftMatches } from './nft-words.js';
import { addressText, subnet6Parse, subnetHolds, subnetParse } from './subnet.js';

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
const nft: NftSettings = {
  table: 'berth_x',
  bridge: 'bb0',
  subnet: settings.subnet,
  gateway: settings.gateway,
  ipv6: settings.ipv6,
  ports: [
    { protocol: 'tcp', hostPort: 8080, ipv4: '10.77.1.5', guestPort: 80 },
    { protocol: 'udp', hostPort: 5353, ipv4: '10.77.1.6', ipv6: 'fd77:1::6', guestPort: 53 },
  ],
  secondary: [{ ipv4: '10.77.1.6', ipv6: 'fd77:1::6' }],
  internal: true,
  members: [1, 2].map((n) => ({ ipv4: `10.77.1.${n + 4}`, ipv6: `fd77:1::${n + 4}`, groups: ['web'] })),
  groups: [
    {
      name: 'web',
      rules: [
        { direction: 'ingress', protocol: 'tcp', ports: { first: 80, last: 80 }, cidr: '0.0.0.0/0' },
        { direction: 'ingress', protocol: 'udp', ports: { first: 1000, last: 2000 } },
        { direction: 'ingress', protocol: 'icmp', cidr: '10.0.0.0/8' },
        { direction: 'ingress', protocol: 'tcp', cidr: '2001:db8::/32' },
        { direction: 'ingress', protocol: 'icmp', cidr: '::/0' },
        { direction: 'egress', group: 'web' },
      ],
    },
  ],
};

/** Strings as an attacker or an accident would write them, and random ones. */
const hostile = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    'a\nserver=6.6.6.6',
    'a#b',
    'a b',
    "'",
    '"; drop',
    'x,set:known',
    '\r',
    '\0',
    '$(id)',
    'a\u2028b',
    '..',
  ),
);

/** The lines, or null when the writer refused. */
function linesOf(write: () => string): string[] | null {
  try {
    return write().split('\n');
  } catch {
    return null;
  }
}

test('no value given to the dnsmasq configuration adds, splits or comments out a line', () => {
  const clean = dnsmasqConfig(settings).split('\n');
  const keys = (lines: string[]) => lines.map((line) => line.split('=')[0]);
  const field = fc.constantFrom('bridge', 'gateway', 'domain', 'user', 'hostsFile', 'leasesFile');
  fc.assert(
    fc.property(field, hostile, (key, value) => {
      const lines = linesOf(() => dnsmasqConfig({ ...settings, [key]: value }));
      if (lines === null) return;
      expect(keys(lines)).toEqual(keys(clean));
      for (const line of lines) expect(line).toMatch(/^[\x21-\x7e]*$/);
      expect(lines.join('')).not.toMatch(/["'#\\]/);
    }),
    { numRuns: 500 },
  );
});

test('each lease is one line of three fields or, of a secondary nic, four; and each name one line of two, or it is refused', () => {
  const lease = fc.record({
    name: fc.oneof(hostile, fc.constantFrom('web', 'db-1')),
    mac: fc.oneof(hostile, fc.constant('02:00:00:00:00:01')),
    ipv4: fc.oneof(hostile, fc.constant('10.77.1.5')),
    secondary: fc.constantFrom(undefined, true as const),
  });
  let written = 0;
  fc.assert(
    fc.property(lease, (one) => {
      const leases = linesOf(() => dnsmasqLeases([one]));
      const hosts = linesOf(() => dnsmasqHosts([one], { name: '_s', address: '10.77.1.1' }));
      if (leases !== null) {
        written += 1;
        expect(leases).toEqual([
          expect.stringMatching(
            one.secondary
              ? /^([0-9a-f]{2}:){5}[0-9a-f]{2},set:secondary,[0-9.]+,[a-z][-a-z0-9]*$/
              : /^([0-9a-f]{2}:){5}[0-9a-f]{2},[0-9.]+,[a-z][-a-z0-9]*$/,
          ),
          '',
        ]);
      }
      if (hosts !== null)
        expect(hosts).toEqual(['10.77.1.1 _s', expect.stringMatching(/^[0-9.]+ [a-z][-a-z0-9]*$/), '']);
    }),
    { numRuns: 1000 },
  );
  expect(written).toBeGreaterThan(0);
});

test('dnsmasq itself accepts what is written', async () => {
  const { stdout } = await run('dnsmasq', ['--test', '--conf-file=-'], {
    input: dnsmasqConfig(settings),
  }).then((r) => ({
    stdout: r.stdout + r.stderr,
  }));
  expect(stdout).toContain('syntax check OK');
});

test('hostile names never reach nft: they are refused, and the document stays one JSON document', () => {
  fc.assert(
    fc.property(fc.constantFrom('table', 'bridge'), hostile, (key, value) => {
      let text: string;
      try {
        text = JSON.stringify(nftApply({ ...nft, [key]: value }));
      } catch {
        return;
      }
      expect(value).toMatch(/^[A-Za-z0-9_.-]+$/);
      expect((JSON.parse(text) as { nftables: unknown[] }).nftables).toHaveLength(
        nftApply(nft).nftables.length,
      );
    }),
    { numRuns: 500 },
  );
});

test('nft itself accepts the table (checked, not applied)', async () => {
  await run('nft', ['-j', '-c', '-f', '-'], { input: JSON.stringify(nftApply(nft)) });
});

const guard = { table: 'berth_x', prefixes: ['bt012', 'bv012'] };
const guarded = { ifname: 'bv0', mac: '02:00:00:00:00:01', ipv4: '10.77.1.5' };

test('nft itself accepts the guard with a nic, and a nic that comes and goes (checked, not applied)', async () => {
  const { nftables } = guardApply(guard, [guarded], ['bt0']);
  const more = { ...guarded, ifname: 'bv1', mac: '02:00:00:00:00:02', ipv4: '10.77.1.6', ipv6: 'fd77:1::6' };
  const all = [
    ...nftables,
    ...guardAdmit(guard, more).nftables,
    ...guardExpel(guard, [more, guarded]).nftables,
  ];
  await run('nft', ['-j', '-c', '-f', '-'], { input: JSON.stringify({ nftables: all }) });
});

test('a listing fits only when it has every rule with the mark of these settings', () => {
  const rules = nftApply(nft).nftables.flatMap((c) => (c.add as { rule?: unknown } | undefined)?.rule ?? []);
  const listing = (some: unknown[]) => ({ nftables: [{ metainfo: {} }, ...some.map((rule) => ({ rule }))] });
  expect(rules).toHaveLength(nftRules(nft).length);
  const wanted = (s: NftSettings) => ({ mark: nftMark(s), rules: nftRules(s) });
  expect(nftMatches(listing(rules), wanted(nft))).toBe(true);
  expect(nftMatches(listing(rules.slice(1)), wanted(nft))).toBe(false);
  expect(nftMatches(listing(rules), wanted({ ...nft, gateway: '10.77.1.2' }))).toBe(false);
  expect(nftMatches(listing(rules), wanted({ ...nft, ports: nft.ports.slice(1) }))).toBe(false);
  expect(nftMatches({}, wanted(nft))).toBe(false);
});

test('identities come back from a link alias, and names fit an interface', () => {
  const names = new NetworkNames('/var/lib/berth');
  fc.assert(
    fc.property(fc.uuid({ version: 4 }), fc.uuid({ version: 4 }), fc.nat(), (a, b, epoch) => {
      const addresses = {
        mac: '02:00:00:00:00:0a',
        ipv4: '10.77.1.5',
        ...(epoch % 2 === 0 ? {} : { ipv6: 'fd77:1::a:5' }),
      };
      const nic = { instanceId: a, nicId: b, networkId: a, epoch, addresses } as unknown as Parameters<
        NetworkNames['nicAlias']
      >[0];
      const older = { ...nic, addresses: null };
      expect(names.nicOf(names.nicAlias(nic))).toEqual(nic);
      expect(names.nicOf(names.nicAlias(older))).toEqual(older);
      expect(names.nicOf(`${names.nicAlias(nic)}:x`)).toBeNull();
      expect(names.nicAlias(nic).length).toBeLessThan(256);
      expect(names.networkOf(names.networkAlias(nic.networkId))).toBe(a);
      expect(names.networkOf(names.nicAlias(nic))).toBeNull();
      expect(new NetworkNames('/elsewhere').nicOf(names.nicAlias(nic))).toBeNull();
      for (const name of [names.tap(nic), names.veth(nic), names.bridge(nic.networkId)])
        expect(name).toHaveLength(15);
    }),
  );
  fc.assert(fc.property(hostile, (text) => names.nicOf(text) === null && names.networkOf(text) === null));
});

test('a subnet holds every address between its network and its broadcast address', () => {
  const any = fc.tuple(fc.integer({ min: 8, max: 30 }), fc.integer({ min: 0, max: 2 ** 32 - 1 }));
  fc.assert(
    fc.property(any, fc.integer({ min: 0, max: 2 ** 32 - 1 }), ([prefix, seed], other) => {
      const size = 2 ** (32 - prefix);
      const subnet = subnetParse(`${addressText(seed - (seed % size))}/${prefix}`);
      expect(subnet.last - subnet.first + 1).toBe(size);
      expect(subnetHolds(subnet, addressText(other))).toBe(other > subnet.first && other < subnet.last);
    }),
  );
});

const specOf = (revision: number | undefined, leases: HostNetworkSpec['leases']) =>
  HostNetworkSpec.parse({
    id: randomUUID(),
    project: 'demo',
    name: 'default',
    cidr: '10.77.1.0/24',
    gateway: '10.77.1.1',
    leases,
    ...(revision === undefined ? {} : { revision }),
  });
const web = { name: 'web', mac: '02:00:00:00:00:01', ipv4: '10.77.1.5' };
const db = { name: 'db', mac: '02:00:00:00:00:02', ipv4: '10.77.1.6' };

test('with revisions the newest leases win; without, leases are added and a newcomer takes what it collides with', () => {
  expect(leasesMerge(specOf(2, [web, db]), specOf(1, [web])).leases).toEqual([web, db]);
  expect(leasesMerge(specOf(2, [web, db]), specOf(3, [db])).leases).toEqual([db]);
  expect(leasesMerge(specOf(undefined, [web, db]), specOf(undefined, [web])).leases).toEqual([web, db]);
  const taker = { ...db, name: 'new' };
  const merged = leasesMerge(specOf(7, [web, db]), specOf(undefined, [taker]));
  expect(merged).toMatchObject({ revision: 7, leases: [web, taker] });
  expect(() => specCheck(merged)).not.toThrow();
});

const port = { protocol: 'tcp' as const, hostPort: 8080, ipv4: web.ipv4, guestPort: 80 };
const withPorts = (revision: number | undefined, ports: HostNetworkSpec['ports']) => ({
  ...specOf(revision, [web, db]),
  ports,
});

test('published ports are of the revision of the leases; without one, a newcomer takes what it collides with', () => {
  const moved = { ...port, ipv4: db.ipv4 };
  const other = { ...port, protocol: 'udp' as const };
  expect(leasesMerge(withPorts(2, [port]), withPorts(1, [moved])).ports).toEqual([port]);
  expect(leasesMerge(withPorts(2, [port]), withPorts(3, [moved])).ports).toEqual([moved]);
  expect(leasesMerge(withPorts(2, [port]), specOf(3, [web])).ports).toBeUndefined();
  expect(leasesMerge(specOf(2, [web]), withPorts(1, [port])).ports).toBeUndefined();
  expect(leasesMerge(withPorts(2, [port, other]), withPorts(undefined, [moved])).ports).toEqual([
    other,
    moved,
  ]);
  for (const bad of [{ ipv4: '10.77.2.5' }, { ipv4: '10.77.1.1' }])
    expect(() => specCheck(withPorts(1, [{ ...port, ...bad }]))).toThrow(/no guest's address/);
  expect(() => specCheck(withPorts(1, [port, moved]))).toThrow(/twice/);
});

test('merged leases never hold a name, MAC or address twice', () => {
  const lease = fc.record({
    name: fc.constantFrom('a', 'b', 'c', 'd'),
    mac: fc.constantFrom('02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:0a', '02:00:00:00:00:0A'),
    ipv4: fc.constantFrom('10.77.1.5', '10.77.1.6', '10.77.1.7'),
  });
  const leases = fc
    .uniqueArray(lease, { selector: (l) => l.name, comparator: 'SameValue' })
    .map((all) =>
      all.filter(
        (l, i) =>
          !all.slice(0, i).some((o) => o.mac.toLowerCase() === l.mac.toLowerCase() || o.ipv4 === l.ipv4),
      ),
    );
  fc.assert(
    fc.property(fc.array(leases, { minLength: 1, maxLength: 6 }), (steps) => {
      const end = steps.reduce<HostNetworkSpec | null>(
        (known, l) => leasesMerge(known, specOf(undefined, l)),
        null,
      );
      if (end !== null) expect(() => specCheck(end)).not.toThrow();
    }),
  );
});

test('a network has a domain of its own below its project', () => {
  expect(networkDomain({ name: 'default', project: 'demo' })).toBe('default.demo.berth.internal');
});

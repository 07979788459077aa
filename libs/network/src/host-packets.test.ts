import { randomUUID } from 'node:crypto';
import { chmodSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { inNetns, Netlink, run } from '@berth/linux';
import { HostNetworkSpec, NicId } from '@berth/model';
import { expect, test, vi } from 'vitest';
import {
  agentAgain,
  connect,
  conversation,
  datagram,
  dir,
  guestOf,
  inside,
  lookup,
  netnsOf,
  network,
  overhearing,
  ping,
  serve,
  serveNames,
  serveUdp,
  SHORT,
  specOf,
  tell,
} from './testing/host-lab.js';

/* What passes between guests, networks, the host and the world, with real packets. */

const published = (
  spec: HostNetworkSpec,
  name: string,
  hostPort: number,
  protocol: 'tcp' | 'udp' = 'tcp',
) => {
  const ipv4 = spec.leases.find((l) => l.name === name)?.ipv4 ?? '';
  return { protocol, hostPort, ipv4, guestPort: 7000 };
};

test('a published port answers the world, the host, neighbours and other networks; nothing else is opened', async () => {
  const spec = specOf('default', 1, ['web', 'peer']);
  const ports = [published(spec, 'web', 8080), published(spec, 'web', 8053, 'udp')];
  await network.ensure({ ...spec, ports });
  const far = specOf('far', 2, ['other']);
  await network.ensure(far);
  const web = await guestOf(spec, 'web');
  const peer = await guestOf(spec, 'peer');
  const other = await guestOf(far, 'other');
  await serve(web.netns);
  await serveUdp(web.netns, 7000);
  const here = netnsOf('host');
  const world = netnsOf('uplink');
  // From afar the guest sees who asks; other guests and the host's loopback come by way of its gateway.
  expect(await connect(world, '192.0.2.1', 8080)).toEqual({ ok: true, out: '192.0.2.2' });
  expect(await connect(here, '192.0.2.1', 8080)).toEqual({ ok: true, out: '192.0.2.1' });
  expect(await connect(here, '127.0.0.1', 8080)).toEqual({ ok: true, out: spec.gateway });
  expect(await connect(other.netns, '192.0.2.1', 8080)).toEqual({ ok: true, out: spec.gateway });
  expect(await connect(other.netns, far.gateway, 8080)).toEqual({ ok: true, out: spec.gateway });
  expect(await connect(peer.netns, '192.0.2.1', 8080)).toEqual({ ok: true, out: spec.gateway });
  expect(await connect(peer.netns, spec.gateway, 8080)).toEqual({ ok: true, out: spec.gateway });
  expect(await datagram(peer.netns, '192.0.2.1', 8053)).toEqual({ ok: true, out: spec.gateway });
  expect(await datagram(world, '192.0.2.1', 8053)).toEqual({ ok: true, out: '192.0.2.2' });
  expect(await datagram(here, '127.0.0.1', 8053)).toEqual({ ok: true, out: spec.gateway });
  // Neither the guest's own address, nor the same number over another protocol, nor a port of another target.
  expect((await connect(world, web.ip, 7000, SHORT)).ok).toBe(false);
  expect((await connect(other.netns, web.ip, 7000, SHORT)).ok).toBe(false);
  expect((await connect(world, '192.0.2.1', 8053, SHORT)).ok).toBe(false);
  await serve(world, 8080);
  expect(await connect(web.netns, '192.0.2.2', 8080)).toEqual({ ok: true, out: '192.0.2.1' });
});

test("no guest reaches what listens on the host's loopback, although the host reaches ports by it", async () => {
  const spec = specOf('default', 1, ['web']);
  await network.ensure({ ...spec, ports: [published(spec, 'web', 8080)] });
  const web = await guestOf(spec, 'web');
  const server = createServer((s) => s.on('error', () => undefined).end('secret')).listen(7001, '127.0.0.1');
  await once(server, 'listening');
  try {
    expect(await connect(netnsOf('host'), '127.0.0.1', 7001)).toEqual({ ok: true, out: 'secret' });
    // A guest is root in its namespace: it sends 127.0.0.1 to its gateway.
    const ip = async (...args: string[]) => expect((await inside(web.netns, 'ip', args)).ok).toBe(true);
    inNetns(web.netns, () => writeFileSync('/proc/sys/net/ipv4/conf/all/route_localnet', '1'));
    await ip('rule', 'add', 'pref', '100', 'lookup', 'local');
    await ip('rule', 'del', 'pref', '0');
    await ip('rule', 'add', 'pref', '1', 'to', '127.0.0.1', 'lookup', '99');
    await ip('route', 'add', '127.0.0.1', 'via', spec.gateway, 'dev', 'eth0', 'src', web.ip, 'table', '99');
    expect((await connect(web.netns, '127.0.0.1', 7001, SHORT)).ok).toBe(false);
    // But for the rules the host would answer.
    await run('nft', ['flush', 'ruleset']);
    expect(await connect(web.netns, '127.0.0.1', 7001)).toEqual({ ok: true, out: 'secret' });
  } finally {
    server.close();
    await once(server, 'close');
  }
});

test('ports come and go while connections last: one that is published no more is closed, the others go on', async () => {
  const spec = specOf('default', 1, ['web', 'db']);
  let revision = 0;
  const of = (...ports: ReturnType<typeof published>[]) =>
    network.ensure({ ...spec, ports, revision: (revision += 1) });
  const first = published(spec, 'web', 8080);
  const second = published(spec, 'db', 8081);
  await of(first, second);
  const web = await guestOf(spec, 'web');
  const db = await guestOf(spec, 'db');
  await serve(web.netns);
  await serve(db.netns);
  const world = netnsOf('uplink');
  const one = await conversation(world, '192.0.2.1', 8080);
  const two = await conversation(world, '192.0.2.1', 8081);
  await of(first, second, published(spec, 'web', 8082));
  expect(await one.says('alpha')).toBe(true);
  expect(await two.says('beta')).toBe(true);
  await of(first);
  expect(await one.says('gamma')).toBe(true);
  expect(await two.says('delta', SHORT)).toBe(false);
  expect((await connect(world, '192.0.2.1', 8081, SHORT)).ok).toBe(false);
  expect(await connect(world, '192.0.2.1', 8080)).toMatchObject({ ok: true });
  await of();
  expect((await connect(world, '192.0.2.1', 8080, SHORT)).ok).toBe(false);
});

test('a guest sends only as itself: no other MAC, address or ARP, no DHCP answers, no IPv6; without the guard it would', async () => {
  const spec = specOf('default', 1, ['web', 'victim', 'thief']);
  await network.ensure(spec);
  const [web, victim, thief] = [
    await guestOf(spec, 'web'),
    await guestOf(spec, 'victim'),
    await guestOf(spec, 'thief'),
  ];
  const ip = async (netns: string, ...args: string[]) =>
    expect((await inside(netns, 'ip', args)).ok).toBe(true);
  const other = '10.77.1.77';
  await ip(thief.netns, 'address', 'add', `${other}/24`, 'dev', 'eth0');
  // Their ARP is settled, so that it is the packets themselves that do not come.
  await ip(victim.netns, 'neigh', 'add', other, 'lladdr', thief.nic.mac, 'dev', 'eth0', 'nud', 'permanent');
  for (const [a, b] of [
    [thief, victim],
    [victim, thief],
  ] as const)
    await ip(a.netns, 'neigh', 'add', b.ip, 'lladdr', b.nic.mac, 'dev', 'eth0', 'nud', 'permanent');
  for (const netns of [thief.netns, victim.netns]) {
    inNetns(netns, () => writeFileSync('/proc/sys/net/ipv6/conf/eth0/disable_ipv6', '0'));
    await ip(
      netns,
      'address',
      'add',
      netns === thief.netns ? 'fd77::9/64' : 'fd77::10/64',
      'dev',
      'eth0',
      'nodad',
    );
  }
  const hears = await overhearing(victim.netns, 7000);
  const hearsDhcp = await overhearing(victim.netns, 68);
  const target = { ip: victim.ip, port: 7000 };
  const arpOf = async () => (await inside(victim.netns, 'ip', ['neigh', 'show', web.ip])).out;
  const arpSpoof = () =>
    inside(thief.netns, 'busybox', ['arping', '-U', '-c', '3', '-I', 'eth0', '-s', web.ip, web.ip]);
  const asAnother = async (word: string, ms: number) => {
    await ip(thief.netns, 'link', 'set', 'dev', 'eth0', 'address', '02:77:00:00:09:09');
    await tell(thief.netns, word, target, { ip: thief.ip });
    const heard = await hears(word, ms);
    await ip(thief.netns, 'link', 'set', 'dev', 'eth0', 'address', thief.nic.mac);
    return heard;
  };
  await ip(thief.netns, 'address', 'add', `${web.ip}/32`, 'dev', 'lo');
  expect(await ping(victim.netns, web.ip)).toBe(true);
  await tell(thief.netns, 'honest', target, { ip: thief.ip });
  expect(await hears('honest', 5000)).toBe(true);

  expect(await asAnother('mac', SHORT)).toBe(false);
  await tell(thief.netns, 'address', target, { ip: other });
  expect(await hears('address', SHORT)).toBe(false);
  await tell(thief.netns, 'offer', { ip: victim.ip, port: 68 }, { ip: thief.ip, port: 67 });
  expect(await hearsDhcp('offer', SHORT)).toBe(false);
  expect(await ping(thief.netns, 'fd77::10', 1)).toBe(false);
  await arpSpoof();
  expect(await arpOf()).toContain(web.nic.mac);

  await run('nft', ['delete', 'table', 'bridge', tableOf(await run('nft', ['list', 'tables']))]);
  // Else the table of the network would drop it too.
  writeFileSync('/proc/sys/net/bridge/bridge-nf-call-ip6tables', '0');
  const [{ bridge } = { bridge: '' }] = await network.networks();
  await run('ip', ['link', 'set', bridge, 'type', 'bridge', 'nf_call_ip6tables', '0']);
  expect(await asAnother('mac', 5000)).toBe(true);
  await tell(thief.netns, 'address', target, { ip: other });
  expect(await hears('address', 5000)).toBe(true);
  await tell(thief.netns, 'offer', { ip: victim.ip, port: 68 }, { ip: thief.ip, port: 67 });
  expect(await hearsDhcp('offer', 5000)).toBe(true);
  expect(await ping(thief.netns, 'fd77::10')).toBe(true);
  await vi.waitUntil(async () => (await arpSpoof(), (await arpOf()).includes(thief.nic.mac)), {
    timeout: 5000,
  });
});

/** The one table of the family bridge. */
function tableOf({ stdout }: { stdout: string }): string {
  return /^table bridge (\S+)$/m.exec(stdout)?.[1] ?? 'none';
}

test('the guard is put back with all who are in it, and forgets who went', async () => {
  const spec = specOf('default', 1, ['web', 'db']);
  await network.ensure(spec);
  const web = await guestOf(spec, 'web');
  const db = await guestOf(spec, 'db');
  const table = tableOf(await run('nft', ['list', 'tables']));
  const listing = async () => (await run('nft', ['list', 'table', 'bridge', table])).stdout;
  const before = await listing();
  await run('nft', ['flush', 'ruleset']);
  agentAgain();
  await network.ensure(spec);
  expect(await listing()).toBe(before);
  expect(await ping(web.netns, db.ip)).toBe(true);
  await network.detach(db.owner);
  expect(await listing()).toContain(web.ip);
  expect(await listing()).not.toContain(db.ip);
});

test('security groups let in and out what their rules say, neighbours and the world alike, and changes cut nothing', async () => {
  const bare = specOf('default', 1, ['web', 'admin', 'stranger']);
  const groupsOf: Record<string, string[] | undefined> = { web: ['web'], admin: ['admin'] };
  const leases = bare.leases.map((l) => ({
    ...l,
    ...(groupsOf[l.name] ? { groups: groupsOf[l.name] } : {}),
  }));
  const ports = [published(bare, 'web', 8080)];
  type Rules = NonNullable<HostNetworkSpec['groups']>[number]['rules'];
  const ensure = (web: Rules, admin: Rules = []) =>
    network.ensure({
      ...bare,
      leases,
      ports,
      groups: [
        { name: 'admin', rules: admin },
        { name: 'web', rules: web },
      ],
    });
  const tcp = (over: object): Rules[number] =>
    ({ direction: 'ingress', protocol: 'tcp', ports: { first: 7000, last: 7000 }, ...over }) as Rules[number];
  await ensure([tcp({ group: 'admin' })]);
  const web = await guestOf(bare, 'web');
  const admin = await guestOf(bare, 'admin');
  const stranger = await guestOf(bare, 'stranger');
  await serve(web.netns);
  await serve(web.netns, 7001);
  await serve(stranger.netns);
  const world = netnsOf('uplink');
  await serve(world, 9000);
  const reaches = async (from: string, ip: string, port: number) => (await connect(from, ip, port, SHORT)).ok;
  // A member of the group named, on the port named; nobody else, by no protocol and from nowhere.
  expect(await reaches(admin.netns, web.ip, 7000)).toBe(true);
  expect(await reaches(admin.netns, web.ip, 7001)).toBe(false);
  expect(await reaches(stranger.netns, web.ip, 7000)).toBe(false);
  expect(await ping(admin.netns, web.ip, 1)).toBe(false);
  expect(await reaches(world, '192.0.2.1', 8080)).toBe(false);
  // What it asks for itself is answered: neighbours, names, the world. Who is in no group is as before.
  expect(await reaches(web.netns, stranger.ip, 7000)).toBe(true);
  expect((await lookup(web.netns, bare.gateway, 'stranger')).out).toBe(stranger.ip);
  expect(await reaches(web.netns, '192.0.2.2', 9000)).toBe(true);
  expect(await reaches(world, stranger.ip, 7000)).toBe(false);

  await ensure([
    tcp({ group: 'admin' }),
    tcp({ cidr: '192.0.2.0/30' }),
    { direction: 'ingress', protocol: 'icmp' },
  ]);
  expect(await reaches(world, '192.0.2.1', 8080)).toBe(true);
  expect(await ping(stranger.netns, web.ip)).toBe(true);
  expect(await reaches(stranger.netns, web.ip, 7000)).toBe(false);
  const near = await conversation(admin.netns, web.ip, 7000);
  const far = await conversation(world, '192.0.2.1', 8080);
  // Nobody may connect any more, and web itself only to names and to port 9000 of the world.
  await ensure([tcp({ direction: 'egress', cidr: '192.0.2.2/32', ports: { first: 9000, last: 9010 } })]);
  expect(await near.says('still here')).toBe(true);
  expect(await far.says('still there')).toBe(true);
  expect(await reaches(admin.netns, web.ip, 7000)).toBe(false);
  expect(await reaches(world, '192.0.2.1', 8080)).toBe(false);
  expect(await reaches(web.netns, '192.0.2.2', 9000)).toBe(true);
  expect(await reaches(web.netns, stranger.ip, 7000)).toBe(false);
  expect((await lookup(web.netns, bare.gateway, 'stranger')).out).toBe(stranger.ip);
  // Without groups all is as it was.
  await network.ensure({ ...bare, ports });
  expect(await reaches(stranger.netns, web.ip, 7001)).toBe(true);
});

test('a guest on two networks has the neighbours of both, goes out by its first, and parts them as before', async () => {
  const front = specOf('front', 1, ['web', 'client']);
  const plain = specOf('back', 2, ['web', 'db']);
  const leases = plain.leases.map((l) => (l.name === 'web' ? { ...l, secondary: true as const } : l));
  const ports = [published(plain, 'web', 8081), published(plain, 'db', 8082)];
  const back = { ...plain, leases, ports };
  await network.ensure(front);
  await network.ensure(back);
  const web = await guestOf(front, 'web');
  const client = await guestOf(front, 'client');
  const db = await guestOf(back, 'db');
  const { mac, ipv4 } = leases[0] ?? { mac: '', ipv4: '' };
  const nic = { id: NicId.parse(randomUUID()), networkId: back.id, mac, ipv4 };
  const target = { netns: web.netns, ifname: 'eth1', defaultRoute: false };
  await network.attachVeth(web.owner, nic, target);
  for (const { netns } of [web, client, db]) await serve(netns);
  const world = netnsOf('uplink');
  await serve(world, 9000);
  const reaches = async (from: string, ip: string, port = 7000) => (await connect(from, ip, port, SHORT)).ok;

  expect(await connect(web.netns, client.ip)).toEqual({ ok: true, out: web.ip });
  expect(await connect(web.netns, db.ip)).toEqual({ ok: true, out: ipv4 });
  expect(await connect(db.netns, ipv4)).toEqual({ ok: true, out: db.ip });
  expect(Netlink.with(web.netns, (guest) => guest.routes().filter((r) => r.via !== null))).toMatchObject([
    { via: front.gateway },
  ]);
  expect(await reaches(web.netns, '192.0.2.2', 9000)).toBe(true);
  // The world comes to its second nic by the gateway there: the answer would go out by the first otherwise, as nobody's.
  expect(await connect(world, '192.0.2.1', 8081)).toEqual({ ok: true, out: back.gateway });
  expect(await connect(netnsOf('host'), '192.0.2.1', 8081)).toEqual({ ok: true, out: back.gateway });
  expect(await connect(world, '192.0.2.1', 8082)).toEqual({ ok: true, out: '192.0.2.2' });
  // The networks stay apart, also where this guest would carry packets from one to the other.
  expect(await reaches(client.netns, db.ip)).toBe(false);
  await inside(web.netns, 'sh', ['-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']);
  Netlink.with(client.netns, (n) => n.addRoute({ destination: back.cidr, via: web.ip, link: 'eth0' }));
  Netlink.with(db.netns, (n) => n.addRoute({ destination: front.cidr, via: ipv4, link: 'eth0' }));
  for (const ip of [db.ip, ipv4]) expect(await reaches(client.netns, ip)).toBe(false);

  // DHCP gives the second nic its address, and no way out and no names.
  const script = join(dir, 'dhcp-script');
  writeFileSync(
    script,
    '#!/bin/sh\n[ "$1" = bound ] && echo "$ip $mask $mtu [$router$dns$domain]"\nexit 0\n',
  );
  chmodSync(script, 0o755);
  const ask = async (ifname: string) => {
    const options = ['-O', 'mtu', '-i', ifname, '-n', '-q', '-f', '-t', '8', '-T', '1', '-s', script];
    return (await inside(web.netns, 'busybox', ['udhcpc', ...options])).out;
  };
  expect(await ask('eth1')).toContain(`${ipv4} 24 1500 []`);
  expect(await ask('eth0')).toContain(`${web.ip} 24 1500 [${front.gateway}${front.gateway}front.demo`);
});

test('guests of an internal network reach each other and nothing else, and answer on what they publish', async () => {
  const spec = { ...specOf('vault', 1, ['web', 'db']), internal: true as const };
  const far = specOf('far', 2, ['other']);
  const of = (vault: HostNetworkSpec) =>
    network.ensure({ ...vault, ports: [published(spec, 'web', 8080)], revision: (revision += 1) });
  let revision = 0;
  const resolvFile = join(dir, 'resolv.conf');
  writeFileSync(resolvFile, 'nameserver 192.0.2.2\n', { mode: 0o644 });
  agentAgain({ resolvFile });
  await of(spec);
  await network.ensure({ ...far, ports: [published(far, 'other', 8081)] });
  const web = await guestOf(spec, 'web');
  const db = await guestOf(spec, 'db');
  const other = await guestOf(far, 'other');
  for (const { netns } of [web, db, other]) await serve(netns);
  const world = netnsOf('uplink');
  await serve(world, 9000);
  await serveNames(world, '192.0.2.7');
  const named = async () => (await lookup(web.netns, spec.gateway, 'berth.example')).out;
  const reaches = async (ip: string, port: number) => (await connect(web.netns, ip, port, SHORT)).ok;
  const elsewhere = [
    ['192.0.2.2', 9000], // the world
    ['192.0.2.1', 8081], // a port that another network publishes, by the host's address
    [spec.gateway, 8081], // and by its own gateway's
  ] as const;
  expect(await reaches(db.ip, 7000)).toBe(true);
  expect((await lookup(web.netns, spec.gateway, 'db')).out).toBe(db.ip);
  for (const [ip, port] of elsewhere) expect(await reaches(ip, port), `${ip} ${port}`).toBe(false);
  expect(await ping(web.netns, '192.0.2.2', 1)).toBe(false);
  expect(await named()).toBe('EREFUSED');
  // Who asks is answered: the world, the host, other networks, neighbours.
  for (const from of [world, netnsOf('host'), other.netns, db.netns])
    expect(await connect(from, '192.0.2.1', 8080)).toMatchObject({ ok: true });
  // The same guests with the way out: it was the word that closed it. A conversation of before lasts.
  const talk = await conversation(world, '192.0.2.1', 8080);
  const { internal: _, ...open } = spec;
  await of(open);
  for (const [ip, port] of elsewhere) expect(await reaches(ip, port), `${ip} ${port}`).toBe(true);
  expect(await named()).toBe('192.0.2.7');
  await of(spec);
  expect(await talk.says('still here')).toBe(true);
  expect(await reaches('192.0.2.2', 9000)).toBe(false);
});

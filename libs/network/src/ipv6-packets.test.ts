import { randomUUID } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { inNetns, ipv6Encode, macEncode, Netlink, run } from '@berth/linux';
import { HostNetworkSpec, InstanceId, linkLocalOf, NicId } from '@berth/model';
import { expect, test } from 'vitest';
import {
  agentAgain,
  connect,
  conversation,
  guestOf,
  inside,
  lookup,
  netnsOf,
  network,
  ping,
  serve,
  SHORT,
  spec6Of,
  specOf,
} from './testing/host-lab.js';
import { icmp6Frame, sendFrame, solicit } from './testing/frames6.js';

/* IPv6 between guests, networks, the host and the world, with real packets. */

const world = '2001:db8::2';
const here = () => netnsOf('host');
const ip = async (netns: string, ...args: string[]) =>
  expect(await inside(netns, 'ip', args)).toMatchObject({ ok: true });

test('guests reach each other by name and the world behind the host; other networks, and the host itself, they do not', async () => {
  const spec = spec6Of('default', 1, ['web', 'db']);
  const far = spec6Of('far', 2, ['other']);
  const closed = { ...spec6Of('closed', 3, ['inner']), internal: true as const };
  for (const one of [spec, far, closed]) await network.ensure(one);
  const [web, db] = [await guestOf(spec, 'web'), await guestOf(spec, 'db')];
  const other = await guestOf(far, 'other');
  const inner = await guestOf(closed, 'inner');
  // At once: nobody asks first whether an address is free.
  expect(await ping(web.netns, db.ip6)).toBe(true);
  expect(await ping(web.netns, spec.ipv6!.gateway)).toBe(true);
  expect(await lookup(web.netns, spec.gateway, 'db.default.demo.berth.internal', 5000, 6)).toMatchObject({
    out: db.ip6,
  });
  expect(await lookup(web.netns, spec.ipv6!.gateway, 'db', 5000, 6)).toMatchObject({ out: db.ip6 });
  await serve(netnsOf('uplink'), 7000, '::');
  // With the host's address: no router out there knows these.
  expect(await connect(web.netns, world)).toEqual({ ok: true, out: '2001:db8::1' });
  await serve(db.netns, 7000, '::');
  expect(await connect(web.netns, db.ip6)).toEqual({ ok: true, out: web.ip6 });
  expect(await ping(inner.netns, closed.ipv6!.gateway)).toBe(true);
  await serve(here(), 7001, '::');
  for (const [from, to, port] of [
    [other.netns, db.ip6, 7000],
    [netnsOf('uplink'), db.ip6, 7000],
    [inner.netns, world, 7000],
    [web.netns, '2001:db8::1', 7001],
    [web.netns, spec.ipv6!.gateway, 7001],
    [web.netns, 'fe80::1%eth0', 7001],
  ] as const)
    expect((await connect(from, to, port, SHORT)).ok).toBe(false);
});

test('a guest sends only as itself: no other address or neighbour, no router, no link-local traffic; without the guard it would', async () => {
  const spec = spec6Of('default', 1, ['web', 'victim', 'thief']);
  await network.ensure(spec);
  const [web, victim, thief] = [
    await guestOf(spec, 'web'),
    await guestOf(spec, 'victim'),
    await guestOf(spec, 'thief'),
  ];
  const other = 'fd77:1::77';
  await ip(thief.netns, 'address', 'add', `${other}/64`, 'dev', 'eth0', 'nodad');
  await ip(
    victim.netns,
    'neigh',
    'replace',
    other,
    'lladdr',
    thief.nic.mac,
    'dev',
    'eth0',
    'nud',
    'permanent',
  );
  const asOther = () => inside(thief.netns, 'busybox', ['ping', '-6', '-c1', '-W1', '-I', other, victim.ip6]);
  // A neighbour advertisement, overriding: "what is web's is at my MAC"; and one of a router that is none.
  const mine = Buffer.concat([Buffer.from([2, 1]), macEncode(thief.nic.mac)]);
  const stolen = icmp6Frame(
    { from: thief.nic.mac, to: victim.nic.mac },
    { from: thief.ip6, to: victim.ip6 },
    Buffer.concat([Buffer.from([136, 0, 0, 0, 0x20, 0, 0, 0]), ipv6Encode(web.ip6), mine]),
  );
  const routing = icmp6Frame(
    { from: thief.nic.mac, to: '33:33:00:00:00:01' },
    { from: linkLocalOf(thief.nic.mac), to: 'ff02::1' },
    Buffer.concat([Buffer.from([134, 0, 0, 0, 64, 0, 7, 8]), Buffer.alloc(8)]),
  );
  const neighbour = async () =>
    (await inside(victim.netns, 'ip', ['-6', 'neigh', 'show', web.ip6])).out.includes(thief.nic.mac);
  const lied = async () => {
    expect(await ping(victim.netns, web.ip6)).toBe(true);
    await sendFrame(thief.netns, stolen);
    return neighbour();
  };
  inNetns(victim.netns, () => {
    writeFileSync('/proc/sys/net/ipv6/conf/eth0/accept_ra', '2');
  });
  const routed = async () => {
    await sendFrame(thief.netns, routing);
    const { out } = await inside(victim.netns, 'ip', ['-6', 'route', 'show', 'default', 'proto', 'ra']);
    return out.includes(linkLocalOf(thief.nic.mac));
  };
  const near = () => ping(thief.netns, `${linkLocalOf(victim.nic.mac)}%eth0`, 1);
  expect((await asOther()).ok).toBe(false);
  expect(await lied()).toBe(false);
  expect(await routed()).toBe(false);
  expect(await near()).toBe(false);
  // What each asks for its own is answered all the same, also by the link-local address alone.
  await ip(victim.netns, '-6', 'neigh', 'flush', 'dev', 'eth0');
  expect(await ping(victim.netns, thief.ip6)).toBe(true);
  // But for the rules all of it would go through.
  await run('nft', ['flush', 'ruleset']);
  expect((await asOther()).ok).toBe(true);
  expect(await lied()).toBe(true);
  expect(await routed()).toBe(true);
  expect(await near()).toBe(true);
});

test("nobody keeps another from its address: only one's own is asked for as free", async () => {
  const spec = spec6Of('default', 1, ['web', 'thief']);
  await network.ensure(spec);
  const thief = await guestOf(spec, 'thief');
  const web = await guestOf(spec, 'web');
  // Who asks from :: whether an address is free makes a node that is about to take it let go of it.
  const target = ipv6Encode(web.ip6);
  const claim = icmp6Frame(
    { from: thief.nic.mac, to: `33:33:ff:00:00:${target.subarray(15).toString('hex')}` },
    { from: '::', to: `ff02::1:ff00:${target.readUInt16BE(14).toString(16)}` },
    Buffer.concat([Buffer.from([135, 0, 0, 0, 0, 0, 0, 0]), target]),
  );
  const duplicate = async () => {
    await ip(web.netns, 'address', 'del', `${web.ip6}/64`, 'dev', 'eth0');
    inNetns(web.netns, () => writeFileSync('/proc/sys/net/ipv6/conf/eth0/accept_dad', '1'));
    const asking = sendFrame(thief.netns, claim, 200);
    await ip(web.netns, 'address', 'add', `${web.ip6}/64`, 'dev', 'eth0');
    await asking;
    return (await inside(web.netns, 'ip', ['-6', 'address', 'show', 'dev', 'eth0'])).out.includes(
      'dadfailed',
    );
  };
  expect(await duplicate()).toBe(false);
  expect(await ping(web.netns, thief.ip6)).toBe(true);
  await run('nft', ['flush', 'ruleset']);
  expect(await duplicate()).toBe(true);
});

test('a guest without a lease in its hands gets its address by DHCPv6, known by its MAC, and its way out by a router advertisement', async () => {
  const spec = spec6Of('default', 1, ['web', 'second']);
  spec.leases[1] = { ...spec.leases[1]!, secondary: true };
  await network.ensure(spec);
  const web = await guestOf(spec, 'web');
  const second = await guestOf(spec, 'second');
  const reset = async ({ netns }: { netns: string }) => {
    await ip(netns, '-6', 'route', 'flush', 'default');
    await ip(netns, '-6', 'address', 'flush', 'dev', 'eth0', 'scope', 'global');
    inNetns(netns, () => writeFileSync('/proc/sys/net/ipv6/conf/eth0/accept_ra', '2'));
    await ip(netns, 'link', 'set', 'eth0', 'down');
    await ip(netns, 'link', 'set', 'eth0', 'up');
  };
  for (const guest of [web, second]) await reset(guest);
  const answer = async ({ netns, nic }: { netns: string; nic: { mac: string } }) =>
    (await solicit(netns, linkLocalOf(nic.mac), 30_000)).out;
  expect(await answer(web)).toBe(`${web.ip6} dns ${spec.ipv6!.gateway}`);
  expect(await answer(second)).toBe(`${second.ip6} dns ${spec.ipv6!.gateway}`);
  const { out } = await inside(web.netns, 'ip', ['-6', 'route', 'show', 'default', 'proto', 'ra']);
  expect(out).toMatch(/via fe80::1 .*pref low/);
  // No address was made up from the prefix.
  const has = await inside(web.netns, 'ip', ['-6', 'address', 'show', 'dev', 'eth0', 'scope', 'global']);
  expect(has.out).toBe('');
});

test('a published port leads to the nic from the world, from neighbours and other networks by IPv6 too', async () => {
  const spec = spec6Of('default', 1, ['web', 'peer']);
  const far = specOf('far', 2, ['other']);
  const six = spec6Of('six', 3, ['guest']);
  const [{ ipv4, ipv6 }] = spec.leases as [HostNetworkSpec['leases'][number]];
  const ports = [{ protocol: 'tcp' as const, hostPort: 8080, guestPort: 7000, ipv4, ipv6 }];
  let revision = 1;
  await network.ensure({ ...spec, ports, revision });
  for (const one of [far, six]) await network.ensure(one);
  const web = await guestOf(spec, 'web');
  const peer = await guestOf(spec, 'peer');
  const guest = await guestOf(six, 'guest');
  await serve(web.netns, 7000, '::');
  expect(await connect(netnsOf('uplink'), '2001:db8::1', 8080)).toEqual({ ok: true, out: world });
  expect(await connect(peer.netns, '2001:db8::1', 8080)).toEqual({ ok: true, out: spec.ipv6!.gateway });
  expect(await connect(peer.netns, spec.ipv6!.gateway, 8080)).toEqual({ ok: true, out: spec.ipv6!.gateway });
  expect(await connect(guest.netns, '2001:db8::1', 8080)).toEqual({ ok: true, out: spec.ipv6!.gateway });
  expect(await connect(here(), '2001:db8::1', 8080)).toMatchObject({ ok: true });
  expect((await connect(here(), '::1', 8080)).ok).toBe(false);
  const talk = await conversation(netnsOf('uplink'), '2001:db8::1', 8080);
  expect(await talk.says('alpha')).toBe(true);
  await network.ensure({ ...spec, revision: (revision += 1) });
  expect(await talk.says('beta', SHORT)).toBe(false);
  expect((await connect(netnsOf('uplink'), '2001:db8::1', 8080, SHORT)).ok).toBe(false);
});

test('security groups say who connects by IPv6, while neighbours are found', async () => {
  const spec = spec6Of('default', 1, ['web', 'friend', 'stranger']);
  const leases = spec.leases.map((lease) =>
    lease.name === 'stranger' ? lease : { ...lease, groups: [lease.name] },
  );
  const rule = {
    direction: 'ingress' as const,
    protocol: 'tcp' as const,
    ports: { first: 7000, last: 7000 },
  };
  const groups = (
    rules: HostNetworkSpec['groups'] extends (infer G)[] | undefined ? G['rules' & keyof G] : never,
  ) =>
    [
      { name: 'web', rules },
      { name: 'friend', rules: [] },
    ] as NonNullable<HostNetworkSpec['groups']>;
  let revision = 0;
  const say = (rules: unknown[]) =>
    network.ensure({ ...spec, leases, groups: groups(rules as never), revision: (revision += 1) });
  await say([{ ...rule, group: 'friend' }]);
  const [web, friend, stranger] = [
    await guestOf(spec, 'web'),
    await guestOf(spec, 'friend'),
    await guestOf(spec, 'stranger'),
  ];
  await serve(web.netns, 7000, '::');
  const reaches = async (from: { netns: string }) => (await connect(from.netns, web.ip6, 7000, SHORT)).ok;
  expect(await connect(friend.netns, web.ip6)).toEqual({ ok: true, out: friend.ip6 });
  expect(await reaches(stranger)).toBe(false);
  expect(await ping(friend.netns, web.ip6, 1)).toBe(false);
  await say([{ ...rule, cidr: `${stranger.ip6}/128` }]);
  expect(await connect(stranger.netns, web.ip6)).toEqual({ ok: true, out: stranger.ip6 });
  expect(await reaches(friend)).toBe(false);
  // Of IPv4 alone: nobody of IPv6.
  await say([{ ...rule, cidr: '0.0.0.0/0' }]);
  expect(await reaches(stranger)).toBe(false);
  await say([{ direction: 'ingress', protocol: 'icmp' }]);
  expect(await ping(stranger.netns, web.ip6)).toBe(true);
  expect(await reaches(stranger)).toBe(false);
  // What a member begins, where its group says to what.
  await say([{ direction: 'egress', cidr: `${friend.ip6}/128` }]);
  await serve(friend.netns, 7000, '::');
  await serve(stranger.netns, 7000, '::');
  expect((await connect(web.netns, stranger.ip6, 7000, SHORT)).ok).toBe(false);
  // friend's group lets nobody in; in none, it would.
  await network.ensure({
    ...spec,
    leases: leases.map((lease) => (lease.name === 'friend' ? { ...lease, groups: undefined } : lease)),
    groups: groups([{ direction: 'egress', cidr: `${friend.ip6}/128` }] as never),
    revision: (revision += 1),
  });
  expect(await connect(web.netns, friend.ip6)).toMatchObject({ ok: true });
});

test('a new agent finds nics with IPv6 by their links, lets them go on, and takes all of it away', async () => {
  const spec = spec6Of('default', 1, ['web', 'db']);
  await network.ensure(spec);
  const [web, db] = [await guestOf(spec, 'web'), await guestOf(spec, 'db')];
  agentAgain();
  await run('nft', ['flush', 'ruleset']);
  expect(await network.repair()).toEqual([{ networkId: spec.id, error: null }]);
  expect(await ping(web.netns, db.ip6)).toBe(true);
  const [found] = (await network.inventory()).filter((nic) => nic.nicId === web.nic.id);
  expect(found?.addresses).toEqual({ mac: web.nic.mac, ipv4: web.ip, ipv6: web.ip6 });
  await network.detach(web.owner);
  const { stdout } = await run('nft', ['list', 'ruleset']);
  expect(stdout).not.toContain(web.ifname);
  expect(stdout).toContain(`claims_${db.ifname}`);
});

test('a network without IPv6 has none on its bridge and its nics, as before, also beside one that has', async () => {
  const plain = specOf('plain', 1, ['a', 'b']);
  await network.ensure(plain);
  await network.ensure(spec6Of('six', 2, []));
  const [a, b] = [await guestOf(plain, 'a'), await guestOf(plain, 'b')];
  const of = (netns: string | undefined, link: string) =>
    Netlink.with(netns, (netlink) => netlink.addresses(link, 6));
  const { bridge } = (await network.networks()).find(({ networkId }) => networkId === plain.id)!;
  expect([...of(undefined, bridge), ...of(a.netns, 'eth0')]).toEqual([]);
  // Its own root gives it addresses; they lead nowhere.
  for (const [guest, address] of [
    [a, 'fd77:2::a'],
    [b, 'fd77:2::b'],
  ] as const) {
    inNetns(guest.netns, () => writeFileSync('/proc/sys/net/ipv6/conf/eth0/disable_ipv6', '0'));
    await ip(guest.netns, 'address', 'add', `${address}/64`, 'dev', 'eth0', 'nodad');
  }
  expect(await ping(a.netns, 'fd77:2::b', 1)).toBe(false);
  expect(await ping(a.netns, b.ip)).toBe(true);
});

test('a host whose IPv6 is turned off says so and how to turn it on; one that heard a router goes on hearing it', async () => {
  const spec = spec6Of('default', 1, ['web']);
  const [all, up] = ['all/disable_ipv6', 'up0/accept_ra'].map((name) => `/proc/sys/net/ipv6/conf/${name}`);
  writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '0');
  writeFileSync(up!, '1');
  await network.ensure(spec);
  expect(readFileSync(up!, 'utf8').trim()).toBe('2');
  expect(readFileSync('/proc/sys/net/ipv6/conf/all/forwarding', 'utf8').trim()).toBe('1');
  await network.release(spec.id);
  const refused = async () => {
    writeFileSync(all!, '1');
    try {
      return await network.ensure(spec).then(
        () => null,
        (error: unknown) => error,
      );
    } finally {
      writeFileSync(all!, '0');
      await ip(here(), 'address', 'replace', '2001:db8::1/64', 'dev', 'up0', 'nodad');
      await ip(here(), 'address', 'replace', '::1/128', 'dev', 'lo');
    }
  };
  expect(await refused()).toMatchObject({
    code: 'ipv6Missing',
    remedy: expect.stringContaining('net.ipv6.conf.all.disable_ipv6=0') as string,
  });
  await network.release(spec.id);
});

test('a prefix that a link of the host has is refused', async () => {
  const spec = spec6Of('default', 1, []);
  const taken = { ...spec, ipv6: { cidr: '2001:db8:0:0:8000::/80', gateway: '2001:db8:0:0:8000::1' } };
  await expect(network.ensure(taken)).rejects.toMatchObject({ code: 'subnetTaken' });
  await network.release(spec.id);
  const owner = { instanceId: InstanceId.parse(randomUUID()), epoch: 1 };
  const nic = { id: NicId.parse(randomUUID()), networkId: spec.id, mac: '02:77:00:00:01:09' };
  await network.ensure(spec);
  await expect(
    network.attachVeth(
      owner,
      { ...nic, ipv4: '10.77.1.9', ipv6: 'fd77:2::9' },
      { netns: here(), ifname: 'eth0' },
    ),
  ).rejects.toThrow(/no host address of fd77:1::\/64/);
});

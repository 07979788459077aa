import { chmodSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { createNetns, inNetns, Netlink, processIdentity, run } from '@berth/linux';
import { HostNetworkSpec, InstanceId, NicId, type NicUsage } from '@berth/model';
import { expect, test, vi } from 'vitest';
import { HostNetwork } from './index.js';
import { tapAttach } from './nics.js';
import {
  agentAgain,
  connect,
  dir,
  guestOf,
  guests,
  inside,
  lookup,
  netnsOf,
  network,
  ping,
  serve,
  SHORT,
  specOf,
} from './testing/host-lab.js';

test('two guests of one network reach each other by address and by name, short and long', async () => {
  const spec = specOf('default', 1, ['web', 'db']);
  await network.ensure(spec);
  const web = await guestOf(spec, 'web');
  const db = await guestOf(spec, 'db');
  await serve(db.netns);
  expect(await ping(web.netns, db.ip)).toBe(true);
  expect(await connect(web.netns, db.ip)).toEqual({ ok: true, out: web.ip });
  expect((await lookup(web.netns, spec.gateway, 'db')).out).toBe(db.ip);
  expect((await lookup(web.netns, spec.gateway, 'db.default.demo.berth.internal')).out).toBe(db.ip);
  expect((await lookup(web.netns, spec.gateway, 'nobody.default.demo.berth.internal')).out).toBe('ENOTFOUND');
  expect(await network.resolver(spec.id)).toEqual({
    nameserver: spec.gateway,
    search: 'default.demo.berth.internal',
  });

  // What the one sends the other receives: told as they see it, and not as the host's ends do.
  const through = async (guest: typeof web) => {
    const all = await network.traffic();
    return all.find(({ instanceId }) => instanceId === guest.owner.instanceId)?.nics?.[0];
  };
  const [webBefore, dbBefore] = [await through(web), await through(db)];
  const shout = `const s=require('dgram').createSocket('udp4');let n=0;const go=()=>n++<20?s.send('x'.repeat(1000),9,'${db.ip}',go):s.close();go()`;
  await inside(web.netns, process.execPath, ['-e', shout]);
  const grown = (key: keyof NicUsage, before?: NicUsage, after?: NicUsage) =>
    Number(after?.[key]) - Number(before?.[key]);
  await vi.waitFor(async () => {
    expect(grown('receivedPackets', dbBefore, await through(db))).toBeGreaterThanOrEqual(20);
  });
  const [webAfter, dbAfter] = [await through(web), await through(db)];
  expect(webAfter?.nicId).toBe(web.nic.id);
  expect(grown('sentBytes', webBefore, webAfter)).toBeGreaterThan(20_000);
  expect(grown('sentPackets', webBefore, webAfter)).toBeGreaterThanOrEqual(20);
  expect(grown('receivedBytes', webBefore, webAfter)).toBeLessThan(20_000);
  expect(grown('receivedBytes', dbBefore, dbAfter)).toBeGreaterThan(20_000);
  expect(grown('sentBytes', dbBefore, dbAfter)).toBeLessThan(20_000);
  expect(dbAfter).toMatchObject({ receiveErrors: 0, sendErrors: 0 });
});

test('a guest gets its address, gateway, name server, domain and MTU by DHCP, and a stranger gets none', async () => {
  const spec = specOf('default', 1, ['vm']);
  await network.ensure(spec);
  const script = join(dir, 'dhcp-script');
  writeFileSync(
    script,
    '#!/bin/sh\n[ "$1" = bound ] && echo "$ip $mask $router $dns $domain $mtu $hostname"\nexit 0\n',
  );
  chmodSync(script, 0o755);
  const ask = async (name: string, mac: string, tries: number) => {
    const netns = netnsOf(name);
    createNetns(netns);
    guests.push(netns);
    const owner = { instanceId: InstanceId.parse(randomUUID()), epoch: 1 };
    const nic = { id: NicId.parse(randomUUID()), networkId: spec.id, mac, ipv4: '10.77.1.2' };
    await network.attachVeth(owner, nic, { netns, ifname: 'eth0' });
    Netlink.with(netns, (guest) => guest.deleteAddress('eth0', '10.77.1.2/24'));
    const options = ['-O', 'mtu', '-i', 'eth0', '-n', '-q', '-f', '-t', `${tries}`, '-T', '1', '-s', script];
    const answer = await inside(netns, 'busybox', ['udhcpc', ...options]);
    await network.detach(owner);
    return answer.out;
  };
  const mac = spec.leases[0]?.mac ?? '';
  expect(await ask('known', mac, 8)).toContain(
    '10.77.1.2 24 10.77.1.1 10.77.1.1 default.demo.berth.internal 1500 vm',
  );
  expect(await ask('stranger', '02:77:00:00:99:99', 2)).not.toContain('10.77.1.');
});

test('guests reach the world behind the host address, and the world cannot open a connection to them', async () => {
  const spec = specOf('default', 1, ['web']);
  await network.ensure(spec);
  const web = await guestOf(spec, 'web');
  await serve(netnsOf('uplink'));
  await serve(web.netns);
  expect(await connect(web.netns, '192.0.2.2')).toEqual({ ok: true, out: '192.0.2.1' });
  expect(await ping(web.netns, '192.0.2.2')).toBe(true);
  expect((await connect(netnsOf('uplink'), web.ip, 7000, SHORT)).ok).toBe(false);
});

test('a guest reaches no service of the host but DNS, DHCP and ping to its own gateway', async () => {
  const spec = specOf('default', 1, ['web']);
  const other = specOf('other', 2, ['secret']);
  await network.ensure(spec);
  await network.ensure(other);
  const web = await guestOf(spec, 'web');
  const server = createServer((s) => s.on('error', () => undefined).end('open')).listen(7001, '0.0.0.0');
  await once(server, 'listening');
  try {
    expect(await connect(netnsOf('uplink'), '192.0.2.1', 7001)).toEqual({ ok: true, out: 'open' });
    for (const ip of [spec.gateway, '192.0.2.1', other.gateway]) {
      expect(await connect(web.netns, ip, 7001, SHORT)).toEqual({ ok: false, out: '' });
    }
  } finally {
    server.close();
    await once(server, 'close');
  }
  expect(await ping(web.netns, spec.gateway)).toBe(true);
  expect(await ping(web.netns, other.gateway, 1)).toBe(false);
  expect((await lookup(web.netns, other.gateway, 'secret', SHORT)).out).toBe('ETIMEOUT');
  expect((await lookup(netnsOf('host'), other.gateway, 'secret')).out).toBe('10.77.2.2');
});

test('two networks do not reach each other', async () => {
  const one = specOf('one', 1, ['a']);
  const two = specOf('two', 2, ['b']);
  await network.ensure(one);
  await network.ensure(two);
  const a = await guestOf(one, 'a');
  const b = await guestOf(two, 'b');
  await serve(b.netns);
  expect((await connect(a.netns, b.ip, 7000, SHORT)).ok).toBe(false);
  expect(await ping(a.netns, b.ip, 1)).toBe(false);
  expect((await lookup(a.netns, one.gateway, 'b')).out).toBe('ENOTFOUND');
});

const dnsmasqPid = (spec: HostNetworkSpec) =>
  (
    JSON.parse(readFileSync(join(dir, 'run', 'networks', spec.id, 'dnsmasq.json'), 'utf8')) as {
      identity: { pid: number };
    }
  ).identity.pid;

test('new leases are served without a restart, also by a new agent that finds the old process', async () => {
  const spec = specOf('default', 1, ['web']);
  await network.ensure(spec);
  const pid = dnsmasqPid(spec);
  const successor = new HostNetwork({ stateDir: join(dir, 'state'), runDir: join(dir, 'run') });
  const more = {
    ...spec,
    leases: [...spec.leases, { name: 'late', mac: '02:77:00:00:01:aa', ipv4: '10.77.1.99' }],
  };
  await successor.ensure(HostNetworkSpec.parse(more));
  expect(dnsmasqPid(spec)).toBe(pid);
  expect((await lookup(netnsOf('host'), spec.gateway, 'late')).out).toBe('10.77.1.99');
  await successor.ensure(spec); // an old journal entry takes nobody's name away
  expect((await lookup(netnsOf('host'), spec.gateway, 'late')).out).toBe('10.77.1.99');
});

test('what an outsider destroyed is put back: process, record, rules, bridge', async () => {
  const spec = specOf('default', 1, ['web']);
  const { bridge } = await network.ensure(spec);
  const healed = async () => {
    agentAgain();
    await network.ensure(spec);
    expect((await lookup(netnsOf('host'), spec.gateway, 'web')).out).toBe('10.77.1.2');
  };
  const first = dnsmasqPid(spec);
  process.kill(first, 'SIGKILL');
  await vi.waitUntil(() => processIdentity(first) === null);
  await healed();
  rmSync(join(dir, 'run', 'networks', spec.id, 'dnsmasq.json'));
  await healed();
  // The tables of both families, in whatever order they were made.
  const ruleset = async () => (await run('nft', ['list', 'ruleset'])).stdout.split(/^(?=table )/m).sort();
  const rules = await ruleset();
  await run('nft', ['flush', 'ruleset']);
  await healed();
  expect(await ruleset()).toEqual(rules);
  Netlink.with(undefined, (host) => host.deleteLink(bridge));
  await healed();
  // As after a reboot: all gone but the state folder.
  const last = dnsmasqPid(spec);
  process.kill(last, 'SIGKILL');
  await vi.waitUntil(() => processIdentity(last) === null);
  Netlink.with(undefined, (host) => host.deleteLink(bridge));
  await run('nft', ['flush', 'ruleset']);
  rmSync(join(dir, 'run'), { recursive: true });
  agentAgain();
  expect(await network.repair()).toEqual([{ networkId: spec.id, error: null }]);
  expect(await ruleset()).toEqual(rules);
  expect((await lookup(netnsOf('host'), spec.gateway, 'web')).out).toBe('10.77.1.2');
});

test('nics carry their identity, attach twice is once, detach takes one epoch, release waits for the last', async () => {
  const spec = specOf('default', 1, ['web', 'vm']);
  await network.ensure(spec);
  const web = await guestOf(spec, 'web');
  expect((await network.attachVeth(web.owner, web.nic, { netns: web.netns, ifname: 'eth0' })).ifname).toBe(
    web.ifname,
  );
  const nic = { ...web.nic, id: NicId.parse(randomUUID()), ipv4: '10.77.1.3' };
  const second = { ...web.owner, epoch: 2 };
  const tap = await network.attachTap(second, nic, { uid: 65534, gid: 65534 });
  expect(await network.attachTap(second, nic, { uid: 65534, gid: 65534 })).toEqual(tap);
  const identity = (owner: typeof second, { id, networkId, mac, ipv4 }: typeof nic) => ({
    ...owner,
    nicId: id,
    networkId,
    addresses: { mac, ipv4 },
  });
  expect(await network.inventory()).toEqual([
    { ...identity(web.owner, web.nic), ifname: web.ifname, kind: 'veth' },
    { ...identity(second, nic), ifname: tap.ifname, kind: 'tap' },
  ]);
  const stranger = new HostNetwork({ stateDir: join(dir, 'other-state'), runDir: join(dir, 'other-run') });
  expect(await stranger.inventory()).toEqual([]);
  await network.detach(web.owner);
  await network.detach(web.owner);
  expect((await network.inventory()).map((n) => n.epoch)).toEqual([2]);
  expect(await network.release(spec.id)).toEqual({ released: false });
  await network.detach(second);
  // Nor from under what is about to attach one.
  expect(await network.release(spec.id, () => true)).toEqual({ released: false });
  expect(await network.release(spec.id)).toEqual({ released: true });
  expect(await network.release(spec.id)).toEqual({ released: true });
});

test('a container that comes again in a new namespace gets its nic there', async () => {
  const spec = specOf('default', 1, ['web']);
  await network.ensure(spec);
  const web = await guestOf(spec, 'web');
  const netns = netnsOf('second-run');
  createNetns(netns);
  guests.push(netns);
  await network.attachVeth(web.owner, web.nic, { netns, ifname: 'eth0' });
  expect(await ping(netns, spec.gateway)).toBe(true);
  expect(Netlink.with(web.netns, (old) => old.link('eth0'))).toBeNull();
});

test('a bridge without a port left says so, and what to do', () => {
  const netns = netnsOf('full');
  createNetns(netns);
  guests.push(netns); // with which all of it goes at once
  const nic = { link: 'late', alias: 'a', olderAlias: 'b', bridge: 'full', mtu: 1500, uid: 65534 };
  inNetns(netns, () => {
    Netlink.with(undefined, (netlink) => {
      netlink.addBridge('full');
      for (let pair = 0; pair < 512; pair += 1) {
        netlink.addVeth({ name: `a${pair}`, peer: { name: `b${pair}` } });
        netlink.setLink(`a${pair}`, { master: 'full' });
        if (pair > 0) netlink.setLink(`b${pair}`, { master: 'full' });
      }
    });
    expect(() => tapAttach(nic)).toThrow(
      expect.objectContaining({
        code: 'bridgeFull',
        remedy: expect.stringContaining('another host') as string,
      }),
    );
  });
});

test('a network that cannot be is refused with a remedy and leaves nothing', async () => {
  const spec = specOf('default', 1, ['web']);
  await expect(
    network.ensure({ ...spec, cidr: '192.0.2.0/24', gateway: '192.0.2.9', leases: [] }),
  ).rejects.toMatchObject({
    code: 'subnetTaken',
  });
  await network.release(spec.id);
  const web = { name: 'web', mac: '02:00:00:00:00:01', ipv4: '10.77.1.5' };
  for (const bad of [
    { cidr: '10.77.1.5/24' },
    { cidr: '10.77.1.0/33' },
    { gateway: '10.78.0.1' },
    { leases: [{ ...web, ipv4: '10.77.2.5' }] },
    { leases: [{ ...web, ipv4: spec.gateway }] },
    { leases: [web, { ...web, name: 'b' }] },
    { leases: [{ ...web, mac: '02:00:00:00:00:01,set:x' }] },
    { leases: [{ ...web, name: 'a\nserver=6.6.6.6' }] },
  ]) {
    await expect(network.ensure({ ...spec, ...bad } as HostNetworkSpec)).rejects.toMatchObject({
      code: 'badSpec',
      remedy: expect.any(String) as string,
    });
  }
  chmodSync(dir, 0o700);
  try {
    await expect(network.ensure(spec)).rejects.toMatchObject({ code: 'runDirPrivate' });
  } finally {
    chmodSync(dir, 0o711);
  }
});

test('networks at rest leave nothing on the host but those that carry a nic, and come back with their leases', async () => {
  const quiet = specOf('quiet', 1, ['off']);
  const busy = specOf('busy', 2, ['web']);
  await network.ensure(quiet);
  await network.ensure(busy);
  const web = await guestOf(busy, 'web');
  // Of a machine that was stopped: its tap stays with its epoch.
  const { mac = '', ipv4 = '' } = quiet.leases[0] ?? {};
  const off = { instanceId: InstanceId.parse(randomUUID()), epoch: 3 };
  const nic = { id: NicId.parse(randomUUID()), networkId: quiet.id, mac, ipv4 };
  await network.attachTap(off, nic, { uid: 65534 });
  const pids = [dnsmasqPid(quiet), dnsmasqPid(busy)];
  const over = ({ instanceId }: { instanceId: string }) => instanceId === off.instanceId;
  await network.rest(() => false);
  expect(await network.inventory()).toHaveLength(2);
  expect(await network.networks()).toHaveLength(2);
  await network.rest(over);
  expect((await network.inventory()).map((n) => n.instanceId)).toEqual([web.owner.instanceId]);
  expect((await network.networks()).map((n) => n.networkId)).toEqual([busy.id]);
  expect(pids.map((pid) => processIdentity(pid) !== null)).toEqual([false, true]);
  const tables = (await run('nft', ['list', 'tables'])).stdout.trim().split('\n');
  expect(tables).toHaveLength(2); // of the busy one, and the guard
  expect(await ping(web.netns, busy.gateway)).toBe(true);

  await network.detach(web.owner);
  await network.rest(over);
  await network.rest(over);
  expect(await network.networks()).toEqual([]);
  expect((await run('nft', ['list', 'tables'])).stdout).toBe('');
  agentAgain();
  expect(await network.repair()).toEqual([
    { networkId: expect.anything() as unknown, error: null },
    { networkId: expect.anything() as unknown, error: null },
  ]);
  expect((await lookup(netnsOf('host'), quiet.gateway, 'off')).out).toBe(quiet.leases[0]?.ipv4);
});

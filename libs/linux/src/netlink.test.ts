import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createNetns, createTap, deleteNetns, inNetns, mounts, Netlink, run } from './index.js';

let dir: string;
let a: string;
let b: string;
const home = () => readFileSync('/proc/thread-self/net/dev', 'utf8').split('\n').length;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-test-netlink-'));
  a = join(dir, 'a');
  b = join(dir, 'b');
  createNetns(a);
  createNetns(b);
});

afterEach(() => {
  deleteNetns(a);
  deleteNetns(b);
  expect(mounts().filter((m) => m.target.startsWith(dir))).toEqual([]);
  rmSync(dir, { recursive: true });
});

test('a veth peer is made inside the target namespace and configured there, while this process stays at home', () => {
  const before = home();
  Netlink.with(a, (host) => {
    host.addBridge('br', { mac: '02:00:00:00:00:01', mtu: 1400 });
    host.setLink('br', { up: true, alias: 'a bridge of a test' });
    host.addAddress('br', '10.9.0.1/24');
    host.addVeth({
      name: 'h0',
      mtu: 1400,
      peer: { name: 'eth0', netns: b, mac: '02:00:00:00:00:02' },
    });
    host.setLink('h0', { master: 'br', up: true });
    const bridge = host.link('br');
    expect(bridge).toMatchObject({
      kind: 'bridge',
      up: true,
      mac: '02:00:00:00:00:01',
      alias: 'a bridge of a test',
    });
    expect(host.link('h0')).toMatchObject({ kind: 'veth', master: bridge?.index, mtu: 1400 });
    expect(host.link('eth0')).toBeNull();
    expect(host.addresses('br')).toMatchObject([{ address: '10.9.0.1', prefix: 24 }]);
  });
  Netlink.with(b, (guest) => {
    guest.setLink('lo', { up: true });
    guest.addAddress('eth0', '10.9.0.2/24');
    guest.setLink('eth0', { up: true });
    guest.addRoute({ destination: '0.0.0.0/0', via: '10.9.0.1' });
    expect(guest.link('eth0')).toMatchObject({
      mac: '02:00:00:00:00:02',
      up: true,
      running: true,
      mtu: 1400,
    });
    expect(guest.routes()).toContainEqual(
      expect.objectContaining({ destination: '0.0.0.0/0', via: '10.9.0.1' }),
    );
    guest.deleteRoute({ destination: '0.0.0.0/0', via: '10.9.0.1' });
    expect(guest.routes().some((r) => r.destination === '0.0.0.0/0')).toBe(false);
    guest.setLink('eth0', { up: false });
    guest.setLink('eth0', { rename: 'net0' });
    expect(guest.link('net0')).not.toBeNull();
  });
  expect(Netlink.with(a, (host) => [host.deleteLink('h0'), host.deleteLink('h0')])).toEqual([true, false]);
  expect(Netlink.with(b, (guest) => guest.link('net0'))).toBeNull();
  expect(home()).toBe(before);
});

test('a refused request names the errno and the kernel words', () => {
  Netlink.with(a, (host) => {
    host.addBridge('br');
    expect(() => host.addBridge('br')).toThrow(
      expect.objectContaining({ code: 'EEXIST', syscall: 'RTM_NEWLINK' }),
    );
    expect(() => host.setLink('missing', { up: true })).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    expect(() => host.addRoute({ destination: '10.1.0.0/16', via: '10.2.0.1' })).toThrow(
      /ENETUNREACH.*gateway/,
    );
    expect(() => host.addBridge('a name too long')).toThrow(RangeError);
  });
});

test('a persistent tap outlives its maker, joins a bridge and is deleted by name', () => {
  createTap('tap0', { uid: 65534, gid: 65534, netns: a });
  createTap('tap0', { uid: 65534, gid: 65534, netns: a });
  Netlink.with(a, (host) => {
    host.addBridge('br');
    host.setLink('tap0', { master: 'br', up: true });
    expect(host.link('tap0')).toMatchObject({ kind: 'tun', up: true, master: host.link('br')?.index });
    expect(host.deleteLink('tap0')).toBe(true);
  });
});

test('a link moves to another namespace by path', () => {
  Netlink.with(a, (host) => {
    host.addVeth({ name: 'wander', peer: { name: 'stays' } });
    host.setLink('wander', { netns: b });
    expect(host.link('wander')).toBeNull();
  });
  expect(Netlink.with(b, (other) => other.link('wander'))).not.toBeNull();
});

test('a dump larger than one datagram is read whole', () => {
  Netlink.with(a, (host) => {
    for (let i = 0; i < 150; i += 1) host.addVeth({ name: `x${i}`, peer: { name: `y${i}`, netns: b } });
    expect(host.links().filter((l) => l.kind === 'veth')).toHaveLength(150);
  });
});

test('work in another namespace that throws or answers a promise still comes back', () => {
  const before = home();
  const fail = () => {
    throw new Error('inside');
  };
  expect(() => inNetns(a, fail)).toThrow('inside');
  expect(() => inNetns(a, () => Promise.resolve(1))).toThrow(TypeError);
  expect(() => inNetns(join(dir, 'none'), () => 1)).toThrow(/ENOENT/);
  expect(home()).toBe(before);
});

/** What iproute2 reads of the same kernel objects. */
const tc = async (...args: string[]): Promise<Record<string, unknown>[]> =>
  JSON.parse((await run('nsenter', [`--net=${a}`, 'tc', '-j', ...args])).stdout) as Record<string, unknown>[];

test('token buckets and redirections are as iproute2 reads them, are read back, changed and taken away', async () => {
  const wide = { rate: 12_500_000_000, burst: 125_000_000, queue: 1_250_000_000 };
  const small = { rate: 125_000, burst: 16_384, queue: 81_920 };
  const bucketOf = (host: Netlink, name: string) =>
    host.queues().find((q) => q.linkIndex === host.link(name)?.index && q.kind === 'tbf')?.bucket;
  Netlink.with(a, (host) => {
    host.addVeth({ name: 'h0', peer: { name: 'eth0', netns: b } });
    for (const name of ['in', 'out']) {
      host.addIfb(name, { mtu: 1400 });
      host.setLink(name, { up: true });
    }
    expect(host.link('in')).toMatchObject({ kind: 'ifb', mtu: 1400 });
    expect([host.redirected('h0', 'sent'), bucketOf(host, 'in')]).toEqual([null, undefined]);
    host.setBucket('in', small);
    host.setBucket('out', wide);
    host.redirect('h0', 'sent', 'in');
    host.redirect('h0', 'received', 'out');
    expect(bucketOf(host, 'in')).toEqual({ rate: small.rate, queue: small.queue });
    expect(bucketOf(host, 'out')).toEqual({ rate: wide.rate, queue: wide.queue });
    expect(host.redirected('h0', 'sent')).toBe(host.link('in')?.index);
    expect(host.redirected('h0', 'received')).toBe(host.link('out')?.index);
  });
  const options = (await tc('qdisc', 'show', 'dev', 'in', 'root'))[0]?.['options'] as Record<string, number>;
  expect(options).toMatchObject({ rate: small.rate });
  expect(options['burst']).toBeGreaterThan(small.burst * 0.99);
  expect(options['burst']).toBeLessThanOrEqual(small.burst);
  for (const [hook, to] of [
    ['egress', 'in'],
    ['ingress', 'out'],
  ] as const)
    expect(JSON.stringify(await tc('filter', 'show', 'dev', 'h0', hook))).toContain(
      `"mirred_action":"redirect","direction":"egress","to_dev":"${to}"`,
    );

  Netlink.with(a, (host) => {
    host.setBucket('in', { ...small, rate: 250_000 });
    host.redirect('h0', 'sent', 'out'); // in place of the one before
    expect(bucketOf(host, 'in')?.rate).toBe(250_000);
    expect(host.redirected('h0', 'sent')).toBe(host.link('out')?.index);
    expect([host.stopRedirecting('h0', 'sent'), host.stopRedirecting('h0', 'sent')]).toEqual([true, false]);
    expect(host.redirected('h0', 'received')).toBe(host.link('out')?.index);
    expect([host.deleteHooks('h0'), host.deleteHooks('h0')]).toEqual([true, false]);
    expect(host.stopRedirecting('h0', 'received')).toBe(false);
    expect(() => host.setBucket('none', small)).toThrow(expect.objectContaining({ code: 'ENODEV' }));
    for (const bad of [0, -1, 1.5, Number.NaN, 2 ** 32])
      expect(() => host.setBucket('in', { ...small, burst: bad })).toThrow(RangeError);
  });
  expect(await tc('qdisc', 'show', 'dev', 'h0')).toEqual([]);
});

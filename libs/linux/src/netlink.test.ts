import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createNetns, createTap, deleteNetns, inNetns, mounts, Netlink } from './index.js';

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

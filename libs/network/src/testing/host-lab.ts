import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createNetns, deleteNetns, enterNetns, inNetns, mounts, Netlink, run } from '@berth/linux';
import { HostNetworkSpec, InstanceId, NicId } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, expect, vi } from 'vitest';
import { HostNetwork } from '../index.js';

/*
 * A test file that imports this runs whole in a namespace of its own that plays the host; `uplink` plays the world outside.
 * After each test nothing may be left of it.
 */
export let dir: string;
let goHome: () => void;
export let network: HostNetwork;
let before: unknown;
/** Namespaces of guests, gone after each test. */
export const guests: string[] = [];
const children: ChildProcess[] = [];
/** Milliseconds that a program may take to begin on a busy machine, of which these tests start dozens each. */
const START_MS = 30_000;
vi.setConfig({ testTimeout: 4 * START_MS });
/** Milliseconds to wait where silence is the right answer. */
export const SHORT = 700;
export const netnsOf = (name: string) => join(dir, 'netns', name);

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-test-network-'));
  chmodSync(dir, 0o711);
  createNetns(netnsOf('host'));
  createNetns(netnsOf('uplink'));
  goHome = enterNetns(netnsOf('host'));
  Netlink.with(undefined, (host) => {
    host.setLink('lo', { up: true });
    host.addVeth({ name: 'up0', peer: { name: 'eth0', netns: netnsOf('uplink') } });
    host.addAddress('up0', '192.0.2.1/30');
    host.setLink('up0', { up: true });
    host.addAddress('up0', '2001:db8::1/64');
  });
  Netlink.with(netnsOf('uplink'), (world) => {
    world.addAddress('eth0', '192.0.2.2/30');
    world.setLink('eth0', { up: true });
    world.addRoute({ destination: '10.77.0.0/16', via: '192.0.2.1' });
    world.addAddress('eth0', '2001:db8::2/64');
    world.addRoute({ destination: 'fd77::/16', via: '2001:db8::1' });
  });
});

afterAll(() => {
  goHome();
  deleteNetns(netnsOf('host'));
  deleteNetns(netnsOf('uplink'));
  rmSync(dir, { recursive: true });
});

beforeEach(async () => {
  before = await everything();
  agentAgain();
});

/** As a new agent finds the host. */
export function agentAgain(options: { readonly resolvFile?: string } = {}): void {
  network = new HostNetwork({ stateDir: join(dir, 'state'), runDir: join(dir, 'run'), ...options });
}

afterEach(async () => {
  for (const child of children) {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  }
  children.length = 0;
  for (const nic of await network.inventory()) await network.detach(nic);
  for (const { networkId } of await network.networks()) await network.release(networkId);
  for (const guest of guests) deleteNetns(guest);
  guests.length = 0;
  expect(await everything()).toEqual(before);
});

/** All that a network could leave: links, rules, addresses, routes, processes, mounts, files. */
async function everything() {
  const links = Netlink.with(undefined, (n) => ({
    links: n.links().map((l) => l.name),
    addresses: n.addresses(),
    routes: n.routes(),
  }));
  const processes = readdirSync('/proc').filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(dir);
    } catch {
      return false;
    }
  });
  const files = [join(dir, 'state'), join(dir, 'run')].flatMap((d) => (existsSync(d) ? readdirSync(d) : []));
  const { stdout: rules } = await run('nft', ['list', 'ruleset']);
  return {
    ...links,
    rules,
    processes,
    files,
    mounts: mounts()
      .map((m) => m.target)
      .filter((t) => t.startsWith(dir)),
  };
}

export function specOf(name: string, subnet: number, names: readonly string[]): HostNetworkSpec {
  return HostNetworkSpec.parse({
    id: randomUUID(),
    project: 'demo',
    name,
    cidr: `10.77.${subnet}.0/24`,
    gateway: `10.77.${subnet}.1`,
    leases: names.map((n, i) => ({
      name: n,
      mac: `02:77:00:00:0${subnet}:0${i + 2}`,
      ipv4: `10.77.${subnet}.${i + 2}`,
    })),
  });
}

/** The same with IPv6. */
export function spec6Of(name: string, subnet: number, names: readonly string[]): HostNetworkSpec {
  const spec = specOf(name, subnet, names);
  const prefix = `fd77:${subnet}::`;
  const leases = spec.leases.map((lease, i) => ({ ...lease, ipv6: `${prefix}${i + 2}` }));
  return { ...spec, ipv6: { cidr: `${prefix}/64`, gateway: `${prefix}1` }, leases };
}

/** A container's namespace attached to a network with the address of one of its leases. */
export async function guestOf(spec: HostNetworkSpec, name: string) {
  const lease = spec.leases.find((l) => l.name === name);
  if (lease === undefined) throw new Error(`no lease ${name}`);
  const netns = netnsOf(`${spec.name}-${name}`);
  createNetns(netns);
  guests.push(netns);
  const owner = { instanceId: InstanceId.parse(randomUUID()), epoch: 1 };
  const { mac, ipv4, ipv6 } = lease;
  const nic = { id: NicId.parse(randomUUID()), networkId: spec.id, mac, ipv4, ipv6 };
  const { ifname } = await network.attachVeth(owner, nic, { netns, ifname: 'eth0' });
  return { netns, owner, nic, ifname, ip: ipv4, ip6: ipv6 ?? '' };
}

/** Runs a program inside a namespace: a child is born where the spawning thread is. */
export async function inside(
  netns: string,
  command: string,
  args: string[],
): Promise<{ ok: boolean; out: string }> {
  const child = inNetns(netns, () => spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] }));
  children.push(child);
  let out = '';
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  return { ok: code === 0, out: out.trim() };
}

export const ping = async (netns: string, ip: string, seconds = 5) =>
  (await inside(netns, 'busybox', ['ping', '-c', '1', '-W', `${seconds}`, ip])).out.includes(
    ' 0% packet loss',
  );

/** A TCP server that answers each client with the client's address, and then with what it says until it ends. */
export async function serve(netns: string, port = 7000, host = '0.0.0.0'): Promise<void> {
  const script = `require('net').createServer({allowHalfOpen:true},(s)=>{s.on('error',()=>{}).write(s.remoteAddress);s.pipe(s)}).listen(${port},'${host}',()=>console.log('ready'))`;
  await served(netns, script);
}

/** The same over UDP, one answer to each datagram. */
export async function serveUdp(netns: string, port: number): Promise<void> {
  const script = `const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>s.send(r.address,r.port,r.address)).bind(${port},'0.0.0.0',()=>console.log('ready'))`;
  await served(netns, script);
}

/** A name server that knows one address for every name. */
export async function serveNames(netns: string, address: string): Promise<void> {
  const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ...address.split('.').map(Number)]);
  const script = `const s=require('dgram').createSocket('udp4');s.on('message',(m,r)=>{let end=12;while(m[end]!==0)end+=m[end]+1;
    const head=Buffer.from([m[0],m[1],0x81,0x80,0,1,0,1,0,0,0,0]);
    s.send(Buffer.concat([head,m.subarray(12,end+5),Buffer.from('${answer.toString('hex')}','hex')]),r.port,r.address)}).bind(53,'0.0.0.0',()=>console.log('ready'))`;
  await served(netns, script);
}

async function served(netns: string, script: string): Promise<void> {
  const child = inNetns(netns, () =>
    spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  children.push(child);
  await once(child.stdout, 'data');
}

export const connect = (netns: string, ip: string, port = 7000, patience = 5000) =>
  inside(netns, process.execPath, [
    '-e',
    `require('net').connect({host:'${ip}',port:${port},timeout:${patience}}).on('timeout',()=>process.exit(2)).on('error',()=>process.exit(1)).end().pipe(process.stdout)`,
  ]);

export const datagram = (netns: string, ip: string, port: number, patience = 5000) =>
  inside(netns, process.execPath, [
    '-e',
    `const s=require('dgram').createSocket('udp4');s.on('message',(m)=>{console.log(String(m));s.close()});s.send('x',${port},'${ip}');setTimeout(()=>process.exit(1),${patience}).unref()`,
  ]);

/** A TCP connection that stays: says a word and gets it back, or null after a while. */
export async function conversation(netns: string, ip: string, port: number) {
  const script = `const s=require('net').connect(${port},'${ip}');s.on('error',()=>process.exit(1));process.stdin.pipe(s);s.pipe(process.stdout)`;
  const child = inNetns(netns, () =>
    spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] }),
  );
  children.push(child);
  let heard = '';
  child.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  const hears = (text: string, ms: number) =>
    vi.waitUntil(() => heard.includes(text), { timeout: ms, interval: 5 }).catch(() => false);
  await hears('.', 5000); // its own address
  return {
    says: async (word: string, ms = 5000) => {
      child.stdin.write(word);
      return hears(word, ms);
    },
  };
}

export const lookup = (netns: string, server: string, name: string, patience = 5000, type: 4 | 6 = 4) =>
  inside(netns, process.execPath, [
    '-e',
    `const r=new (require('dns').promises.Resolver)({timeout:${patience},tries:1});r.setServers(['${server}']);r.resolve${type}('${name}').then(a=>console.log(a.join()),e=>console.log(e.code))`,
  ]);

/** What comes to a UDP port, as it comes. */
export async function overhearing(netns: string, port: number) {
  const script = `require('dgram').createSocket('udp4').on('message',(m)=>console.log(String(m))).bind(${port},'0.0.0.0',()=>console.log('ready'))`;
  const child = inNetns(netns, () =>
    spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] }),
  );
  children.push(child);
  let heard = '';
  child.stdout.on('data', (chunk: Buffer) => (heard += chunk.toString()));
  await vi.waitUntil(() => heard !== '', { timeout: START_MS });
  return (word: string, ms: number) =>
    vi
      .waitUntil(() => heard.includes(word), { timeout: ms, interval: 5 })
      .then(
        () => true,
        () => false,
      );
}

export const tell = (
  netns: string,
  word: string,
  to: { ip: string; port: number },
  from: { ip: string; port?: number },
) =>
  inside(netns, process.execPath, [
    '-e',
    `const s=require('dgram').createSocket('udp4');s.bind(${from.port ?? 0},'${from.ip}',()=>s.send('${word}',${to.port},'${to.ip}',()=>s.close()))`,
  ]);

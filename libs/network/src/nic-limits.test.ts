import { randomUUID } from 'node:crypto';
import { Netlink, run } from '@berth/linux';
import { HostNetworkSpec, InstanceId, NicId, type NicLimits } from '@berth/model';
import { expect, test } from 'vitest';
import { bucketOf } from './nic-limits.js';
import {
  agentAgain,
  conversation,
  guestOf,
  inside,
  network,
  overhearing,
  ping,
  serve,
  SHORT,
  specOf,
  tell,
} from './testing/host-lab.js';

/* Limits of nics, with real packets. What had to wait is told by the kernel's counters, and not by a clock. */

let revision = 0;
/** A network, and what may pass the nics of its leases. */
const ensure = (spec: HostNetworkSpec, limits: Record<string, NicLimits>) =>
  network.ensure({
    ...spec,
    revision: (revision += 1),
    leases: spec.leases.map((l) => ({ ...l, ...(l.name in limits ? { limits: limits[l.name] } : {}) })),
  });

interface Counters {
  readonly bytes: number;
  readonly overlimits: number;
  readonly options: { readonly rate: number };
}

/** The limiters of a nic as iproute2 shows them: by what they are led from, the counters of their queue. */
async function limiters(
  link: string,
): Promise<Record<'ingress' | 'egress', (Counters & { dev: string }) | null>> {
  const of = async (hook: string) => {
    const filters = (await run('tc', ['filter', 'show', 'dev', link, hook]).catch(() => null))?.stdout ?? '';
    const dev = /Redirect to device (\S+)\)/.exec(filters)?.[1];
    if (dev === undefined) return null;
    const { stdout } = await run('tc', ['-s', '-j', 'qdisc', 'show', 'dev', dev, 'root']);
    const [shown] = JSON.parse(stdout) as Counters[];
    return shown === undefined ? null : { ...shown, dev };
  };
  // What the host's end sends comes in at the guest.
  return { ingress: await of('egress'), egress: await of('ingress') };
}

const linksCount = () => Netlink.with(undefined, (n) => n.links().length);

/** Sends eighty datagrams of a thousand bytes at once: five times what the smallest bucket holds. */
const flood = (netns: string, ip: string) =>
  inside(netns, process.execPath, [
    '-e',
    `const s=require('dgram').createSocket('udp4');let left=80;for(let i=0;i<80;i++)s.send(Buffer.alloc(1000),7001,'${ip}',()=>{if(--left===0)s.close()})`,
  ]);

test('what a guest gets and what it sends wait at their own rates, and a neighbour without limits does not', async () => {
  const spec = specOf('default', 1, ['web', 'db']);
  await ensure(spec, { web: { ingressMbps: 1, egressMbps: 2 } });
  const web = await guestOf(spec, 'web');
  const db = await guestOf(spec, 'db');
  await overhearing(web.netns, 7001); // so that nothing is refused
  await overhearing(db.netns, 7001);
  const before = await limiters(web.ifname);
  expect(before).toMatchObject({
    ingress: { options: { rate: 125_000 } },
    egress: { options: { rate: 250_000 } },
  });
  expect(await limiters(db.ifname)).toEqual({ ingress: null, egress: null });

  await flood(db.netns, web.ip);
  const got = await limiters(web.ifname);
  expect(got.ingress?.overlimits).toBeGreaterThan(0);
  expect(got.egress?.overlimits).toBe(0);
  expect(got.egress?.bytes).toBeLessThan(10_000);
  await flood(web.netns, db.ip);
  expect((await limiters(web.ifname)).egress?.overlimits).toBeGreaterThan(0);
  // What waited comes, and nothing of the guard is lost on the way through the limiter.
  expect(await ping(db.netns, web.ip)).toBe(true);
  const hears = await overhearing(db.netns, 7002);
  const other = '10.77.1.77';
  await inside(web.netns, 'ip', ['address', 'add', `${other}/24`, 'dev', 'eth0']);
  await tell(web.netns, 'spoofed', { ip: db.ip, port: 7002 }, { ip: other });
  await tell(web.netns, 'honest', { ip: db.ip, port: 7002 }, { ip: web.ip });
  expect(await hears('honest', 5000)).toBe(true);
  expect(await hears('spoofed', SHORT)).toBe(false);
});

test('limits change and go while a conversation lasts; what is in place is left alone', async () => {
  const spec = specOf('default', 1, ['web', 'db']);
  await ensure(spec, {});
  const web = await guestOf(spec, 'web');
  const db = await guestOf(spec, 'db');
  await serve(web.netns);
  const talk = await conversation(db.netns, web.ip, 7000);
  const bare = linksCount();
  await ensure(spec, { web: { ingressMbps: 8, egressMbps: 8 } });
  expect(await talk.says('limited')).toBe(true);
  const first = await limiters(web.ifname);
  expect(first.ingress?.bytes).toBeGreaterThan(0);
  expect(linksCount()).toBe(bare + 2);

  // Libvirt gives taps another queue when it starts a machine; the limits are not in its way.
  await run('tc', ['qdisc', 'add', 'dev', web.ifname, 'root', 'handle', '0:', 'noqueue']);
  await ensure(spec, { web: { ingressMbps: 16 } });
  expect(await talk.says('changed')).toBe(true);
  const second = await limiters(web.ifname);
  expect(second).toMatchObject({
    ingress: { dev: first.ingress?.dev, options: { rate: 2_000_000 } },
    egress: null,
  });
  // The same bucket, and not a new one: it has counted on.
  expect(second.ingress?.bytes).toBeGreaterThan(first.ingress?.bytes ?? Infinity);
  expect(linksCount()).toBe(bare + 1);

  await ensure(spec, {});
  expect(await talk.says('free')).toBe(true);
  expect(await limiters(web.ifname)).toEqual({ ingress: null, egress: null });
  expect((await run('tc', ['qdisc', 'show', 'dev', web.ifname])).stdout).not.toContain('clsact');
  expect(linksCount()).toBe(bare);
});

test('a new agent puts back what was taken from limits, and takes away those of nics that are gone', async () => {
  const spec = specOf('default', 1, ['web', 'vm']);
  const bothWays = { ingressMbps: 10, egressMbps: 10 };
  const limits = { web: bothWays, vm: bothWays };
  await ensure(spec, limits);
  const web = await guestOf(spec, 'web');
  const { mac = '', ipv4 = '' } = spec.leases[1] ?? {};
  const owner = { instanceId: InstanceId.parse(randomUUID()), epoch: 1 };
  const nic = { id: NicId.parse(randomUUID()), networkId: spec.id, mac, ipv4 };
  const tap = (await network.attachTap(owner, nic, { uid: 65534 })).ifname;
  const whole = await limiters(tap);
  expect(whole).toMatchObject({
    ingress: { dev: expect.anything() as unknown },
    egress: { options: { rate: 1_250_000 } },
  });

  await run('ip', ['link', 'delete', whole.ingress?.dev ?? '']);
  await run('tc', ['filter', 'delete', 'dev', tap, 'ingress']);
  agentAgain();
  await ensure(spec, limits);
  const devices = ({ ingress, egress }: typeof whole) => [ingress?.dev, egress?.dev];
  expect(devices(await limiters(tap))).toEqual(devices(whole));

  const many = linksCount();
  await run('ip', ['link', 'delete', tap]);
  agentAgain();
  await ensure(spec, limits);
  expect(linksCount()).toBe(many - 3);
  expect((await limiters(web.ifname)).egress?.options.rate).toBe(1_250_000);
  // One that an agent had begun when it died goes with its nic too.
  const begun = (await limiters(web.ifname)).egress?.dev ?? '';
  Netlink.with(undefined, (n) => n.setLink(begun, { alias: '' }));
  await network.detach(web.owner);
  expect(Netlink.with(undefined, (n) => n.link(begun))).toBeNull();
});

test('a bucket holds whole frames at the lowest rate, and twenty milliseconds at the highest', () => {
  expect(bucketOf(1)).toEqual({ rate: 125_000, burst: 16_384, queue: 81_920 });
  expect(bucketOf(100_000)).toEqual({ rate: 12_500_000_000, burst: 250_000_000, queue: 1_250_000_000 });
});

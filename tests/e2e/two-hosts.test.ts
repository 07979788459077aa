import type { Decision, HostVerdict } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Berth, output, until } from './berth.js';
import { containerInit, hostState, samples } from './machine.js';

/*
 * Everything real: Postgres, libvirtd, QEMU (emulated), runc, bridges. One Berth with two hosts serves all tests of this
 * file, which run in order; each leaves it as it found it.
 */
let berth: Berth;
let first = '';
let before: Awaited<ReturnType<typeof hostState>>;

beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(2);
  await berth.image('busybox', 'oci', images.container);
  await berth.image('tiny', 'disk', images.disk);
  const hosts = await berth.hosts();
  expect(hosts.map((h) => h.state)).toEqual(['ready', 'ready']);
  first = hosts.map((h) => h.name).sort((a, b) => a.length - b.length)[0] ?? '';
  await berth.ok('PATCH', `/v1/hosts/${first}`, { labels: { where: 'here' } });
  await imageOnBoth();
  before = await hostState(berth.root);
}, 300_000);

afterAll(() => berth?.down(), 120_000);

const small = {
  isolation: 'container',
  image: 'busybox',
  cpuMillis: 100,
  memoryMiB: 32,
  rootDisk: { sizeMiB: 16 },
};
const here = { placement: { selector: { where: 'here' } } };
const machine = { isolation: 'vm', image: 'tiny', vcpus: 1, memoryMiB: 128, rootDisk: { sizeMiB: 64 } };

/** Has both hosts hold the image and say so: a host that has it is worth more than one that is a little emptier. */
async function imageOnBoth(): Promise<void> {
  const cpuMillis = ((await berth.hosts())[0]?.capacity?.cpuMillis ?? 0) - 50;
  const names = ['first-1', 'first-2'];
  for (const name of names) await berth.create(name, { ...small, cpuMillis });
  await Promise.all(names.map((n) => berth.state(n, 'running')));
  await Promise.all(names.map((n) => berth.delete(n)));
  await until('both hosts hold the image', 30_000, async () => {
    const path = '/v1/projects/default/decisions/preview';
    const { decision } = await berth.ok<{ decision: Decision }>('POST', path, { spec: small });
    return decision.verdicts?.every((v) => v.scores['image'] === 1) === true ? true : undefined;
  });
}

/** Waits until a pending instance says why. */
async function reason(name: string, wanted: RegExp): Promise<void> {
  let last: string | null = null;
  await until(
    `${name} waits for its reason`,
    10_000,
    async () => {
      const { status } = await berth.get(name);
      last = status.reason;
      return status.state === 'pending' && wanted.test(status.reason ?? '') ? true : undefined;
    },
    () => String(last),
  );
}

describe('placement over two hosts', () => {
  it('spreads six instances over both, and each decision shows both verdicts with numbers', async () => {
    const names = ['a', 'b', 'c', 'd', 'e', 'f'].map((n) => `spread-${n}`);
    for (const name of names) await berth.create(name, small);
    const placed = await Promise.all(names.map((n) => berth.state(n, 'running')));
    const counts = (await berth.hosts()).map((h) => placed.filter((i) => i.status.host?.id === h.id).length);
    expect(counts).toEqual([3, 3]);
    const { verdicts } = await berth.decision('spread-f');
    expect(verdicts).toHaveLength(2);
    for (const v of verdicts ?? []) {
      expect(v.fits).toBe(true);
      expect(v.score).toBeGreaterThan(0);
      expect(v.free.cpuMillis).toBeGreaterThan(0);
    }
    await Promise.all(names.map((n) => berth.delete(n)));
  });

  it('leaves what is too large pending, and explains each host with filter, need and have', async () => {
    await berth.create('giant', { ...small, memoryMiB: 8 * 1024 * 1024 });
    await reason('giant', /memory/);
    const verdicts = (await berth.decision('giant')).verdicts ?? [];
    expect(verdicts).toHaveLength(2);
    for (const v of verdicts)
      expect(v.failed).toMatchObject({ filter: 'memory', need: `${8 * 1024 * 1024} MiB` });
    for (const v of verdicts) {
      const said = await berth.run(['explain', 'giant', '--host', v.host]);
      expect(said).toContain('memory');
      expect(said).toContain(v.failed?.have);
    }
    const { host } = await berth.ok<{ host: HostVerdict }>(
      'GET',
      `${berth.instances}/giant/explain?host=${first}`,
    );
    expect(host).toMatchObject({ host: first, fits: false });
    await berth.delete('giant');
  });

  it('starts what waited as soon as a deletion makes room', async () => {
    const cpuMillis = ((await berth.hosts())[0]?.capacity?.cpuMillis ?? 0) - 50;
    await berth.create('wide-1', { ...small, cpuMillis });
    await berth.create('wide-2', { ...small, cpuMillis });
    await Promise.all([berth.state('wide-1', 'running'), berth.state('wide-2', 'running')]);
    await berth.create('wide-3', { ...small, cpuMillis });
    await berth.state('wide-3', 'pending');
    await until('it was judged', 10_000, async () =>
      (await berth.call('GET', `${berth.instances}/wide-3/decision`)).status === 200 ? true : undefined,
    );
    await berth.delete('wide-1');
    await berth.state('wide-3', 'running');
    await Promise.all(['wide-2', 'wide-3'].map((n) => berth.delete(n)));
  });
});

describe('an instance that depends on one of another host', () => {
  it('waits, saying for what, until that one is ready there, and starts by itself', async () => {
    const elsewhere = (await berth.hosts()).map((h) => h.name).find((name) => name !== first) ?? '';
    await berth.ok('PATCH', `/v1/hosts/${elsewhere}`, { labels: { where: 'there' } });
    const probes = { readiness: { exec: { command: ['test', '-e', '/tmp/ready'] }, intervalSeconds: 1 } };
    await berth.create('base', { ...small, ...here, probes, desired: 'stopped' });
    const dependsOn = [{ instance: 'base', condition: 'ready' }];
    const there = { placement: { selector: { where: 'there' } } };
    await berth.create('upon', { ...small, ...there, dependsOn });
    await reason('upon', /waits until base is ready: it is stopped/);
    await berth.act('base', 'start');
    await reason('upon', /waits until base is ready: it is not ready yet/);
    expect(await berth.run(['explain', 'upon'])).toContain('dependencies');
    await berth.run(['exec', 'base', '--', 'touch', '/tmp/ready']);
    const upon = await berth.state('upon', 'running');
    const base = await berth.get('base');
    expect([base.status.host?.name, upon.status.host?.name]).toEqual([first, elsewhere]);
    expect(base.status.conditions.map((c) => c.type)).toContain('Ready');
    // What becomes of it later does not touch a run.
    await berth.act('base', 'stop');
    await berth.state('base', 'stopped');
    expect((await berth.get('upon')).status.state).toBe('running');
    await Promise.all(['base', 'upon'].map((n) => berth.delete(n)));
    await berth.ok('PATCH', `/v1/hosts/${elsewhere}`, { labels: {} });
  });
});

describe('a container', () => {
  it('has its own pid 1, host name, network and uid range, and its limits stand in its cgroup', async () => {
    await berth.create('box', { ...small, ...here, process: { env: { NONCE: 'box-nonce' } } });
    const { status } = await berth.state('box', 'running');
    const init = await until('its first process', 20_000, () => containerInit('NONCE=box-nonce'));
    const inside = (...args: string[]): Promise<string> =>
      output('nsenter', '--target', String(init.pid), '--all', '--', '/bin/busybox', ...args);
    expect(init.innerPid).toBe(1);
    expect((await inside('hostname')).trim()).toBe('box');
    expect(await inside('ip', '-4', 'addr', 'show', 'dev', 'eth0')).toContain(
      `inet ${status.nics[0]?.ipv4}/24`,
    );
    expect(init.uidMap.inside).toBe(0);
    expect(init.uidMap.outside).toBeGreaterThanOrEqual(65_536);
    expect(init.uidMap.count).toBe(65_536);
    expect(init.limits).toEqual({ memoryBytes: 32 * 1024 * 1024, cpuMillis: 100 });
    await berth.run(['update', 'box', '--set', 'spec.memoryMiB=48', '--set', 'spec.cpuMillis=250']);
    const larger = await containerInit('NONCE=box-nonce');
    expect(larger).toMatchObject({
      pid: init.pid,
      limits: { memoryBytes: 48 * 1024 * 1024, cpuMillis: 250 },
    });
    expect((await berth.get('box')).status).toMatchObject({ appliedGeneration: 2, conditions: [] });
    await berth.delete('box');
  });

  it('keeps what it wrote over stop and start', async () => {
    await berth.create('keeper', small);
    await berth.state('keeper', 'running');
    await until('its first start', 20_000, async () =>
      (await berth.logs('keeper')).includes('boots=1') ? true : undefined,
    );
    await berth.act('keeper', 'stop');
    await berth.state('keeper', 'stopped');
    await berth.act('keeper', 'start');
    await berth.state('keeper', 'running');
    await until('its second start on the same disk', 20_000, async () =>
      (await berth.logs('keeper')).includes('boots=2') ? true : undefined,
    );
    await berth.delete('keeper');
  });
});

/** The body of an HTTP answer, or null. */
async function http(port: number): Promise<string | null> {
  const answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5000) }).catch(
    () => null,
  );
  return answer === null ? null : answer.text();
}

const answers = (port: number, text: string): Promise<string> =>
  until(`port ${port} answers with ${text}`, 60_000, async () => {
    const said = await http(port);
    return said?.includes(text) === true ? said : undefined;
  });
const web = (hostPort: number): object => ({
  nics: [{ network: 'default', ports: [{ hostPort, guestPort: 8080 }] }],
});

describe('a published port', () => {
  it('leads to a container, is refused and taken elsewhere while it is taken, moves live, and ends with it', async () => {
    await berth.create('web-1', { ...small, ...here, ...web(18_080), process: { env: { NONCE: 'one' } } });
    await berth.state('web-1', 'running');
    await answers(18_080, 'hostname=web-1 nonce=one');
    expect(await berth.run(['describe', 'instance', 'web-1'])).toContain(`tcp 18080 of ${first} -> 8080`);

    await berth.create('web-2', { ...small, ...web(18_080) });
    const { status } = await berth.state('web-2', 'running');
    expect(status.host?.name).not.toBe(first);
    const { verdicts } = await berth.decision('web-2');
    const failed = { filter: 'ports', need: 'tcp/18080 free', have: 'tcp/18080 taken' };
    expect(verdicts?.find((v) => v.host === first)?.failed).toMatchObject(failed);

    await berth.create('web-3', { ...small, ...here, ...web(18_080) });
    await reason('web-3', /ports/);
    const refused = await berth.try(['publish', 'web-1', '80:8080']);
    expect(refused.err).toContain('it publishes the ports 1024-32767');

    await berth.run(['publish', 'web-1', '18081:8080']);
    await answers(18_081, 'nonce=one');
    // Nobody in a group without rules is connected to; with one, who may is.
    const address = (await berth.get('web-1')).status.nics[0]?.ipv4 ?? '';
    await berth.create('asker', { ...small, ...here, process: { env: { NONCE: 'asker' } } });
    await berth.state('asker', 'running');
    const asker = await until('the one that asks', 20_000, () => containerInit('NONCE=asker'));
    const ask = (): Promise<string> =>
      output(
        'nsenter',
        ...['--target', String(asker.pid), '--all', '--', '/bin/busybox', 'sh', '-c'],
        `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 ${address} 8080`,
      ).catch(() => '');
    expect(await ask()).toContain('nonce=one');
    await berth.run(['security-group', 'put', 'site']);
    await berth.run(['security-group', 'assign', 'web-1', 'site']);
    expect(await ask()).toBe('');
    await berth.run(['security-group', 'put', 'site', '--in', 'tcp:8080']);
    await until('its rule holds', 10_000, async () =>
      (await ask()).includes('nonce=one') ? true : undefined,
    );
    await berth.run(['security-group', 'assign', 'web-1']);
    await berth.run(['security-group', 'delete', 'site']);
    await berth.delete('asker');

    await berth.run(['unpublish', 'web-1', '18080']);
    expect(await http(18_081)).toContain('nonce=one');
    await answers(18_080, 'hostname=web-3');
    await berth.delete('web-1');
    await until('its port is closed', 10_000, async () => ((await http(18_081)) === null ? true : undefined));
    expect(await http(18_080)).toContain('hostname=web-3');
    await Promise.all(['web-2', 'web-3'].map((n) => berth.delete(n)));
  });
});

describe('a second network', () => {
  it('is made by a user, joins who is on it and nobody else, and is gone from hosts and from the list when nobody is', async () => {
    const made = await berth.run(['network', 'create', 'backend', '--cidr', '192.168.77.0/28']);
    expect(made).toContain('backend: 192.168.77.0/28');
    const on = (name: string, ...networks: string[]): Promise<unknown> =>
      berth.create(name, {
        ...{ ...small, ...here, process: { env: { NONCE: name } } },
        nics: networks.map((network) => ({
          network,
          ...(name === 'both' && network === 'backend' ? { address: '192.168.77.9' } : {}),
        })),
      });
    await Promise.all([on('both', 'default', 'backend'), on('store', 'backend'), on('other', 'default')]);
    const [both, store] = await Promise.all(
      ['both', 'store', 'other'].map((name) => berth.state(name, 'running')),
    );
    const inside = async (name: string, script: string): Promise<string> => {
      const init = await until(`${name} runs`, 20_000, () => containerInit(`NONCE=${name}`));
      const words = ['--target', String(init.pid), '--all', '--', '/bin/busybox', 'sh', '-c', script];
      return output('nsenter', ...words).catch(() => '');
    };
    const addresses = both?.status.nics.map((n) => n.ipv4) ?? [];
    for (const [i, address] of addresses.entries())
      expect(await inside('both', `ip -4 addr show dev eth${i}`)).toContain(`inet ${address}/`);
    expect(addresses[1]).toBe('192.168.77.9');
    const gateway = addresses[0]?.replace(/\d+$/, '1');
    expect(await inside('both', 'ip route show default')).toMatch(
      new RegExp(`^default via ${gateway} dev eth0`),
    );
    const ask = (name: string): Promise<string> =>
      inside(name, `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 ${store?.status.nics[0]?.ipv4} 8080`);
    await until('its neighbour answers', 20_000, async () =>
      (await ask('both')).includes('nonce=store') ? true : undefined,
    );
    expect(await ask('other')).toBe('');
    expect((await berth.try(['network', 'attach', 'other', 'backend'])).err).toContain('stop it');
    await berth.run(['stop', 'other']);
    await berth.run(['network', 'attach', 'other', 'backend']);
    await berth.run(['start', 'other']);
    await until('it has come to its neighbours', 20_000, async () =>
      (await ask('other')).includes('nonce=store') ? true : undefined,
    );
    await berth.run(['stop', 'other']);
    await berth.run(['network', 'detach', 'other', 'backend']);
    const refused = await berth.try(['network', 'rm', 'backend']);
    expect(refused.err).toContain('"backend" has nics of instances: "both", "store"');
    await Promise.all(['both', 'store', 'other'].map((name) => berth.delete(name)));
    await berth.run(['network', 'rm', 'backend']);
    expect(await berth.run(['network', 'ls'])).not.toContain('backend');
    // That no bridge, server or table of it is left is looked at in the end.
  }, 120_000);
});

describe('a virtual machine', () => {
  it('runs under libvirt, reaches a container by name and address, and keeps its disk over stop and start', async () => {
    await berth.create('peer', { ...small, ...here, process: { env: { NONCE: 'peer-nonce' } } });
    await berth.state('peer', 'running');
    const spec = {
      ...machine,
      ...here,
      ...web(18_082),
      userData: '#cloud-config\nnonce: vm-nonce\nprobe: peer\n',
    };
    const { instance } = await berth.create('guest', spec);
    const { status } = await berth.state('guest', 'running');
    expect(await output('virsh', 'list', '--uuid')).toContain(instance.uuid);
    const address = status.nics[0]?.ipv4 ?? '';
    await until('the guest says that it is ready', 60_000, async () =>
      (await berth.logs('guest')).includes(`berth-ready hostname=guest nonce=vm-nonce ip=${address} boots=1`)
        ? true
        : undefined,
    );
    await until('the guest reached the container by name', 30_000, async () =>
      /berth-probe host=peer ping=ok http=\[ready hostname=peer nonce=peer-nonce/.test(
        await berth.logs('guest'),
      )
        ? true
        : undefined,
    );
    const init = await until('the container', 10_000, () => containerInit('NONCE=peer-nonce'));
    const peer = (...args: string[]): Promise<string> =>
      output('nsenter', '--target', String(init.pid), '--all', '--', '/bin/busybox', ...args);
    for (const target of ['guest', address]) {
      expect(await peer('ping', '-c', '1', '-W', '5', target)).toContain('1 packets received');
      // It says that it is ready a moment before its server listens.
      await until(`${target} answers on its port`, 30_000, async () =>
        (
          await peer('sh', '-c', `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 ${target} 8080`).catch(
            () => '',
          )
        ).includes('nonce=vm-nonce')
          ? true
          : undefined,
      );
    }
    await answers(18_082, 'nonce=vm-nonce');
    await berth.act('guest', 'stop');
    await berth.state('guest', 'stopped');
    expect(await http(18_082)).toBeNull();
    await berth.act('guest', 'start');
    await until('its second boot on the same disk', 60_000, async () =>
      (await berth.logs('guest')).includes('boots=2') ? true : undefined,
    );
    await answers(18_082, 'boots=2');
    await berth.delete('guest');
    await berth.delete('peer');
  }, 240_000);

  it('waits with its reason where kvm is asked for and was never measured', async () => {
    await berth.create('fast', { ...machine, placement: { accel: 'kvm' } });
    await reason('fast', /kvm/);
    await berth.delete('fast');
  });
});

describe('afterwards', () => {
  it('nothing of the deleted instances is left: links, mounts, cgroups, processes, domains, nft rules, files', async () => {
    const left = await until('the hosts are as they were', 30_000, async () => {
      const now = await hostState(berth.root);
      return JSON.stringify(now) === JSON.stringify(before) ? now : undefined;
    }).catch(() => hostState(berth.root));
    expect(left).toEqual(before);
  });

  it('stopping and starting everything keeps instances and their disks', async () => {
    await berth.create('survivor', small);
    await berth.state('survivor', 'running');
    await berth.run(['down']);
    await berth.run(['up', '--hosts', '2']);
    await berth.state('survivor', 'running');
    expect(await berth.logs('survivor')).not.toContain('boots=2');
    await berth.delete('survivor');
  }, 180_000);
});

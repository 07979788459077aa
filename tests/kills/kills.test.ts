import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootDisk } from '../../libs/kvm/src/testing/boot-sector.js';
import { Berth, patience, until } from '../e2e/berth.js';
import { samples } from '../e2e/machine.js';
import { Fleet, layAgent } from './fleet.js';
import { workloadKind } from './lab-host.js';
import { killed } from './processes.js';
import { Victims } from './victims.js';

/*
 * kill -9 of whole parts, one after the other and all at once, while machines of both drivers and containers run: nobody
 * notices, and all is as it was within ten seconds. Then of workloads, and of the agent while wishes are made.
 */
let berth: Berth;
let victims: Victims;
let fleet: Fleet;
let before: object;

const restart = (policy: string): object => ({ policy, backoffSeconds: 1, maxBackoffSeconds: 4 });
const container = (policy: string, vm = 'libvirt'): object => ({
  isolation: 'container',
  image: 'busybox',
  cpuMillis: 50,
  memoryMiB: 32,
  rootDisk: { sizeMiB: 16 },
  restart: restart(policy),
  placement: { selector: { vm } },
});
const machine = (policy: string, vm: string): object => ({
  isolation: 'vm',
  image: 'steady',
  vcpus: 1,
  cpuMillis: 1000,
  memoryMiB: 64,
  rootDisk: { sizeMiB: 64 },
  restart: restart(policy),
  placement: { selector: { vm } },
});

const steady: Record<string, object> = {
  'vm-always': machine('always', 'libvirt'),
  'vm-never': machine('never', 'libvirt'),
  'q-always': machine('always', 'qemu'),
  'q-never': machine('never', 'qemu'),
  'c-always': container('always'),
  'c-onfail': container('onFailure', 'qemu'),
  'c-never': container('never'),
  'c-wishes': container('never', 'qemu'),
};
const all = Object.keys(steady);

/** How often it started on its disk, by its log; null while nobody can be asked for that. */
async function boots(name: string): Promise<number | null> {
  const { status, body } = await berth.call<string>('GET', `${berth.instances}/${name}/logs`);
  // A new agent may be asked before it, or its runtimes, are connected.
  if (status === 503 || status === 404) return null;
  if (status !== 200) throw new Error(`logs of ${name}: ${status} ${JSON.stringify(body)}`);
  return Math.max(0, ...[...body.matchAll(/boots=(\d+)/g)].map((m) => Number(m[1])));
}

const booted = (name: string, times: number): Promise<true> =>
  until(`${name} booted ${times} times on one disk`, patience(60_000), async () =>
    (await boots(name)) === times ? true : undefined,
  );

beforeAll(async () => {
  const images = await samples();
  const capacity = { cpuMillis: 64_000, memoryMiB: 16_384, diskMiB: 65_536 };
  berth = await Berth.up(3, {
    env: () => ({ BERTH_RESTART_PAUSE_MAX_SECONDS: '1' }),
    lay: (root) => {
      layAgent(root, 2, { runtimes: ['libvirt', 'oci'], labels: { vm: 'libvirt' }, capacity });
      layAgent(root, 3, { runtimes: ['qemu', 'oci'], labels: { vm: 'qemu' }, capacity });
    },
  });
  victims = new Victims(berth);
  fleet = new Fleet(berth, victims, [2, 3]);
  const disk = join(berth.root, 'steady.img');
  writeFileSync(disk, bootDisk('quiet'));
  await berth.image('busybox', 'oci', images.container);
  await berth.image('steady', 'disk', disk);
  before = await fleet.state();
  for (const [name, spec] of Object.entries(steady)) await berth.create(name, spec);
  await Promise.all(all.map((name) => berth.state(name, 'running', patience(60_000))));
  await Promise.all(all.map((name) => booted(name, 1)));
}, patience(300_000));

afterAll(() => berth?.down(), 120_000);

describe('kill -9 of a part of Berth while machines of both drivers and containers run', () => {
  it.each(['agent', 'api', 'postgres', 'libvirtd', 'virtlogd'] as const)(
    '%s is restarted, no workload notices, and everything is as it was within ten seconds',
    async (victim) => {
      const instances = await Promise.all(all.map((n) => berth.get(n)));
      const processes = instances.map((i) => fleet.workload(i));
      const parts = victim === 'api' || victim === 'postgres' ? [victim] : fleet.parts(victim);
      await victims.killAndWait(parts);
      const after = await fleet.converged(all, patience(10_000));
      expect(after.map((i) => fleet.workload(i))).toEqual(processes);
      expect(after.map((i) => [i.status.epoch, i.status.run])).toEqual(
        instances.map((i) => [i.status.epoch, i.status.run]),
      );
      await fleet.onceEach(after);
      // Logs are read through the agent, which may be on its way back to the API.
      await Promise.all(all.map((name) => booted(name, 1)));
      for (const spec of [container('never'), machine('never', 'libvirt'), machine('never', 'qemu')]) {
        await berth.create('new', spec);
        await berth.state('new', 'running', patience(60_000));
        await berth.delete('new');
      }
      await fleet.ledgerWhole();
    },
    patience(180_000),
  );

  it(
    'all of them at once are restarted, and everything is as it was',
    async () => {
      const instances = await Promise.all(all.map((n) => berth.get(n)));
      const processes = instances.map((i) => fleet.workload(i));
      await victims.killAndWait(['postgres', 'api', ...fleet.parts('agent'), ...fleet.parts('libvirtd')]);
      const after = await fleet.converged(all);
      expect(after.map((i) => fleet.workload(i))).toEqual(processes);
      await fleet.onceEach(after);
      await fleet.ledgerWhole();
    },
    patience(180_000),
  );
});

/** Waits for the run after that one, which runs. */
function nextRun(name: string, run: number): Promise<Instance> {
  let last: unknown;
  return until(
    `${name} runs again`,
    patience(60_000),
    async () => {
      const now = await berth.get(name);
      last = now.status;
      const { state, power } = now.status;
      return now.status.run === run + 1 && state === 'running' && power === 'running' ? now : undefined;
    },
    () => JSON.stringify(last),
  );
}

/** How a killed workload ends. QEMU's signal is told to its parent, the agent that started it; libvirt tells nobody. */
const endsByKill: Readonly<Record<string, readonly string[]>> = {
  vm: ['signalled', 'hypervisorCrash'],
  container: ['signalled'],
};

describe('kill -9 of a workload', () => {
  it('under policy always: it runs again as the next run, on the same disk', async () => {
    const names = ['vm-always', 'q-always', 'c-always', 'c-onfail'];
    const instances = await Promise.all(names.map((n) => berth.get(n)));
    for (const i of instances) killed(fleet.workload(i).pid);
    for (const i of instances) {
      const again = await nextRun(i.name, i.status.run ?? 0);
      expect(again.status.epoch).toBe(i.status.epoch);
      expect(endsByKill[again.spec.isolation]).toContain(again.status.lastExit?.reason);
      await booted(i.name, 2);
    }
  });

  it('of its monitor: the container goes on, and its end is known as one without exit status', async () => {
    const box = await berth.get('c-always');
    const init = fleet.workload(box);
    for (const monitor of fleet.of(box, 'conmon')) killed(monitor.pid);
    await until('its monitor is gone', patience(10_000), () =>
      Promise.resolve(fleet.of(box, 'conmon').length === 0 ? true : undefined),
    );
    // A whole round trip through agent and API: a stop elsewhere comes and goes, and this one was left alone.
    await berth.act('c-wishes', 'restart');
    await berth.state('c-wishes', 'running');
    expect(fleet.workload(await berth.get('c-always'))).toEqual(init);
    killed(init.pid);
    const again = await nextRun('c-always', box.status.run ?? 0);
    expect(again.status.lastExit?.reason).toBe('lost');
    await booted('c-always', 3);
    await fleet.onceEach(await fleet.converged(all));
  });

  it('under policy never: it ends with the reason, is not started again, and can be started', async () => {
    const names = ['vm-never', 'q-never', 'c-never'];
    for (const name of names) killed(fleet.workload(await berth.get(name)).pid);
    for (const name of ['vm-never', 'q-never'])
      expect(endsByKill.vm).toContain(
        (await berth.state(name, 'error', patience(60_000))).status.lastExit?.reason,
      );
    const boxEnd = (await berth.state('c-never', 'error', patience(60_000))).status;
    expect(boxEnd.lastExit).toMatchObject({ reason: 'signalled', signal: 'SIGKILL' });
    await Promise.all(names.map((n) => berth.act(n, 'start')));
    const again = await Promise.all(names.map((n) => berth.state(n, 'running', patience(60_000))));
    expect(again.map((i) => i.status.epoch)).toEqual([2, 2, 2]);
    await Promise.all(names.map((n) => booted(n, 2)));
  });

  it('while the API is away: restarts happen without it, and what happened is told afterwards', async () => {
    const names = ['vm-always', 'q-always', 'c-always', 'c-never'];
    const instances = await Promise.all(names.map((n) => berth.get(n)));
    const [vm, own, box, never] = instances as [Instance, Instance, Instance, Instance];
    await victims.without(['api'], async () => {
      const old = instances.map((i) => fleet.workload(i));
      for (const { pid } of old) killed(pid);
      for (const i of [vm, own, box])
        await until(`${i.name} runs again without the API`, patience(60_000), () => {
          const [now] = fleet.of(i, workloadKind(i));
          return Promise.resolve(now !== undefined && !old.some((o) => o.pid === now.pid) ? true : undefined);
        });
      expect(fleet.of(never, 'init')).toEqual([]);
    });
    expect((await berth.state('c-never', 'error', patience(60_000))).status.lastExit?.reason).toBe(
      'signalled',
    );
    for (const i of [vm, own]) await nextRun(i.name, i.status.run ?? 0);
    const again = await nextRun('c-always', box.status.run ?? 0);
    expect(again.status.lastExit?.reason).toBe('signalled');
    await booted('c-always', 4);
    await berth.act('c-never', 'start');
    await fleet.onceEach(await fleet.converged(all));
    await fleet.ledgerWhole();
  });
});

describe('guests that heed no stop', () => {
  const names = ['s-libvirt', 's-qemu', 's-oci'];

  it('are forced when that is asked for while they are being stopped, whoever died meanwhile', async () => {
    const disk = join(berth.root, 'stubborn.img');
    writeFileSync(disk, bootDisk('stubborn'));
    await berth.image('stubborn', 'disk', disk);
    const patient = { stopGraceSeconds: 3600 };
    const vm = (driver: string): object => ({ ...machine('never', driver), image: 'stubborn', ...patient });
    const process = { command: ['/bin/sleep'], args: ['3600'] };
    await berth.create('s-libvirt', vm('libvirt'));
    await berth.create('s-qemu', vm('qemu'));
    await berth.create('s-oci', { ...container('never'), process, ...patient });
    await Promise.all(names.map((name) => berth.state(name, 'running', patience(60_000))));
    for (const name of names) await berth.ok('POST', `${berth.instances}/${name}/actions/stop`, {});
    await Promise.all(names.map((name) => berth.state(name, 'stopping')));
    await victims.killAndWait(fleet.parts('agent'));
    for (const name of names) {
      expect((await berth.get(name)).status.state).toBe('stopping');
      await berth.ok('POST', `${berth.instances}/${name}/actions/stop?graceSeconds=0`, {});
    }
    for (const name of names) {
      const { status } = await berth.state(name, 'stopped', patience(60_000));
      expect(status.lastExit?.reason).toBe('killed');
      await berth.delete(name);
    }
  });
});

describe('wishes while the agents are dead', () => {
  it('stop, start, restart, create and delete are carried out once when they are back', async () => {
    await berth.act('c-wishes', 'stop');
    await berth.state('c-wishes', 'stopped');
    await berth.create('doomed', container('always'));
    const doomed = await berth.state('doomed', 'running');
    const named = Object.fromEntries(
      await Promise.all(all.map(async (n) => [n, await berth.get(n)] as const)),
    );
    const bootsBefore = new Map(await Promise.all(all.map(async (n) => [n, await boots(n)] as const)));
    await victims.without(fleet.parts('agent'), async () => {
      const ask = (name: string, verb: string): Promise<unknown> =>
        berth.ok('POST', `${berth.instances}/${name}/actions/${verb}`, {});
      await ask('c-onfail', 'stop');
      await ask('c-wishes', 'start');
      await ask('c-always', 'restart');
      // Taken back before anyone could carry it out: nothing comes of it but one restart.
      for (const name of ['vm-never', 'q-never']) {
        await ask(name, 'stop');
        await ask(name, 'start');
      }
      await berth.create('born', container('always'));
      await berth.ok('DELETE', `${berth.instances}/doomed`);
    });
    expect((await berth.state('c-onfail', 'stopped', patience(60_000))).status).toMatchObject({
      epoch: named['c-onfail']?.status.epoch,
      lastExit: { reason: 'stopped' },
    });
    for (const name of ['c-wishes', 'c-always', 'vm-never', 'q-never']) {
      const epoch = (named[name]?.status.epoch ?? 0) + 1;
      const now = await until(`${name} runs in the next epoch`, patience(60_000), async () => {
        const i = await berth.get(name);
        return i.status.state === 'running' && i.status.epoch === epoch ? i : undefined;
      });
      expect(now.status.run).toBe(1);
      await booted(name, (bootsBefore.get(name) ?? 0) + 1);
    }
    await berth.state('born', 'running', patience(60_000));
    await booted('born', 1);
    await until('doomed is gone', patience(60_000), async () =>
      (await berth.call('GET', `${berth.instances}/doomed`)).status === 404 ? true : undefined,
    );
    expect(fleet.of(doomed, 'init')).toEqual([]);
    await berth.act('c-onfail', 'start');
    await fleet.onceEach(await fleet.converged([...all, 'born']));
    await fleet.ledgerWhole();
    await berth.delete('born');
  });

  it('a deletion of everything leaves nothing on the hosts', async () => {
    await victims.without(fleet.parts('agent'), async () => {
      for (const name of all) await berth.ok('DELETE', `${berth.instances}/${name}`);
    });
    for (const name of all)
      await until(`${name} is gone`, patience(60_000), async () =>
        (await berth.call('GET', `${berth.instances}/${name}`)).status === 404 ? true : undefined,
      );
    await fleet.untilLike(before);
  });
});

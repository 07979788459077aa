import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from '@berth/model';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { bootDisk } from '../../libs/kvm/src/testing/boot-sector.js';
import { Berth, patience, until } from '../e2e/berth.js';
import { samples } from '../e2e/machine.js';
import { Fleet, layAgent } from './fleet.js';
import { RandomRun } from './random-kills.js';
import { Victims } from './victims.js';

/*
 * A hundred kills at random over twenty machines, ten of each driver, and twenty containers, while they are stopped,
 * started, restarted, deleted and made anew. Afterwards the store and the hosts agree: nothing doubled, nothing lost.
 */
let berth: Berth;
let victims: Victims;
let fleet: Fleet;
let before: object;

const common = (vm: string): object => ({
  restart: { policy: 'always', backoffSeconds: 1, maxBackoffSeconds: 4 },
  placement: { selector: { vm } },
});
const machine = (vm: string): object => ({
  ...{ isolation: 'vm', image: 'steady', vcpus: 1, cpuMillis: 1000, memoryMiB: 32, usbTablet: false },
  ...{ rootDisk: { sizeMiB: 8 }, ...common(vm) },
});
const container = (vm: string): object => ({
  ...{ isolation: 'container', image: 'busybox', cpuMillis: 100, memoryMiB: 32 },
  ...{ rootDisk: { sizeMiB: 16 }, ...common(vm) },
});
const specs = Array.from({ length: 10 }, () => ['libvirt', 'qemu'] as const)
  .flat()
  .flatMap((vm) => [machine(vm), container(vm)]);

beforeAll(async () => {
  const images = await samples();
  const capacity = { cpuMillis: 64_000, memoryMiB: 16_384, diskMiB: 65_536 };
  berth = await Berth.up(3, {
    env: () => ({ BERTH_RESTART_PAUSE_MAX_SECONDS: '0.5' }),
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
}, patience(300_000));

afterAll(() => berth?.down(), 120_000);

it(
  'a hundred kills at random leave what the store says running, once, and nothing else',
  async () => {
    const seed = Number(process.env['BERTH_KILL_SEED'] ?? Math.floor(Math.random() * 1_000_000));
    console.log(`random kills: seed ${seed} (BERTH_KILL_SEED repeats it)`);
    const run = new RandomRun(berth, victims, fleet, {
      ...{ seed, kills: 100, budgetMs: patience(240_000), specs },
    });
    try {
      await run.run();
      expect(run.kills).toBe(100);
      await settled(run);
      await fleet.ledgerWhole();
    } catch (error) {
      console.log(`seed ${seed}, ${run.kills} kills:\n${run.told.join('\n')}`);
      throw error;
    }
    await Promise.all(run.wished.filter((w) => w.wish !== 'gone').map(({ name }) => berth.delete(name)));
    await fleet.untilLike(before);
  },
  patience(600_000),
);

/** Waits until every instance is as it was last wished, then compares the store with what runs. */
async function settled(run: RandomRun): Promise<void> {
  let waits: string[] = [];
  await until(
    'every instance is as it was wished last',
    patience(120_000),
    async () => {
      // The last kill may have been of who is asked.
      waits = await waitsOf(run).catch((error: unknown) => [String(error)]);
      return waits.length === 0 ? true : undefined;
    },
    () => waits.join('\n'),
  );
  // A host whose agent is new may be a moment ahead of what the store heard of it: it converges, and says here how.
  let differs: unknown = null;
  await until(
    'the store and what runs agree',
    patience(10_000),
    async () => {
      const runs = run.wished.filter((w) => w.wish === 'running').map((w) => w.name);
      const check = Promise.all(runs.map((n) => berth.get(n))).then((all) => fleet.onceEach(all, false));
      const found = await check.then(
        () => null,
        (error: unknown) => error,
      );
      if (found !== null && differs === null) console.log(`not yet: ${String(found)}\n${await census()}`);
      differs = found;
      return found === null ? true : undefined;
    },
    () => String(differs),
  );
}

/** Each instance as the store has it, with what runs of it. */
async function census(): Promise<string> {
  const { items } = await berth.ok<{ items: Instance[] }>('GET', `${berth.instances}?limit=200`);
  const running = fleet.running();
  const lines = items.map(({ id, uuid, name, status }) => {
    const own = running.filter((r) => r.of === uuid || r.of.startsWith(`${id}.`));
    return `${name} ${uuid} ${JSON.stringify(status)} runs: ${own.map((r) => `${r.kind} ${r.pid}`).join(', ')}`;
  });
  return lines.join('\n');
}

/** What is not as it was wished last. */
async function waitsOf(run: RandomRun): Promise<string[]> {
  const { items } = await berth.ok<{ items: Instance[] }>('GET', `${berth.instances}?limit=200`);
  const states = new Map(items.map((i) => [i.name, i.status]));
  const instances = run.wished.flatMap(({ name, wish }) => {
    const now = states.get(name);
    const reached =
      now?.state === 'running' && now.power !== 'running' ? 'restarting' : (now?.state ?? 'gone');
    return reached === wish ? [] : [`${name} is ${reached}, wished ${wish}: ${JSON.stringify(now)}`];
  });
  const hosts = (await berth.hosts()).filter((h) => h.state !== 'ready');
  return [...instances, ...hosts.map((h) => `${h.name} is ${h.state}: ${h.reason}`)];
}

import type { Instance } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Berth, until } from '../e2e/berth.js';
import { hostState, samples } from '../e2e/machine.js';
import { RandomRun } from './random-kills.js';
import { killed, Victims, type Victim } from './victims.js';

/*
 * kill -9 of every part, one after the other and at random, while virtual machines (libvirt) and containers run. All
 * workloads are on the second host, which has a libvirt, links and cgroups of its own.
 */
let berth: Berth;
let victims: Victims;
let before: Awaited<ReturnType<typeof leftovers>>;

const here = { placement: { selector: { where: 'here' } } };
const container = (policy: string): object => ({
  isolation: 'container',
  image: 'busybox',
  cpuMillis: 50,
  memoryMiB: 32,
  rootDisk: { sizeMiB: 16 },
  restart: { policy, maxBackoffSeconds: 4 },
  ...here,
});
const machine = (policy: string): object => ({
  isolation: 'vm',
  image: 'tiny',
  vcpus: 1,
  cpuMillis: 500,
  memoryMiB: 128,
  rootDisk: { sizeMiB: 64 },
  restart: { policy, maxBackoffSeconds: 4 },
  ...here,
});

const steady: Record<string, object> = {
  'vm-always': machine('always'),
  'vm-never': machine('never'),
  'c-always': container('always'),
  'c-onfail': container('onFailure'),
  'c-never': container('never'),
  'c-wishes': container('never'),
};
const all = Object.keys(steady);

/** What instances left on the second host. The machine itself is shared with others. */
async function leftovers(): Promise<Record<string, readonly string[]>> {
  const { mounts, processes, files } = await hostState(berth.root);
  return {
    ...(await victims.host()),
    mounts: mounts ?? [],
    processes: processes ?? [],
    // The join token is spent at the first start of the agent and goes at the next one.
    files: (files ?? []).filter((f) => f.includes('/hosts/host-2/') && !f.endsWith('/join-token')),
  };
}

/** How often it started on its disk, by its log; null while nobody can be asked for that. */
async function boots(name: string): Promise<number | null> {
  const { status, body } = await berth.call<string>('GET', `${berth.instances}/${name}/logs`);
  // A new agent may be asked before it, or its runtimes, are connected.
  if (status === 503 || status === 404) return null;
  if (status !== 200) throw new Error(`logs of ${name}: ${status} ${JSON.stringify(body)}`);
  return Math.max(0, ...[...body.matchAll(/boots=(\d+)/g)].map((m) => Number(m[1])));
}

const booted = (name: string, times: number): Promise<true> =>
  until(`${name} booted ${times} times on one disk`, 60_000, async () =>
    (await boots(name)) === times ? true : undefined,
  );

beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(2);
  victims = Victims.of(berth);
  await berth.image('busybox', 'oci', images.container);
  await berth.image('tiny', 'disk', images.disk);
  const second = (await berth.hosts()).map((h) => h.name).sort((a, b) => b.length - a.length)[0] ?? '';
  await berth.ok('PATCH', `/v1/hosts/${second}`, { labels: { where: 'here' } });
  before = await leftovers();
  for (const [name, spec] of Object.entries(steady)) await berth.create(name, spec);
  await Promise.all(all.map((name) => berth.state(name, 'running')));
  await Promise.all(all.map((name) => booted(name, 1)));
}, 300_000);

afterAll(() => berth?.down(), 120_000);

/** Waits until both hosts are ready and the instances run, as the API says. */
async function converged(names: readonly string[]): Promise<Instance[]> {
  let last: unknown;
  return until(
    'hosts are ready and instances run',
    30_000,
    async () => {
      const [hosts, instances] = [await berth.hosts(), await Promise.all(names.map((n) => berth.get(n)))];
      last = [hosts.map((h) => [h.name, h.state, h.reason]), instances.map((i) => [i.name, i.status])];
      return hosts.every((h) => h.state === 'ready') && instances.every((i) => i.status.state === 'running')
        ? instances
        : undefined;
    },
    () => JSON.stringify(last),
  );
}

/** The ledger has every position once and none is missing; what waits for its position gets it. */
async function ledgerWhole(): Promise<void> {
  const count = async () =>
    (
      await victims.rows<{ events: number; placed: number; positions: number; first: number; last: number }>(
        `select count(*) events, count(position) placed, count(distinct position) positions,
                min(position) as first, max(position) as last from events`,
      )
    )[0];
  const seen = await until('every event has its position', 10_000, async () => {
    const now = await count();
    return now !== undefined && now.placed === now.events ? now : undefined;
  });
  expect(seen.positions).toBe(seen.events);
  expect(seen.last - seen.first + 1).toBe(seen.events);
}

/** Each of these runs exactly once: one owner placement, one process, one domain or, unless it was killed, monitor. Nothing else runs. */
async function onceEach(instances: readonly Instance[], monitored = true): Promise<void> {
  const owners = await victims.rows<{ instance_id: string; epoch: number }>(
    `select instance_id, epoch from placements where phase <> 'ended' and role = 'owner'`,
  );
  expect(owners.map((o) => o.instance_id).sort()).toEqual(instances.map((i) => i.id).sort());
  const machines = instances.filter((i) => i.spec.isolation === 'vm');
  const boxes = instances.filter((i) => i.spec.isolation === 'container');
  expect((await victims.domains('--state-running')).sort()).toEqual(machines.map((i) => i.uuid).sort());
  const of = (kind: string): string[] =>
    victims
      .running()
      .flatMap((r) => (r.kind === kind ? [r.of] : []))
      .sort();
  const epochs = boxes.map((i) => `${i.id}.${owners.find((o) => o.instance_id === i.id)?.epoch}`).sort();
  expect(of('qemu')).toEqual(machines.map((i) => i.uuid).sort());
  expect(of('init')).toEqual(epochs);
  if (monitored) expect(of('conmon')).toEqual(epochs);
  else expect(epochs).toEqual(expect.arrayContaining(of('conmon')));
}

describe('kill -9 of a part of Berth while two machines and four containers run', () => {
  it.each<Victim>(['agent', 'api', 'postgres', 'libvirtd', 'virtlogd'])(
    '%s is restarted, no workload notices, and everything is as it was',
    async (victim) => {
      const instances = await Promise.all(all.map((n) => berth.get(n)));
      const processes = instances.map((i) => victims.workload(i));
      await victims.killAndWait(victim);
      const after = await converged(all);
      expect(after.map((i) => victims.workload(i))).toEqual(processes);
      expect(after.map((i) => [i.status.epoch, i.status.run])).toEqual(
        instances.map((i) => [i.status.epoch, i.status.run]),
      );
      await onceEach(after);
      // Logs are read through the agent, which may be on its way back to the API.
      await Promise.all(all.map((name) => booted(name, 1)));
      await berth.create('new', container('never'));
      await berth.state('new', 'running');
      await berth.delete('new');
      await ledgerWhole();
    },
  );

  it('all of them at once are restarted, and everything is as it was', async () => {
    const instances = await Promise.all(all.map((n) => berth.get(n)));
    const processes = instances.map((i) => victims.workload(i));
    const parts: Victim[] = ['postgres', 'libvirtd', 'agent', 'api'];
    const restarts = await victims.restarts(parts);
    await Promise.all(parts.map((p) => victims.kill(p)));
    for (const [i, part] of parts.entries()) await victims.serves(part, restarts[i] ?? 0);
    const after = await converged(all);
    expect(after.map((i) => victims.workload(i))).toEqual(processes);
    await onceEach(after);
    await ledgerWhole();
  });
});

/** Waits for the run after that one, which runs. */
function nextRun(name: string, run: number): Promise<Instance> {
  return until(`${name} runs again`, 30_000, async () => {
    const now = await berth.get(name);
    const { state, power } = now.status;
    return now.status.run === run + 1 && state === 'running' && power === 'running' ? now : undefined;
  });
}

describe('kill -9 of a workload', () => {
  it('under policy always: it runs again as the next run, on the same disk', async () => {
    const names = ['vm-always', 'c-always', 'c-onfail'];
    const instances = await Promise.all(names.map((n) => berth.get(n)));
    for (const i of instances) killed(victims.workload(i).pid);
    for (const i of instances) {
      const again = await nextRun(i.name, i.status.run ?? 0);
      expect(again.status.epoch).toBe(i.status.epoch);
      expect(again.status.lastExit?.reason).toBe(i.spec.isolation === 'vm' ? 'hypervisorCrash' : 'signalled');
      await booted(i.name, 2);
    }
  });

  it('of its monitor: the container goes on, and its end is known as one without exit status', async () => {
    const box = await berth.get('c-always');
    const init = victims.workload(box);
    for (const monitor of victims.of(box, 'conmon')) killed(monitor.pid);
    await until('its monitor is gone', 5000, () =>
      Promise.resolve(victims.of(box, 'conmon').length === 0 ? true : undefined),
    );
    // A whole round trip through agent and API: a stop elsewhere comes and goes, and this one was left alone.
    await berth.act('c-wishes', 'restart');
    await berth.state('c-wishes', 'running');
    expect(victims.workload(await berth.get('c-always'))).toEqual(init);
    killed(init.pid);
    const again = await nextRun('c-always', box.status.run ?? 0);
    expect(again.status.lastExit?.reason).toBe('lost');
    await booted('c-always', 3);
    await onceEach(await converged(all));
  });

  it('under policy never: it ends with the reason, is not started again, and can be started', async () => {
    for (const name of ['vm-never', 'c-never']) killed(victims.workload(await berth.get(name)).pid);
    const machineEnd = (await berth.state('vm-never', 'error')).status;
    const boxEnd = (await berth.state('c-never', 'error')).status;
    expect(machineEnd.lastExit?.reason).toBe('hypervisorCrash');
    expect(boxEnd.lastExit).toMatchObject({ reason: 'signalled', signal: 'SIGKILL' });
    await Promise.all(['vm-never', 'c-never'].map((n) => berth.act(n, 'start')));
    const again = await Promise.all(['vm-never', 'c-never'].map((n) => berth.state(n, 'running')));
    expect(again.map((i) => i.status.epoch)).toEqual([2, 2]);
    await booted('c-never', 2);
  });

  it('while the API is away: restarts happen without it, and what happened is told afterwards', async () => {
    const names = ['vm-always', 'c-always', 'c-never'];
    const instances = await Promise.all(names.map((n) => berth.get(n)));
    const [vm, box, never] = instances as [Instance, Instance, Instance];
    await victims.without('api', async () => {
      const old = instances.map((i) => victims.workload(i));
      for (const { pid } of old) killed(pid);
      for (const i of [vm, box])
        await until(`${i.name} runs again without the API`, 30_000, () => {
          const [now] = victims.of(i, i === vm ? 'qemu' : 'init');
          return Promise.resolve(now !== undefined && !old.some((o) => o.pid === now.pid) ? true : undefined);
        });
      expect(victims.of(never, 'init')).toEqual([]);
    });
    expect((await berth.state('c-never', 'error')).status.lastExit?.reason).toBe('signalled');
    await nextRun('vm-always', vm.status.run ?? 0);
    const again = await nextRun('c-always', box.status.run ?? 0);
    expect(again.status.lastExit?.reason).toBe('signalled');
    await booted('c-always', 4);
    await berth.act('c-never', 'start');
    await onceEach(await converged(all));
    await ledgerWhole();
  });
});

describe('wishes while the agent is dead', () => {
  it('stop, start, restart, create and delete are carried out once when it is back', async () => {
    const [runs, stopped] = ['c-onfail', 'c-wishes'];
    await berth.act(stopped ?? '', 'stop');
    await berth.state('c-wishes', 'stopped');
    await berth.create('doomed', container('always'));
    const doomed = await berth.state('doomed', 'running');
    const [wishes, onfail, always, never] = await Promise.all(
      ['c-wishes', 'c-onfail', 'c-always', 'vm-never'].map((n) => berth.get(n)),
    );
    const bootsBefore = new Map(await Promise.all(all.map(async (n) => [n, await boots(n)] as const)));
    await victims.without('agent', async () => {
      const ask = (name: string, verb: string): Promise<unknown> =>
        berth.ok('POST', `${berth.instances}/${name}/actions/${verb}`, {});
      await ask(runs ?? '', 'stop');
      await ask('c-wishes', 'start');
      await ask('c-always', 'restart');
      // Taken back before anyone could carry it out: nothing comes of it but one restart.
      await ask('vm-never', 'stop');
      await ask('vm-never', 'start');
      await berth.create('born', container('always'));
      await berth.ok('DELETE', `${berth.instances}/doomed`);
    });
    expect((await berth.state('c-onfail', 'stopped')).status).toMatchObject({
      epoch: onfail?.status.epoch,
      lastExit: { reason: 'stopped' },
    });
    for (const [name, epoch] of [
      ['c-wishes', wishes?.status.epoch],
      ['c-always', always?.status.epoch],
      ['vm-never', never?.status.epoch],
    ] as const) {
      const now = await until(`${name} runs in the next epoch`, 60_000, async () => {
        const i = await berth.get(name);
        return i.status.state === 'running' && i.status.epoch === (epoch ?? 0) + 1 ? i : undefined;
      });
      expect(now.status.run).toBe(1);
    }
    for (const name of ['c-wishes', 'c-always']) await booted(name, (bootsBefore.get(name) ?? 0) + 1);
    await berth.state('born', 'running');
    await booted('born', 1);
    await until('doomed is gone', 30_000, async () =>
      (await berth.call('GET', `${berth.instances}/doomed`)).status === 404 ? true : undefined,
    );
    expect(victims.of(doomed, 'init')).toEqual([]);
    await berth.act('c-onfail', 'start');
    await onceEach(await converged([...all, 'born']));
    await ledgerWhole();
    await berth.delete('born');
  });

  it('a deletion of everything leaves nothing on the host', async () => {
    await victims.without('agent', async () => {
      for (const name of all) await berth.ok('DELETE', `${berth.instances}/${name}`);
    });
    for (const name of all)
      await until(`${name} is gone`, 60_000, async () =>
        (await berth.call('GET', `${berth.instances}/${name}`)).status === 404 ? true : undefined,
      );
    await cleanHost();
  });
});

/** Waits until the second host is as it was before the first instance. */
async function cleanHost(): Promise<void> {
  const left = await until('the host is as it was', 30_000, async () => {
    const now = await leftovers();
    return JSON.stringify(now) === JSON.stringify(before) ? now : undefined;
  }).catch(() => leftovers());
  expect(left).toEqual(before);
}

describe('kills at random', () => {
  it('leave what the store says running, once, and nothing else', async () => {
    const seed = Number(process.env['BERTH_KILL_SEED'] ?? Math.floor(Math.random() * 1_000_000));
    console.log(`random kills: seed ${seed} (BERTH_KILL_SEED repeats it)`);
    const run = new RandomRun(berth, victims, {
      seed,
      steps: 80,
      budgetMs: 25_000,
      machine: machine('always'),
      container: container('always'),
      machines: 3,
      containers: 5,
    });
    try {
      await run.run();
      await settled(run);
      await ledgerWhole();
    } catch (error) {
      console.log(`seed ${seed}, ${run.kills} kills:\n${run.told.join('\n')}`);
      throw error;
    }
    for (const { name } of run.wished.filter((w) => w.wish !== 'gone')) await berth.delete(name);
    await cleanHost();
  }, 150_000);
});

/** Waits until every instance is as it was last wished, then compares the store with what runs. */
async function settled(run: RandomRun): Promise<void> {
  let waits: string[] = [];
  await until(
    'every instance is as it was wished last',
    60_000,
    async () => {
      const { items } = await berth.ok<{ items: Instance[] }>('GET', `${berth.instances}?limit=100`);
      const states = new Map(items.map((i) => [i.name, i.status]));
      waits = run.wished.flatMap(({ name, wish }) => {
        const now = states.get(name);
        const reached =
          now?.state === 'running' && now.power !== 'running' ? 'restarting' : (now?.state ?? 'gone');
        return reached === wish ? [] : [`${name} is ${reached}, wished ${wish}: ${JSON.stringify(now)}`];
      });
      const hosts = await berth.hosts();
      waits.push(
        ...hosts.filter((h) => h.state !== 'ready').map((h) => `${h.name} is ${h.state}: ${h.reason}`),
      );
      return waits.length === 0 ? true : undefined;
    },
    () => waits.join('\n'),
  );
  const runs = run.wished.filter((w) => w.wish === 'running').map((w) => w.name);
  await onceEach(await Promise.all(runs.map((n) => berth.get(n))), false);
}

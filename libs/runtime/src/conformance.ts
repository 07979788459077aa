import assert from 'node:assert/strict';
import type { Observation, Runtime, StepContext, WorkloadKey, WorkloadSpec } from './runtime.js';
import { RuntimeError } from './runtime.js';

/** Kinds of workload a harness can make. Each start adds one to a counter on the root disk and logs `boots=<n>`. */
export type WorkloadKind =
  /** Runs until it is stopped, and ends politely when asked. */
  | 'steady'
  /** Never heeds a polite stop. */
  | 'stubborn'
  /** Its image cannot be used: broken or hostile content under a digest that is present. */
  | 'badImage';

/** What a runtime's tests must provide. The suite makes no other assumption about the runtime. */
export interface ConformanceHarness {
  /** A new runtime object over the same host, as after a restart of the agent. Called often. */
  runtime(): Promise<Runtime>;
  /** A workload of a new instance. Without `limits`, small ones. */
  spec(kind: WorkloadKind): Promise<WorkloadSpec>;
  /** Ends a running workload from outside without asking it (`kill -9`). */
  crash(key: WorkloadKey, pid: number | null): Promise<void>;
  /** Everything on the host that carries this instance, except volumes: links, mounts, cgroups, processes, files. */
  leftovers(key: WorkloadKey): Promise<readonly string[]>;
  /** Ids of volumes that exist. */
  volumes(): Promise<readonly string[]>;
  /** How long one step may take here, ms. */
  readonly stepMs: number;
}

export interface Behaviour {
  readonly name: string;
  readonly run: (h: ConformanceHarness) => Promise<void>;
}

function context(h: ConformanceHarness): StepContext {
  return { signal: AbortSignal.timeout(h.stepMs), deadline: Date.now() + h.stepMs };
}

async function find(rt: Runtime, key: WorkloadKey): Promise<Observation | undefined> {
  return (await rt.recover()).find((o) => o.instanceId === key.instanceId && o.epoch === key.epoch);
}

/** Polls `probe` until it returns something, within one step's time. */
async function eventually<T>(
  h: ConformanceHarness,
  what: string,
  probe: () => Promise<T | undefined>,
): Promise<T> {
  const end = Date.now() + h.stepMs;
  for (;;) {
    const value = await probe();
    if (value !== undefined) return value;
    if (Date.now() > end) assert.fail(`waited ${h.stepMs} ms in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function logText(rt: Runtime, key: WorkloadKey): Promise<string> {
  assert.ok(rt.logs, 'the runtime has the logs facet');
  const chunks: Uint8Array[] = [];
  for await (const c of rt.logs(key, { follow: false }, AbortSignal.timeout(10_000))) chunks.push(c);
  return Buffer.concat(chunks).toString('utf8');
}

/** The highest start counter the workload has logged. */
async function boots(h: ConformanceHarness, rt: Runtime, key: WorkloadKey, atLeast: number): Promise<number> {
  return eventually(h, `boots=${atLeast} or more in the log of epoch ${key.epoch}`, async () => {
    const seen = [...(await logText(rt, key)).matchAll(/boots=(\d+)/g)].map((m) => Number(m[1]));
    const highest = Math.max(0, ...seen);
    return highest >= atLeast ? highest : undefined;
  });
}

async function up(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<Observation> {
  await rt.prepare(spec, context(h));
  await rt.start(spec, context(h));
  const seen = await find(rt, spec);
  assert.equal(seen?.phase, 'running', 'a started workload is observed running');
  return seen;
}

async function down(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<void> {
  await rt.stop(spec, 5, context(h));
  await rt.remove(spec, context(h));
}

async function gone(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<void> {
  await down(h, rt, spec);
  await rt.removeVolume(spec.rootVolume.id, context(h));
  assert.deepEqual(await h.leftovers(spec), [], 'nothing of the workload is left');
  assert.ok(!(await h.volumes()).includes(spec.rootVolume.id), 'its volume is gone');
}

async function refused(what: string, codes: readonly string[], act: () => Promise<void>): Promise<void> {
  await assert.rejects(
    act,
    (e) => e instanceof RuntimeError && codes.includes(e.code),
    `${what} is refused with ${codes.join(' or ')}`,
  );
}

async function running(h: ConformanceHarness, rt: Runtime, key: WorkloadKey): Promise<void> {
  await eventually(h, 'running', async () => ((await find(rt, key))?.phase === 'running' ? true : undefined));
}

/** The first observation of this workload that satisfies `wanted`; subscribe before acting. */
function watch(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  wanted: (o: Observation) => boolean,
): Promise<Observation> {
  const stop = new AbortController();
  const found = (async (): Promise<Observation> => {
    for await (const o of rt.observe(AbortSignal.any([stop.signal, AbortSignal.timeout(h.stepMs)])))
      if (o.instanceId === key.instanceId && o.epoch === key.epoch && wanted(o)) return o;
    return assert.fail('the observation never came');
  })();
  void found.catch(() => undefined).finally(() => stop.abort());
  return found;
}

/** The promises every runtime keeps. Their names are part of the documentation. */
export const behaviours: readonly Behaviour[] = [
  {
    name: 'prepare twice makes one volume and starts nothing',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const before = (await h.volumes()).length;
      await rt.prepare(spec, context(h));
      await rt.prepare(spec, context(h));
      assert.equal((await h.volumes()).length, before + 1, 'one volume more');
      assert.notEqual((await find(rt, spec))?.phase, 'running');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'start twice leaves one workload with the same pid',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const first = await up(h, rt, spec);
      await boots(h, rt, spec, 1);
      await rt.start(spec, context(h));
      const second = await find(rt, spec);
      assert.equal(second?.pid, first.pid, 'the same process carries it');
      assert.equal(await boots(h, rt, spec, 1), 1, 'it started once');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'stop asks first, then forces a workload that does not listen',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('stubborn');
      await up(h, rt, spec);
      await boots(h, rt, spec, 1);
      await rt.stop(spec, 1, context(h));
      const seen = await find(rt, spec);
      assert.notEqual(seen?.phase, 'running', 'it no longer runs');
      assert.equal(seen?.exit?.reason, 'killed', 'the exit says that it was forced');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'stop twice is stop once',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await up(h, rt, spec);
      await boots(h, rt, spec, 1);
      await rt.stop(spec, 20, context(h));
      const first = await find(rt, spec);
      assert.equal(first?.exit?.reason, 'stopped', 'a polite stop is told apart from a forced one');
      await rt.stop(spec, 20, context(h));
      assert.deepEqual((await find(rt, spec))?.exit, first.exit, 'the recorded exit stays');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'remove twice is remove once',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await up(h, rt, spec);
      await rt.stop(spec, 0, context(h));
      await rt.remove(spec, context(h));
      await rt.remove(spec, context(h));
      assert.equal(await find(rt, spec), undefined, 'it is no longer reported');
      await rt.removeVolume(spec.rootVolume.id, context(h));
      await rt.removeVolume(spec.rootVolume.id, context(h));
    },
  },
  {
    name: 'remove of what never was is no error',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await rt.remove(spec, context(h));
      await rt.stop(spec, 0, context(h));
      await rt.removeVolume(spec.rootVolume.id, context(h));
    },
  },
  {
    name: 'a crash is seen as it happens, with its reason',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await up(h, rt, spec);
      const seen = watch(h, rt, spec, (o) => o.exit !== null);
      await boots(h, rt, spec, 1);
      await h.crash(spec, pid);
      const o = await seen;
      assert.notEqual(o.phase, 'running');
      assert.ok(
        !['exited', 'guestShutdown', 'stopped'].includes(o.exit?.reason ?? ''),
        `a crash is not "${o.exit?.reason}"`,
      );
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a bad image is refused and nothing is left',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('badImage');
      await refused('a bad image', ['badImage'], async () => {
        await rt.prepare(spec, context(h));
        await rt.start(spec, context(h));
      });
      assert.equal(await find(rt, spec), undefined, 'no workload is reported');
      assert.deepEqual(await h.leftovers(spec), []);
      assert.ok(!(await h.volumes()).includes(spec.rootVolume.id), 'no volume was made');
    },
  },
  {
    name: "two instances of one image do not see each other's writes",
    run: async (h) => {
      const rt = await h.runtime();
      const a = await h.spec('steady');
      const b = { ...(await h.spec('steady')), image: a.image };
      await up(h, rt, a);
      assert.equal(await boots(h, rt, a, 1), 1);
      await up(h, rt, b);
      assert.equal(
        await boots(h, rt, b, 1),
        1,
        "the second begins from the image, not from the first one's disk",
      );
      await gone(h, rt, a);
      await gone(h, rt, b);
    },
  },
  {
    name: 'a crashed workload starts again in its epoch with its disk',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await up(h, rt, spec);
      await boots(h, rt, spec, 1);
      await h.crash(spec, pid);
      await eventually(h, 'the crash is observed', async () =>
        (await find(rt, spec))?.phase === 'running' ? undefined : true,
      );
      await rt.prepare(spec, context(h));
      await rt.start(spec, context(h));
      await running(h, rt, spec);
      await boots(h, rt, spec, 1);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'after an agent restart what runs is adopted, and its later end is observed',
    run: async (h) => {
      const first = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await up(h, first, spec);
      await boots(h, first, spec, 1);
      const second = await h.runtime();
      const adopted = await find(second, spec);
      assert.equal(adopted?.phase, 'running');
      assert.equal(adopted.pid, pid, 'the same process');
      const seen = watch(h, second, spec, (o) => o.exit !== null);
      await second.stop(spec, 20, context(h));
      assert.equal((await seen).phase, 'ended');
      await gone(h, second, spec);
    },
  },
  {
    name: 'a workload that no journal knows is reported, with its instance and epoch',
    run: async (h) => {
      const spec = { ...(await h.spec('steady')), epoch: 7 };
      await up(h, await h.runtime(), spec);
      const stranger = await h.runtime();
      const seen = await find(stranger, spec);
      assert.equal(seen?.epoch, 7);
      await gone(h, stranger, spec);
    },
  },
  {
    name: 'a lower epoch is refused after a higher one was seen',
    run: async (h) => {
      const rt = await h.runtime();
      const low = await h.spec('steady');
      const high = { ...low, epoch: low.epoch + 1 };
      await rt.prepare(high, context(h));
      await refused('preparing a lower epoch', ['lowerEpoch'], () => rt.prepare(low, context(h)));
      await refused('starting a lower epoch', ['lowerEpoch'], () => rt.start(low, context(h)));
      await gone(h, rt, high);
    },
  },
  {
    name: 'a stopped instance keeps its disk over a new epoch',
    run: async (h) => {
      const rt = await h.runtime();
      const first = await h.spec('steady');
      await up(h, rt, first);
      assert.equal(await boots(h, rt, first, 1), 1);
      await rt.stop(first, 20, context(h));
      await rt.remove(first, context(h));
      const second = { ...first, epoch: first.epoch + 1 };
      await up(h, rt, second);
      assert.equal(await boots(h, rt, second, 2), 2, 'the guest finds what it wrote');
      await gone(h, rt, second);
    },
  },
  {
    name: 'the limits that the host enforces are the ones asked for',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = { ...(await h.spec('steady')), cpuMillis: 500 };
      await up(h, rt, spec);
      assert.ok(rt.limits, 'the runtime can tell its limits');
      const limits = await rt.limits(spec);
      assert.equal(limits.memoryBytes, spec.memoryMiB * 1024 * 1024);
      assert.equal(limits.cpuMillis, 500);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'what runs tells what it uses, and what ended does not',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const used = async () => {
        assert.ok(rt.usage, 'the runtime can tell what is used');
        return (await rt.usage()).find((u) => u.instanceId === spec.instanceId && u.epoch === spec.epoch);
      };
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 1), 1);
      const before = await used();
      assert.ok(before !== undefined && before.memoryBytes > 0 && before.cpuMicros > 0, 'it uses something');
      const after = await used();
      assert.ok(after !== undefined && after.cpuMicros >= before.cpuMicros, 'processor time never goes back');
      await rt.stop(spec, 20, context(h));
      assert.equal(await used(), undefined, 'what ended uses nothing');
      await gone(h, rt, spec);
    },
  },
];

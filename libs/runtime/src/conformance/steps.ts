import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { RuntimeError } from '../runtime.js';
import type { Held, Observation, Runtime, StepContext, WorkloadKey, WorkloadSpec } from '../runtime.js';
import type { ConformanceHarness } from './harness.js';

/** Bounds of a step; `cutMs` gives it up after that many milliseconds, 0 before it began. */
export function context(h: ConformanceHarness, cutMs?: number): StepContext {
  const signal = cutMs === 0 ? AbortSignal.abort() : AbortSignal.timeout(cutMs ?? h.stepMs);
  return { signal, deadline: Date.now() + h.stepMs };
}

export const same = (a: WorkloadKey, b: WorkloadKey): boolean =>
  a.instanceId === b.instanceId && a.epoch === b.epoch;

export async function find(rt: Runtime, key: WorkloadKey): Promise<Observation | undefined> {
  return (await rt.recover()).find((o) => same(o, key));
}

export async function held(rt: Runtime, key: WorkloadKey): Promise<Held | undefined> {
  return (await rt.inventory()).find((one) => same(one, key));
}

/** Polls `probe` until it returns something, within one step's time; seldom where it takes long. */
export async function eventually<T>(
  h: ConformanceHarness,
  what: string,
  probe: () => Promise<T | undefined>,
): Promise<T> {
  for (const begun = Date.now(); ;) {
    const value = await probe();
    if (value !== undefined) return value;
    const waited = Date.now() - begun;
    if (waited > h.stepMs) assert.fail(`waited ${h.stepMs} ms in vain: ${what}`);
    await wait(waited < 1_000 ? 20 : 100);
  }
}

/** What is kept of a log, or its last `tailBytes`. */
export async function logText(rt: Runtime, key: WorkloadKey, tailBytes?: number): Promise<string> {
  assert.ok(rt.logs, 'the runtime has the logs facet');
  const options = { follow: false, ...(tailBytes === undefined ? {} : { tailBytes }) };
  const chunks: Uint8Array[] = [];
  for await (const c of rt.logs(key, options, AbortSignal.timeout(10_000))) chunks.push(c);
  return Buffer.concat(chunks).toString('utf8');
}

/** The highest start counter the workload has logged. */
export async function boots(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  atLeast: number,
): Promise<number> {
  return eventually(h, `boots=${atLeast} or more in the log of epoch ${key.epoch}`, async () => {
    const seen = [...(await logText(rt, key)).matchAll(/boots=(\d+)/g)].map((m) => Number(m[1]));
    const highest = Math.max(0, ...seen);
    return highest >= atLeast ? highest : undefined;
  });
}

export async function up(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<Observation> {
  await rt.prepare(spec, context(h));
  await rt.start(spec, context(h));
  const seen = await find(rt, spec);
  assert.equal(seen?.phase, 'running', 'a started workload is observed running');
  return seen;
}

/** Like `up`, and its guest has said that it runs. */
export async function upAndHeard(
  h: ConformanceHarness,
  rt: Runtime,
  spec: WorkloadSpec,
): Promise<Observation> {
  const seen = await up(h, rt, spec);
  await boots(h, rt, spec, 1);
  return seen;
}

/** Stops and removes it with its volume, and nothing is left. */
export async function gone(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<void> {
  await rt.stop(spec, 0, context(h));
  await rt.remove(spec, context(h));
  await rt.removeVolume(spec.rootVolume.id, context(h));
  assert.deepEqual(await h.leftovers(spec), [], 'nothing of the workload is left');
  assert.equal(await held(rt, spec), undefined, 'the inventory does not hold it');
  assert.ok(!(await h.volumes()).includes(spec.rootVolume.id), 'its volume is gone');
}

export async function refused(
  what: string,
  codes: readonly string[],
  act: () => Promise<void>,
): Promise<void> {
  await assert.rejects(
    act,
    (e) => e instanceof RuntimeError && codes.includes(e.code),
    `${what} is refused with ${codes.join(' or ')}`,
  );
}

export async function running(h: ConformanceHarness, rt: Runtime, key: WorkloadKey): Promise<Observation> {
  return eventually(h, 'running', async () => {
    const seen = await find(rt, key);
    return seen?.phase === 'running' ? seen : undefined;
  });
}

export async function ended(h: ConformanceHarness, rt: Runtime, key: WorkloadKey): Promise<Observation> {
  return eventually(h, 'ended with its exit', async () => {
    const seen = await find(rt, key);
    return seen?.phase === 'ended' && seen.exit !== null ? seen : undefined;
  });
}

/** The first observation of this workload that satisfies `wanted`; subscribe before acting. */
export function watch(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  wanted: (o: Observation) => boolean,
): Promise<Observation> {
  const leave = new AbortController();
  const looking = (async (): Promise<Observation> => {
    for await (const o of rt.observe(leave.signal)) if (same(o, key) && wanted(o)) return o;
    return assert.fail('the observations ended');
  })();
  const late = wait(h.stepMs, undefined, { signal: leave.signal }).then(() =>
    assert.fail('the observation never came'),
  );
  const found = Promise.race([looking, late]);
  void found.catch(() => undefined).finally(() => leave.abort());
  void looking.catch(() => undefined);
  late.catch(() => undefined);
  return found;
}

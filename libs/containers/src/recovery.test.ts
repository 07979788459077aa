import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { isAlive, type ProcessIdentity, processIdentity, signalProcess } from '@berth/linux';
import type { Observation, WorkloadSpec } from '@berth/runtime';
import { ContainerLab, context } from './testing/container-lab.js';
import { type WorkloadRecord, workloadId } from './workload-record.js';

const STEADY = `trap 'exit 0' TERM; echo ready; while :; do sleep 60 & wait $!; done`;

describe('which process a container’s record means', () => {
  const lab = new ContainerLab();
  const runtime = lab.runtime();
  let foreign: ChildProcess;
  let stranger: ProcessIdentity;
  beforeAll(() => lab.open());
  afterAll(() => lab.close());
  beforeEach(() => {
    foreign = spawn('sleep', ['300'], { stdio: 'ignore' });
    stranger = processIdentity(foreign.pid ?? 0) as ProcessIdentity;
  });
  afterEach(() => void foreign.kill('SIGKILL'));

  const recordPath = (spec: WorkloadSpec): string =>
    join(lab.root, 'state', 'workloads', `${workloadId(spec)}.json`);
  const recordOf = (spec: WorkloadSpec): WorkloadRecord =>
    JSON.parse(readFileSync(recordPath(spec), 'utf8')) as WorkloadRecord;

  async function up(): Promise<WorkloadSpec> {
    const spec = lab.spec(STEADY);
    await runtime.prepare(spec, context());
    await runtime.start(spec, context());
    return spec;
  }
  async function seen(spec: WorkloadSpec, by = lab.runtime()): Promise<Observation | undefined> {
    return (await by.recover()).find((o) => o.instanceId === spec.instanceId);
  }

  /** A record whose run is over, naming processes that are somebody else's by now. */
  async function endedWith(change: Partial<ProcessIdentity>): Promise<WorkloadSpec> {
    const spec = await up();
    const { run } = recordOf(spec);
    for (const one of [run?.monitor, run?.init]) if (one !== undefined) signalProcess(one, 'SIGKILL');
    for (const one of [run?.monitor, run?.init])
      await expect.poll(() => one !== undefined && isAlive(one)).toBe(false);
    const named = { ...stranger, ...change };
    const record = { ...recordOf(spec), run: { init: named, monitor: named } };
    writeFileSync(recordPath(spec), JSON.stringify(record));
    return spec;
  }
  async function untouched(spec: WorkloadSpec): Promise<void> {
    const later = lab.runtime();
    await later.stop(spec, 1, context());
    await later.start(spec, context());
    await later.stop(spec, 0, context());
    await later.remove(spec, context());
    expect(lab.leftovers(spec).filter((path) => !path.includes('/epochs/'))).toEqual([]);
    expect(isAlive(stranger)).toBe(true);
  }

  it('a pid that another process has by now is not ours: it is neither reported nor signalled', async () => {
    const spec = await endedWith({ startTime: stranger.startTime - 1 });
    expect(await seen(spec)).toMatchObject({ phase: 'ended', pid: null, exit: { reason: 'lost' } });
    await untouched(spec);
  });

  it('a pid of an earlier boot is not ours, and its run ended with that boot', async () => {
    const spec = await endedWith({ bootId: '11111111-2222-3333-4444-555555555555' });
    expect(await seen(spec)).toMatchObject({ phase: 'ended', pid: null, exit: { reason: 'hostBoot' } });
    await untouched(spec);
  });

  it('an init that is dead and not yet reaped is dead: its monitor hangs, and all of it can be cleared', async () => {
    const spec = await up();
    const { run } = recordOf(spec);
    if (run === null) throw new Error('it runs');
    signalProcess(run.monitor, 'SIGSTOP');
    signalProcess(run.init, 'SIGKILL');
    await expect.poll(() => readFileSync(`/proc/${run.init.pid}/stat`, 'utf8')).toMatch(/\) Z /);
    expect(await seen(spec)).toMatchObject({ phase: 'ended', pid: null, exit: { reason: 'lost' } });
    expect((await lab.runtime().inventory()).find((o) => o.instanceId === spec.instanceId)?.runs).toBe(false);
    await untouched(spec);
    await expect.poll(() => isAlive(run.monitor)).toBe(false);
  });
});

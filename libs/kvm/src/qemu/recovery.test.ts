import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, processIdentity, signalProcess, type ProcessIdentity } from '@berth/linux';
import type { Observation, WorkloadSpec } from '@berth/runtime';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { QemuHost, step } from '../testing/host.js';

const host = new QemuHost();
afterAll(() => host.stop());

/** Changes a JSON file on the host, as no living runtime would. */
function change(path: string, fields: object): void {
  const before = JSON.parse(readFileSync(join(host.dir, path), 'utf8')) as object;
  writeFileSync(join(host.dir, path), JSON.stringify({ ...before, ...fields }));
}

async function seen(spec: WorkloadSpec): Promise<Observation | undefined> {
  return (await host.runtime().recover()).find((o) => o.instanceId === spec.instanceId);
}

/** A machine whose QEMU was killed while no agent lived, and whose record names this process instead. */
async function endedNaming(process: ProcessIdentity): Promise<WorkloadSpec> {
  const spec = host.spec('steady');
  const runtime = host.runtime();
  await runtime.prepare(spec, step());
  await runtime.start(spec, step());
  const own = processIdentity((await seen(spec))?.pid ?? 0);
  await host.runtime().close();
  if (own === null) throw new Error('it does not run');
  signalProcess(own, 'SIGKILL');
  await expect.poll(() => isAlive(own)).toBe(false);
  change(`run/${spec.instanceId}/1.json`, { process });
  return spec;
}

async function cleared(spec: WorkloadSpec): Promise<void> {
  await host.runtime().stop(spec, 1, step());
  await host.runtime().start(spec, step());
  await host.runtime().stop(spec, 0, step());
  await host.runtime().remove(spec, step());
  expect(host.leftovers(spec)).toEqual([]);
}

describe('which process a machine’s record means', () => {
  let foreign: ChildProcess;
  let stranger: ProcessIdentity;
  beforeEach(() => {
    foreign = spawn('sleep', ['300'], { stdio: 'ignore' });
    stranger = processIdentity(foreign.pid ?? 0) as ProcessIdentity;
  });
  afterEach(() => void foreign.kill('SIGKILL'));

  it('a pid that another process has by now is not ours: it is neither reported nor signalled', async () => {
    const spec = await endedNaming({ ...stranger, startTime: stranger.startTime - 1 });
    expect(await seen(spec)).toMatchObject({
      phase: 'ended',
      power: 'crashed',
      pid: null,
      exit: { reason: 'hypervisorCrash' },
    });
    await cleared(spec);
    expect(isAlive(stranger)).toBe(true);
  });

  it('a pid of an earlier boot is not ours, and its run ended with that boot', async () => {
    const bootId = '11111111-2222-3333-4444-555555555555';
    const spec = await endedNaming({ ...stranger, bootId });
    change(`state/${spec.instanceId}/1.json`, { bootId });
    expect(await seen(spec)).toMatchObject({ phase: 'ended', pid: null, exit: { reason: 'hostBoot' } });
    await cleared(spec);
    expect(isAlive(stranger)).toBe(true);
  });

  it('a QEMU that is dead and not yet reaped is dead', async () => {
    // The shell starts a QEMU, tells its pid and becomes a program that never reaps it.
    const script = 'qemu-system-x86_64 -S -nodefaults -display none & echo $!; exec sleep 300';
    const parent = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(parent.stdout, 'data')) as [Buffer];
      const qemu = processIdentity(Number(String(line)));
      if (qemu === null) throw new Error('QEMU did not start');
      // As long as it is the shell it may reap it.
      await expect.poll(() => readFileSync(`/proc/${parent.pid}/comm`, 'utf8')).toBe('sleep\n');
      signalProcess(qemu, 'SIGKILL');
      await expect.poll(() => readFileSync(`/proc/${qemu.pid}/stat`, 'utf8')).toMatch(/\) Z /);
      const spec = await endedNaming(qemu);
      expect(await seen(spec)).toMatchObject({ phase: 'ended', exit: { reason: 'hypervisorCrash' } });
      await cleared(spec);
    } finally {
      parent.kill('SIGKILL');
    }
  });
});

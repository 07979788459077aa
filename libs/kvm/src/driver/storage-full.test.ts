import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import { storageErrorType } from '@berth/model';
import type { Observation, WorkloadSpec } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LibvirtRuntime, QemuRuntime } from '../index.js';
import { WRITTEN } from '../testing/boot-sector.js';
import { eventually, QemuHost, serialText, step, TestHost } from '../testing/host.js';

const size = (mib: number): string => `size=${mib}m,mode=0711`;

describe.each(['libvirt', 'qemu'] as const)('a full file system below machines of %s', (driver) => {
  let dir: string;
  let small: string;
  let pool: VolumePool;
  let host: TestHost | QemuHost;
  let runtime: LibvirtRuntime | QemuRuntime;
  const begin = (): void => {
    runtime = host.runtime({ volumes: pool });
    void runtime.observe(AbortSignal.timeout(120_000));
  };
  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'berth-full-'));
    small = join(dir, 'volumes');
    mkdirSync(small);
    await run('chmod', ['0711', dir]);
    // Before libvirtd, whose mount namespace sees no later mounts.
    await run('mount', ['-t', 'tmpfs', '-o', size(24), 'berth-test', small]);
    pool = new VolumePool({ dir: small, reserveMiB: 0 });
    host = driver === 'qemu' ? new QemuHost() : await TestHost.start();
    begin();
  });
  afterAll(async () => {
    await runtime.close();
    await host.stop();
    await run('umount', [small]);
    rmSync(dir, { recursive: true });
  });

  /** Prepared. One alone would fill the pool, so that both stand still whichever begins first. */
  async function writer(): Promise<WorkloadSpec> {
    const spec = host.spec('writer');
    const wide = { ...spec, rootVolume: { ...spec.rootVolume, sizeMiB: 64 } };
    await runtime.prepare(wide, step());
    return wide;
  }
  const seen = async (key: WorkloadSpec): Promise<Observation | undefined> =>
    (await runtime.recover()).find((o) => o.instanceId === key.instanceId);
  const stalled = (key: WorkloadSpec): Promise<true> =>
    eventually(
      'it stands still',
      async () => {
        const o = await seen(key);
        return o?.conditions?.some((c) => c.type === storageErrorType) === true ? true : undefined;
      },
      30_000,
    );
  const wroteAll = (key: WorkloadSpec): Promise<true> =>
    eventually(
      'its last block',
      async () => ((await serialText(runtime, key)).split('boots=').length === 3 ? true : undefined),
      30_000,
    );
  async function expectWhole(spec: WorkloadSpec): Promise<void> {
    await runtime.stop(spec, 0, step());
    const disk = join(small, spec.rootVolume.id, 'disk.qcow2');
    await run('qemu-img', ['check', '-f', 'qcow2', disk]);
    const raw = join(dir, `${spec.rootVolume.id}.raw`);
    await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk, raw]);
    const bytes = readFileSync(raw);
    for (let n = 1; n < WRITTEN.count; n += 1) {
      const block = bytes.subarray(n * WRITTEN.bytes, (n + 1) * WRITTEN.bytes);
      const wanted = Buffer.alloc(WRITTEN.bytes, Buffer.from([n & 0xff, n >> 8]));
      expect(block.equals(wanted), `block ${n}`).toBe(true);
    }
    await runtime.remove(spec, step());
    await runtime.removeVolume(spec.rootVolume.id, step());
    rmSync(raw);
  }

  it('pauses them, says why, and lets them go on once there is room, but not one that was asked to pause', async () => {
    const specs = [await writer(), await writer()] as const;
    await Promise.all(specs.map((spec) => runtime.start(spec, step())));
    for (const spec of specs) await stalled(spec);
    expect(await seen(specs[0])).toMatchObject({
      phase: 'running',
      power: 'paused',
      exit: null,
      conditions: [{ type: storageErrorType, reason: 'NoSpace', remedy: expect.any(String) as string }],
    });
    // A new agent finds the same; nothing is let go on while the pool is full.
    await runtime.close();
    begin();
    for (const spec of specs) await stalled(spec);
    const [free, held] = specs;
    await runtime.pause(held, step());
    expect(await seen(held)).toMatchObject({ power: 'paused', conditions: [] });

    await run('mount', ['-o', `remount,${size(120)}`, small]);
    await wroteAll(free);
    expect(await seen(free)).toMatchObject({ power: 'running', conditions: [] });
    expect(await seen(held)).toMatchObject({ power: 'paused', conditions: [] });
    await runtime.resume(held, step());
    await wroteAll(held);
    for (const spec of specs) await expectWhole(spec);
  }, 150_000);
});

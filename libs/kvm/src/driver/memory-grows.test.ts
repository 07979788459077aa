import { randomUUID } from 'node:crypto';
import type { VolumeId } from '@berth/model';
import type { Runtime, WorkloadHas, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, QemuHost, step, TestHost } from '../testing/host.js';
import { sampleDisk, serialSays, shellSays } from '../testing/sample-guest.js';
import type { VmRuntime } from './vm-runtime.js';

/* The sample guest: Debian's cloud kernel with virtio_mem, and a shell on its serial line. One boot for each driver. */
let disk: Buffer;

beforeAll(async () => {
  disk = await sampleDisk();
}, 300_000);

describe.each(['libvirt', 'qemu'] as const)('memory of a machine under %s', (driver) => {
  let host: TestHost | QemuHost;
  let runtime: VmRuntime<never> & Required<Pick<Runtime, 'logs'>>;
  let spec: WorkloadSpec;
  const reborn = async (): Promise<void> => {
    await runtime?.close();
    runtime = host.runtime() as unknown as typeof runtime;
  };
  beforeAll(async () => {
    host = driver === 'libvirt' ? await TestHost.start() : new QemuHost();
    await reborn();
    const rootVolume = { id: randomUUID() as VolumeId, sizeMiB: 64 };
    spec = host.specOf(disk, { memoryMiB: 192, minMemoryMiB: 160, maxMemoryMiB: 400, rootVolume });
    await runtime.prepare(spec, step(60_000));
    await runtime.start(spec, step(60_000));
    await serialSays(runtime, spec, /berth-ready/);
  }, 300_000);
  afterAll(() => host.stop(), 120_000);

  const bring = (memoryMiB: number): Promise<WorkloadHas> =>
    runtime.update({ ...spec, memoryMiB }, step(30_000));
  /** What an agent comes to, that asks again until it was taken. */
  const taken = (memoryMiB: number): Promise<WorkloadHas> =>
    eventually(
      `${memoryMiB} MiB`,
      async () => {
        const has = await bring(memoryMiB);
        return has.unsettled.length === 0 ? has : undefined;
      },
      60_000,
    );

  /** Memory as the guest's kernel counts it, MiB. */
  const guestMiB = async (): Promise<number> => {
    const command = "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo";
    return Number(await shellSays(runtime, spec, command, '\\d+')) / 1024;
  };

  it('grows and shrinks as its guest takes it, and comes back from a suspend with what it had', async () => {
    expect((await taken(192)).sizes.memoryMiB).toBe(192);
    const first = await guestMiB();
    expect((await taken(384)).sizes).toMatchObject({ memoryMiB: 384, minMemoryMiB: 160, maxMemoryMiB: 400 });
    expect((await guestMiB()) - first).toBeCloseTo(192, -1);
    expect((await runtime.limits(spec)).memoryBytes).toBe(384 * 2 ** 20);

    await reborn();
    expect((await bring(384)).unsettled).toEqual([]);
    await runtime.suspend({ ...spec, memoryMiB: 384 }, step(60_000));
    await runtime.prepare({ ...spec, memoryMiB: 224 }, step(60_000));
    await runtime.start({ ...spec, memoryMiB: 224 }, step(60_000));
    expect((await runtime.limits(spec)).memoryBytes).toBe(384 * 2 ** 20);
    expect((await guestMiB()) - first).toBeCloseTo(192, -1);

    expect((await taken(224)).sizes.memoryMiB).toBe(224);
    expect((await guestMiB()) - first).toBeCloseTo(32, -1);
    await runtime.pause(spec, step());
    const still = await bring(320);
    expect(still.sizes.memoryMiB).toBe(224);
    expect(still.unsettled).toEqual([{ field: 'memoryMiB', why: 'its guest uses 224 MiB' }]);
    await runtime.resume(spec, step());
    expect((await taken(320)).sizes.memoryMiB).toBe(320);
  }, 400_000);
});

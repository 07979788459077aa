import { randomUUID } from 'node:crypto';
import type { VolumeId } from '@berth/model';
import type { Runtime, WorkloadHas, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, QemuHost, step, TestHost } from '../testing/host.js';
import { sampleDisk, serialSays, shellSays } from '../testing/sample-guest.js';
import type { MachineDriver } from './machine-driver.js';
import type { VmRuntime } from './vm-runtime.js';

/* The sample guest: Debian's cloud kernel with virtio_mem, and a shell on its serial line. One boot for each driver. */
let disk: Buffer;

beforeAll(async () => {
  disk = await sampleDisk();
}, 300_000);

describe.each(['libvirt', 'qemu'] as const)('memory and processors of a machine under %s', (driver) => {
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
    const sizes = {
      memoryMiB: 192,
      minMemoryMiB: 160,
      maxMemoryMiB: 400,
      vcpus: 1,
      minVcpus: 1,
      maxVcpus: 3,
    };
    spec = host.specOf(disk, { ...sizes, rootVolume });
    await runtime.prepare(spec, step(60_000));
    await runtime.start(spec, step(60_000));
    await serialSays(runtime, spec, /berth-ready/);
  }, 300_000);
  afterAll(() => host.stop(), 120_000);

  const brought = (sizes: Partial<WorkloadSpec>): Promise<WorkloadHas> =>
    runtime.update({ ...spec, ...sizes }, step(30_000));
  /** What an agent comes to, that asks again until it was taken. */
  const settled = (sizes: Partial<WorkloadSpec>): Promise<WorkloadHas> =>
    eventually(
      JSON.stringify(sizes),
      async () => {
        const has = await brought(sizes);
        return has.unsettled.length === 0 ? has : undefined;
      },
      60_000,
    );

  /** Memory as the guest's kernel counts it, MiB. */
  const guestMiB = async (): Promise<number> => {
    const command = "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo";
    return Number(await shellSays(runtime, spec, command, '\\d+')) / 1024;
  };
  /** Waits until the guest uses so many processors. One that was plugged in it is told to bring online. */
  const guestUses = (vcpus: number): Promise<true> => {
    const online = 'for c in /sys/devices/system/cpu/cpu[1-9]*/online; do echo 1 2>/dev/null > $c; done';
    const count = `${online}; grep -c ^processor /proc/cpuinfo`;
    return eventually(
      `its guest uses ${vcpus}`,
      async () => Number(await shellSays(runtime, spec, count, '\\d+')) === vcpus || undefined,
      60_000,
    );
  };

  it('grows and shrinks as its guest takes it, and comes back from a suspend with what it had', async () => {
    expect((await settled({ memoryMiB: 192 })).sizes.memoryMiB).toBe(192);
    const first = await guestMiB();
    expect((await settled({ memoryMiB: 384 })).sizes).toMatchObject({
      memoryMiB: 384,
      minMemoryMiB: 160,
      maxMemoryMiB: 400,
    });
    expect((await guestMiB()) - first).toBeCloseTo(192, -1);
    expect((await runtime.limits(spec)).memoryBytes).toBe(384 * 2 ** 20);

    await reborn();
    expect((await brought({ memoryMiB: 384 })).unsettled).toEqual([]);
    await runtime.suspend({ ...spec, memoryMiB: 384 }, step(60_000));
    await runtime.prepare({ ...spec, memoryMiB: 224 }, step(60_000));
    await runtime.start({ ...spec, memoryMiB: 224 }, step(60_000));
    expect((await runtime.limits(spec)).memoryBytes).toBe(384 * 2 ** 20);
    expect((await guestMiB()) - first).toBeCloseTo(192, -1);

    expect((await settled({ memoryMiB: 224 })).sizes.memoryMiB).toBe(224);
    expect((await guestMiB()) - first).toBeCloseTo(32, -1);
    await runtime.pause(spec, step());
    const still = await brought({ memoryMiB: 320 });
    expect(still.sizes.memoryMiB).toBe(224);
    expect(still.unsettled).toEqual([{ field: 'memoryMiB', why: 'its guest uses 224 MiB' }]);
    await runtime.resume(spec, step());
    expect((await settled({ memoryMiB: 320 })).sizes.memoryMiB).toBe(320);
  }, 400_000);

  it('gets processors, comes back from a suspend with those it had, and emulated lets go of none', async () => {
    spec = { ...spec, memoryMiB: 320 };
    expect((await settled({ vcpus: 3 })).sizes).toMatchObject({ vcpus: 3, minVcpus: 1, maxVcpus: 3 });
    await guestUses(3);
    await reborn();
    expect((await brought({ vcpus: 3 })).unsettled).toEqual([]);
    await runtime.suspend({ ...spec, vcpus: 3 }, step(60_000));
    await runtime.prepare({ ...spec, vcpus: 2 }, step(60_000));
    await runtime.start({ ...spec, vcpus: 2 }, step(60_000));
    await guestUses(3);

    // All guests here are emulated: one keeps what it has, and says so.
    const still = await brought({ vcpus: 2 });
    expect(still.sizes.vcpus).toBe(3);
    expect(still.unsettled).toEqual([{ field: 'vcpus', why: expect.stringMatching(/TCG.*restart it/) }]);
    await runtime.pause(spec, step());
    expect((await brought({ vcpus: 2 })).unsettled).toMatchObject([{ why: expect.stringMatching(/paused/) }]);
    await runtime.resume(spec, step());

    // What a machine under KVM is asked; the last thing that this one does.
    const { driver: machines } = runtime as unknown as { driver: MachineDriver };
    const machine = await machines.find(spec, step().signal);
    if (machine === null) throw new Error('it does not run');
    await machines.plugVcpus(machine, 2, step(30_000));
    await guestUses(2);
    expect((await brought({ vcpus: 2 })).sizes.vcpus).toBe(2);
  }, 400_000);
});

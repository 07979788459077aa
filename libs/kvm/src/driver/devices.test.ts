import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import type { WorkloadSpec } from '@berth/runtime';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { domainXml } from '../machine/domain-xml.js';
import type { MachineSpec } from '../machine/machine-spec.js';
import type { QmpExecutor } from '../qmp/commands.js';
import { eventually, serialText, step, TestHost } from '../testing/host.js';
import { isFlash } from './attached-disks.js';
import { hugePages, needHugePages } from './huge-pages.js';
import { machineShape } from './machine-shape.js';
import { Preparation } from './preparation.js';

/* Both drivers, each with a QEMU and a libvirt that take what they are given. */
let host: TestHost;
let drivers: ReturnType<TestHost['drivers']>;
beforeAll(async () => {
  host = await TestHost.start();
  drivers = host.drivers();
});
afterEach(() => {
  vi.restoreAllMocks();
});
afterAll(async () => {
  await drivers.qemu.close();
  await host.stop();
});

/** Where each device is on PCI, by its name of QOM (`virtio-blk-pci`); several of one name in their order. */
async function places(qmp: QmpExecutor): Promise<string[]> {
  const found: string[] = [];
  for (const { devices } of await qmp.execute('query-pci'))
    for (const device of devices) {
      const behind = device.pci_bridge?.devices ?? [];
      for (const one of behind.length > 0 ? behind : [device])
        found.push(`${device.slot} ${one.id.vendor.toString(16)}:${one.id.device?.toString(16)}`);
    }
  return found;
}
/** Reserved by a test for as long as it needs them. */
const POOL = '/sys/kernel/mm/hugepages/hugepages-2048kB';
const XHCI = '23 1b36:d';

it('a host says what it keeps in huge pages, of each size and none where its kernel has no such', async () => {
  const pools = mkdtempSync(join(tmpdir(), 'berth-pools-'));
  try {
    expect(await hugePages(pools)).toEqual({ '2MiB': 0, '1GiB': 0 });
    for (const [pool, pages] of [
      ['hugepages-2048kB', 7],
      ['hugepages-1048576kB', 3],
    ] as const) {
      mkdirSync(join(pools, pool));
      writeFileSync(join(pools, pool, 'nr_hugepages'), `${pages}\n`);
      writeFileSync(join(pools, pool, 'free_hugepages'), '1\n');
    }
    expect(await hugePages(pools)).toEqual({ '2MiB': 14, '1GiB': 3072 });
    await needHugePages('1GiB', 1024, pools);
    await expect(needHugePages('1GiB', 2048, pools)).rejects.toThrow('1024 MiB are free in pages of 1GiB');
    expect((await drivers.qemu.probe()).facts.hugePages).toEqual(await hugePages());
  } finally {
    rmSync(pools, { recursive: true });
  }
});

async function usageOf(name: keyof typeof drivers, ...specs: WorkloadSpec[]) {
  const all = await drivers[name].usage();
  return specs.map(({ instanceId }) => all.find((one) => one.instanceId === instanceId));
}

it('libvirt has as many slots free as are for nics, whatever else a machine has', async () => {
  const { machine: made } = Preparation.prototype;
  const machines: MachineSpec[] = [];
  vi.spyOn(Preparation.prototype, 'machine').mockImplementation(async function (this: Preparation, ...args) {
    const machine = await made.apply(this, args);
    machines.push(machine);
    return machine;
  });
  const spec = host.spec('steady', { usbTablet: undefined });
  await drivers.libvirt.prepare(spec, step(60_000));
  await drivers.libvirt.start(spec, step(60_000));
  await drivers.libvirt.stop(spec, 0, step(60_000));
  await drivers.libvirt.remove(spec, step(60_000));
  await drivers.libvirt.removeVolume(spec.rootVolume.id, step(60_000));
  const [machine] = machines;
  if (machine === undefined) throw new Error('no machine was made');
  const variants: Partial<MachineSpec>[] = [
    {},
    { display: null, seedPath: null, scsi: false },
    { plug: { sizeMiB: 256, requestedMiB: 0 }, watchdog: 'reset', nicPorts: 8 },
    { usbTablet: false, display: null },
  ];
  const uuid = randomUUID();
  for (const variant of variants) {
    const stated = domainXml({ ...machine, ...variant, uuid });
    const file = join(host.dir, 'slots.xml');
    writeFileSync(file, stated.replace(/<name>[^<]*/, '<name>slots'));
    await run('virsh', ['-c', host.uri, 'define', file]);
    const { stdout } = await run('virsh', ['-c', host.uri, 'dumpxml', '--inactive', 'slots']);
    await run('virsh', ['-c', host.uri, 'undefine', 'slots']);
    const all = stdout.split("model='pcie-root-port'").length - 1;
    const taken = stdout.match(/type='pci' domain='0x0000' bus='0x(?!00)/g)?.length ?? 0;
    expect([variant, all - taken]).toEqual([variant, variant.nicPorts ?? machine.nicPorts]);
  }
});

describe.each(['libvirt', 'qemu'] as const)('a machine under %s', (name) => {
  const state = name === 'libvirt' ? 'state' : join('qemu', 'state');
  async function started(changes: Partial<WorkloadSpec> = {}): Promise<WorkloadSpec> {
    const spec = host.spec('steady', { usbTablet: undefined, ...changes });
    await drivers[name].prepare(spec, step(60_000));
    await drivers[name].start(spec, step(60_000));
    await eventually('it boots', async () =>
      (await serialText(drivers[name], spec)).includes('boots=1') ? true : undefined,
    );
    return spec;
  }
  async function gone(spec: WorkloadSpec): Promise<void> {
    await drivers[name].stop(spec, 0, step(60_000));
    await drivers[name].remove(spec, step(60_000));
    await drivers[name].removeVolume(spec.rootVolume.id, step(60_000));
  }

  it('has two tablets, and a balloon that tells of free pages, and comes back with them', async () => {
    const spec = await started();
    const qmp = await drivers[name].monitor(spec);
    const mice = await qmp.execute('query-mice');
    expect(mice.filter(({ absolute }) => absolute).map(({ name: mouse }) => mouse)).toEqual(
      expect.arrayContaining(['QEMU HID Tablet', 'QEMU Virtio Tablet']),
    );
    expect((await qmp.execute('query-balloon')).actual).toBe(32 * 2 ** 20);
    const had = await machineShape(qmp, [], {});
    expect(had).toMatchObject({ usbTablet: true, freePageReporting: true });
    // Its disk's figures are QEMU's own; while it stands still they do not move.
    await drivers[name].pause?.(spec, step());
    const stats = (await qmp.execute('query-blockstats')).filter((one) => !isFlash(one));
    const root = stats.find(({ stats: { wr_operations: writes } }) => writes > 0)?.stats;
    const [told] = await usageOf(name, spec);
    expect(told?.disks).toMatchObject([
      {
        volumeId: null,
        writes: root?.wr_operations,
        writeMicros: Math.round((root?.wr_total_time_ns ?? 0) / 1000),
        ...(name === 'qemu' ? { failedWrites: 0 } : {}),
      },
    ]);
    expect(told?.blockReadBytes).toBe(stats.reduce((sum, one) => sum + one.stats.rd_bytes, 0));
    if (name === 'libvirt') expect(told?.operations).not.toHaveProperty('failedWrites');
    // The balloon asks its guest from the first look on; this kernel has no driver for it, so it tells nothing.
    const polling = { path: '/machine/peripheral/balloon0', property: 'guest-stats-polling-interval' };
    expect(await qmp.execute('qom-get', polling)).toBe(10);
    expect(told).not.toHaveProperty('guest');
    await drivers[name].resume?.(spec, step());
    const were = await places(qmp);
    await drivers[name].suspend(spec, step(60_000));
    await drivers[name].start({ ...spec, usbTablet: false }, step(60_000));
    const again = await drivers[name].monitor(spec);
    expect(await machineShape(again, [], {})).toEqual(had);
    expect(await places(again)).toEqual(were);

    // The same hardware at the same places, but for the one.
    const without = await started({ usbTablet: false });
    const bare = await drivers[name].monitor(without);
    expect((await bare.execute('query-mice')).map(({ name: mouse }) => mouse)).not.toContain(
      'QEMU HID Tablet',
    );
    expect(were).toContain(XHCI);
    expect(await places(bare)).toEqual(were.filter((place) => place !== XHCI));

    // A QEMU that hangs tells nothing of itself, again and again, and holds up no other.
    const [{ pid = null } = {}] = (await drivers[name].recover()).filter(
      (o) => o.instanceId === spec.instanceId,
    );
    process.kill(pid ?? 0, 'SIGSTOP');
    try {
      for (let look = 0; look < 3; look++) {
        const [hung, other] = await usageOf(name, spec, without);
        expect([hung?.blockReadBytes, hung?.operations, hung?.disks]).toEqual([null, undefined, undefined]);
        expect(hung?.memoryBytes).toBeGreaterThan(0);
        expect(other?.operations?.writes).toBeGreaterThan(0);
      }
    } finally {
      process.kill(pid ?? 0, 'SIGCONT');
    }
    await eventually('it is heard again', async () =>
      (await usageOf(name, spec))[0]?.operations === undefined ? undefined : true,
    );
    expect(await again.execute('qom-get', polling)).toBe(10);
    await gone(spec);
    await gone(without);
  });

  it('has its memory in huge pages, also after a suspension, and none where too few are free', async () => {
    const free = (): number => Number(readFileSync(join(POOL, 'free_hugepages'), 'utf8'));
    await expect(needHugePages('2MiB', 2 * (free() + 1))).rejects.toMatchObject({
      code: 'hostFault',
      remedy: expect.stringContaining('reserve more') as string,
    });
    const reserved = readFileSync(join(POOL, 'nr_hugepages'), 'utf8');
    writeFileSync(join(POOL, 'nr_hugepages'), String(Number(reserved) + 16));
    try {
      const before = free();
      const spec = await started({ hugePages: '2MiB' });
      expect(before - free()).toBe(16);
      await drivers[name].suspend(spec, step(60_000));
      expect(free()).toBe(before);
      await drivers[name].start({ ...spec, hugePages: undefined }, step(60_000));
      expect(before - free()).toBe(16);
      const shape = await machineShape(await drivers[name].monitor(spec), [], {});
      expect(shape).toMatchObject({ hugePages: '2MiB', memoryMiB: 32 });
      await gone(spec);
    } finally {
      writeFileSync(join(POOL, 'nr_hugepages'), reserved);
    }
  });

  it('that was suspended before there were such devices goes on without them', async () => {
    const { machine: made } = Preparation.prototype;
    vi.spyOn(Preparation.prototype, 'machine').mockImplementation(async function (
      this: Preparation,
      ...args
    ) {
      const before = { usbTablet: false, freePageReporting: false, nicPorts: 0 };
      return { ...(await made.apply(this, args)), ...before };
    });
    const spec = await started();
    vi.restoreAllMocks();
    const were = await places(await drivers[name].monitor(spec));
    await drivers[name].suspend(spec, step(60_000));
    const path = join(host.dir, state, spec.instanceId, '1.json');
    const record = JSON.parse(readFileSync(path, 'utf8')) as { memory: object };
    const { usbTablet, freePageReporting, nics, nicPorts, ...before } = record.memory as Record<
      string,
      unknown
    >;
    expect([usbTablet, freePageReporting, nicPorts]).toEqual([false, false, 0]);
    // libvirt makes slots for what is there, so that nothing tells apart a machine of before that has no nic.
    expect(nics).toEqual(name === 'libvirt' ? [] : null);
    writeFileSync(path, JSON.stringify({ ...record, memory: before }));
    await drivers[name].start(spec, step(60_000));
    const again = await drivers[name].monitor(spec);
    expect(await places(again)).toEqual(were);
    const shape = await machineShape(again, [], {});
    expect(shape).toMatchObject({ display: true, usbTablet: false, freePageReporting: false });
    await gone(spec);
  });
});

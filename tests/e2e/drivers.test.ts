import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance, InstanceSpec, Snapshot, VmDriver } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootDisk } from '../../libs/kvm/src/testing/boot-sector.js';
import { Berth, output, until } from './berth.js';
import { hostState, qemuCommands, samples } from './machine.js';

/*
 * Both VM drivers on one host: real libvirtd, real QEMU (emulated), the way of a user through REST. The guest is a boot sector
 * that counts its boots on its disk: a kernel would be many times the work, and nothing here asks it for more.
 */
let berth: Berth;
let before: Awaited<ReturnType<typeof hostState>>;

beforeAll(async () => {
  const { container } = await samples();
  berth = await Berth.up(1);
  const disk = join(berth.root, 'counter.raw');
  writeFileSync(disk, bootDisk('quiet'));
  await berth.image('counter', 'disk', disk);
  await berth.image('busybox', 'oci', container);
  before = await hostState(berth.root);
}, 300_000);

afterAll(() => berth?.down(), 120_000);

const machine = (driver: VmDriver): object => ({
  isolation: 'vm',
  image: 'counter',
  vcpus: 1,
  memoryMiB: 64,
  rootDisk: { sizeMiB: 16 },
  placement: { driver },
});

/** The instance once its guest said that it booted `boots` times. */
async function booted(name: string, boots: number): Promise<Instance> {
  const instance = await berth.state(name, 'running');
  await until(`boot ${boots} of ${name}`, 60_000, async () =>
    (await berth.logs(name)).includes(`boots=${boots}`) ? true : undefined,
  );
  return instance;
}

async function wish(name: string, driver: InstanceSpec['placement']['driver']): Promise<void> {
  const { spec } = await berth.get(name);
  const placement = { ...spec.placement, driver };
  await berth.ok('PUT', `${berth.instances}/${name}`, { spec: { ...spec, placement } });
}

const domains = (): Promise<string> => output('virsh', 'list', '--uuid');
/** What stays the same for an instance's life. */
const identity = ({ uuid, status }: Instance): object => ({
  uuid,
  nics: status.nics,
  volume: status.rootVolumeId,
});

describe('two VM drivers on one host', () => {
  it('are both told of, and each runs a machine beside the other', async () => {
    const [host] = await berth.hosts();
    expect(host?.capabilities?.isolation.vm).toEqual({ ok: true, drivers: ['libvirt', 'qemu'] });
    await berth.create('one', machine('libvirt'));
    await berth.create('two', machine('qemu'));
    const [one, two] = [await booted('one', 1), await booted('two', 1)];
    expect([one.status.driver, two.status.driver]).toEqual(['libvirt', 'qemu']);
    expect(await domains()).toContain(one.uuid);
    expect(await domains()).not.toContain(two.uuid);
    for (const { uuid, status } of [one, two])
      expect(qemuCommands(uuid)).toEqual([expect.stringContaining(status.nics[0]?.mac ?? 'no nic')]);
    expect(await berth.run(['get', 'instances', '-o', 'wide'])).toMatch(/DRIVER[\s\S]*libvirt[\s\S]*qemu/);
    await berth.delete('two');
  });

  it('take over a stopped machine from each other, with its disk, MAC, address and UUID', async () => {
    const first = await berth.get('one');
    for (const [before, driver, boots] of [
      ['libvirt', 'qemu', 2],
      ['qemu', 'libvirt', 3],
    ] as const) {
      // What runs keeps its driver until it is started again.
      await wish('one', driver);
      expect((await berth.get('one')).status.driver).toBe(before);
      await berth.act('one', 'stop');
      await berth.state('one', 'stopped');
      await berth.act('one', 'start');
      const now = await booted('one', boots);
      expect(now.status.driver).toBe(driver);
      expect(identity(now)).toEqual(identity(first));
      expect(qemuCommands(now.uuid)).toEqual([expect.stringContaining(now.status.nics[0]?.mac ?? 'no nic')]);
      expect((await domains()).includes(now.uuid)).toBe(driver === 'libvirt');
    }
  }, 240_000);

  it('are chosen for who names none: libvirt, since it answers', async () => {
    await wish('one', 'any');
    await berth.act('one', 'restart');
    const now = await booted('one', 4);
    expect(now.status.driver).toBe('libvirt');
  });
});

describe('a schedule of snapshots', () => {
  it('takes one at its minute, which is kept when the schedule ends', async () => {
    // The next minute, or the one after it where this one is nearly over.
    const offset = (Math.floor(Date.now() / 60_000 + 0.1) + 1) % 5;
    const every = ['--every', '5', '--offset', String(offset), '--keep', '1'];
    await berth.run(['snapshot', 'schedule', 'one', ...every]);
    const taken = await until('it is taken', 150_000, async () => {
      const { items } = await berth.ok<{ items: Snapshot[] }>('GET', `${berth.instances}/one/snapshots`);
      return items.find((s) => s.state === 'ready');
    });
    expect((Date.parse(taken.scheduledFor ?? '') / 60_000) % 5).toBe(offset);
    await berth.run(['snapshot', 'schedule', 'one', '--off']);
    await berth.run(['snapshot', 'rm', 'one', taken.name]);
  }, 240_000);
});

describe('a copy of a snapshot', () => {
  it('runs under the other driver with all disks as they were, and needs nothing of the first one', async () => {
    await berth.run(['volume', 'create', 'data', '--size', '16']);
    await berth.run(['volume', 'attach', 'one', 'data']);
    await berth.run(['snapshot', 'create', 'one', 'then']);
    await berth.act('one', 'restart');
    const one = await booted('one', 5);
    await berth.run(['snapshot', 'copy', 'one', 'then', 'past', '--set', 'spec.placement.driver=qemu']);
    // The disk had booted four times when it was taken.
    const past = await booted('past', 5);
    expect(past.status.driver).toBe('qemu');
    expect(past.spec.rootDisk.source).toEqual({ instance: 'one', snapshot: 'then' });
    for (const field of ['mac', 'ipv4'] as const)
      expect(past.status.nics[0]?.[field]).not.toBe(one.status.nics[0]?.[field]);
    expect(past.uuid).not.toBe(one.uuid);
    expect(past.status.volumes).toMatchObject([{ name: 'past-data', attached: true }]);
    expect(qemuCommands(one.uuid)).toHaveLength(1);
    await berth.run(['snapshot', 'rm', 'one', 'then']);
    // No kernel runs in it that would let go of a disk.
    await berth.act('one', 'stop');
    await berth.run(['volume', 'detach', 'one', 'data']);
    await berth.act('one', 'start');
    await booted('one', 6);
    await berth.run(['volume', 'delete', 'data']);
    await berth.delete('past');
    await berth.run(['volume', 'delete', 'past-data']);
  }, 240_000);
});

describe('a rebuild', () => {
  const rootFiles = async (of: Instance): Promise<readonly string[]> =>
    (await hostState(berth.root))['files']?.filter((f) => f.includes(of.status.rootVolumeId ?? 'none')) ?? [];

  it.each([
    ['machine', 'one'],
    ['container', 'box'],
  ])('gives a %s a new disk, and leaves it its uuid, MAC and address', async (kind, name) => {
    if (kind === 'container') {
      const rootDisk = { sizeMiB: 16 };
      await berth.create(name, { isolation: 'container', image: 'busybox', memoryMiB: 32, rootDisk });
      await booted(name, 1);
      await berth.act(name, 'restart');
      await booted(name, 2);
    }
    const before = await berth.get(name);
    expect(await rootFiles(before)).not.toEqual([]);
    expect(await berth.run(['rebuild', name])).toContain(name);
    const now = await booted(name, 1);
    expect(now.status.rootVolumeId).not.toBe(before.status.rootVolumeId);
    expect({ ...identity(now), volume: null }).toEqual({ ...identity(before), volume: null });
    await until('the old disk is gone', 30_000, async () =>
      (await rootFiles(before)).length === 0 ? true : undefined,
    );
    await berth.delete(name);
  });
});

describe('a wish for KVM', () => {
  it('waits with the measured reason, which explain shows, and is never taken for emulation', async () => {
    const kvm = await until('the measurement', 60_000, async () => {
      const accel = (await berth.hosts())[0]?.capabilities?.accel.kvm;
      return accel?.verdict === 'unmeasured' ? undefined : accel;
    });
    if (kvm.verdict === 'usable') return;
    await berth.create('fast', { ...machine('qemu'), placement: { accel: 'kvm' } });
    await until('it says why it waits', 10_000, async () => {
      const { status } = await berth.get('fast');
      return status.state === 'pending' && /accel/.test(status.reason ?? '') ? true : undefined;
    });
    const said = await berth.run(['explain', 'fast']);
    expect(said).toContain('kvm usable');
    expect(said).toContain(kvm.reason);
    const [verdict] = (await berth.decision('fast')).verdicts ?? [];
    expect(verdict?.failed).toMatchObject({ filter: 'accel', need: 'kvm usable', message: kvm.reason });
    if (kvm.factor !== undefined) expect(said).toContain(`${kvm.factor} × TCG`);
    await berth.delete('fast');
  });
});

it('nothing is left of either driver: links, mounts, cgroups, processes, domains, nft rules, files', async () => {
  const added = async (): Promise<string[]> =>
    Object.entries(await hostState(berth.root)).flatMap(([kind, all]) =>
      all.filter((one) => before[kind]?.includes(one) !== true).map((one) => `${kind}: ${one}`),
    );
  const gone = until('the host is as it was', 30_000, async () =>
    (await added()).length === 0 ? true : undefined,
  );
  await gone.catch(() => undefined);
  expect(await added()).toEqual([]);
});

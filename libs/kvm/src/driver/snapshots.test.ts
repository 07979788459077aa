import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { HostVolume, SnapshotId, VolumeId } from '@berth/model';
import type { SnapshotOf, WorkloadSpec } from '@berth/runtime';
import { VolumePool } from '@berth/storage';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { eventually, QemuHost, serialText, step, TestHost } from '../testing/host.js';
import type { VmRuntime } from './vm-runtime.js';

/*
 * What a runtime leaves that is killed while it takes a snapshot, goes back to one or removes it: a fault point at which it
 * never goes on, its connections closed. The next life finishes it, and qemu-img finds the disks sound.
 */
let held: { point: string; reached: () => void } | null = null;
vi.mock('@berth/faults', () => ({
  faultPoint: (point: string): Promise<void> | undefined => {
    if (point !== held?.point) return undefined;
    held.reached();
    return new Promise(() => undefined);
  },
}));
afterEach(() => (held = null));

const volume = (): HostVolume => ({
  id: randomUUID() as VolumeId,
  format: 'qcow2',
  sizeMiB: 4,
  readOnly: false,
  limits: {},
});

describe.each(['libvirt', 'qemu'] as const)('a snapshot under %s', (driver) => {
  let host: TestHost | QemuHost;
  let runtime: VmRuntime<never>;
  const reborn = (): void => {
    if (host instanceof TestHost) host.cutShort(runtime);
    else void runtime.close();
    runtime = host.runtime() as unknown as VmRuntime<never>;
  };
  beforeAll(async () => {
    host = driver === 'libvirt' ? await TestHost.start() : new QemuHost();
    runtime = host.runtime() as unknown as VmRuntime<never>;
  });
  afterAll(() => host.stop());

  const path = (id: VolumeId, name = 'data.qcow2'): string => join(host.dir, 'volumes', id, name);
  const paths = (spec: WorkloadSpec): string[] => [
    path(spec.rootVolume.id, 'disk.qcow2'),
    ...spec.volumes.map(({ id }) => path(id)),
  ];
  const tags = (file: string): string[] =>
    execFileSync('qemu-img', ['snapshot', '-l', '-U', file], { encoding: 'utf8' })
      .split('\n')
      .flatMap((line) => /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/.exec(line)?.[0] ?? []);
  const sound = (spec: WorkloadSpec): void => {
    for (const file of paths(spec)) execFileSync('qemu-img', ['check', '-q', file]);
  };
  const heard = (spec: WorkloadSpec, count: number): Promise<true> =>
    eventually(`boots=${count}`, async () =>
      (await serialText(runtime, spec)).includes(`boots=${count}`) ? true : undefined,
    );
  const booted = async (spec: WorkloadSpec, count: number): Promise<void> => {
    await runtime.prepare(spec, step());
    await runtime.start(spec, step());
    await heard(spec, count);
  };
  const begun = async (): Promise<{ spec: WorkloadSpec; of: SnapshotOf }> => {
    const spec = host.spec('steady', { volumes: [volume()] });
    await booted(spec, 1);
    const { instanceId, epoch } = spec;
    const volumes = [spec.rootVolume.id, ...spec.volumes.map(({ id }) => id)];
    return { spec, of: { instanceId, epoch, snapshotId: randomUUID() as SnapshotId, volumes } };
  };
  const ends = async (spec: WorkloadSpec): Promise<void> => {
    await runtime.stop(spec, 0, step());
    await runtime.remove(spec, step());
    for (const id of [spec.rootVolume.id, ...spec.volumes.map((v) => v.id)])
      await runtime.removeVolume(id, step());
    expect(await host.leftovers(spec)).toEqual([]);
  };
  const killedAt = async (point: string, work: () => Promise<unknown>): Promise<void> => {
    await new Promise<void>((resolve, reject) => {
      held = { point, reached: resolve };
      work().then(
        () => reject(new Error(`it did not come by ${point}`)),
        (error: unknown) => reject(error as Error),
      );
    });
    held = null;
    reborn();
  };
  const taking = [
    'vm.snapshot.frozen',
    'vm.snapshot.recorded',
    'vm.snapshot.made',
    'vm.snapshot.thawed',
    'vm.snapshot.taken',
  ];

  it('that is taken by an agent which is killed at any step is whole in the next life, of a machine that runs', async () => {
    const { spec, of } = await begun();
    const all: SnapshotOf[] = [];
    for (const point of taking) {
      const one = { ...of, snapshotId: randomUUID() as SnapshotId };
      all.push(one);
      await killedAt(point, () => runtime.snapshots.take(one, step()));
      expect((await runtime.snapshots.take(one, step())).consistency).toBe('crash');
    }
    const ids = all.map(({ snapshotId }) => snapshotId as string).sort();
    for (const file of paths(spec)) expect(tags(file).sort()).toEqual(ids);
    // It takes none of them for its own that it was given meanwhile.
    for (const one of all.slice(1)) await runtime.snapshots.remove(one, step());
    await runtime.stop(spec, 20, step());
    sound(spec);
    for (const file of paths(spec)) expect(tags(file)).toEqual([all[0]?.snapshotId]);
    await ends(spec);
  }, 60_000);

  it('is taken, gone back to and removed off-line over a kill at any step, and nothing starts in between', async () => {
    const { spec, of } = await begun();
    await runtime.stop(spec, 20, step());
    for (const point of taking) {
      const one = point === 'vm.snapshot.taken' ? of : { ...of, snapshotId: randomUUID() as SnapshotId };
      await killedAt(point, () => runtime.snapshots.take(one, step()));
      expect((await runtime.snapshots.take(one, step())).consistency).toBe('filesystem');
      if (one === of) continue;
      await killedAt('vm.snapshot.dropped', () => runtime.snapshots.remove(one, step()));
      await runtime.snapshots.remove(one, step());
    }
    sound(spec);
    const next = { ...spec, epoch: 2 };
    await runtime.remove(spec, step());
    await booted(next, 2);
    await runtime.stop(next, 0, step());
    const later = { ...of, epoch: 2 };
    for (const point of ['vm.revert.recorded', 'vm.revert.disk', 'vm.reverted']) {
      await killedAt(point, () => runtime.snapshots.revert(later, step()));
      await runtime.prepare(next, step());
      if (point !== 'vm.reverted')
        await expect(runtime.start(next, step())).rejects.toMatchObject({
          code: 'hostFault',
          message: expect.stringContaining('brought back') as string,
        });
      await runtime.snapshots.revert(later, step());
      sound(spec);
    }
    // What it was brought back to had been shut down.
    const again = { ...later, snapshotId: randomUUID() as SnapshotId };
    expect((await runtime.snapshots.take(again, step())).consistency).toBe('filesystem');
    await runtime.remove(next, step());
    const last = { ...spec, epoch: 3 };
    await booted(last, 2);
    await ends(last);
  }, 60_000);

  it('with memory is whole in the next life of an agent which is killed at any step; its guest goes on, and goes back', async () => {
    const { spec, of } = await begun();
    const directory = join(host.dir, 'volumes', spec.rootVolume.id, 'snapshots');
    const power = async (): Promise<unknown> =>
      (await runtime.recover()).find(({ instanceId }) => instanceId === spec.instanceId)?.power;
    for (const point of ['stilled', 'disks', 'memory', 'stirred', 'taken']) {
      const one = { ...of, memory: true, snapshotId: randomUUID() as SnapshotId } as const;
      await killedAt(`vm.snapshot.${point}`, () => runtime.snapshots.take(one, step()));
      // Nobody has to ask for it.
      expect(await power()).toBe('running');
      if (point !== 'disks') expect((await runtime.snapshots.take(one, step())).consistency).toBe('exact');
      await runtime.snapshots.remove(one, step());
    }
    expect(readdirSync(directory)).toEqual([]);
    for (const file of paths(spec)) expect(tags(file)).toEqual([]);
    const kept = { ...of, memory: true } as const;
    const { memory } = await runtime.snapshots.take(kept, step());
    expect(memory?.sizeMiB).toBeGreaterThan(0);
    let last = spec;
    for (const point of ['vm.revert.memory', 'vm.revert.suspended', 'vm.restored.recorded']) {
      await runtime.stop(last, 0, step());
      await runtime.snapshots.revert({ ...kept, epoch: last.epoch }, step());
      await runtime.remove(last, step());
      last = { ...last, epoch: last.epoch + 1 };
      await runtime.prepare(last, step());
      await killedAt(point, () => runtime.start(last, step()));
      await runtime.prepare(last, step());
      await runtime.start(last, step());
      if ((await power()) === 'paused') await runtime.resume(last, step());
      expect(await power()).toBe('running');
      expect(await serialText(runtime, last)).not.toContain('boots=');
    }
    await runtime.stop(last, 20, step());
    sound(spec);
    await ends(last);
  }, 120_000);

  it('is of all disks or of none, and says what it lacks room for', async () => {
    const { spec, of } = await begun();
    const lacking = { ...of, volumes: [...of.volumes, randomUUID() as VolumeId] };
    await expect(runtime.snapshots.take(lacking, step())).rejects.toMatchObject({ code: 'notPrepared' });
    for (const file of paths(spec)) expect(tags(file)).toEqual([]);
    expect(readdirSync(join(host.dir, 'volumes', spec.rootVolume.id, 'snapshots'))).toEqual([]);
    reborn();
    const full = new VolumePool({ dir: join(host.dir, 'volumes'), reserveMiB: 2 ** 30 });
    runtime = host.runtime({ volumes: full }) as unknown as VmRuntime<never>;
    await expect(runtime.snapshots.take(of, step())).rejects.toMatchObject({ code: 'noSpace' });
    reborn();
    await ends(spec);
  }, 60_000);

  it('is refused of a raw volume and of one that is read only, by name', async () => {
    const volumes = [
      { ...volume(), format: 'raw' as const },
      { ...volume(), readOnly: true },
    ];
    const spec = host.spec('steady', { volumes });
    await booted(spec, 1);
    const { instanceId, epoch } = spec;
    for (const { id } of volumes)
      await expect(
        runtime.snapshots.take(
          { instanceId, epoch, snapshotId: randomUUID() as SnapshotId, volumes: [spec.rootVolume.id, id] },
          step(),
        ),
      ).rejects.toMatchObject({ code: 'unsupported', message: expect.stringContaining(id) as string });
    await ends(spec);
  }, 60_000);
});

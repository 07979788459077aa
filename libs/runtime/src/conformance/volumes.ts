import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { HostVolume, VolumeId, VolumeSeen } from '@berth/model';
import { disksOf, type Runtime, type WorkloadSpec } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { boots, context, find, gone, refused, up, upAndHeard } from './steps.js';

/** Disks beside the root disk, which come and go while the workload runs. */
export const volumes: readonly Behaviour[] = [
  {
    name: 'a volume is plugged in and taken away again while the workload runs, and twice is once',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, rt, spec);
      const volume = volumeOf(4);
      for (let n = 0; n < 2; n += 1)
        assert.deepEqual(await update(h, rt, { ...spec, volumes: [volume] }), disks(spec, volume));
      for (let n = 0; n < 2; n += 1) assert.deepEqual(await update(h, rt, spec), disks(spec));
      assert.equal((await find(rt, spec))?.pid, pid, 'it is the same process');
      assert.ok((await h.volumes()).includes(volume.id), 'what was taken away is still there');
      await gone(h, rt, spec);
      await removed(h, rt, volume);
    },
  },
  {
    name: 'what starts has its volumes, and a later life of the agent sees them',
    run: async (h) => {
      const spec = {
        ...(await h.spec('steady')),
        volumes: [volumeOf(4), { ...volumeOf(8), format: 'raw' } as const],
      };
      await up(h, await h.runtime(), spec);
      const later = await h.runtime();
      assert.deepEqual(await update(h, later, spec), disks(spec, ...spec.volumes));
      await gone(h, later, spec);
      for (const volume of spec.volumes) await removed(h, later, volume);
    },
  },
  {
    name: 'a volume and the root disk grow while the workload runs, and while it does not',
    run: async (h) => {
      const rt = await h.runtime();
      const first = volumeOf(4);
      const spec = { ...(await h.spec('steady')), volumes: [first] };
      await upAndHeard(h, rt, spec);
      const larger = grown(spec, first, 6);
      assert.deepEqual(await update(h, rt, larger), disks(larger, ...larger.volumes));
      await rt.stop(spec, 0, context(h));
      const largest = { ...grown(larger, first, 9), epoch: spec.epoch + 1 };
      await rt.remove(spec, context(h));
      await up(h, rt, largest);
      assert.deepEqual(await update(h, rt, largest), disks(largest, ...largest.volumes));
      await gone(h, rt, largest);
      await removed(h, rt, first);
    },
  },
  {
    name: 'limits of a volume can be set, changed and lifted while the workload runs',
    run: async (h) => {
      const rt = await h.runtime();
      const volume = volumeOf(4);
      const spec = { ...(await h.spec('steady')), volumes: [volume] };
      await up(h, rt, spec);
      for (const limits of [{ readBytesPerSecond: 2 ** 20, writeOperationsPerSecond: 100 }, {}])
        assert.deepEqual(
          await update(h, rt, { ...spec, volumes: [{ ...volume, limits }] }),
          disks(spec, volume),
        );
      await gone(h, rt, spec);
      await removed(h, rt, volume);
    },
  },
  {
    name: 'a volume goes from one workload to another, and is not deleted while one has it',
    run: async (h) => {
      const rt = await h.runtime();
      const volume = volumeOf(4);
      const [one, other] = [await h.spec('steady'), await h.spec('steady')];
      // What the first one began with leaves it as what the second one was given later does.
      await up(h, rt, { ...one, volumes: [volume] });
      await up(h, rt, other);
      for (const spec of [one, other]) {
        await update(h, rt, { ...spec, volumes: [volume] });
        await refused('a deletion', ['hostFault'], () => rt.removeVolume(volume.id, context(h)));
        assert.deepEqual(await update(h, rt, spec), disks(spec));
      }
      await removed(h, rt, volume);
      for (const spec of [one, other]) await gone(h, rt, spec);
    },
  },
  {
    name: 'what is suspended comes back with the volumes it had, whatever is asked for by then',
    run: async (h) => {
      const rt = await h.runtime();
      const volume = volumeOf(4);
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      await update(h, rt, { ...spec, volumes: [volume] });
      assert.ok(rt.suspend);
      await rt.suspend(spec, context(h));
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 1), 1, 'its guest did not boot again');
      assert.deepEqual(await update(h, rt, spec), disks(spec));
      await gone(h, rt, spec);
      await removed(h, rt, volume);
    },
  },
];

const volumeOf = (sizeMiB: number): HostVolume => ({
  id: randomUUID() as VolumeId,
  format: 'qcow2',
  sizeMiB,
  readOnly: false,
  limits: {},
});

/** The root disk by so many MiB larger, and this volume so large. */
function grown<S extends WorkloadSpec>(spec: S, volume: HostVolume, sizeMiB: number): S {
  const { id, sizeMiB: rootMiB } = spec.rootVolume;
  return { ...spec, rootVolume: { id, sizeMiB: rootMiB + 2 }, volumes: [{ ...volume, sizeMiB }] };
}

const byId = (a: VolumeSeen, b: VolumeSeen): number => (a.id < b.id ? -1 : 1);

/** What a workload is to have. */
const disks = ({ rootVolume }: WorkloadSpec, ...volumes: readonly HostVolume[]): VolumeSeen[] =>
  disksOf({ rootVolume, volumes }).sort(byId);

async function update(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<VolumeSeen[]> {
  assert.ok(rt.update, 'the runtime can change what runs');
  return [...(await rt.update(spec, context(h))).volumes].sort(byId);
}

async function removed(h: ConformanceHarness, rt: Runtime, { id }: HostVolume): Promise<void> {
  await rt.removeVolume(id, context(h));
  assert.ok(!(await h.volumes()).includes(id), 'the volume is gone');
}

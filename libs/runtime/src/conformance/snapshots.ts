import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { HostVolume, SnapshotId, VolumeId } from '@berth/model';
import type { Runtime, SnapshotFacet, SnapshotOf, WorkloadSpec } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { boots, context, ended, find, gone, logText, refused, up, upAndHeard } from './steps.js';

/** Disks as they were. The guests of this suite count their boots on the root disk, so that a disk tells when it is from. */
export const snapshots: readonly Behaviour[] = [
  {
    name: 'a snapshot of what was shut down says filesystem, and brings its disk back as often as it is asked',
    run: async (h) => {
      const { rt, facet, spec, of } = await begun(h);
      await shutDown(h, rt, spec);
      assert.equal((await facet.take(of, context(h))).consistency, 'filesystem');
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 2), 2);
      await rt.stop(spec, 0, context(h));
      for (let n = 0; n < 2; n += 1) await facet.revert(of, context(h));
      await nextEpochBoots(h, rt, spec, 2);
    },
  },
  {
    name: 'a snapshot of what runs takes all its disks and does not end it, and says crash where no agent answers',
    run: async (h) => {
      const volume = volumeOf();
      const { rt, facet, spec, of } = await begun(h, [volume]);
      const { pid } = (await find(rt, spec)) ?? {};
      const taken = await facet.take(of, context(h));
      assert.equal(taken.consistency, 'crash');
      assert.ok(taken.indications.length > 0, 'it says what that was concluded from');
      assert.equal((await find(rt, spec))?.pid, pid, 'it is the same process');
      await rt.stop(spec, 0, context(h));
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 2), 2);
      await rt.stop(spec, 0, context(h));
      await facet.revert(of, context(h));
      await nextEpochBoots(h, rt, spec, 2);
      await rt.removeVolume(volume.id, context(h));
    },
  },
  {
    name: 'a snapshot that is taken twice is one, and is told in the same words by a later life of the agent',
    run: async (h) => {
      const { rt, facet, spec, of } = await begun(h);
      const taken = await facet.take(of, context(h));
      assert.deepEqual(await facet.take(of, context(h)), taken);
      await rt.stop(spec, 0, context(h));
      const later = await h.runtime();
      assert.deepEqual(await facetOf(later).take(of, context(h)), taken);
      await gone(h, later, spec);
    },
  },
  {
    name: 'what crashed, and what is suspended, is taken as it is: crash',
    run: async (h) => {
      const { rt, facet, spec, of } = await begun(h);
      assert.ok(rt.suspend);
      await rt.suspend(spec, context(h));
      assert.equal((await facet.take(of, context(h))).consistency, 'crash');
      const { pid } = await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 1), 1, 'its guest did not boot again');
      await h.crash(spec, pid);
      await ended(h, rt, spec);
      assert.equal((await facet.take(another(of), context(h))).consistency, 'crash');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a snapshot is let go of while its workload runs and while it does not, twice is once, and its disks stay',
    run: async (h) => {
      const { rt, facet, spec, of } = await begun(h);
      const other = another(of);
      for (const one of [of, other]) await facet.take(one, context(h));
      for (let n = 0; n < 2; n += 1) await facet.remove(of, context(h));
      await rt.stop(spec, 0, context(h));
      for (let n = 0; n < 2; n += 1) await facet.remove(other, context(h));
      for (const one of [of, other, another(of)])
        await refused('a revert', ['noSuchSnapshot'], () => facet.revert(one, context(h)));
      await nextEpochBoots(h, rt, spec, 2);
    },
  },
  {
    name: 'what runs, or is suspended, is not reverted',
    run: async (h) => {
      const { rt, facet, spec, of } = await begun(h);
      await facet.take(of, context(h));
      await refused('a revert', ['notPrepared'], () => facet.revert(of, context(h)));
      assert.ok(rt.suspend);
      await rt.suspend(spec, context(h));
      await refused('a revert', ['notPrepared'], () => facet.revert(of, context(h)));
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 1), 1);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a snapshot of a disk that the workload does not have is refused, and nothing of it is left',
    run: async (h) => {
      const { rt, facet, spec, of } = await begun(h);
      const lacking = { ...of, volumes: [...of.volumes, randomUUID() as VolumeId] };
      await refused('a snapshot', ['notPrepared'], async () => void (await facet.take(lacking, context(h))));
      await rt.stop(spec, 0, context(h));
      await refused('a revert', ['noSuchSnapshot'], () => facet.revert(of, context(h)));
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a snapshot with memory goes on from there as often as it is asked, in another epoch and with its disks as they were',
    run: async (h) => {
      const { rt, facet, spec, of: disks } = await begun(h);
      const of = { ...disks, memory: true } as const;
      assert.ok((await rt.probe()).facets.includes('memorySnapshots'));
      const { pid } = (await find(rt, spec)) ?? {};
      const taken = await facet.take(of, context(h));
      assert.equal(taken.consistency, 'exact');
      assert.ok(taken.memory !== undefined && taken.heldMiB >= taken.memory.sizeMiB);
      assert.deepEqual(await facet.take(of, context(h)), taken);
      const after = await find(rt, spec);
      assert.deepEqual([after?.pid, after?.power], [pid, 'running'], 'its guest goes on');
      await rt.stop(spec, 0, context(h));
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 2), 2);
      let last = spec;
      for (let n = 0; n < 2; n += 1) {
        await rt.stop(last, 0, context(h));
        await facet.revert({ ...of, epoch: last.epoch }, context(h));
        await rt.remove(last, context(h));
        last = { ...last, epoch: last.epoch + 1 };
        assert.equal((await up(h, rt, last)).power, 'running');
        // Only a guest that runs heeds a polite stop.
        await rt.stop(last, 20, context(h));
        assert.equal((await ended(h, rt, last)).exit?.reason, 'stopped');
        assert.ok(!(await logText(rt, last)).includes('boots='), 'its guest did not boot again');
      }
      await up(h, rt, last);
      assert.equal(await boots(h, rt, last, 2), 2, 'it had booted once when it was taken, and boots again');
      await facet.remove({ ...of, epoch: last.epoch }, context(h));
      await gone(h, rt, last);
    },
  },
  {
    name: 'memory is not taken of what does not run or stands still, nor brought back to another machine',
    run: async (h) => {
      const { rt, facet, spec, of: disks } = await begun(h);
      const of = { ...disks, memory: true } as const;
      const refuses = (): Promise<void> =>
        refused('a snapshot', ['notPrepared'], async () => void (await facet.take(of, context(h))));
      await rt.pause?.(spec, context(h));
      await refuses();
      assert.equal((await find(rt, spec))?.power, 'paused');
      await rt.resume?.(spec, context(h));
      await facet.take(of, context(h));
      await rt.stop(spec, 0, context(h));
      await refused('a snapshot', ['notPrepared'], async () => {
        await facet.take({ ...another(of), memory: true }, context(h));
      });
      await facet.revert(of, context(h));
      const larger = { ...spec, memoryMiB: spec.memoryMiB * 2 };
      await refused('a start', ['unsupported'], () => rt.start(larger, context(h)));
      await up(h, rt, spec);
      // What went on once boots the next time.
      await rt.stop(spec, 0, context(h));
      await rt.remove(spec, context(h));
      const next = { ...spec, epoch: spec.epoch + 1 };
      await up(h, rt, next);
      assert.equal(await boots(h, rt, next, 2), 2);
      await gone(h, rt, next);
    },
  },
  {
    name: 'what begins as a snapshot has its disks as they were, and they are its own, whatever becomes of the other ones',
    run: async (h) => {
      const volume = volumeOf();
      const { rt, facet, spec, of } = await begun(h, [volume]);
      assert.ok((await rt.probe()).facets.includes('copies'));
      await facet.take(of, context(h));
      await rt.stop(spec, 0, context(h));
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 2), 2);
      const { snapshotId } = of;
      const copy = { ...volumeOf(), source: { volumeId: volume.id, snapshotId } };
      const own = await h.spec('steady');
      const source = { volumeId: spec.rootVolume.id, snapshotId };
      const other = { ...own, image: spec.image, volumes: [copy], rootVolume: { ...own.rootVolume, source } };
      await up(h, rt, other);
      assert.equal(await boots(h, rt, other, 1), 2, 'it had booted once when it was taken');
      await facet.remove(of, context(h));
      await gone(h, rt, spec);
      await rt.removeVolume(volume.id, context(h));
      await rt.stop(other, 0, context(h));
      await nextEpochBoots(h, rt, other, 3);
      await rt.removeVolume(copy.id, context(h));
    },
  },
  {
    name: 'what is to begin as a snapshot that is not there is refused, and no disk is made',
    run: async (h) => {
      const rt = await h.runtime();
      const own = await h.spec('steady');
      const source = { volumeId: randomUUID() as VolumeId, snapshotId: randomUUID() as SnapshotId };
      const spec = { ...own, rootVolume: { ...own.rootVolume, source } };
      await refused('prepare', ['noSuchSnapshot'], () => rt.prepare(spec, context(h)));
      assert.ok(!(await h.volumes()).includes(spec.rootVolume.id), 'no volume was made');
      await rt.remove(spec, context(h));
      assert.deepEqual(await h.leftovers(spec), []);
    },
  },
];

interface Begun {
  readonly rt: Runtime;
  readonly facet: SnapshotFacet;
  readonly spec: WorkloadSpec;
  readonly of: SnapshotOf;
}

/** A workload that runs, and the name of a snapshot of all its disks. */
async function begun(h: ConformanceHarness, volumes: readonly HostVolume[] = []): Promise<Begun> {
  const rt = await h.runtime();
  assert.ok((await rt.probe()).facets.includes('snapshots'));
  const spec = { ...(await h.spec('steady')), volumes };
  await upAndHeard(h, rt, spec);
  const { instanceId, epoch } = spec;
  const disks = [spec.rootVolume.id, ...volumes.map(({ id }) => id)];
  const of = { instanceId, epoch, snapshotId: randomUUID() as SnapshotId, volumes: disks };
  return { rt, facet: facetOf(rt), spec, of };
}

function facetOf(rt: Runtime): SnapshotFacet {
  assert.ok(rt.snapshots, 'the runtime has snapshots');
  return rt.snapshots;
}

const another = (of: SnapshotOf): SnapshotOf => ({ ...of, snapshotId: randomUUID() as SnapshotId });

const volumeOf = (): HostVolume => ({
  id: randomUUID() as VolumeId,
  format: 'qcow2',
  sizeMiB: 4,
  readOnly: false,
  limits: {},
});

async function shutDown(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<void> {
  await rt.stop(spec, 20, context(h));
  assert.equal((await ended(h, rt, spec)).exit?.reason, 'stopped', 'it ended politely');
}

/** A new epoch counts so far, and then all of it goes. */
async function nextEpochBoots(
  h: ConformanceHarness,
  rt: Runtime,
  spec: WorkloadSpec,
  count: number,
): Promise<void> {
  await rt.remove(spec, context(h));
  const next = { ...spec, epoch: spec.epoch + 1 };
  await up(h, rt, next);
  assert.equal(await boots(h, rt, next, 1), count);
  await gone(h, rt, next);
}

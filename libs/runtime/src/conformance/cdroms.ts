import assert from 'node:assert/strict';
import type { IsoContent } from '@berth/model';
import type { Runtime, WorkloadCdrom, WorkloadHas, WorkloadKey, WorkloadSpec } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { boots, context, find, gone, up, upAndHeard } from './steps.js';

/** CD-ROM drives, which a workload has from its start on, and what is put into them while it runs. */
export const cdroms: readonly Behaviour[] = [
  {
    name: 'a medium is put into a drive, changed and taken out while the workload runs, twice is once, and a later life of the agent sees it',
    run: async (h) => {
      const rt = await h.runtime();
      const [first, second] = await h.media();
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, rt, holding(spec, first, null));
      assert.deepEqual(await inside(h, rt, spec), [first.digest]);
      for (let n = 0; n < 2; n += 1)
        assert.deepEqual(await put(h, rt, holding(spec, second, first)), [second.digest, first.digest]);
      const later = await h.runtime();
      assert.deepEqual(await put(h, later, holding(spec, second, first)), [second.digest, first.digest]);
      assert.deepEqual(await inside(h, later, spec), [first.digest, second.digest].sort());
      assert.deepEqual(await put(h, later, holding(spec, null, null)), [null, null]);
      const seen = await find(later, spec);
      assert.deepEqual(
        seen?.cdroms?.map(({ digest }) => digest),
        [null, null],
        'it is observed, too',
      );
      assert.equal(seen?.pid, pid, 'it is the same process');
      assert.deepEqual(await inside(h, later, spec), [], 'nothing of them is open any more');
      await gone(h, later, spec);
    },
  },
  {
    name: 'a drive comes with the next start, and what is suspended comes back with what was in its drives',
    run: async (h) => {
      const rt = await h.runtime();
      const [first, second] = await h.media();
      const spec = await h.spec('steady');
      const one = { ...spec, cdroms: [drive(first)] };
      await upAndHeard(h, rt, one);
      assert.deepEqual(await put(h, rt, holding(spec, first, second)), [first.digest], 'it has one drive');
      assert.ok(rt.suspend);
      await rt.suspend(one, context(h));
      await up(h, rt, holding(spec, second, null));
      assert.equal(await boots(h, rt, spec, 1), 1, 'its guest did not boot again');
      assert.deepEqual(await inside(h, rt, spec), [first.digest]);
      await rt.stop(spec, 0, context(h));
      await rt.remove(spec, context(h));
      const next = { ...holding(spec, null, second), epoch: spec.epoch + 1 };
      await up(h, rt, next);
      assert.deepEqual(await inside(h, rt, next), [second.digest]);
      await gone(h, rt, next);
    },
  },
];

const drive = (image: IsoContent | null): WorkloadCdrom => ({
  image,
  bus: 'sata',
  bootFirst: false,
  force: false,
});

/** The same workload with two drives, and this in them. */
const holding = (spec: WorkloadSpec, first: IsoContent | null, second: IsoContent | null): WorkloadSpec => ({
  ...spec,
  cdroms: [drive(first), { ...drive(second), bus: 'scsi' }],
});

/** What is open of media, as the host sees it, sorted. */
async function inside(h: ConformanceHarness, rt: Runtime, key: WorkloadKey): Promise<string[]> {
  const seen = await find(rt, key);
  return [...(await h.mediaOf(key, seen?.pid ?? null))].sort();
}

/** Brings its drives to what is asked for; what is in them then. */
async function put(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<(string | null)[]> {
  assert.ok(rt.update, 'the runtime can change what runs');
  const { cdroms: told = [], unsettled }: WorkloadHas = await rt.update(spec, context(h));
  assert.deepEqual(unsettled, []);
  return told.map(({ digest }) => digest);
}

import assert from 'node:assert/strict';
import type { Runtime, WorkloadHas, WorkloadKey, WorkloadNic, WorkloadSpec } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { boots, context, find, gone, up, upAndHeard } from './steps.js';

/** Nics that come to a workload while it runs, and leave it. Whether a guest lets go of one is up to that guest. */
export const nics: readonly Behaviour[] = [
  {
    name: 'a nic comes to a workload that runs, twice is once, and a later life of the agent sees it',
    run: async (h) => {
      const rt = await h.runtime();
      const { spec, both } = await withAnother(h);
      const { pid } = await upAndHeard(h, rt, spec);
      for (let n = 0; n < 2; n += 1) assert.deepEqual(await has(h, rt, both), ids(both));
      const later = await h.runtime();
      assert.deepEqual(await has(h, later, both), ids(both));
      assert.equal((await find(later, spec))?.pid, pid, 'it is the same process');
      assert.deepEqual(await macs(h, later, spec), macsIn(both), 'the host sees both');
      await gone(h, later, spec);
    },
  },
  {
    name: 'a nic that is to go is gone or is told to be there still, and the next start has what is asked for',
    run: async (h) => {
      const rt = await h.runtime();
      const { spec, both } = await withAnother(h);
      await upAndHeard(h, rt, both);
      const { nics: told = [], unsettled } = await update(h, rt, spec);
      const kept = told.length === both.nics.length;
      assert.deepEqual([...told].sort(), ids(kept ? both : spec));
      assert.deepEqual(
        unsettled.map(({ field }) => field),
        kept ? ['nics'] : [],
      );
      assert.deepEqual(await macs(h, rt, spec), macsIn(kept ? both : spec), 'what is told is true');
      await rt.stop(spec, 0, context(h));
      await rt.remove(spec, context(h));
      const next = { ...spec, epoch: spec.epoch + 1 };
      await up(h, rt, next);
      assert.deepEqual(await macs(h, rt, next), macsIn(spec));
      await gone(h, rt, next);
    },
  },
  {
    name: 'what is suspended comes back with the nics it had, whatever is asked for by then',
    run: async (h) => {
      const rt = await h.runtime();
      const { spec, both } = await withAnother(h);
      await upAndHeard(h, rt, spec);
      await update(h, rt, both);
      assert.ok(rt.suspend);
      await rt.suspend(both, context(h));
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 1), 1, 'its guest did not boot again');
      assert.deepEqual(await macs(h, rt, spec), macsIn(both));
      await gone(h, rt, spec);
    },
  },
];

type OfNics = Pick<WorkloadSpec, 'nics'>;

/** A workload with its nic, and the same with another beside it. */
async function withAnother(h: ConformanceHarness): Promise<{ spec: WorkloadSpec; both: WorkloadSpec }> {
  const [spec, other] = [await h.spec('steady'), await h.spec('steady')];
  const nic: WorkloadNic | undefined = other.nics[0];
  assert.ok(nic !== undefined && spec.nics.length === 1, 'each has a nic');
  return { spec, both: { ...spec, nics: [...spec.nics, nic] } };
}

const ids = ({ nics: of }: OfNics): string[] => of.map(({ id }) => id).sort();
const macsIn = ({ nics: of }: OfNics): string[] => of.map(({ mac }) => mac).sort();

/** MACs of what runs, as the host sees them. */
async function macs(h: ConformanceHarness, rt: Runtime, key: WorkloadKey): Promise<string[]> {
  const seen = await find(rt, key);
  return [...(await h.macs(key, seen?.pid ?? null))].sort();
}

async function has(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<string[]> {
  const { nics: told = [], unsettled } = await update(h, rt, spec);
  assert.deepEqual(unsettled, []);
  return [...told].sort();
}

async function update(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<WorkloadHas> {
  assert.ok(rt.update, 'the runtime can change what runs');
  return rt.update(spec, context(h));
}

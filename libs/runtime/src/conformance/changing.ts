import assert from 'node:assert/strict';
import { sizesIn, type Runtime, type WorkloadHas, type WorkloadSpec } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { context, find, gone, refused, up, upAndHeard } from './steps.js';

/** Sizes that change while the workload runs. */
export const changing: readonly Behaviour[] = [
  {
    name: 'the processor cap is changed, lifted and set again while the workload runs, and twice is once',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = { ...(await h.spec('steady')), cpuMillis: 500 };
      const { pid } = await upAndHeard(h, rt, spec);
      for (const cpuMillis of [250, 250, null, null, 1500]) {
        const wanted = { ...spec, cpuMillis };
        const { sizes, unsettled } = await update(h, rt, wanted);
        assert.deepEqual([sizes, unsettled], [sizesIn(wanted), []]);
        assert.equal((await rt.limits?.(spec))?.cpuMillis, cpuMillis, 'the host enforces it');
      }
      assert.equal((await find(rt, spec))?.pid, pid, 'it is the same process');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a later life of the agent tells the sizes that a workload has',
    run: async (h) => {
      const spec = { ...(await h.spec('steady')), cpuMillis: 500 };
      const first = await h.runtime();
      await up(h, first, spec);
      const wanted = { ...spec, cpuMillis: 300 };
      await update(h, first, wanted);
      assert.deepEqual((await update(h, await h.runtime(), wanted)).sizes, sizesIn(wanted));
      await gone(h, await h.runtime(), spec);
    },
  },
  {
    name: 'what does not run cannot be changed',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await rt.prepare(spec, context(h));
      await refused('a change', ['notPrepared'], async () => void (await update(h, rt, spec)));
      await gone(h, rt, spec);
    },
  },
];

async function update(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec): Promise<WorkloadHas> {
  assert.ok(rt.update, 'the runtime can change what runs');
  return rt.update(spec, context(h));
}

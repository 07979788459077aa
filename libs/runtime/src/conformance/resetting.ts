import assert from 'node:assert/strict';
import type { Runtime, WorkloadKey } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { boots, context, find, gone, refused, up, upAndHeard } from './steps.js';

/** Boots within one run: by the reset button, and by the guest itself. */
export const resetting: readonly Behaviour[] = [
  {
    name: 'a reset boots the guest anew, in the same run and process',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, rt, spec);
      for (let count = 2; count <= 3; count += 1) {
        await reset(h, rt, spec);
        assert.equal(await boots(h, rt, spec, count), count, 'its disk is as it was');
        const seen = await find(rt, spec);
        assert.deepEqual([seen?.phase, seen?.power, seen?.pid], ['running', 'running', pid]);
        assert.equal(seen?.exit, null, 'nothing ended');
      }
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a guest that reboots by itself runs on, in the same run and process',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('rebooter');
      const { pid } = await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 2), 2);
      const seen = await find(rt, spec);
      assert.deepEqual([seen?.phase, seen?.power, seen?.pid], ['running', 'running', pid]);
      assert.equal(seen?.exit, null, 'a reboot is no end');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'what is paused, suspended or off is not reset',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const refusedNow = (): Promise<void> => refused('a reset', ['notPrepared'], () => reset(h, rt, spec));
      await rt.prepare(spec, context(h));
      await refusedNow();
      await upAndHeard(h, rt, spec);
      await rt.pause?.(spec, context(h));
      await refusedNow();
      assert.equal((await find(rt, spec))?.power, 'paused');
      await rt.suspend?.(spec, context(h));
      await refusedNow();
      assert.equal((await up(h, rt, spec)).power, 'running');
      assert.equal(await boots(h, rt, spec, 1), 1, 'it booted once');
      await rt.stop(spec, 0, context(h));
      await refusedNow();
      await gone(h, rt, spec);
    },
  },
];

async function reset(h: ConformanceHarness, rt: Runtime, key: WorkloadKey): Promise<void> {
  assert.ok(rt.reset, 'the runtime can reset');
  await rt.reset(key, context(h));
}

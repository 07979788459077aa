import assert from 'node:assert/strict';
import type { Observation, Runtime, WorkloadKey } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { boots, context, ended, find, gone, held, logText, refused, up, upAndHeard, watch } from './steps.js';

/** Memory on disk instead of a process. */
export const suspending: readonly Behaviour[] = [
  {
    name: 'what is suspended has no process, and goes on where it was',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      const said = watch(h, rt, spec, (o) => o.power === 'suspended');
      for (let n = 0; n < 2; n += 1) {
        await suspended(h, rt, spec);
        assert.deepEqual(told(await find(rt, spec)), ['running', 'suspended', null, null]);
      }
      await said;
      assert.equal((await held(rt, spec))?.runs, false, 'its guest does not run');
      const back = await up(h, rt, spec);
      assert.deepEqual([back.power, back.exit], ['running', null]);
      assert.equal(await boots(h, rt, spec, 1), 1, 'its guest did not boot again');
      // Only a guest that runs heeds a polite stop.
      await rt.stop(spec, 20, context(h));
      assert.equal((await ended(h, rt, spec)).exit?.reason, 'stopped');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'what is suspended stays so over an agent restart, and the next agent brings it back',
    run: async (h) => {
      const spec = await h.spec('steady');
      const before = await h.runtime();
      await upAndHeard(h, before, spec);
      await suspended(h, before, spec);
      const later = await h.runtime();
      assert.equal((await find(later, spec))?.power, 'suspended');
      const back = await up(h, later, spec);
      assert.equal(back.power, 'running');
      assert.equal(await boots(h, later, spec, 1), 1);
      await gone(h, later, spec);
    },
  },
  {
    name: 'a paused workload can be suspended, and a suspended one not be paused',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      await rt.pause?.(spec, context(h));
      await suspended(h, rt, spec);
      await refused('a pause', ['notPrepared'], () => rt.pause?.(spec, context(h)) ?? Promise.resolve());
      assert.equal((await up(h, rt, spec)).power, 'running');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a stop of what is suspended discards its memory: the next run boots',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      await suspended(h, rt, spec);
      await rt.stop(spec, 20, context(h));
      assert.equal((await ended(h, rt, spec)).exit?.reason, 'stopped');
      await up(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 2), 2);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'what is suspended can be removed, and nothing is left',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      await suspended(h, rt, spec);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'what does not run cannot be suspended',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await rt.prepare(spec, context(h));
      await refused('a suspend', ['notPrepared'], () => suspended(h, rt, spec));
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a suspend that is given up can be taken back, or finished',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      for (const cutMs of [0, 5, 20, 60]) {
        await rt.suspend?.(spec, context(h, cutMs)).catch(() => undefined);
        const seen = await find(rt, spec);
        if (seen?.power === 'suspended') await rt.start(spec, context(h));
        // It may come to its end while it is taken back, which is told.
        else await rt.resume?.(spec, context(h)).catch(() => rt.start(spec, context(h)));
        assert.equal((await find(rt, spec))?.power, 'running', `after a suspend of ${cutMs} ms`);
      }
      await suspended(h, rt, spec);
      await up(h, rt, spec);
      assert.equal((await logText(rt, spec)).split('boots=').length, 2, 'its guest booted once');
      await gone(h, rt, spec);
    },
  },
];

async function suspended(
  h: ConformanceHarness,
  rt: Runtime,
  spec: Parameters<NonNullable<Runtime['suspend']>>[0],
): Promise<void> {
  assert.ok(rt.suspend, 'the runtime can suspend');
  await rt.suspend(spec, context(h));
}

const told = (o: (Observation & WorkloadKey) | undefined): unknown[] => [o?.phase, o?.power, o?.pid, o?.exit];

import assert from 'node:assert/strict';
import type { Behaviour } from './harness.js';
import { boots, context, ended, find, gone, held, refused, up, upAndHeard, watch } from './steps.js';

/** Moments at which a removal is cut short, ms. */
const MOMENTS = [0, 1, 5, 25, 100];

/** How a run ends, what is told of it, and what a removal leaves. */
export const ending: readonly Behaviour[] = [
  {
    name: 'stop asks first, then forces a workload that does not listen',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('stubborn');
      await upAndHeard(h, rt, spec);
      await rt.stop(spec, 1, context(h));
      const seen = await find(rt, spec);
      assert.notEqual(seen?.phase, 'running', 'it no longer runs');
      assert.equal(seen?.exit?.reason, 'killed', 'the exit says that it was forced');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'stop twice is stop once',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      await rt.stop(spec, 20, context(h));
      const first = await find(rt, spec);
      assert.equal(first?.exit?.reason, 'stopped', 'a polite stop is told apart from a forced one');
      await rt.stop(spec, 20, context(h));
      assert.deepEqual((await find(rt, spec))?.exit, first.exit, 'the recorded exit stays');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a stop without grace does not ask',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      await rt.stop(spec, 0, context(h));
      assert.equal((await find(rt, spec))?.exit?.reason, 'killed');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a stop that is cut short while it waits is finished by the next one',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('stubborn');
      const { pid } = await upAndHeard(h, rt, spec);
      await assert.rejects(() => rt.stop(spec, 60, context(h, 100)), 'the step is given up');
      assert.equal((await find(rt, spec))?.pid, pid, 'it runs on');
      await rt.stop(spec, 0, context(h));
      assert.equal((await find(rt, spec))?.exit?.reason, 'killed');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a workload that ends by itself is told with its reason and code',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('brief');
      await rt.prepare(spec, context(h));
      await rt.start(spec, context(h));
      const { exit, pid, power } = await ended(h, rt, spec);
      assert.deepEqual({ reason: exit?.reason, code: exit?.code }, { code: undefined, ...h.briefEnd });
      assert.deepEqual({ pid, power }, { pid: null, power: 'off' });
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a crash is seen as it happens, with its reason',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await up(h, rt, spec);
      const seen = watch(h, rt, spec, (o) => o.exit !== null);
      await boots(h, rt, spec, 1);
      await h.crash(spec, pid);
      const o = await seen;
      assert.notEqual(o.phase, 'running');
      assert.ok(
        !['exited', 'guestShutdown', 'stopped'].includes(o.exit?.reason ?? ''),
        `a crash is not "${o.exit?.reason}"`,
      );
      await gone(h, rt, spec);
    },
  },
  {
    name: 'remove twice is remove once',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await up(h, rt, spec);
      await rt.stop(spec, 0, context(h));
      await rt.remove(spec, context(h));
      await rt.remove(spec, context(h));
      assert.equal(await find(rt, spec), undefined, 'it is no longer reported');
      await rt.removeVolume(spec.rootVolume.id, context(h));
      await rt.removeVolume(spec.rootVolume.id, context(h));
    },
  },
  {
    name: 'remove of what never was is no error',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await rt.remove(spec, context(h));
      await rt.stop(spec, 0, context(h));
      await rt.removeVolume(spec.rootVolume.id, context(h));
    },
  },
  {
    name: 'a removal ends what still runs',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('stubborn');
      await upAndHeard(h, rt, spec);
      await rt.remove(spec, context(h));
      assert.deepEqual(await h.leftovers(spec), []);
      assert.ok((await h.volumes()).includes(spec.rootVolume.id), 'its volume is no part of it');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a removal that is cut short, at whatever moment, is finished by the next one',
    run: async (h) => {
      const spec = await h.spec('stubborn');
      for (const moment of MOMENTS) {
        const rt = await h.runtime();
        await up(h, rt, spec);
        await rt.remove(spec, context(h, moment)).catch(() => undefined);
        const next = await h.runtime();
        await next.remove(spec, context(h));
        assert.deepEqual(await h.leftovers(spec), [], `nothing is left after a cut at ${moment} ms`);
        assert.equal(await held(next, spec), undefined);
      }
      await gone(h, await h.runtime(), spec);
    },
  },
  {
    name: 'the volume of a running workload is not deleted',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await up(h, rt, spec);
      await refused('a volume in use', ['hostFault'], () => rt.removeVolume(spec.rootVolume.id, context(h)));
      assert.ok((await h.volumes()).includes(spec.rootVolume.id), 'it is still there');
      assert.equal((await find(rt, spec))?.pid, pid, 'the workload runs on');
      await gone(h, rt, spec);
    },
  },
];

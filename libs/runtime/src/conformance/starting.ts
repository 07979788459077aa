import assert from 'node:assert/strict';
import type { Behaviour } from './harness.js';
import { boots, context, ended, find, gone, running, up, upAndHeard } from './steps.js';

/** Moments at which a step is cut short, ms. */
const MOMENTS = [0, 2, 10, 40, 120];

/** A start is whole or can be made whole, and never is there a second one. */
export const starting: readonly Behaviour[] = [
  {
    name: 'start twice leaves one workload with the same pid',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const first = await upAndHeard(h, rt, spec);
      await rt.start(spec, context(h));
      const second = await find(rt, spec);
      assert.equal(second?.pid, first.pid, 'the same process carries it');
      assert.equal(await boots(h, rt, spec, 1), 1, 'it started once');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'two starts at once make one workload',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await rt.prepare(spec, context(h));
      await Promise.all([rt.start(spec, context(h)), rt.start(spec, context(h))]);
      assert.equal((await rt.recover()).filter((o) => o.instanceId === spec.instanceId).length, 1);
      await running(h, rt, spec);
      assert.equal(await boots(h, rt, spec, 1), 1, 'it started once');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a start that is cut short, at whatever moment, is finished by the same call',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await rt.prepare(spec, context(h));
      for (const moment of MOMENTS) {
        await rt.start(spec, context(h, moment)).catch(() => undefined);
        await rt.start(spec, context(h));
        const { pid } = await running(h, rt, spec);
        await rt.start(spec, context(h));
        assert.equal((await find(rt, spec))?.pid, pid, `one process after a cut at ${moment} ms`);
        await rt.stop(spec, 0, context(h));
      }
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a stop during a start is not lost',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await rt.prepare(spec, context(h));
      const starting = rt.start(spec, context(h));
      const stopping = rt.stop(spec, 0, context(h));
      await Promise.all([starting, stopping]);
      assert.notEqual((await find(rt, spec))?.phase, 'running', 'what was asked last is true');
      await rt.start(spec, context(h));
      await running(h, rt, spec);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'starts and stops at once end in one or the other, and the next call is obeyed',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await up(h, rt, spec);
      const calls = [0, 1, 2].flatMap(() => [rt.stop(spec, 0, context(h)), rt.start(spec, context(h))]);
      await Promise.all(calls);
      await rt.start(spec, context(h));
      const { pid } = await running(h, rt, spec);
      await rt.start(spec, context(h));
      assert.equal((await find(rt, spec))?.pid, pid);
      await rt.stop(spec, 0, context(h));
      assert.equal((await ended(h, rt, spec)).exit?.reason, 'killed');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a crashed workload starts again in its epoch with its disk',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, rt, spec);
      await h.crash(spec, pid);
      await ended(h, rt, spec);
      await rt.prepare(spec, context(h));
      await rt.start(spec, context(h));
      await running(h, rt, spec);
      await boots(h, rt, spec, 2);
      await gone(h, rt, spec);
    },
  },
];

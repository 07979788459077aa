import assert from 'node:assert/strict';
import type { Observation, WorkloadKey } from '../runtime.js';
import type { Behaviour } from './harness.js';
import {
  context,
  ended,
  eventually,
  find,
  gone,
  logText,
  running,
  same,
  up,
  upAndHeard,
  watch,
} from './steps.js';

/** What is done to a workload that runs, and what it tells. */
export const living: readonly Behaviour[] = [
  {
    name: 'the limits that the host enforces are the ones asked for',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = { ...(await h.spec('steady')), cpuMillis: 500 };
      await up(h, rt, spec);
      assert.ok(rt.limits, 'the runtime can tell its limits');
      const limits = await rt.limits(spec);
      assert.equal(limits.memoryBytes, spec.memoryMiB * 1024 * 1024);
      assert.equal(limits.cpuMillis, 500);
      await gone(h, rt, spec);
    },
  },
  {
    name: 'what runs tells what it uses, and what ended does not',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const told = async (of?: WorkloadKey) => {
        assert.ok(rt.usage, 'the runtime can tell what is used');
        return rt.usage(of);
      };
      const used = async () => (await told()).find((u) => same(u, spec));
      await upAndHeard(h, rt, spec);
      const before = await used();
      assert.ok(before !== undefined && before.memoryBytes > 0 && before.cpuMicros > 0, 'it uses something');
      const [after, ...others] = await told(spec);
      assert.ok(
        after !== undefined && same(after, spec) && others.length === 0,
        'asked of one, it tells of one',
      );
      assert.deepEqual(await told({ ...spec, epoch: spec.epoch + 1 }), [], 'and of no other epoch');
      assert.ok(after.cpuMicros >= before.cpuMicros, 'processor time never goes back');
      await rt.stop(spec, 20, context(h));
      assert.equal(await used(), undefined, 'what ended uses nothing');
      assert.deepEqual(await told(spec), [], 'and tells nothing');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'pause and resume keep the process, and twice is once',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, rt, spec);
      assert.ok(rt.pause !== undefined && rt.resume !== undefined, 'the runtime can pause');
      const now = async (): Promise<unknown> => {
        const seen = await find(rt, spec);
        return [seen?.phase, seen?.power, seen?.pid];
      };
      for (let n = 0; n < 2; n += 1) {
        await rt.pause(spec, context(h));
        assert.deepEqual(await now(), ['running', 'paused', pid]);
      }
      for (let n = 0; n < 2; n += 1) {
        await rt.resume(spec, context(h));
        assert.deepEqual(await now(), ['running', 'running', pid]);
      }
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a paused workload stays paused over an agent restart, and can be asked to stop',
    run: async (h) => {
      const spec = await h.spec('steady');
      const rt = await h.runtime();
      await upAndHeard(h, rt, spec);
      await rt.pause?.(spec, context(h));
      const later = await h.runtime();
      assert.equal((await find(later, spec))?.power, 'paused');
      await later.stop(spec, 20, context(h));
      assert.equal((await ended(h, later, spec)).exit?.reason, 'stopped');
      await gone(h, later, spec);
    },
  },
  {
    name: 'a log that is followed gives what comes, and ends with its signal',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      await upAndHeard(h, rt, spec);
      assert.ok(rt.logs, 'the runtime has the logs facet');
      const leave = new AbortController();
      let text = '';
      const reading = (async () => {
        for await (const c of rt.logs?.(spec, { follow: true }, leave.signal) ?? [])
          text += Buffer.from(c).toString();
      })();
      await rt.stop(spec, 0, context(h));
      await rt.start(spec, context(h));
      await eventually(h, 'what the second run says', async () =>
        text.includes('boots=2') ? true : undefined,
      );
      leave.abort();
      let left = false;
      void reading.then(() => (left = true));
      await eventually(h, 'the reader is let go', () => Promise.resolve(left ? true : undefined));
      assert.equal(await logText(rt, spec), text, 'nothing was lost or given twice');
      await gone(h, rt, spec);
    },
  },
  {
    name: 'changes are observed each at least once and in their order, by every observer',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      const leave = new AbortController();
      const observers = [0, 1].map(() => collect(rt.observe(leave.signal), spec));
      await up(h, rt, spec);
      await rt.stop(spec, 0, context(h));
      await rt.start(spec, context(h));
      await running(h, rt, spec);
      const last = watch(h, rt, spec, (o) => o.phase === 'ended');
      await rt.stop(spec, 0, context(h));
      await last;
      for (const { seen } of observers)
        await eventually(h, `running, ended, running, ended; not ${turns(seen)}`, async () =>
          turns(seen) === 'running ended running ended' ? true : undefined,
        );
      leave.abort();
      await Promise.all(observers.map((o) => o.done));
      await gone(h, rt, spec);
    },
  },
  {
    name: 'a workload whose disk is full lives on, and writes again once there is room',
    run: async (h) => {
      const pool = await h.smallPool();
      const { runtime: rt } = pool;
      // An agent always listens.
      const listening = new AbortController();
      void collect(rt.observe(listening.signal), pool.spec);
      const { pid } = await up(h, rt, pool.spec);
      await eventually(h, 'its disk is full', async () => {
        const seen = await find(rt, pool.spec);
        return seen !== undefined && pool.full(seen, await logText(rt, pool.spec)) ? true : undefined;
      });
      assert.deepEqual(
        [(await find(rt, pool.spec))?.phase, (await find(rt, pool.spec))?.exit],
        ['running', null],
      );
      await pool.enlarge();
      await eventually(h, 'it wrote all', async () =>
        pool.wroteAll(await logText(rt, pool.spec)) ? true : undefined,
      );
      const seen = await running(h, rt, pool.spec);
      assert.deepEqual([seen.power, seen.pid], ['running', pid], 'the same process');
      listening.abort();
      await rt.remove(pool.spec, context(h));
      await rt.removeVolume(pool.spec.rootVolume.id, context(h));
      await pool.end();
    },
  },
];

/** Observations of one workload as they come. */
function collect(
  from: AsyncIterable<Observation>,
  key: Pick<Observation, 'instanceId' | 'epoch'>,
): { readonly seen: Observation[]; readonly done: Promise<void> } {
  const seen: Observation[] = [];
  const done = (async () => {
    for await (const o of from) if (same(o, key)) seen.push(o);
  })();
  return { seen, done };
}

/** Which of running and ended came after which; what repeats or lies between them is no turn. */
function turns(seen: readonly Observation[]): string {
  const phases = seen.map((o) => o.phase).filter((phase) => phase === 'running' || phase === 'ended');
  return phases.filter((phase, n) => phase !== phases[n - 1]).join(' ');
}

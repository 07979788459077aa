import assert from 'node:assert/strict';
import type { Observation } from '../runtime.js';
import type { Behaviour } from './harness.js';
import {
  boots,
  context,
  ended,
  eventually,
  find,
  gone,
  held,
  logText,
  running,
  up,
  upAndHeard,
  watch,
} from './steps.js';

/** What a new life of the agent finds, and what no life of it remembers. */
export const recovery: readonly Behaviour[] = [
  {
    name: 'after an agent restart what runs is adopted, and its later end is observed',
    run: async (h) => {
      const first = await h.runtime();
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, first, spec);
      const second = await h.runtime();
      const adopted = await find(second, spec);
      assert.equal(adopted?.phase, 'running');
      assert.equal(adopted.pid, pid, 'the same process');
      const seen = watch(h, second, spec, (o) => o.exit !== null);
      await second.stop(spec, 20, context(h));
      assert.equal((await seen).phase, 'ended');
      await gone(h, second, spec);
    },
  },
  {
    name: 'an end that came while no agent lived is seen afterwards, with its reason and code',
    run: async (h) => {
      const spec = await h.spec('brief');
      const first = await h.runtime();
      await first.prepare(spec, context(h));
      await first.start(spec, context(h));
      const second = await h.runtime();
      const { exit } = await ended(h, second, spec);
      assert.deepEqual({ reason: exit?.reason, code: exit?.code }, { code: undefined, ...h.briefEnd });
      const third = await h.runtime();
      assert.deepEqual((await find(third, spec))?.exit, exit, 'once and for all');
      await gone(h, third, spec);
    },
  },
  {
    name: 'a crash that came while no agent lived is none that the workload wanted',
    run: async (h) => {
      const spec = await h.spec('steady');
      const { pid } = await upAndHeard(h, await h.runtime(), spec);
      await h.crash(spec, pid);
      const later = await h.runtime();
      const { exit } = await ended(h, later, spec);
      assert.ok(
        !['exited', 'guestShutdown', 'stopped', 'killed', 'hostBoot'].includes(exit?.reason ?? ''),
        `a crash is not "${exit?.reason}"`,
      );
      await gone(h, later, spec);
    },
  },
  {
    name: 'each step may be taken by another life of the agent',
    run: async (h) => {
      const spec = await h.spec('steady');
      await (await h.runtime()).prepare(spec, context(h));
      await (await h.runtime()).start(spec, context(h));
      const { pid } = await running(h, await h.runtime(), spec);
      await boots(h, await h.runtime(), spec, 1);
      await (await h.runtime()).stop(spec, 20, context(h));
      assert.equal((await find(await h.runtime(), spec))?.exit?.reason, 'stopped');
      await (await h.runtime()).start(spec, context(h));
      assert.notEqual((await running(h, await h.runtime(), spec)).pid, pid, 'another run');
      assert.equal(await boots(h, await h.runtime(), spec, 2), 2);
      await gone(h, await h.runtime(), spec);
    },
  },
  {
    name: 'recover twice is recover once',
    run: async (h) => {
      const rt = await h.runtime();
      const [runs, over] = [await h.spec('steady'), await h.spec('steady')];
      for (const spec of [runs, over]) await upAndHeard(h, rt, spec);
      await rt.stop(over, 0, context(h));
      const own = async (by: typeof rt): Promise<Observation[]> => {
        const seen = (await by.recover()).filter((o) =>
          [runs, over].some((s) => s.instanceId === o.instanceId),
        );
        return seen.sort((a, b) => (a.instanceId < b.instanceId ? -1 : 1));
      };
      const first = await own(rt);
      assert.deepEqual(first.map((o) => o.phase).sort(), ['ended', 'running']);
      assert.deepEqual(await own(rt), first);
      const later = await h.runtime();
      assert.deepEqual(await own(later), first);
      assert.deepEqual(await own(later), first);
      assert.equal(await boots(h, later, runs, 1), 1, 'nothing was started');
      for (const spec of [runs, over]) await gone(h, later, spec);
    },
  },
  {
    name: 'limits are told also by a new life of the agent',
    run: async (h) => {
      const spec = { ...(await h.spec('steady')), cpuMillis: 500 };
      await up(h, await h.runtime(), spec);
      const later = await h.runtime();
      const limits = await later.limits?.(spec);
      assert.equal(limits?.memoryBytes, spec.memoryMiB * 1024 * 1024);
      assert.equal(limits.cpuMillis, 500);
      await gone(h, later, spec);
    },
  },
  {
    name: 'logs outlive the agent and the run, and their tail can be asked for',
    run: async (h) => {
      const spec = await h.spec('steady');
      await upAndHeard(h, await h.runtime(), spec);
      const later = await h.runtime();
      await later.stop(spec, 20, context(h));
      const whole = await logText(later, spec);
      assert.match(whole, /boots=1\r?\n/);
      assert.equal(await logText(later, spec, 4), whole.slice(-4));
      assert.equal(await logText(later, spec, 1_000_000), whole, 'a tail longer than the log is the log');
      await gone(h, later, spec);
    },
  },
  {
    name: 'a workload that no journal knows is reported, with its instance and epoch',
    run: async (h) => {
      const spec = { ...(await h.spec('steady')), epoch: 7 };
      await up(h, await h.runtime(), spec);
      const stranger = await h.runtime();
      const seen = await find(stranger, spec);
      assert.equal(seen?.epoch, 7);
      await gone(h, stranger, spec);
    },
  },
  {
    name: 'the inventory holds what runs, what is only prepared and what ended, by instance and epoch',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = { ...(await h.spec('steady')), epoch: 3 };
      assert.equal(await held(rt, spec), undefined);
      await rt.prepare(spec, context(h));
      assert.equal((await held(rt, spec))?.runs, false, 'prepared');
      await rt.start(spec, context(h));
      const later = await h.runtime();
      const runs = await held(later, spec);
      assert.equal(runs?.runs, true, 'running');
      assert.ok(runs.parts.length > 0, 'its parts are named');
      await later.stop(spec, 0, context(h));
      assert.equal((await held(later, spec))?.runs, false, 'ended');
      await gone(h, later, spec);
    },
  },
  {
    name: 'what a killed agent left half-made is in the inventory, and a removal takes it away',
    run: async (h) => {
      const spec = { ...(await h.spec('steady')), epoch: 2 };
      await h.debris(spec);
      assert.notDeepEqual(await h.leftovers(spec), [], 'there is something');
      const rt = await h.runtime();
      const found = await held(rt, spec);
      assert.equal(found?.runs, false);
      assert.ok(found.parts.length > 0, 'its parts are named');
      await rt.remove(spec, context(h));
      assert.deepEqual(await h.leftovers(spec), []);
      assert.equal(await held(rt, spec), undefined);
    },
  },
  {
    name: 'what a killed agent left half-made does not stand in the way of a start',
    run: async (h) => {
      const spec = await h.spec('steady');
      await h.debris(spec);
      const rt = await h.runtime();
      await up(h, rt, spec);
      await boots(h, rt, spec, 1);
      await eventually(h, 'it is held as running', async () =>
        (await held(rt, spec))?.runs ? true : undefined,
      );
      await gone(h, rt, spec);
    },
  },
];

import assert from 'node:assert/strict';
import { watchdogExpiredType, type WatchdogAction } from '@berth/model';
import type { Observation, Runtime, WorkloadSpec } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { boots, context, ended, eventually, find, gone, up } from './steps.js';

/** Watchdogs: what becomes of a guest that arms its own and tends it no more. */
export const watching: readonly Behaviour[] = [
  {
    name: 'a watchdog that expires resets the guest in the same run, and that is told',
    run: async (h) => {
      const rt = await h.runtime();
      const { spec, pid } = await unattended(h, rt, 'reset');
      assert.equal(await boots(h, rt, spec, 2), 2);
      const seen = await told(h, rt, spec, 'Reset');
      assert.deepEqual([seen.power, seen.pid, seen.exit], ['running', pid, null]);
      const next = await h.runtime();
      await told(h, next, spec, 'Reset');
      await gone(h, next, spec);
    },
  },
  {
    name: 'a watchdog that turns the guest off ends its run with that reason, also to a later life of the agent',
    run: async (h) => {
      const { spec } = await unattended(h, await h.runtime(), 'poweroff');
      const later = await h.runtime();
      const { exit, pid } = await ended(h, later, spec);
      assert.deepEqual([exit?.reason, pid], ['watchdog', null]);
      await up(h, later, spec);
      assert.equal(await boots(h, later, spec, 2), 2, 'it can be run again');
      await gone(h, later, spec);
    },
  },
  {
    name: 'a watchdog that pauses the guest holds it until it is resumed, or reset',
    run: async (h) => {
      for (const mend of ['resume', 'reset'] as const) {
        const rt = await h.runtime();
        const { spec, pid } = await unattended(h, rt, 'pause');
        const seen = await told(h, rt, spec, 'Paused');
        assert.deepEqual([seen.phase, seen.power, seen.pid], ['running', 'paused', pid]);
        await told(h, await h.runtime(), spec, 'Paused');
        const next = await h.runtime();
        await next[mend]?.(spec, context(h));
        await eventually(h, `it runs after a ${mend}`, async () => {
          const now = await find(next, spec);
          return now?.power === 'running' && !expired(now) ? true : undefined;
        });
        if (mend === 'reset') assert.equal(await boots(h, next, spec, 2), 2);
        await gone(h, next, spec);
      }
    },
  },
  {
    name: 'a watchdog that does nothing is told of when it expires',
    run: async (h) => {
      const rt = await h.runtime();
      const { spec } = await unattended(h, rt, 'none');
      const seen = await told(h, rt, spec, 'Expired');
      assert.deepEqual([seen.phase, seen.power, seen.exit], ['running', 'running', null]);
      assert.equal(await boots(h, rt, spec, 1), 1);
      await gone(h, rt, spec);
    },
  },
];

async function unattended(
  h: ConformanceHarness,
  rt: Runtime,
  watchdog: WatchdogAction,
): Promise<{ spec: WorkloadSpec; pid: number | null }> {
  assert.ok((await rt.probe()).facets.includes('watchdog'), 'the runtime has watchdogs');
  const spec = { ...(await h.spec('unattended')), watchdog };
  await rt.prepare(spec, context(h));
  await rt.start(spec, context(h));
  return { spec, pid: (await find(rt, spec))?.pid ?? null };
}

const expired = (o: Observation): string | undefined =>
  o.conditions?.find((c) => c.type === watchdogExpiredType)?.reason;

function told(h: ConformanceHarness, rt: Runtime, spec: WorkloadSpec, reason: string): Promise<Observation> {
  return eventually(h, `its watchdog is told of: ${reason}`, async () => {
    const seen = await find(rt, spec);
    return seen !== undefined && expired(seen) === reason ? seen : undefined;
  });
}

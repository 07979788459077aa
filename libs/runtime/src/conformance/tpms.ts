import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { isTpmLost, type SnapshotId } from '@berth/model';
import type { Observation, Runtime, WorkloadSpec } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { context, find, gone, refused, up, watch } from './steps.js';

/** TPMs that end before their machines do. */
export const tpms: readonly Behaviour[] = [
  {
    name: 'a TPM that ends is told of while its workload runs on, also to a later life of the agent, until the next run',
    run: async (h) => {
      const rt = await h.runtime();
      const { spec, pid } = await guarded(h, rt);
      const said = watch(h, rt, spec, lost);
      await h.endTpm(spec);
      const seen = await said;
      assert.deepEqual([seen.phase, seen.power, seen.pid, seen.exit], ['running', 'running', pid, null]);
      const later = await h.runtime();
      assert.ok(lost(await find(later, spec)), 'the next agent tells of it at once');
      await later.stop(spec, 0, context(h));
      assert.ok(!lost(await find(later, spec)), 'what is off lacks nothing');
      assert.ok(!lost(await up(h, later, spec)), 'its next run has it again');
      await gone(h, later, spec);
    },
  },
  {
    name: 'a workload whose TPM has ended is refused what it would not outlive, and can be paused, taken without memory and stopped',
    run: async (h) => {
      const rt = await h.runtime();
      const { spec, pid } = await guarded(h, rt);
      await h.endTpm(spec);
      const { instanceId, epoch, rootVolume } = spec;
      const taken = { instanceId, epoch, snapshotId: randomUUID() as SnapshotId, volumes: [rootVolume.id] };
      const wishes = {
        suspend: () => rt.suspend?.(spec, context(h)),
        reset: () => rt.reset?.(spec, context(h)),
        'a snapshot with memory': () => rt.snapshots?.take({ ...taken, memory: true }, context(h)),
      };
      for (const [what, act] of Object.entries(wishes))
        await refused(what, ['notPrepared'], async () => void (await act()));
      await rt.pause?.(spec, context(h));
      await rt.resume?.(spec, context(h));
      await rt.snapshots?.take(taken, context(h));
      const seen = await find(rt, spec);
      assert.deepEqual([seen?.power, seen?.pid, lost(seen)], ['running', pid, true]);
      await rt.snapshots?.remove(taken, context(h));
      await gone(h, rt, spec);
    },
  },
];

async function guarded(
  h: ConformanceHarness,
  rt: Runtime,
): Promise<{ spec: WorkloadSpec; pid: number | null }> {
  assert.ok((await rt.probe()).facets.includes('tpm'), 'the runtime has TPMs');
  const spec: WorkloadSpec = { ...(await h.spec('steady')), tpm: true };
  const seen = await up(h, rt, spec);
  assert.ok(!lost(seen), 'its TPM is there');
  return { spec, pid: seen.pid };
}

const lost = (seen: Observation | undefined): boolean => isTpmLost(seen?.conditions ?? []);

import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import type { Runtime, WorkloadKey } from '../runtime.js';
import type { Behaviour, ConformanceHarness } from './harness.js';
import { context, gone, refused, upAndHeard } from './steps.js';

/** Whatever is asked of its agent is refused with this code. */
async function refusedAll(
  h: ConformanceHarness,
  rt: Runtime,
  key: WorkloadKey,
  code: 'agentAway' | 'notPrepared',
): Promise<void> {
  const { guest } = rt;
  assert.ok(guest, 'the runtime has the guest facet');
  const signal = AbortSignal.timeout(h.stepMs);
  await refused('a question', [code], async () => void (await guest.info(key, signal)));
  const open = { command: ['echo'], tty: false };
  await refused('a program', [code], async () => void (await guest.exec(key, open, signal)));
  const path = '/etc/hostname';
  await refused('a file', [code], async () => void (await guest.readFile(key, path, signal)));
  const write = (): Promise<number> =>
    guest.writeFile(key, { path, mode: '0600' }, Readable.from([Buffer.from('x')]), signal);
  await refused('a file of ours', [code], async () => void (await write()));
  await refused('a freeze', [code], async () => void (await guest.freeze(key, 1, signal)));
  await refused('a thaw', [code], async () => void (await guest.thaw(key, signal)));
}

/** Agents inside guests. The guests of this suite have none: what agents do is tested with systems that have one. */
export const guests: readonly Behaviour[] = [
  {
    name: 'what is asked of the agent in a guest that has none is refused, with the reason',
    run: async (h) => {
      const rt = await h.runtime();
      const spec = await h.spec('steady');
      assert.ok((await rt.probe()).facets.includes('guest'));
      await upAndHeard(h, rt, spec);
      await refusedAll(h, rt, spec, 'agentAway');
      await rt.stop(spec, 0, context(h));
      await refusedAll(h, rt, spec, 'notPrepared');
      await gone(h, rt, spec);
    },
  },
];

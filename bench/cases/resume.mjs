// A machine that comes back from disk with its memory, against the same machine booted. Suspending and stopping are outside
// the clock.
import { comparison, inTurn, now, pause } from '../measure.mjs';
import { readyMark, spec } from './vm.mjs';

const bootLimitMs = 60_000;

export async function resume({ berth, pairs, limitMs, progress }) {
  const comparisons = [];
  for (const driver of ['libvirt', 'qemu']) {
    const name = `bench-resume-${driver}`;
    await berth.create(name, spec(driver));
    try {
      await ready(berth, name);
      const timed = async (before, verb, done) => {
        await berth.act(name, before);
        const begun = now();
        await berth.act(name, verb);
        await done();
        return now() - begun;
      };
      const contenders = {
        resume: () => timed('suspend', 'resume', () => undefined),
        boot: () => timed('stop', 'start', () => ready(berth, name)),
      };
      const times = await inTurn(contenders, { rounds: pairs, limitMs: limitMs / 2, progress });
      const what = `vm (${driver} driver): resume from disk to running`;
      comparisons.push(comparison(what, times.resume, times.boot, 'the same: start to ready line', 0.3));
    } finally {
      await berth.delete(name);
    }
  }
  return { comparisons };
}

/** Its guest has said that it is ready, in this epoch. */
async function ready(berth, name) {
  for (const end = now() + bootLimitMs; now() < end; await pause(5))
    if ((await berth.logs(name)).includes(readyMark)) return;
  throw new Error(`${name} had no "${readyMark}" within ${bootLimitMs} ms`);
}

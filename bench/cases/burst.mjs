// Twenty machines asked for at once, by each driver: how long until all run, and what the agent takes for each of them.
import { readFileSync } from 'node:fs';
import { now } from '../measure.mjs';
import { run } from '../programs.mjs';
import { spec } from './vm.mjs';

const count = 20;
/** A twentieth of a processor and little memory, so that all fit on a small host. */
const share = { cpuMillis: 50, memoryMiB: 64 };

export async function burst({ berth, progress }) {
  const facts = [];
  for (const driver of ['libvirt', 'qemu']) {
    const names = Array.from({ length: count }, (_, i) => `bench-b${i}`);
    const made = [];
    try {
      const before = await agentKiB(berth);
      const begun = now();
      await Promise.all(
        names.map((name) => berth.create(name, { ...spec(driver), ...share }).then(() => made.push(name))),
      );
      const took = now() - begun;
      const each = ((await agentKiB(berth)) - before) / count;
      facts.push(
        [`${count} VMs at once, ${driver} driver, until all run`, `${took.toFixed(0)} ms`],
        [`memory of the agent for each of them (PSS)`, `${each.toFixed(0)} KiB`],
      );
      progress(`${driver}: ${count} machines after ${took.toFixed(0)} ms`);
    } finally {
      await Promise.all(made.map((name) => berth.delete(name)));
    }
  }
  return { facts };
}

/** PSS of the agent of this Berth. */
async function agentKiB({ root }) {
  for (const pid of (await run('pgrep', ['-f', 'apps/agent/dist/main.js'])).trim().split('\n')) {
    const env = readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0');
    if (!env.includes(`BERTH_ROOT=${root}`)) continue;
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    return Number(/^Pss:\s+(\d+)/m.exec(rollup)[1]);
  }
  throw new Error(`no agent runs below ${root}`);
}

// POST to confirmed running: a container here, under Docker Engine, under LXD, and by runc alone.
import { comparison, inTurn, median, now } from '../measure.mjs';
import * as docker from '../peers/docker.mjs';
import * as lxd from '../peers/lxd.mjs';
import * as runc from '../peers/runc.mjs';
import { idle } from '../rootfs.mjs';

export const spec = {
  isolation: 'container',
  image: 'busybox',
  cpuMillis: 500,
  memoryMiB: 64,
  rootDisk: { sizeMiB: 16 },
  process: { command: idle.slice(0, 1), args: idle.slice(1) },
};

export async function container({ berth, dir, rootfs, rootfsTar, pairs, limitMs, progress }) {
  const peers = [];
  const notes = [];
  try {
    for (const [name, peer] of Object.entries({ docker, lxd, runc })) {
      try {
        peers.push({ ...(await peer.start(dir, rootfsTar, rootfs)), what: peer.what });
      } catch (error) {
        notes.push(`Left out, it did not start: ${name}: ${error.message.split('\n')[0]}`);
        progress(notes.at(-1));
      }
    }
    const traces = [];
    const ours = async (round) => {
      const name = `bench-c${round}`;
      const begun = now();
      const { operation } = await berth.create(name, spec);
      const took = now() - begun;
      if (round >= 2) traces.push({ ...(await berth.trace(operation)), total: took });
      await berth.delete(name);
      return took;
    };
    const contenders = { berth: ours };
    for (const peer of peers)
      contenders[peer.name] = async (round) => {
        const took = await peer.run(`bench${round}`);
        await peer.remove(`bench${round}`);
        return took;
      };
    const times = await inTurn(contenders, { rounds: pairs, limitMs, progress });
    return {
      notes,
      comparisons: compared(times, peers),
      trace: { title: 'A container, POST to running', ...parts(traces) },
    };
  } finally {
    for (const peer of peers) await peer.end().catch((error) => progress(`cleaning up: ${error.message}`));
  }
}

/** The aim holds against the better of the two that serve REST. */
function compared(times, peers) {
  const served = peers.filter((p) => !p.name.startsWith('runc'));
  const [better] = served.map((p) => p.name).sort((a, b) => median(times[a]) - median(times[b]));
  return peers.map(({ name, what }) =>
    comparison(
      'container: POST to running',
      times.berth,
      times[name],
      `${name}: ${what}`,
      name === better ? 0.3 : null,
    ),
  );
}

/** Median of each part over all starts, milliseconds. What no part holds is the way to the client and back. */
export function parts(traces) {
  const names = [...new Set(traces.flatMap(Object.keys))].filter((n) => n !== 'total');
  const medians = names.map((name) => [name, median(traces.map((t) => t[name] ?? 0))]);
  return { total: median(traces.map((t) => t.total)), parts: medians };
}

// The sample as a container, as a microVM and as a VM by each driver: what one start takes, and what ten more cost in memory and on disk.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { median, now, pause } from '../measure.mjs';
import { run } from '../programs.mjs';
import * as containers from './container.mjs';
import * as machines from './vm.mjs';

const more = 10;
/** A tenth of a processor, so that eleven fit on two. */
const share = { cpuMillis: 100 };

export async function density({ berth, progress }) {
  const rows = [];
  for (const [what, spec] of [
    ['container (busybox)', { ...containers.spec, ...share }],
    ['microVM (busybox)', { ...machines.spec('microvm'), ...share }],
    ['vm (tiny, qemu driver)', { ...machines.spec('qemu'), ...share }],
    ['vm (tiny, libvirt driver)', { ...machines.spec('libvirt'), ...share }],
  ]) {
    const names = Array.from({ length: more + 1 }, (_, i) => `bench-d${i}`);
    const made = [];
    try {
      // The first one brings what all share.
      await berth.create(names[0], spec);
      made.push(names[0]);
      await pause(3000);
      const before = await used(berth);
      const times = [];
      for (const name of names.slice(1)) {
        const begun = now();
        await berth.create(name, spec);
        made.push(name);
        times.push(now() - begun);
      }
      await pause(5000);
      const after = await used(berth);
      const each = (key) => (after[key] - before[key]) / more;
      rows.push({ what, startMs: median(times), memoryMiB: each('memoryMiB'), diskKiB: each('diskKiB') });
      progress(`${what}: ${more} more`);
    } finally {
      for (const name of made) await berth.delete(name);
    }
  }
  return { density: { more, rows } };
}

/** Of the whole machine: what is not available, and what the pool's folder takes. */
async function used({ root }) {
  const info = readFileSync('/proc/meminfo', 'utf8');
  const kib = (key) => Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(info)[1]);
  const disk = Number((await run('du', ['-sk', join(root, 'var/lib/berth/volumes')])).split(/\s/)[0]);
  return { memoryMiB: (kib('MemTotal') - kib('MemAvailable')) / 1024, diskKiB: disk };
}

// A thousand containers on this host (`--count`), with a Berth of its own that may book so many.
import { join } from 'node:path';
import { Berth } from '../berth.mjs';
import { crowd, diskMiB } from '../crowd.mjs';
import { median, percentile } from '../measure.mjs';

const atOnce = 8;
const idleMs = 30_000;

export async function crowded({ archive, count, limitMs, progress }) {
  // What is measured are processes and not what the scheduler would let on this host.
  const berth = await Berth.make({
    BERTH_AGENT_RUNTIME: 'oci',
    BERTH_CAPACITY_CPU_MILLIS: String(10 * (count + 1)),
    BERTH_CAPACITY_MEMORY_MIB: String(8 * (count + 1)),
    BERTH_CAPACITY_DISK_MIB: String(diskMiB * (count + 1)),
  });
  try {
    await berth.up();
    await berth.image('busybox', 'oci', archive);
    const cidr = berth.env.BERTH_NETWORK_SUPERNET.replace('.0.0/16', '.16.0/20');
    await berth.call('POST', '/v1/projects/default/networks', { name: 'crowd', cidr });
    const o = { count, atOnce, network: 'crowd', patienceMs: 120_000, idleMs, limitMs, progress };
    return { facts: facts(await crowd(berth, o), count) };
  } finally {
    await berth.remove().catch((error) => progress(`${join(berth.root)} is left: ${error.message}`));
  }
}

function facts({ times, starting, ending, idle, before, full, after }, count) {
  const ms = (n) => `${n.toFixed(0)} ms`;
  const rate = (took) => ((count * 1000) / took).toFixed(1);
  const each = (key) => ((full.memoryKiB[key] - before.memoryKiB[key]) / count).toFixed(0);
  const disk = (full.diskKiB - before.diskKiB) / count;
  const share = ((disk / 1024 / diskMiB) * 100).toFixed(2);
  const used = Object.entries(idle).map(([name, millis]) => `${name} ${millis.toFixed(0)}`);
  return [
    [`${count} containers, ${atOnce} at once: all ran, answered as themselves, went, and left`, 'nothing'],
    ['started a second; ended a second', `${rate(starting)}; ${rate(ending)}`],
    [
      'POST to running, p50 and p99; of the last hundred, p50',
      [median(times), percentile(times, 0.99), median(times.slice(-100))].map(ms).join(', '),
    ],
    ['while they idle, thousandths of a processor', used.join(', ')],
    [
      'memory for each (PSS), KiB: its monitor, the agent, the API',
      ['monitors', 'agent', 'api'].map(each).join(', '),
    ],
    ['disk for each beyond the image, and of what it may fill', `${disk.toFixed(0)} KiB, ${share} %`],
    ['descriptors of the agent, before and after', `${before.descriptors}, ${after.descriptors}`],
  ];
}

import assert from 'node:assert/strict';
import type { SnapshotTaken } from '@berth/model';
import { keyText, type Runtime, type SnapshotFacet, type WorkloadKey } from '../runtime.js';
import type { SimulatedHost } from '../simulated-host.js';
import type { Twist } from './misbehaviours.js';

const runs = (host: SimulatedHost, key: WorkloadKey): boolean =>
  typeof host.state.workloads[keyText(key)]?.pid === 'number';
const ended = (host: SimulatedHost, key: WorkloadKey): boolean =>
  (host.state.workloads[keyText(key)]?.exit ?? null) !== null;

function takenBy(rt: Runtime, ...args: Parameters<SnapshotFacet['take']>): Promise<SnapshotTaken> {
  assert.ok(rt.snapshots);
  return rt.snapshots.take(...args);
}

function twisted(rt: Runtime, twist: Partial<SnapshotFacet>): SnapshotFacet {
  assert.ok(rt.snapshots);
  return { ...rt.snapshots, ...twist };
}

/** For each promise of snapshots a way to break it. */
export const snapshotMisbehaviours: Readonly<Record<string, Twist>> = {
  'a snapshot of what was shut down says filesystem, and brings its disk back as often as it is asked': (
    rt,
    _host,
    known,
  ) => ({
    snapshots: twisted(rt, {
      revert: async (of, ctx) => {
        if (known.has(of.snapshotId)) await rt.snapshots?.remove(of, ctx);
        known.add(of.snapshotId);
        await rt.snapshots?.revert(of, ctx);
      },
    }),
  }),
  'a snapshot of what runs takes all its disks and does not end it, and says crash where no agent answers': (
    rt,
  ) => ({
    snapshots: twisted(rt, {
      take: async (of, ctx) => ({ ...(await takenBy(rt, of, ctx)), consistency: 'application' }),
    }),
  }),
  'a snapshot that is taken twice is one, and is told in the same words by a later life of the agent': (
    rt,
    host,
  ) => ({
    snapshots: twisted(rt, {
      take: async (of, ctx) => {
        const said = await takenBy(rt, of, ctx);
        return runs(host, of) ? said : { ...said, consistency: 'filesystem' };
      },
    }),
  }),
  'what crashed, and what is suspended, is taken as it is: crash': (rt, host) => ({
    snapshots: twisted(rt, {
      take: async (of, ctx) => {
        const said = await takenBy(rt, of, ctx);
        return ended(host, of) ? { ...said, consistency: 'filesystem' } : said;
      },
    }),
  }),
  'a snapshot is let go of while its workload runs and while it does not, twice is once, and its disks stay':
    (rt, host) => ({
      snapshots: twisted(rt, {
        remove: async (of, ctx) => {
          if (!runs(host, of)) await rt.snapshots?.remove(of, ctx);
        },
      }),
    }),
  'what runs, or is suspended, is not reverted': (rt, host) => ({
    snapshots: twisted(rt, {
      revert: async (of, ctx) => {
        if (runs(host, of)) await rt.snapshots?.revert(of, ctx);
      },
    }),
  }),
  'a snapshot of a disk that the workload does not have is refused, and nothing of it is left': (rt) => ({
    snapshots: twisted(rt, {
      take: (of, ctx) => takenBy(rt, { ...of, volumes: of.volumes.slice(0, 1) }, ctx),
    }),
  }),
  'a snapshot with memory goes on from there as often as it is asked, in another epoch and with its disks as they were':
    (rt) => ({
      // Its disks alone come back.
      snapshots: twisted(rt, { take: ({ memory: _, ...of }, ctx) => takenBy(rt, of, ctx) }),
    }),
  'memory is not taken of what does not run or stands still, nor brought back to another machine': (rt) => ({
    // As it was, whatever is asked for.
    start: (spec, ctx) => rt.start({ ...spec, memoryMiB: 32 }, ctx),
  }),
  'what begins as a snapshot has its disks as they were, and they are its own, whatever becomes of the other ones':
    (rt, host) => ({
      prepare: async (spec, ctx) => {
        const { source, id } = spec.rootVolume;
        const made = host.state.disks[id] !== undefined;
        await rt.prepare(spec, ctx);
        // As the disk is by now.
        if (source !== undefined && !made) host.state.disks[id] = host.state.disks[source.volumeId] ?? 0;
      },
    }),
  'what is to begin as a snapshot that is not there is refused, and no disk is made': (rt) => ({
    prepare: ({ rootVolume: { source: _, ...rootVolume }, ...spec }, ctx) =>
      rt.prepare({ ...spec, rootVolume }, ctx),
  }),
};

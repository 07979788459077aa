import type { SnapshotTaken } from '@berth/model';
import { RuntimeError, keyText, type SnapshotFacet, type SnapshotOf } from './runtime.js';
import { hasAgent, type SimulatedHost, type SimulatedWorkload } from './simulated-host.js';

/** Snapshots of simulated disks: of their start counters. */
export function simulatedSnapshots(host: SimulatedHost): SnapshotFacet {
  const { state } = host;
  const workload = (of: SnapshotOf): SimulatedWorkload | undefined => state.workloads[keyText(of)];
  return {
    take: async (of, ctx) => {
      ctx.signal.throwIfAborted();
      await Promise.resolve();
      const known = state.snapshots[of.snapshotId];
      if (known !== undefined) return known.taken;
      const w = workload(of);
      const lacking = of.volumes.find((id) => state.disks[id] === undefined);
      if (lacking !== undefined)
        throw new RuntimeError('notPrepared', `the machine does not have volume ${lacking} yet`);
      const taken = takenOf(w, host.options.now());
      const disks = Object.fromEntries(of.volumes.map((id) => [id, state.disks[id] ?? 0]));
      state.snapshots[of.snapshotId] = { disks, taken };
      host.changed(null);
      return taken;
    },
    revert: async (of, ctx) => {
      ctx.signal.throwIfAborted();
      await Promise.resolve();
      const w = workload(of);
      if (w !== undefined && (w.pid !== null || w.suspended === true))
        throw new RuntimeError('notPrepared', 'it runs, or is suspended', { remedy: 'Stop it first.' });
      const known = state.snapshots[of.snapshotId];
      if (known === undefined) throw new RuntimeError('noSuchSnapshot', 'there is no such snapshot');
      Object.assign(state.disks, known.disks);
      host.changed(null);
    },
    remove: async (of, ctx) => {
      ctx.signal.throwIfAborted();
      await Promise.resolve();
      delete state.snapshots[of.snapshotId];
      host.changed(null);
    },
  };
}

function takenOf(w: SimulatedWorkload | undefined, now: Date): SnapshotTaken {
  const runs = w !== undefined && w.pid !== null;
  const closed = w?.exit?.reason === 'stopped' || w?.exit?.reason === 'guestShutdown';
  const frozen = runs && w.paused !== true && hasAgent(w);
  const consistency = frozen ? 'application' : !runs && closed ? 'filesystem' : 'crash';
  const indications = [frozen ? 'its guest agent froze 1 file system' : runs ? 'it ran' : 'it did not run'];
  return { consistency, indications, takenAt: now.toISOString(), heldMiB: 1 };
}

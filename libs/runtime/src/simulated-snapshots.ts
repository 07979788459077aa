import type { SnapshotTaken } from '@berth/model';
import { RuntimeError, keyText, type SnapshotFacet, type SnapshotOf } from './runtime.js';
import { hasAgent, refuseTpmLost, type SimulatedHost, type SimulatedWorkload } from './simulated-host.js';

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
      if (of.memory === true && (w === undefined || w.pid === null || w.paused === true || w.frozen === true))
        throw new RuntimeError('notPrepared', 'there is no memory to take of what does not run', {
          remedy: 'start it first, or take its disks alone',
        });
      if (of.memory === true && w !== undefined) refuseTpmLost(w);
      const taken = of.memory === true ? exact(w, host.options.now()) : takenOf(w, host.options.now());
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
      const [root] = of.volumes;
      if (root !== undefined) {
        const { memory } = known.taken;
        if (memory === undefined) delete state.memories[root];
        else state.memories[root] = memory.machine.bootMiB;
      }
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

/** Of one that stood still for it. */
function exact(w: SimulatedWorkload | undefined, now: Date): SnapshotTaken {
  const machine = {
    driver: 'simulated',
    accel: 'tcg',
    vcpus: w?.spec.vcpus ?? 1,
    bootMiB: w?.spec.memoryMiB ?? 1,
    plugMiB: 0,
    requestedMiB: 0,
    cpuModel: null,
    firmware: 'bios',
    tpm: false,
    hugePages: null,
    numaNodes: w?.spec.numa?.nodes ?? 1,
    vsock: w?.spec.vsock === true,
    watchdog: null,
    usbTablet: null,
    displays: null,
    cdroms: [] as never[],
    mostVcpus: null,
    nics: (w?.spec.nics ?? []).map(({ id, mac }) => ({ id, mac })),
  } as const;
  return {
    consistency: 'exact',
    indications: ['its memory was taken with it'],
    takenAt: now.toISOString(),
    heldMiB: 2,
    memory: { sizeMiB: 1, stoodStillMs: 1, machine: { ...machine, nics: [...machine.nics] } },
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

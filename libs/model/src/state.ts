import { z } from 'zod';
import type { Desired, InstanceState, Phase, Power } from './instance.js';

/*
 * The life of an instance as a user sees it. The table is the only place that says which change is legal;
 * docs/states.md is generated from it.
 *
 *            +-> error
 *   pending -+-> provisioning -> starting -> running <-> pausing/paused/resuming
 *      ^                                       |
 *      +------------- stopped <- stopping <----+        any -> unknown (host silent) -> back on report
 *                                                       any -> deleting -> (gone)
 */
export const transitions: Readonly<Record<InstanceState, readonly InstanceState[]>> = {
  pending: [
    'suspended',
    'provisioning',
    'starting',
    'stopped',
    'stopping',
    'deleting',
    'error',
    'unknown',
    'running',
  ],
  provisioning: [
    'restoring',
    'suspended',
    'suspending',
    'paused',
    'pausing',
    'resuming',
    'starting',
    'running',
    'stopping',
    'stopped',
    'pending',
    'deleting',
    'error',
    'unknown',
  ],
  starting: [
    'restoring',
    'suspended',
    'suspending',
    'pausing',
    'resuming',
    'running',
    'stopping',
    'stopped',
    'pending',
    'deleting',
    'error',
    'unknown',
    'paused',
    'provisioning',
  ],
  running: [
    'restoring',
    'suspended',
    'resuming',
    'stopping',
    'stopped',
    'starting',
    'pausing',
    'paused',
    'suspending',
    'migrating',
    'deleting',
    'error',
    'unknown',
    'pending',
    'provisioning',
  ],
  pausing: [
    'restoring',
    'suspending',
    'paused',
    'running',
    'stopping',
    'stopped',
    'deleting',
    'error',
    'unknown',
  ],
  paused: [
    'restoring',
    'suspending',
    'pausing',
    'resuming',
    'running',
    'stopping',
    'stopped',
    'deleting',
    'error',
    'unknown',
  ],
  resuming: [
    'restoring',
    'suspending',
    'running',
    'paused',
    'stopping',
    'stopped',
    'deleting',
    'error',
    'unknown',
  ],
  suspending: [
    'paused',
    'pausing',
    'resuming',
    'stopping',
    'suspended',
    'running',
    'stopped',
    'deleting',
    'error',
    'unknown',
  ],
  suspended: [
    'running',
    'suspending',
    'pending',
    'restoring',
    'starting',
    'stopped',
    'stopping',
    'deleting',
    'error',
    'unknown',
  ],
  restoring: [
    'paused',
    'pausing',
    'resuming',
    'stopping',
    'running',
    'suspended',
    'stopped',
    'deleting',
    'error',
    'unknown',
  ],
  migrating: ['running', 'stopping', 'stopped', 'deleting', 'error', 'unknown'],
  stopping: [
    'restoring',
    'suspending',
    'paused',
    'pausing',
    'resuming',
    'suspended',
    'stopped',
    'running',
    'starting',
    'pending',
    'provisioning',
    'deleting',
    'error',
    'unknown',
  ],
  stopped: [
    'suspended',
    'pending',
    'provisioning',
    'starting',
    'running',
    'restoring',
    'stopping',
    'deleting',
    'error',
    'unknown',
  ],
  error: ['pending', 'provisioning', 'starting', 'running', 'stopping', 'stopped', 'deleting', 'unknown'],
  unknown: [
    'restoring',
    'suspending',
    'pausing',
    'resuming',
    'pending',
    'provisioning',
    'starting',
    'running',
    'paused',
    'suspended',
    'stopping',
    'stopped',
    'deleting',
    'error',
  ],
  deleting: [],
};

/** Thrown when a change of state is not in {@link transitions}. */
export class IllegalTransition extends Error {
  constructor(
    readonly from: InstanceState,
    readonly to: InstanceState,
  ) {
    super(`an instance cannot go from ${from} to ${to}`);
    this.name = 'IllegalTransition';
  }
}

/** The next state, if the table allows it. @throws IllegalTransition */
export function transition(from: InstanceState, to: InstanceState): InstanceState {
  if (from !== to && !transitions[from].includes(to)) throw new IllegalTransition(from, to);
  return to;
}

/** What an instance's state is derived from; nothing else may influence it. */
export interface StateInputs {
  readonly desired: Desired;
  readonly deleting: boolean;
  readonly runGeneration: number;
  /** The newest owner placement, or null when there is none. */
  readonly placement: {
    readonly phase: Phase;
    readonly power: Power;
    /** runGeneration this placement was made for. */
    readonly runGeneration: number;
    readonly hostSilent: boolean;
    readonly failed: boolean;
    /** It ran before in this epoch and is coming back by its restart policy: `running` with condition Restarting. */
    readonly restarting?: boolean;
    /** Its host paused it, and holds it. */
    readonly held?: boolean;
  } | null;
}

/** The one place where `status.state` comes from. Pure. */
export function deriveState(i: StateInputs): InstanceState {
  if (i.deleting) return 'deleting';
  const p = i.placement;
  const wantsRun = i.desired === 'running' || i.desired === 'paused';
  if (p === null) return wantsRun ? 'pending' : 'stopped';
  if (p.phase !== 'ended' && p.hostSilent) return 'unknown';
  if (p.phase === 'ended') {
    if (wantsRun && i.runGeneration > p.runGeneration) return 'pending';
    return p.failed ? 'error' : 'stopped';
  }
  // A newer runGeneration ends this epoch first, then a new one is placed.
  if (i.desired === 'stopped' || i.runGeneration > p.runGeneration) return 'stopping';
  if (p.restarting === true && p.phase !== 'running' && p.phase !== 'stopping') return 'running';
  switch (p.phase) {
    case 'assigned':
    case 'preparing':
      return 'provisioning';
    case 'starting':
      return 'starting';
    case 'running':
      return runningState(i.desired, p);
    case 'stopping':
      return 'stopping';
  }
}

/** Of an epoch that is up, or whose memory is on disk. */
function runningState(
  desired: Desired,
  { power, held }: NonNullable<StateInputs['placement']>,
): InstanceState {
  if (power === 'suspended') return desired === 'suspended' ? 'suspended' : 'restoring';
  if (desired === 'suspended') return 'suspending';
  if (power === 'paused') return desired === 'paused' || held === true ? 'paused' : 'resuming';
  return desired === 'paused' ? 'pausing' : 'running';
}

/** States that must name an operation and a deadline. */
export const transitionalStates = z.enum([
  'provisioning',
  'starting',
  'stopping',
  'pausing',
  'resuming',
  'suspending',
  'migrating',
  'restoring',
  'deleting',
]).options;

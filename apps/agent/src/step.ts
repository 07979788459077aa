import type { ExitInfo, Power, RestartPolicy } from '@berth/model';

/*
 * What a worker does next, as a pure function of what is wanted and what is seen. The worker performs the action,
 * looks again and asks again; whatever happens in between (a crash of the agent, of the workload or of the host), the
 * next question starts from facts.
 *
 *    lower epoch -> refuse          removed -> remove
 *    ended       -> none            stopped -> stop -> end
 *    running     -> clearPredecessors -> fetchImage -> prepare -> start -> none
 *                     ^                                             |
 *                     +------- beginRun (run + 1, after back-off) <-+ run ended, policy says restart; else end
 *                  and while it runs: update, when its spec changed; what is to go into a drive comes by fetchImage before, and by
 *                      another update, and the rest of the change does not wait for it
 *                  and when its probes say so: endUnhealthy, and as after any other end
 *    suspended   -> as running, then suspend -> none; from there to running again by fetchImage, prepare, start
 */

export interface Wanted {
  readonly epoch: number;
  readonly power: 'running' | 'paused' | 'suspended' | 'stopped';
  /** A tombstone names this epoch. */
  readonly removed: boolean;
  readonly restart: RestartPolicy;
}

export interface Observed {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Highest epoch of the instance this host ever knew. */
  readonly highestEpoch: number;
  /** Lower epochs of the instance on this host: `alive` runs or may run, `ended` has left-overs, `none`. */
  readonly predecessors: 'none' | 'ended' | 'alive';
  /** The epoch is over for good; the journal says so. */
  readonly ended: boolean;
  /** Number of the current run, from 1. */
  readonly run: number;
  /** Null until the runtime was asked what it holds: nothing may be done on a guess. */
  readonly power: Power | null;
  /** How the current run ended; null while it has not. */
  readonly exit: ExitInfo | null;
  readonly imagePresent: boolean;
  /** `prepare` succeeded for this run in this life of the agent. */
  readonly prepared: boolean;
  /** Crash restarts in a row. */
  readonly restarts: number;
  /** No attempt before this time; null when the last one worked. */
  readonly retryAt: number | null;
  /** A failure that no repeat can mend. */
  readonly fatal: string | null;
  readonly canPause: boolean;
  readonly canSuspend: boolean;
  /** The runtime paused it, and holds it. */
  readonly held: boolean;
  /** Something of its spec is not in effect, and may be put into effect while it runs. */
  readonly behind: boolean;
  /** That is so of more than what is in its drives. */
  readonly behindBeside: boolean;
  /** Its probes say that it is to be ended, and started again. */
  readonly unhealthy: boolean;
  /** When what its workload did not take of that is offered to it again; null when it took all. */
  readonly offerAt: number | null;
}

export type Action =
  | { readonly kind: 'none' }
  | { readonly kind: 'wait'; readonly until: number | null }
  | { readonly kind: 'refuse'; readonly highest: number }
  | { readonly kind: 'clearPredecessors' }
  | { readonly kind: 'fetchImage' }
  | { readonly kind: 'prepare' }
  | { readonly kind: 'beginRun'; readonly run: number; readonly restarts: number }
  | { readonly kind: 'start' }
  | { readonly kind: 'pause' }
  | { readonly kind: 'resume' }
  | { readonly kind: 'update' }
  | { readonly kind: 'suspend' }
  | { readonly kind: 'stop' }
  | { readonly kind: 'endUnhealthy' }
  | { readonly kind: 'end'; readonly exit: Omit<ExitInfo, 'at'> | null }
  | { readonly kind: 'remove' };

const none: Action = { kind: 'none' };
/** Of an epoch that is up, or whose memory is on disk. */
export const runs = (power: Power | null): boolean =>
  power === 'running' || power === 'paused' || power === 'suspended';

export function step(wanted: Wanted, seen: Observed): Action {
  if (seen.power === null) return { kind: 'wait', until: null };
  if (wanted.removed) return later(seen) ?? { kind: 'remove' };
  if (seen.ended) return none;
  // A higher epoch on this host supersedes this one: it may only be brought to its end.
  const superseded = wanted.epoch < seen.highestEpoch;
  if (superseded && !runs(seen.power) && seen.exit === null && !seen.prepared)
    return { kind: 'refuse', highest: seen.highestEpoch };
  if (wanted.power === 'stopped' || superseded) return stopping(seen);
  if (runs(seen.power)) return powered(wanted, seen);
  if (seen.fatal !== null)
    return { kind: 'end', exit: { reason: 'startFailed', message: seen.fatal.slice(0, 1000) } };
  if (seen.exit !== null) return afterExit(wanted, seen, seen.exit);
  return starting(seen);
}

function later(seen: Observed): Action | null {
  return seen.retryAt !== null && seen.retryAt > seen.now ? { kind: 'wait', until: seen.retryAt } : null;
}

function stopping(seen: Observed): Action {
  if (runs(seen.power)) return later(seen) ?? { kind: 'stop' };
  return { kind: 'end', exit: seen.exit === null ? { reason: 'stopped' } : null };
}

function powered(wanted: Wanted, seen: Observed): Action {
  if (seen.power === 'suspended') return wanted.power === 'suspended' ? none : starting(seen);
  if (seen.unhealthy) return later(seen) ?? { kind: 'endUnhealthy' };
  if (wanted.power === 'suspended') return seen.canSuspend ? (later(seen) ?? { kind: 'suspend' }) : none;
  // A pause is told to the runtime also while it holds the workload: it must not let it go on then.
  if (wanted.power === 'paused' && (seen.power === 'running' || seen.held) && seen.canPause)
    return later(seen) ?? { kind: 'pause' };
  if (wanted.power === 'running' && seen.power === 'paused' && !seen.held && seen.canPause)
    return later(seen) ?? { kind: 'resume' };
  if (seen.behind) return updating(seen);
  if (seen.offerAt === null) return none;
  return seen.offerAt > seen.now ? { kind: 'wait', until: seen.offerAt } : updating(seen);
}

function updating(seen: Observed): Action {
  return later(seen) ?? { kind: seen.imagePresent || seen.behindBeside ? 'update' : 'fetchImage' };
}

function starting(seen: Observed): Action {
  const held = later(seen);
  if (held !== null) return held;
  if (seen.predecessors === 'alive') return { kind: 'wait', until: null };
  if (seen.predecessors === 'ended') return { kind: 'clearPredecessors' };
  if (!seen.imagePresent) return { kind: 'fetchImage' };
  if (!seen.prepared) return { kind: 'prepare' };
  return { kind: 'start' };
}

function afterExit(wanted: Wanted, seen: Observed, exit: ExitInfo): Action {
  if (!restartsAfter(wanted.restart, exit)) return { kind: 'end', exit: null };
  // The host went down under it: that is no crash of the workload and costs no back-off.
  if (exit.reason === 'hostBoot') return { kind: 'beginRun', run: seen.run + 1, restarts: 0 };
  const until = restartAt(wanted.restart, seen.restarts, exit);
  if (until > seen.now) return { kind: 'wait', until };
  return { kind: 'beginRun', run: seen.run + 1, restarts: seen.restarts + 1 };
}

/** Whether a run that ended so is followed by another one of the same epoch. */
export function restartsAfter(restart: RestartPolicy, exit: ExitInfo): boolean {
  switch (exit.reason) {
    case 'hostBoot':
      return true;
    case 'stopped':
    case 'startFailed':
      return false;
    case 'exited':
      return restart.policy === 'always' || (restart.policy === 'onFailure' && exit.code !== 0);
    case 'guestShutdown':
      return restart.policy === 'always';
    default:
      return restart.policy !== 'never';
  }
}

/** When the next run may begin: the back-off doubles with each crash in a row. Milliseconds since the epoch. */
export function restartAt(restart: RestartPolicy, restarts: number, exit: ExitInfo): number {
  const seconds = Math.min(restart.maxBackoffSeconds, restart.backoffSeconds * 2 ** Math.min(restarts, 30));
  return Date.parse(exit.at) + seconds * 1000;
}

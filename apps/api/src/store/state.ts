import type {
  Condition,
  Desired,
  ExitInfo,
  InstanceState,
  Operation,
  Phase,
  Power,
  ProjectId,
} from '@berth/model';
import {
  deriveState,
  isHolding,
  restartRequiredType,
  tpmLostType,
  transition,
  transitionalStates,
  troublesOf,
} from '@berth/model';
import type { RequestContext } from './context.js';
import type { Tx } from './db.js';
import { eventsWrite, instanceObject } from './events.js';
import type { OperationEnd } from './operations.js';
import { operationEnd } from './operations.js';

/** What the state of an instance is derived from, as stored. Aliases keep the two tables apart. */
interface Inputs {
  id: string;
  project_id: ProjectId;
  name: string;
  desired: Desired;
  deleting: boolean;
  run_generation: number;
  state: InstanceState;
  reason: string | null;
  conditions: Condition[];
  owner_epoch: number | null;
  operation_id: string | null;
  op_kind: Operation['kind'] | null;
  op_open: boolean;
  epoch: number | null;
  phase: Phase;
  power: Power;
  p_run: number;
  p_generation: number;
  exit: ExitInfo | null;
  p_conditions: Omit<Condition, 'since'>[];
  ran: boolean;
  host: string;
  silent_since: Date | null;
  waiting_for: string | null;
}

/** Locks the instance: every writer that changes an input of its state takes this lock first. */
export async function instanceLock(tx: Tx, instanceId: string): Promise<boolean> {
  return (await tx.row(`SELECT 1 FROM instances WHERE id = $1 FOR UPDATE`, [instanceId])) !== null;
}

/**
 * The only writer of state, reason, conditions, owner_epoch and operation_id. Call it last in a transaction that
 * changed an input, with the instance locked. Also settles the operation that owns the instance.
 * `touched`: the caller changed other columns, so resource_version moves in any case.
 */
export async function stateRefresh(
  tx: Tx,
  ctx: RequestContext,
  instanceId: string,
  touched = false,
): Promise<InstanceState> {
  const i = await inputsRead(tx, instanceId);
  const failed = i.exit !== null && isFailure(i.exit);
  const restarting = i.epoch !== null && i.ran && i.phase !== 'ended' && isRestarting(i);
  const next = deriveState({
    desired: i.desired,
    deleting: i.deleting,
    runGeneration: i.run_generation,
    placement:
      i.epoch === null
        ? null
        : {
            phase: i.phase,
            power: i.power,
            runGeneration: i.p_generation,
            hostSilent: i.silent_since !== null,
            // What the user asked to end has not failed, however it ended.
            failed: failed && i.desired !== 'stopped',
            restarting,
            held: i.p_conditions.some(isHolding),
          },
  });
  transition(i.state, next);
  const conditions = conditionsOf(tx, i, restarting);
  const reason = reasonOf(i, next, conditions);
  const ended = i.op_open && i.operation_id !== null ? settlement(i, next) : null;
  if (ended !== null && i.operation_id !== null) await operationEnd(tx, ctx, i.operation_id, ended);
  // A transitional state keeps naming the operation that brought it, also after its deadline failed it.
  const operationId =
    (i.op_open && ended === null) || transitionalStates.includes(next as never) ? i.operation_id : null;
  const changed =
    next !== i.state ||
    reason !== i.reason ||
    operationId !== i.operation_id ||
    i.epoch !== i.owner_epoch ||
    JSON.stringify(conditions) !== JSON.stringify(i.conditions);
  if (changed || touched)
    await tx.changed(
      `UPDATE instances SET state = $2, reason = $3, conditions = $4, owner_epoch = $5, operation_id = $6,
         deadline = (SELECT deadline FROM operations WHERE id = $6 AND state IN ('pending', 'running')),
         resource_version = resource_version + 1, updated_at = $7 WHERE id = $1`,
      [i.id, next, reason, JSON.stringify(conditions), i.epoch, operationId, tx.now],
    );
  if (next !== i.state)
    await eventsWrite(tx, ctx, [
      {
        class: 'lifecycle',
        type: 'instance.stateChanged',
        projectId: i.project_id,
        object: instanceObject(i),
        operationId: i.operation_id,
        data: { from: i.state, to: next, reason, epoch: i.epoch, host: i.epoch === null ? null : i.host },
      },
    ]);
  else if (changed)
    // What is shown beside the state changed: why it waits, or a condition came or went.
    await eventsWrite(tx, ctx, [
      {
        class: 'observation',
        type: 'instance.statusChanged',
        projectId: i.project_id,
        object: instanceObject(i),
        data: { reason, conditions: conditions.map((c) => c.type) },
      },
    ]);
  return next;
}

async function inputsRead(tx: Tx, instanceId: string): Promise<Inputs> {
  const row = await tx.row<Inputs>(
    `SELECT i.id, i.project_id, i.name, i.desired, i.deleting_since IS NOT NULL AS deleting, i.run_generation, i.state, i.reason,
       i.conditions, i.owner_epoch, i.operation_id, o.kind AS op_kind, coalesce(o.state IN ('pending', 'running'), false) AS op_open,
       p.epoch, p.phase, p.power, p.run AS p_run, p.run_generation AS p_generation, p.exit, p.conditions AS p_conditions,
       p.first_running_at IS NOT NULL AS ran, h.name AS host, h.silent_since, d.body->>'summary' AS waiting_for
     FROM instances i
     LEFT JOIN operations o ON o.id = i.operation_id
     LEFT JOIN LATERAL (
       -- A withdrawn or refused placement never ran: it says nothing about the instance.
       SELECT * FROM placements WHERE instance_id = i.id AND role = 'owner' AND coalesce(closed_by, '') NOT IN ('withdrawn', 'refused')
       ORDER BY epoch DESC LIMIT 1
     ) p ON true
     LEFT JOIN hosts h ON h.id = p.host_id
     LEFT JOIN decisions d ON d.id = i.decision_id AND d.outcome = 'unplaced'
     WHERE i.id = $1`,
    [instanceId],
  );
  if (row === null) throw new Error(`instance ${instanceId} is missing`);
  return row;
}

/** Whether an end is a failure of the workload or of its start, rather than its own or the user's wish. */
export function isFailure(exit: ExitInfo): boolean {
  switch (exit.reason) {
    case 'startFailed':
    case 'oomKilled':
    case 'guestCrash':
    case 'hypervisorCrash':
    case 'watchdog':
    case 'unhealthy':
    case 'lost':
    case 'signalled':
      return true;
    case 'exited':
      return (exit.code ?? 0) !== 0;
    case 'guestShutdown':
    case 'stopped':
    case 'killed':
    case 'hostBoot':
      return false;
  }
}

function isRestarting(i: Inputs): boolean {
  return (
    i.phase === 'assigned' ||
    i.phase === 'preparing' ||
    i.phase === 'starting' ||
    (i.phase === 'running' && (i.power === 'off' || i.power === 'crashed'))
  );
}

function conditionsOf(tx: Tx, i: Inputs, restarting: boolean): Condition[] {
  const wanted: Omit<Condition, 'since'>[] =
    i.epoch === null || i.phase === 'ended' ? [] : [...i.p_conditions];
  if (restarting && !wanted.some((c) => c.type === 'Restarting'))
    wanted.push({
      type: 'Restarting',
      reason: 'RestartPolicy',
      message: `run ${i.p_run} is coming up after the run before it ended`,
    });
  if (i.epoch !== null && i.phase !== 'ended' && i.silent_since !== null)
    wanted.push({
      type: 'HostUnreachable',
      reason: 'HostSilent',
      message: `host ${i.host} has not reported since ${i.silent_since.toISOString()}`,
      remedy: 'bring the host back, or record a fence for it; until then nothing is started elsewhere',
    });
  return wanted.map((c) => {
    const before = i.conditions.find((b) => b.type === c.type && b.reason === c.reason);
    return { ...c, since: before?.since ?? tx.now.toISOString() };
  });
}

/** Reason of `pending` before the first decision. */
export const waitsForScheduler = 'waits for the scheduler';

/** Why the instance is in this state, and in a transitional one, what keeps it there. */
function reasonOf(i: Inputs, next: InstanceState, conditions: readonly Condition[]): string | null {
  switch (next) {
    case 'pending':
      return i.waiting_for ?? waitsForScheduler;
    case 'unknown':
      return `host ${i.host} is silent; what runs there is not known`;
    case 'error':
    case 'stopped':
      return i.exit === null ? null : exitText(i.exit);
    case 'paused':
      return conditions.find(isHolding)?.message ?? null;
    default:
      return transitionalStates.includes(next as never) ? obstacleOf(conditions) : null;
  }
}

/** What keeps nobody from reaching what is wanted. */
const unhindering: ReadonlySet<string> = new Set([restartRequiredType, tpmLostType]);

/** A host that is not heard outweighs what it said before. */
function obstacleOf(conditions: readonly Condition[]): string | null {
  const obstacles = troublesOf(conditions).filter(({ type }) => !unhindering.has(type));
  return (conditions.find((c) => c.type === 'HostUnreachable') ?? obstacles[0])?.message ?? null;
}

function exitText(exit: ExitInfo): string {
  const detail =
    exit.code !== undefined
      ? ` with code ${exit.code}`
      : exit.signal !== undefined
        ? ` by ${exit.signal}`
        : '';
  return `${exit.reason}${detail}${exit.message === undefined ? '' : `: ${exit.message}`}`;
}

/** How the operation under way ends, seen from the state just derived; null while it goes on. */
function settlement(i: Inputs, next: InstanceState): OperationEnd | null {
  const done: OperationEnd = { state: 'succeeded' };
  switch (i.op_kind) {
    case 'create':
    case 'start':
    case 'restart':
    case 'rebuild':
    case 'resume':
      if (next === i.desired || next === 'stopped') return done;
      if (next !== 'error') return null;
      // The error of an older run is not this operation's.
      return i.p_generation < i.run_generation
        ? null
        : {
            state: 'failed',
            error: { code: 'startFailed', message: reasonOf(i, next, []) ?? 'the workload failed' },
          };
    case 'pause':
    case 'suspend': {
      const asked = i.op_kind === 'pause' ? 'paused' : 'suspended';
      if (next === asked) return done;
      return next === 'stopped' || next === 'error'
        ? {
            state: 'failed',
            error: { code: 'stateConflict', message: `the workload ended before it could be ${asked}` },
          }
        : null;
    }
    case 'stop':
      return next === 'stopped' ? done : null;
    default:
      return null;
  }
}

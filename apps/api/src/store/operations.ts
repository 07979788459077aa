import type { FieldError, Operation, OperationId, ProjectId } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { eventsWrite } from './events.js';
import { keyCommit } from './keyed.js';
import { cursorRead, limitOf, pageOf } from './paging.js';
import type { Page, PageRequest } from './rows.js';

/*
 *   pending -> running -> succeeded | failed | cancelled | superseded
 * States move only forward: every writer is guarded by "not finished".
 */

export interface OperationRow {
  id: string;
  project_id: string;
  project: string;
  kind: Operation['kind'];
  target_kind: Operation['target']['kind'];
  target_id: string;
  target_name: string;
  actor: string;
  trace_id: string;
  state: Operation['state'];
  steps: Operation['steps'];
  progress: number;
  deadline: Date | null;
  error: Operation['error'];
  created_at: Date;
  finished_at: Date | null;
}
const select = `SELECT o.*, p.name AS project FROM operations o JOIN projects p ON p.id = o.project_id`;

export function toOperation(row: OperationRow): Operation {
  return {
    id: row.id as OperationId,
    project: row.project,
    kind: row.kind,
    target: { kind: row.target_kind, id: row.target_id, name: row.target_name },
    actor: row.actor,
    traceId: row.trace_id,
    state: row.state,
    steps: row.steps,
    progress: row.progress,
    deadline: row.deadline?.toISOString() ?? null,
    error: row.error,
    createdAt: row.created_at.toISOString(),
    finishedAt: row.finished_at?.toISOString() ?? null,
  };
}

export interface OperationDraft {
  readonly projectId: ProjectId;
  readonly kind: Operation['kind'];
  readonly target: Operation['target'];
  readonly deadlineSeconds: number;
  readonly state: Operation['state'];
}

/** Also ties the request's Idempotency-Key to the operation, in the same transaction. */
export async function operationWrite(
  tx: Tx,
  ctx: RequestContext,
  draft: OperationDraft,
): Promise<OperationId> {
  const id = tx.ids.uuid() as OperationId;
  const finished = draft.state !== 'pending' && draft.state !== 'running';
  await tx.changed(
    `INSERT INTO operations (id, project_id, kind, target_kind, target_id, target_name, actor, trace_id, state, progress, deadline, created_at, finished_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
    [
      id,
      draft.projectId,
      draft.kind,
      draft.target.kind,
      draft.target.id,
      draft.target.name,
      ctx.actor,
      ctx.traceId,
      draft.state,
      finished ? 100 : 0,
      finished ? null : deadlineAfter(tx, draft.deadlineSeconds),
      tx.now,
      finished ? tx.now : null,
    ],
  );
  await keyCommit(tx, ctx, id);
  return id;
}

export const deadlineAfter = (tx: Tx, seconds: number): Date => new Date(tx.now.getTime() + seconds * 1000);

export interface OperationEnd {
  readonly state: 'succeeded' | 'failed' | 'cancelled' | 'superseded';
  readonly error?: { code: string; message: string; remedy?: string; errors?: FieldError[] };
}

/** Ends an operation that is under way, with its event. False when it was over. */
export async function operationEnd(
  tx: Tx,
  ctx: RequestContext,
  id: string,
  end: OperationEnd,
): Promise<boolean> {
  const row = await tx.row<OperationRow>(
    `UPDATE operations o SET state = $2, error = $3, finished_at = $4, progress = CASE WHEN $2 = 'succeeded' THEN 100 ELSE progress END
     FROM projects p WHERE p.id = o.project_id AND o.id = $1 AND o.state IN ('pending', 'running') RETURNING o.*, p.name AS project`,
    [id, end.state, end.error === undefined ? null : JSON.stringify(end.error), tx.now],
  );
  if (row === null) return false;
  await eventsWrite(tx, ctx, [
    {
      class: 'lifecycle',
      type: `operation.${end.state}`,
      projectId: row.project_id as ProjectId,
      object: { kind: row.target_kind, id: row.target_id, name: row.target_name },
      operationId: id,
      data: { kind: row.kind, error: end.error ?? null },
    },
  ]);
  return true;
}

/** @throws when the id is unknown: the caller wrote it. */
export async function operationOf(tx: Tx, id: string): Promise<Operation> {
  const row = await tx.row<OperationRow>(`${select} WHERE o.id = $1`, [id]);
  if (row === null) throw new Error(`operation ${id} is missing`);
  return toOperation(row);
}

export async function operationGet(
  db: Db,
  projectId: ProjectId | null,
  id: OperationId,
): Promise<Operation | null> {
  const [row] = await read<OperationRow>(
    db,
    `${select} WHERE o.id = $1 AND ($2::uuid IS NULL OR o.project_id = $2)`,
    [id, projectId],
  );
  return row === undefined ? null : toOperation(row);
}

export async function operationList(
  db: Db,
  filter: PageRequest & { projectId: ProjectId | null; state?: Operation['state']; targetId?: string },
): Promise<Page<Operation>> {
  const limit = limitOf(filter);
  const after = cursorRead(filter, 2);
  const rows = await read<OperationRow & { sort: string }>(
    db,
    // The sort key keeps microseconds, which a Date would lose.
    `SELECT o.*, p.name AS project, (extract(epoch FROM o.created_at) * 1000000)::bigint::text AS sort
     FROM operations o JOIN projects p ON p.id = o.project_id
     WHERE ($1::uuid IS NULL OR o.project_id = $1) AND ($2::text IS NULL OR o.state = $2) AND ($3::text IS NULL OR o.target_id = $3)
       AND ($4::text IS NULL OR (o.created_at, o.id) < (to_timestamp(0) + $4::bigint * interval '1 microsecond', $5::uuid))
     ORDER BY o.created_at DESC, o.id DESC LIMIT $6`,
    [
      filter.projectId,
      filter.state ?? null,
      filter.targetId ?? null,
      after?.[0] ?? null,
      after?.[1] ?? null,
      limit + 1,
    ],
  );
  return pageOf(rows, limit, (r) => [r.sort, r.id], toOperation);
}

export async function operationStart(
  db: Db,
  ctx: RequestContext,
  op: Omit<OperationDraft, 'state'>,
): Promise<Operation> {
  return inTx(db, async (tx) => {
    const id = await operationWrite(tx, ctx, { ...op, state: 'running' });
    await eventsWrite(tx, ctx, [
      {
        class: 'audit',
        type: `${op.target.kind}.${op.kind}`,
        projectId: op.projectId,
        object: op.target,
        operationId: id,
      },
    ]);
    return operationOf(tx, id);
  });
}

/** At most this many steps are kept; the first ones and the newest tell the story. */
const stepsKept = 64;

export async function operationStep(
  db: Db,
  id: OperationId,
  step: { name: string; message?: string; progress?: number },
): Promise<boolean> {
  return inTx(db, (tx) => stepWrite(tx, id, step));
}

/** The same in the caller's transaction. */
export async function stepWrite(
  tx: Tx,
  id: OperationId,
  step: { name: string; message?: string; progress?: number },
): Promise<boolean> {
  const entry = {
    name: step.name,
    at: tx.now.toISOString(),
    ...(step.message === undefined ? {} : { message: step.message }),
  };
  const changed = await tx.changed(
    `UPDATE operations SET state = 'running', progress = greatest(progress, $3),
       steps = CASE WHEN jsonb_array_length(steps) < ${stepsKept} AND steps->-1->>'name' IS DISTINCT FROM $2::jsonb->>'name'
         THEN steps || $2::jsonb ELSE jsonb_set(steps, '{-1}', $2::jsonb) END
     WHERE id = $1 AND state IN ('pending', 'running')`,
    [id, JSON.stringify(entry), Math.min(99, Math.trunc(step.progress ?? 0))],
  );
  return changed > 0;
}

export async function operationFinish(db: Db, id: OperationId, error: Operation['error']): Promise<boolean> {
  return inTx(db, async (tx) => {
    const row = await tx.row<{ actor: string; trace_id: string }>(
      `SELECT actor, trace_id FROM operations WHERE id = $1`,
      [id],
    );
    if (row === null) return false;
    const ctx = { actor: row.actor, traceId: row.trace_id };
    return operationEnd(
      tx,
      ctx,
      id,
      error === null ? { state: 'succeeded' } : { state: 'failed', error: error as never },
    );
  });
}

import type { Event } from '@berth/model';
import { BerthError } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, read } from './db.js';
import { keyAnswer } from './keyed.js';
import type { EventDraft, EventFilter, EventPage } from './store.js';

/** Writes events in the caller's transaction. They get their position after the commit, from the sequencer. */
export async function eventsWrite(tx: Tx, ctx: RequestContext, drafts: readonly EventDraft[]): Promise<void> {
  if (drafts.length === 0) return;
  const rows = drafts.map((d) => ({
    class: d.class,
    type: d.type,
    project_id: d.projectId,
    object_kind: d.object.kind,
    object_id: d.object.id,
    object_name: d.object.name,
    operation_id: d.operationId ?? null,
    data: d.data ?? {},
  }));
  await tx.changed(
    `INSERT INTO events (at, class, type, project_id, project, object_kind, object_id, object_name, actor, trace_id, operation_id, data)
     SELECT $1, e.class, e.type, e.project_id, p.name, e.object_kind, e.object_id, e.object_name, $2, $3, e.operation_id, e.data
     FROM ROWS FROM (jsonb_to_recordset($4) AS (class text, type text, project_id uuid, object_kind text,
       object_id text, object_name text, operation_id uuid, data jsonb)) WITH ORDINALITY
       AS e(class, type, project_id, object_kind, object_id, object_name, operation_id, data, n)
     LEFT JOIN projects p ON p.id = e.project_id ORDER BY e.n`,
    [tx.now, ctx.actor, ctx.traceId, JSON.stringify(rows)],
  );
  tx.eventsWritten();
}

export function eventInsert(db: Db, ctx: RequestContext, event: EventDraft): Promise<void> {
  return inTx(db, async (tx) => {
    await eventsWrite(tx, ctx, [event]);
    await keyAnswer(tx, ctx, null);
  });
}

/** One at a time in the whole database: whoever numbers holds this until its commit. */
const sequencerLock = 0x62_65_72_75;
export const ledgerChannel = 'berth_ledger';
const batch = 20_000;

/**
 * Numbers what has committed. Numbers given at insert would lie: an older transaction may commit after a younger one,
 * and a reader past the younger number would never see it. Here a row gets its number only once it is visible, and
 * under one lock, so numbers appear in order. The lock is its own statement: the next one then sees all that
 * earlier holders committed.
 */
export async function eventsNumber(db: Db): Promise<{ numbered: number; head: string }> {
  return inTx(db, async (tx) => {
    await tx.rows('SELECT pg_advisory_xact_lock($1)', [sequencerLock]);
    const done = await tx.row<{ numbered: number; head: number }>(
      `WITH batch AS MATERIALIZED (
         SELECT id, row_number() OVER (ORDER BY id) AS n FROM
           (SELECT id FROM events WHERE position IS NULL ORDER BY id LIMIT ${batch}) unnumbered
       ), head AS (
         UPDATE ledger_head SET position = position + (SELECT count(*) FROM batch) RETURNING position
       ), numbered AS (
         UPDATE events e SET position = (SELECT position FROM head) - (SELECT count(*) FROM batch) + b.n
         FROM batch b WHERE e.id = b.id RETURNING 1
       ) SELECT (SELECT count(*) FROM numbered) AS numbered, (SELECT position FROM head) AS head`,
    );
    const { numbered, head } = done ?? { numbered: 0, head: 0 };
    if (numbered > 0) await tx.rows(`SELECT pg_notify('${ledgerChannel}', $1)`, [String(head)]);
    return { numbered, head: String(head) };
  });
}

interface EventRow {
  position: number;
  at: Date;
  class: Event['class'];
  type: string;
  project: string | null;
  object_kind: string;
  object_id: string;
  object_name: string;
  actor: string;
  trace_id: string | null;
  operation_id: string | null;
  data: Record<string, unknown>;
}

/**
 * One statement, so one snapshot: what is kept, what was numbered and the rows all belong to the same moment, and a gap
 * can never look like an end.
 */
export async function eventsRead(
  db: Db,
  cursor: string | null,
  limit: number,
  filter: EventFilter = {},
): Promise<EventPage> {
  const after = cursor === null ? null : cursorPosition(cursor);
  const rows = await read<Span & (EventRow | { position: null })>(
    db,
    `SELECT h.trimmed, h.position AS head, e.* FROM ledger_head h LEFT JOIN LATERAL (
       SELECT position, at, class, type, project, object_kind, object_id, object_name, actor, trace_id, operation_id, data
       FROM events WHERE position > $1 AND ($3::text IS NULL OR project = $3) AND ($4::text[] IS NULL OR class = ANY ($4))
         AND ($5::text IS NULL OR object_kind = $5) AND ($6::text IS NULL OR object_id = $6)
       ORDER BY position LIMIT $2) e ON true ORDER BY e.position`,
    [
      after ?? 0,
      limit,
      filter.project ?? null,
      filter.classes ?? null,
      filter.objectKind ?? null,
      filter.objectId ?? null,
    ],
  );
  const span = rows[0] ?? { head: 0, trimmed: 0 };
  if (after !== null) refuseOutside(after, span, filter);
  const events = rows.filter((row) => row.position !== null).map((row) => toEvent(row as EventRow));
  const last = events.at(-1)?.position;
  return { events, through: last !== undefined && events.length === limit ? last : String(span.head) };
}

/** The head, once it is known that a reader may go on from `cursor`. */
export async function eventsCheck(db: Db, cursor: string | null, filter: EventFilter = {}): Promise<string> {
  const after = cursor === null ? null : cursorPosition(cursor);
  const [span] = await read<Span & Record<string, unknown>>(
    db,
    'SELECT trimmed, position AS head FROM ledger_head',
  );
  const { head, trimmed } = span ?? { head: 0, trimmed: 0 };
  if (after !== null) refuseOutside(after, { head, trimmed }, filter);
  return String(head);
}

interface Span {
  readonly head: number;
  readonly trimmed: number;
}

function cursorPosition(cursor: string): number {
  if (/^\d{1,15}$/.test(cursor)) return Number(cursor);
  throw new BerthError('invalid', 'the cursor is not a position of the ledger', {
    remedy: 'use the id of the last event you saw, or 0 for all that is kept',
  });
}

/** Of what was trimmed nothing was audit; and what was never given can only come from a ledger that was lost. */
function refuseOutside(after: number, { head, trimmed }: Span, filter: EventFilter): void {
  const remedy = `list the objects again, then read on from position ${head}`;
  const onlyAudit = filter.classes !== undefined && filter.classes.every((c) => c === 'audit');
  if (after < trimmed && !onlyAudit)
    throw new BerthError('gone', `events up to position ${trimmed} are no longer kept`, { remedy });
  if (after > head)
    throw new BerthError(
      'gone',
      `position ${after} was never given, the newest is ${head}: the database was restored from a backup`,
      { remedy },
    );
}

function toEvent(row: EventRow): Event {
  return {
    position: String(row.position),
    at: row.at.toISOString(),
    class: row.class,
    type: row.type,
    project: row.project,
    object: { kind: row.object_kind, id: row.object_id, name: row.object_name },
    actor: row.actor,
    traceId: row.trace_id,
    operationId: row.operation_id as Event['operationId'],
    data: row.data,
  };
}

/** Class audit is never trimmed, and neither is what has no position yet. */
export async function eventsTrim(db: Db, before: Date): Promise<number> {
  return inTx(db, async (tx) => {
    // Same lock order as the sequencer: lock, then ledger_head.
    await tx.rows('SELECT pg_advisory_xact_lock($1)', [sequencerLock]);
    const gone = await tx.row<{ n: number }>(
      `WITH gone AS (
         DELETE FROM events WHERE at < $1 AND class <> 'audit' AND position IS NOT NULL RETURNING position
       ), head AS (
         UPDATE ledger_head SET trimmed = greatest(trimmed, (SELECT max(position) FROM gone))
         WHERE EXISTS (SELECT FROM gone)
       ) SELECT count(*) AS n FROM gone`,
      [before],
    );
    return gone?.n ?? 0;
  });
}

/** The subject of an instance's events. */
export const instanceObject = (i: { id: string; name: string }): EventDraft['object'] => ({
  kind: 'instance',
  id: i.id,
  name: i.name,
});

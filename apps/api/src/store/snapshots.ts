import type { HostId, OperationKind, ProjectId, Snapshot, SnapshotId, SnapshotTaken } from '@berth/model';
import { BerthError } from '@berth/model';
import { diskRoom } from './capacity.js';
import { refuseHeld } from './disk-sources.js';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, isDuplicate } from './db.js';
import { eventsWrite } from './events.js';
import { assignmentsRaise, instanceForRequest, refuseDeleting, type Locked } from './instance-change.js';
import { instanceOf } from './instance-read.js';
import { operationEnd, operationOf, operationWrite } from './operations.js';
import { matchVersion, nameTaken, notFound } from './refusals.js';
import type { InstanceChange } from './rows.js';
import { refuseRebuilding, refuseReverting, refuseUnderWay } from './snapshot-guards.js';
import { refuseCloned } from './clone-guards.js';
import { memoryRoom, refuseMemoryless, refuseUnfit } from './snapshot-memory.js';

/*
 *   (request) creating -> ready <-> reverting
 *                 |         |
 *                 +-> deleting -> (gone)          each state but ready is an order to the host, by its operation's id
 */

export interface SnapshotTarget {
  readonly projectId: ProjectId;
  readonly instance: string;
  readonly name: string;
  readonly ifMatch?: number;
  readonly deadlineSeconds: number;
  /** Of a new one: with the memory of its guest. */
  readonly memory?: boolean;
}

/** Far below what QEMU takes; each one makes opening the disk a little slower. */
const mostOfInstance = 128;

/** @see SnapshotStore.snapshotCreate */
export async function snapshotCreate(
  db: Db,
  ctx: RequestContext,
  create: Omit<SnapshotTarget, 'ifMatch'>,
): Promise<InstanceChange> {
  try {
    return await inTx(db, async (tx) => {
      const i = await instanceForRequest(tx, { projectId: create.projectId, name: create.instance });
      return snapshotBegin(tx, ctx, i, create);
    });
  } catch (error) {
    if (isDuplicate(error, 'snapshots_instance_id_name_key')) throw nameTaken('snapshot', create.name);
    throw error;
  }
}

/**
 * Asks its host for one of an instance that is locked. @param scheduledFor the moment of its schedule, null when a user asks
 * @throws as `snapshotCreate`
 */
export async function snapshotBegin(
  tx: Tx,
  ctx: RequestContext,
  i: Locked,
  create: Pick<SnapshotTarget, 'name' | 'deadlineSeconds' | 'memory'>,
  scheduledFor: Date | null = null,
): Promise<InstanceChange> {
  refuseDeleting(i);
  await refuseReverting(tx, i);
  await refuseCloned(tx, i);
  await refuseRebuilding(tx, i);
  await refuseTooMany(tx, i);
  const memory = create.memory === true;
  if (memory) refuseMemoryless(i);
  const { disks, hostId } = await disksFor(tx, i);
  const bookedMiB = disks.reduce((sum, d) => sum + d.size_mib, memory ? memoryRoom(i) : 0);
  await diskRoom(tx, hostId, bookedMiB);
  const operationId = await begin(tx, ctx, i, 'snapshot', create);
  const id = tx.ids.uuid();
  await tx.changed(
    `INSERT INTO snapshots (id, project_id, instance_id, host_id, name, actor, state, operation_id, booked_mib, created_at, scheduled_for, memory)
         VALUES ($1, $2, $3, $4, $5, $6, 'creating', $7, $8, $9, $10, $11)`,
    [
      id,
      i.project_id,
      i.id,
      hostId,
      create.name,
      ctx.actor,
      operationId,
      bookedMiB,
      tx.now,
      scheduledFor,
      memory,
    ],
  );
  await tx.changed(
    `INSERT INTO snapshot_disks (snapshot_id, volume_id, index, size_mib)
         SELECT $1, d.id, d.n - 1, d.size_mib FROM ROWS FROM (jsonb_to_recordset($2) AS (id uuid, size_mib bigint))
           WITH ORDINALITY AS d(id, size_mib, n)`,
    [id, JSON.stringify(disks)],
  );
  return asked(tx, ctx, i, { id, name: create.name, operationId, hostId, verb: 'create' });
}

/** @see SnapshotStore.snapshotRevert */
export async function snapshotRevert(
  db: Db,
  ctx: RequestContext,
  target: SnapshotTarget,
): Promise<InstanceChange> {
  return inTx(db, async (tx) => {
    const { i, s } = await snapshotForRequest(tx, target);
    refuseDeleting(i);
    await refuseReverting(tx, i);
    await refuseCloned(tx, i);
    await refuseUnderWay(tx, i);
    refuseUnready(s);
    const { state } =
      (await tx.row<{ state: string }>(`SELECT state FROM instances WHERE id = $1`, [i.id])) ?? {};
    if (state !== 'stopped' && state !== 'error')
      throw new BerthError(
        'stateConflict',
        `instance "${i.name}" is ${state}, and is not reverted like that`,
        {
          remedy: 'stop it first; what it has written since the snapshot is lost',
        },
      );
    await refuseUnfit(tx, i, s.taken);
    return turn(tx, ctx, i, s, target, { verb: 'revert', kind: 'snapshotRevert', state: 'reverting' });
  });
}

/** @see SnapshotStore.snapshotDelete */
export async function snapshotDelete(
  db: Db,
  ctx: RequestContext,
  target: SnapshotTarget,
): Promise<InstanceChange> {
  return inTx(db, async (tx) => {
    const { i, s } = await snapshotForRequest(tx, target);
    if (s.state === 'reverting') await refuseReverting(tx, i);
    await refuseHeld(tx, i, s.id);
    if (s.operation_id !== null) {
      const under = await operationOf(tx, s.operation_id);
      // A second delete joins the one under way; after a deadline it gets an operation of its own.
      if (s.state === 'deleting' && (under.state === 'running' || under.state === 'pending'))
        return { operation: under, instance: await instanceOf(tx, i.id), hosts: [] };
      await operationEnd(tx, ctx, s.operation_id, { state: 'superseded' });
    }
    return turn(tx, ctx, i, s, target, { verb: 'delete', kind: 'snapshotDelete', state: 'deleting' });
  });
}

interface LockedSnapshot {
  id: SnapshotId;
  name: string;
  host_id: HostId;
  state: Snapshot['state'];
  operation_id: string | null;
  taken: SnapshotTaken | null;
  resource_version: number;
}

/** A snapshot and its instance, locked. @throws notFound, preconditionFailed */
async function snapshotForRequest(
  tx: Tx,
  { projectId, instance, name, ifMatch }: SnapshotTarget,
): Promise<{ i: Locked; s: LockedSnapshot }> {
  const i = await instanceForRequest(tx, { projectId, name: instance });
  const s = await tx.row<LockedSnapshot & Record<string, unknown>>(
    `SELECT id, name, host_id, state, operation_id, taken, resource_version FROM snapshots WHERE instance_id = $1 AND name = $2`,
    [i.id, name],
  );
  if (s === null) throw notFound('snapshot', name);
  matchVersion(ifMatch, s.resource_version);
  return { i, s };
}

function begin(
  tx: Tx,
  ctx: RequestContext,
  i: Locked,
  kind: OperationKind,
  { deadlineSeconds }: Pick<SnapshotTarget, 'deadlineSeconds'>,
): Promise<string> {
  const target = { kind: 'instance', id: i.id, name: i.name } as const;
  return operationWrite(tx, ctx, {
    projectId: i.project_id,
    kind,
    target,
    deadlineSeconds,
    state: 'running',
  });
}

/** Another order of a snapshot that is there. */
async function turn(
  tx: Tx,
  ctx: RequestContext,
  i: Locked,
  s: LockedSnapshot,
  target: SnapshotTarget,
  to: {
    readonly verb: 'revert' | 'delete';
    readonly kind: OperationKind;
    readonly state: 'reverting' | 'deleting';
  },
): Promise<InstanceChange> {
  const operationId = await begin(tx, ctx, i, to.kind, target);
  await tx.changed(
    `UPDATE snapshots SET state = $2, operation_id = $3, resource_version = resource_version + 1 WHERE id = $1`,
    [s.id, to.state, operationId],
  );
  return asked(tx, ctx, i, { id: s.id, name: s.name, operationId, hostId: s.host_id, verb: to.verb });
}

async function asked(
  tx: Tx,
  ctx: RequestContext,
  i: Locked,
  of: {
    readonly id: string;
    readonly name: string;
    readonly operationId: string;
    readonly hostId: HostId;
    readonly verb: 'create' | 'revert' | 'delete';
  },
): Promise<InstanceChange> {
  await eventsWrite(tx, ctx, [
    {
      class: 'audit',
      type: `snapshot.${of.verb}`,
      projectId: i.project_id,
      object: { kind: 'snapshot', id: of.id, name: of.name },
      operationId: of.operationId,
      data: { instance: i.name },
    },
  ]);
  await assignmentsRaise(tx, [of.hostId]);
  const operation = await operationOf(tx, of.operationId);
  return { instance: await instanceOf(tx, i.id), operation, hosts: [of.hostId] };
}

/** @throws conflict */
async function refuseTooMany(tx: Tx, i: Locked): Promise<void> {
  const has = await tx.row<{ n: number }>(`SELECT count(*) AS n FROM snapshots WHERE instance_id = $1`, [
    i.id,
  ]);
  if ((has?.n ?? 0) >= mostOfInstance)
    throw new BerthError('conflict', `instance "${i.name}" has ${mostOfInstance} snapshots already`, {
      remedy: 'delete one first',
    });
}

/** @throws stateConflict */
function refuseUnready({ name, state }: LockedSnapshot): void {
  if (state !== 'ready')
    throw new BerthError('stateConflict', `snapshot "${name}" is ${state}`, {
      remedy: 'use another snapshot',
    });
}

interface Disk {
  id: string;
  name: string;
  root: boolean;
  format: string;
  size_mib: number;
  host_id: HostId;
  host: string;
  silent: boolean;
}

/** All disks of an instance that are anywhere, the root disk first. @throws stateConflict, unsupported, unavailable */
async function disksFor(tx: Tx, i: Locked): Promise<{ disks: readonly Disk[]; hostId: HostId }> {
  const disks = await tx.rows<Disk & Record<string, unknown>>(
    `SELECT v.id, v.name, v.kind = 'rootDisk' AS root, v.format, v.size_mib, v.host_id, h.name AS host, h.silent_since IS NOT NULL AS silent
     FROM volumes v JOIN hosts h ON h.id = v.host_id WHERE v.owner_instance_id = $1
       AND (v.kind = 'rootDisk' AND EXISTS (SELECT FROM placements p WHERE p.instance_id = $1 AND p.offered_at >= v.created_at)
         OR $2::jsonb @> jsonb_build_array(jsonb_build_object('name', v.name)))
     ORDER BY v.kind <> 'rootDisk', v.name`,
    [i.id, JSON.stringify(i.spec.volumes)],
  );
  const [root] = disks;
  // One that was rebuilt while it was stopped has none either.
  if (root?.root !== true)
    throw new BerthError('stateConflict', `instance "${i.name}" has no disk yet`, {
      remedy: 'it gets one when it is started',
    });
  const raw = disks.find((d) => d.format !== 'qcow2');
  if (raw !== undefined)
    throw new BerthError(
      'unsupported',
      `volume "${raw.name}" has format ${raw.format}, which holds no snapshots`,
      {
        remedy: 'detach it, or copy its data to a volume of format qcow2',
      },
    );
  const live = i.phase !== null && i.phase !== 'ended';
  const fixed = i.spec.volumes.find((v) => v.readOnly);
  if (live && fixed !== undefined)
    throw new BerthError('unsupported', `volume "${fixed.name}" is attached for reading only`, {
      remedy: 'stop the instance, or attach the volume for writing',
    });
  if (root.silent)
    throw new BerthError('unavailable', `host ${root.host} is silent, so nothing can be taken there now`, {
      remedy: 'wait until its agent is connected; `berth host ls` shows it',
    });
  return { disks, hostId: root.host_id };
}

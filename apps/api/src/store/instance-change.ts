import type {
  Desired,
  HostId,
  InstanceId,
  InstanceSpec,
  OperationKind,
  Phase,
  ProjectId,
} from '@berth/model';
import { BerthError, sameValue, stopGraceOf } from '@berth/model';
import type { RequestContext } from './context.js';
import type { Db, Tx } from './db.js';
import { inTx, inTxUndone } from './db.js';
import { dependenciesHold } from './dependencies.js';
import { eventsWrite, instanceObject } from './events.js';
import { revisionWrite } from './instance-create.js';
import { instanceOf } from './instance-read.js';
import { operationEnd, operationOf, operationWrite } from './operations.js';
import { invalidField, matchVersion, notFound, refuseTpmLost } from './refusals.js';
import { diskRoom } from './capacity.js';
import { sizesBook, sizesPlaced } from './live-sizes.js';
import { refuseDetached, refuseReverting } from './snapshot-guards.js';
import { portsBook } from './published-ports.js';
import { nicGroupsHold } from './nic-groups.js';
import { secretsHold } from './instance-secrets.js';
import { cdromsJoin } from './live-cdroms.js';
import { nicsJoin, refuseLeaving } from './live-nics.js';
import { resourcesJoin } from './live-resources.js';
import { refuseCloned } from './clone-guards.js';
import { volumesClaim, volumesRelease } from './volume-claims.js';
import type { InstanceAct, InstanceChange, UpdatePreview, Verb } from './rows.js';
import { stateRefresh } from './state.js';

/** An instance locked for a request, with its live or last owner placement. */
export interface Locked {
  id: InstanceId;
  project_id: ProjectId;
  name: string;
  labels: Record<string, string>;
  spec: InstanceSpec;
  desired: Desired;
  generation: number;
  run_generation: number;
  resource_version: number;
  deleting_since: Date | null;
  operation_id: string | null;
  host_id: HostId | null;
  phase: Phase | null;
  p_generation: number;
  power: string | null;
  conditions: readonly { readonly type: string }[];
}

/** @throws notFound, preconditionFailed */
export async function instanceForRequest(
  tx: Tx,
  at: { projectId: ProjectId; name: string; ifMatch?: number },
): Promise<Locked> {
  const locked = await tx.row<{ id: string }>(
    `SELECT id FROM instances WHERE project_id = $1 AND name = $2 FOR UPDATE`,
    [at.projectId, at.name],
  );
  if (locked === null) throw notFound('instance', at.name);
  // A statement of its own: it sees what the holder of the lock before us committed.
  const row = await tx.row<Locked & Record<string, unknown>>(
    `SELECT i.id, i.project_id, i.name, i.labels, i.spec, i.desired, i.generation, i.run_generation, i.resource_version,
       i.deleting_since, i.operation_id, i.conditions, p.host_id, p.phase, coalesce(p.run_generation, 0) AS p_generation, p.power
     FROM instances i LEFT JOIN placements p ON p.instance_id = i.id AND p.epoch = i.owner_epoch WHERE i.id = $1`,
    [locked.id],
  );
  if (row === null) throw notFound('instance', at.name);
  matchVersion(at.ifMatch, row.resource_version);
  return row;
}

/** @throws stateConflict */
export function refuseDeleting(i: Locked): void {
  if (i.deleting_since !== null)
    throw new BerthError('stateConflict', `instance "${i.name}" is being deleted`, {
      remedy: 'wait until it is gone; its name is free then',
    });
}

/** A placement of it has not ended. */
export const live = (i: Locked): boolean => i.phase !== null && i.phase !== 'ended';

/** Whoever has it is to hear of a change. */
export const hostsOf = (i: Locked): readonly HostId[] => (live(i) && i.host_id !== null ? [i.host_id] : []);

/** Raises the revision of the hosts' assignment lists in the same transaction as what changes them. */
export async function assignmentsRaise(tx: Tx, hosts: readonly string[]): Promise<void> {
  if (hosts.length > 0)
    await tx.changed(
      `UPDATE hosts SET assignment_rev = assignment_rev + 1 FROM
         (SELECT id FROM hosts WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE) locked WHERE hosts.id = locked.id`,
      [hosts],
    );
}

/** The new operation takes the instance over from the one under way. */
export async function operationTakes(
  tx: Tx,
  ctx: RequestContext,
  i: Locked,
  kind: OperationKind,
  deadlineSeconds: number,
): Promise<string> {
  if (i.operation_id !== null) await operationEnd(tx, ctx, i.operation_id, { state: 'superseded' });
  return operationWrite(tx, ctx, {
    projectId: i.project_id,
    kind,
    target: { kind: 'instance', id: i.id, name: i.name },
    deadlineSeconds,
    state: 'running',
  });
}

const frozen = ['isolation', 'image', 'desired'] as const;
const frozenRemedies: Partial<Record<(typeof frozen)[number], string>> = {
  desired: 'use the actions start, stop, pause and suspend',
  image: 'use the action rebuild, which makes a new root disk of another image',
};

/** @throws invalid */
function refuseFrozen(spec: InstanceSpec, was: InstanceSpec): void {
  for (const field of frozen)
    if (!sameValue(spec[field], was[field]))
      throw invalidField(
        `/spec/${field}`,
        'cannot change after creation',
        frozenRemedies[field] ?? 'create another instance',
      );
}

export interface InstanceUpdate {
  projectId: ProjectId;
  name: string;
  spec?: InstanceSpec;
  labels?: Record<string, string>;
  /** For a host to bring to it what runs there. */
  deadlineSeconds: number;
  ifMatch?: number;
}

export async function instanceUpdate(
  db: Db,
  ctx: RequestContext,
  update: InstanceUpdate,
): Promise<InstanceChange> {
  return inTx(db, async (tx) => {
    const { i, operationId, hosts } = await updateWrite(tx, ctx, update);
    return { instance: await instanceOf(tx, i.id), operation: await operationOf(tx, operationId), hosts };
  });
}

/** All that an update does, undone: what it refuses is refused here too. */
export async function instanceUpdatePreview(
  db: Db,
  ctx: RequestContext,
  update: InstanceUpdate,
): Promise<UpdatePreview> {
  return inTxUndone(db, async (tx) => {
    const { i, spec, labels } = await updateWrite(tx, ctx, update);
    const was = { spec: i.spec, labels: i.labels };
    const runs = runsOn(i) !== null;
    return { was, wanted: { spec, labels }, runs, has: runs ? await sizesPlaced(tx, i.id) : null };
  });
}

/** Host of what runs, or is about to. */
const runsOn = (i: Locked): HostId | null => (live(i) && i.desired !== 'stopped' ? i.host_id : null);

async function updateWrite(tx: Tx, ctx: RequestContext, update: InstanceUpdate) {
  const i = await instanceForRequest(tx, update);
  refuseDeleting(i);
  const spec = update.spec ?? i.spec;
  const labels = update.labels ?? i.labels;
  refuseFrozen(spec, i.spec);
  await dependenciesHold(tx, { projectId: i.project_id, name: i.name, spec, was: i.spec });
  await updateClaim(tx, i, spec);
  await nicsJoin(tx, i, spec, live(i));
  // What runs, or is about to, is brought to it by its host.
  const waits = runsOn(i) !== null;
  const operationId = await operationWrite(tx, ctx, {
    projectId: i.project_id,
    kind: 'update',
    target: { kind: 'instance', id: i.id, name: i.name },
    deadlineSeconds: waits ? update.deadlineSeconds : 0,
    state: waits ? 'running' : 'succeeded',
  });
  const generation = i.generation + 1;
  await tx.changed(
    `UPDATE instances SET spec = $2, labels = $3, generation = $4,
         snapshots_seen_to = CASE WHEN $5 THEN snapshots_seen_to ELSE $6 END WHERE id = $1`,
    [
      i.id,
      JSON.stringify(spec),
      JSON.stringify(labels),
      generation,
      // Another schedule begins now.
      sameValue(spec.snapshots, i.spec.snapshots),
      tx.now,
    ],
  );
  await volumesRelease(tx, ctx, i.id);
  await revisionWrite(tx, ctx, { id: i.id, generation, spec, labels, operationId });
  await eventsWrite(tx, ctx, [
    {
      class: 'audit',
      type: 'instance.updated',
      projectId: i.project_id,
      object: instanceObject(i),
      operationId,
      data: { generation },
    },
  ]);
  await stateRefresh(tx, ctx, i.id, true);
  const hosts = hostsOf(i);
  await assignmentsRaise(tx, hosts);
  return { i, spec, labels, operationId, hosts };
}

/** What a spec names beside itself: room, volumes, groups and ports. @throws invalid, noRoom, conflict, stateConflict */
async function updateClaim(tx: Tx, i: Locked, spec: InstanceSpec): Promise<void> {
  await refuseDetached(tx, i, spec);
  await rootDiskGrow(tx, i, spec);
  await resourcesJoin(tx, i, spec);
  const liveHost = live(i) ? i.host_id : null;
  await volumesClaim(tx, { id: i.id, projectId: i.project_id, spec, liveHost });
  await nicGroupsHold(tx, i.project_id, spec);
  await secretsHold(tx, i.project_id, spec);
  await cdromsJoin(tx, i, spec, liveHost);
  if (liveHost !== null) await portsBook(tx, liveHost, { id: i.id, spec });
  // A run that ends is followed by one that is placed by its spec.
  const goesOn = runsOn(i) !== null && i.p_generation === i.run_generation;
  if (goesOn) await sizesBook(tx, i.id, spec);
}

/** A root disk may become larger, on the host where it is. @throws invalid, noRoom */
async function rootDiskGrow(tx: Tx, i: Locked, spec: InstanceSpec): Promise<void> {
  if (sameValue(spec.rootDisk, i.spec.rootDisk)) return;
  const { pool, sizeMiB, source } = i.spec.rootDisk;
  if (!sameValue(spec.rootDisk.source, source))
    throw invalidField(
      '/spec/rootDisk/source',
      'cannot change after creation',
      'leave it as it is: it says what the disk began as; or create another instance',
    );
  if (spec.rootDisk.pool !== pool)
    throw invalidField('/spec/rootDisk/pool', 'cannot change after creation', 'create another instance');
  if (spec.isolation === 'microvm')
    throw invalidField('/spec/rootDisk', 'cannot change after creation', 'create another instance');
  if (spec.rootDisk.sizeMiB < sizeMiB)
    throw invalidField(
      '/spec/rootDisk/sizeMiB',
      `must be at least ${sizeMiB}, the size that the disk has`,
      'a disk only grows; create another instance with a smaller one',
    );
  const root = await tx.row<{ host_id: HostId | null }>(
    `SELECT host_id FROM volumes WHERE owner_instance_id = $1 AND kind IN ('rootDisk', 'writableLayer') FOR UPDATE`,
    [i.id],
  );
  if (root !== null && root.host_id !== null)
    await diskRoom(tx, root.host_id, spec.rootDisk.sizeMiB - sizeMiB);
  await tx.changed(
    `UPDATE volumes SET size_mib = $2, resource_version = resource_version + 1
     WHERE owner_instance_id = $1 AND kind IN ('rootDisk', 'writableLayer')`,
    [i.id, spec.rootDisk.sizeMiB],
  );
}

/** What a verb asks of a locked instance. `newRun`: a runGeneration not yet run, so a new epoch. */
function wish(i: Locked, verb: Verb): { desired: Desired; newRun: boolean } {
  const current = live(i) && i.p_generation === i.run_generation;
  switch (verb) {
    case 'stop':
      return { desired: 'stopped', newRun: false };
    case 'restart':
      if (live(i) && i.power === 'suspended')
        throw new BerthError('stateConflict', `instance "${i.name}" is suspended`, {
          remedy: 'resume it first; or stop it, which discards its memory, and start it',
        });
      return { desired: 'running', newRun: true };
    case 'start': {
      // A run that waits, lives or is suspended already is what was asked for; one that was told to stop needs a successor.
      const wanted = i.desired !== 'stopped';
      const under = wanted && (current || i.p_generation < i.run_generation);
      return { desired: 'running', newRun: !under };
    }
    case 'pause':
    case 'resume':
    case 'suspend':
      if (verb === 'pause' && i.desired === 'suspended')
        throw new BerthError('stateConflict', `instance "${i.name}" is suspended, or about to be`, {
          remedy: 'resume it first',
        });
      if (!current || i.phase !== 'running' || i.desired === 'stopped')
        throw new BerthError(
          'stateConflict',
          `instance "${i.name}" does not run, so there is nothing to ${verb}`,
          {
            remedy: 'start it first',
          },
        );
      if (verb === 'suspend' && i.power !== 'suspended') refuseTpmLost(i, verb);
      return { desired: desiredBy[verb], newRun: false };
  }
}

/** How much longer than usual a stop may take, seconds: deadlines have room for the usual time of grace. */
export function graceBeyond(spec: InstanceSpec, asked?: number): number {
  const { stopGraceSeconds: _, ...usual } = spec;
  return Math.max(0, (asked ?? stopGraceOf(spec)) - stopGraceOf(usual));
}

const desiredBy = { pause: 'paused', resume: 'running', suspend: 'suspended' } as const;

export async function instanceAct(db: Db, ctx: RequestContext, act: InstanceAct): Promise<InstanceChange> {
  return inTx(db, async (tx) => instanceActs(tx, ctx, await instanceForRequest(tx, act), act));
}

/** What `instanceAct` does with an instance that is locked. */
export async function instanceActs(
  tx: Tx,
  ctx: RequestContext,
  i: Locked,
  act: Pick<InstanceAct, 'verb' | 'deadlineSeconds' | 'graceSeconds'>,
): Promise<InstanceChange> {
  refuseDeleting(i);
  const { desired, newRun } = wish(i, act.verb);
  if (act.verb === 'suspend') await refuseLeaving(tx, i);
  if (newRun) {
    await refuseReverting(tx, i);
    await refuseCloned(tx, i);
  }
  const stops = act.verb === 'stop' || act.verb === 'restart';
  const seconds = act.deadlineSeconds + (stops ? graceBeyond(i.spec, act.graceSeconds) : 0);
  const operationId = await operationTakes(tx, ctx, i, act.verb, seconds);
  const specChanged = desired !== i.desired;
  const spec: InstanceSpec = { ...i.spec, desired };
  const generation = i.generation + (specChanged ? 1 : 0);
  await tx.changed(
    `UPDATE instances SET desired = $2, spec = $3, generation = $4, run_generation = run_generation + $5, operation_id = $6,
       stop_grace_seconds = $7 WHERE id = $1`,
    [i.id, desired, JSON.stringify(spec), generation, newRun ? 1 : 0, operationId, act.graceSeconds ?? null],
  );
  if (specChanged)
    await revisionWrite(tx, ctx, { id: i.id, generation, spec, labels: i.labels, operationId });
  await eventsWrite(tx, ctx, [
    {
      class: 'audit',
      type: `instance.${act.verb}`,
      projectId: i.project_id,
      object: instanceObject(i),
      operationId,
    },
  ]);
  const hosts = hostsOf(i);
  await stateRefresh(tx, ctx, i.id, true);
  await assignmentsRaise(tx, hosts);
  return { instance: await instanceOf(tx, i.id), operation: await operationOf(tx, operationId), hosts };
}

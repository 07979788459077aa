import {
  BerthError,
  firmwareKind,
  misfits,
  type NicId,
  type SnapshotMachine,
  type SnapshotTaken,
} from '@berth/model';
import type { RequestContext } from './context.js';
import type { Tx } from './db.js';
import { instanceActs, live, type Locked } from './instance-change.js';
import { refuseTpmLost } from './refusals.js';

/* What a snapshot with memory asks of its instance: to run when it is taken, and to be the same machine when it goes on. */

/** For its host to start it again. */
const deadlineSeconds = 600;

/** @throws stateConflict for what has no memory that could be taken */
export function refuseMemoryless(i: Locked): void {
  const runs = live(i) && i.phase === 'running' && i.desired === 'running';
  if (runs && i.power === 'running') return refuseTpmLost(i, 'snapshot with memory');
  const why =
    i.power === 'suspended' || i.desired === 'suspended'
      ? 'is suspended'
      : runs || i.desired === 'paused'
        ? 'stands still'
        : 'does not run';
  throw new BerthError('stateConflict', `instance "${i.name}" ${why}, so there is no memory to be taken`, {
    remedy:
      why === 'does not run'
        ? 'start it first, or leave memory out'
        : 'resume it first, or leave memory out: its disks alone are taken of it as well',
  });
}

/** As much as its memory can have at most, MiB. */
export const memoryRoom = ({ spec }: Locked): number => Math.max(spec.memoryMiB, spec.maxMemoryMiB ?? 0);

/**
 * What was changed since, and cannot be of a machine that goes on with this memory.
 * @throws conflict with every field and what to do with it
 */
export async function refuseUnfit(tx: Tx, i: Locked, taken: SnapshotTaken | null): Promise<void> {
  const machine = taken?.memory?.machine;
  if (machine === undefined) return;
  const nics = await tx.rows<{ id: NicId; mac: string }>(
    `SELECT id, mac::text AS mac FROM nics WHERE instance_id = $1 AND leaving IS NULL`,
    [i.id],
  );
  const { spec } = i;
  const wrong = misfits(machine, {
    driver: await driverOf(tx, i),
    accel: spec.placement.accel,
    vcpus: spec.vcpus ?? 1,
    memoryMiB: spec.memoryMiB,
    maxMemoryMiB: spec.maxMemoryMiB ?? null,
    maxVcpus: spec.maxVcpus ?? null,
    cpuModel: spec.cpu?.model ?? null,
    firmware: firmwareKind(spec.firmware),
    tpm: spec.tpm === true,
    hugePages: spec.hugePages ?? null,
    numaNodes: spec.numa?.nodes ?? 1,
    vsock: spec.vsock === true,
    watchdog: spec.watchdog?.action ?? null,
    usbTablet: spec.usbTablet ?? true,
    displays: spec.displays ?? 1,
    cdroms: await drivesOf(tx, i),
    nics,
  });
  const [first] = wrong;
  if (first === undefined) return;
  throw new BerthError('conflict', `instance "${i.name}" is by now another machine than its memory is of`, {
    remedy: `${first.field}: ${first.remedy}; nothing was touched`,
    errors: wrong.map(({ field, message, remedy }) => {
      return { path: `/spec/${field}`, code: 'conflict', message, remedy };
    }),
  });
}

/** Who would start it: where its spec names none, the one that its host prefers. */
async function driverOf(tx: Tx, { id, spec }: Locked): Promise<string> {
  const { driver } = spec.placement;
  if (driver !== 'any') return driver;
  const host = await tx.row<{ driver: string | null }>(
    `SELECT h.capabilities #>> '{isolation,vm,drivers,0}' AS driver FROM volumes v JOIN hosts h ON h.id = v.host_id
     WHERE v.owner_instance_id = $1 AND v.kind = 'rootDisk'`,
    [id],
  );
  return host?.driver ?? 'any';
}

async function drivesOf(tx: Tx, { spec, project_id }: Locked): Promise<SnapshotMachine['cdroms']> {
  return tx.rows<SnapshotMachine['cdroms'][number]>(
    `SELECT c.drive->>'bus' AS bus, iso.content->>'digest' AS digest
     FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS c (drive, n)
     LEFT JOIN images iso ON iso.project_id = $2 AND iso.kind = 'iso' AND iso.name = c.drive->>'image' ORDER BY c.n`,
    [JSON.stringify(spec.cdroms ?? []), project_id],
  );
}

/** Its disks are as they were: it goes on. One that may not start now does when it is started. */
export async function goOn(tx: Tx, ctx: RequestContext, i: Locked): Promise<void> {
  if (i.deleting_since !== null) return;
  await instanceActs(tx, ctx, i, { verb: 'start', deadlineSeconds });
}

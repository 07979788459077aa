import { basename } from 'node:path';
import { Digest, type CdromBus, type CdromSeen } from '@berth/model';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';

/** A CD-ROM drive that a machine has. */
export interface AttachedCdrom extends CdromSeen {
  /** Its number. */
  readonly drive: number;
  /** What QEMU calls its device. */
  readonly device: string;
}

/** The drives of a machine that runs, whichever driver started it, by QEMU's own word (QMP `query-block`), in their order. */
export async function attachedCdroms(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<AttachedCdrom[]> {
  const drives = (await qmp.execute('query-block', undefined, bounds)).flatMap(
    ({ qdev = '', inserted, tray_open: trayOpen = false, locked }) => {
      const [device, number] = /((?:ua-)?cd(\d))(?:\/|$)/.exec(qdev)?.slice(1) ?? [];
      if (device === undefined) return [];
      const digest = inserted === undefined ? null : digestOf(inserted.image.filename);
      return [{ drive: Number(number), device, digest, trayOpen, locked }];
    },
  );
  return drives.sort((a, b) => a.drive - b.drive);
}

/** What is told of drives. */
export const cdromsSeen = (drives: readonly AttachedCdrom[]): CdromSeen[] =>
  drives.map(({ digest, trayOpen, locked }) => ({ digest, trayOpen, locked }));

/** Content lies in a file that is called by its digest. */
function digestOf(path: string): Digest | null {
  const digest = Digest.safeParse(`sha256:${/[0-9a-f]{64}$/.exec(basename(path))?.[0] ?? ''}`);
  return digest.success ? digest.data : null;
}

/** Drives as a machine that is to go on must have them. */
export async function drivesOf(qmp: QmpExecutor, bounds: ExecuteOptions) {
  const drives = await attachedCdroms(qmp, bounds);
  const read = (device: string, property: string): Promise<unknown> =>
    qmp.execute('qom-get', { path: `/machine/peripheral/${device}`, property }, bounds);
  const seen: { bus: CdromBus; order: number; digest: Digest | null }[] = [];
  for (const { device, digest } of drives) {
    const bus = (await read(device, 'type')) === 'scsi-cd' ? 'scsi' : 'sata';
    seen.push({ bus, order: Number(await read(device, 'bootindex')), digest });
  }
  // The root disk has the one place that no drive has.
  const root = Array.from({ length: seen.length + 1 }, (_, i) => i + 1).find(
    (place) => !seen.some(({ order }) => order === place),
  );
  return seen.map(({ bus, order, digest }) => ({ bus, digest, bootFirst: order < (root ?? 0) }));
}

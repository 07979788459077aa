import type { ExportedFile, HostId } from '@berth/model';
import type { Tx } from './db.js';
import { sourcesLetGo } from './disk-sources.js';
import type { CloneOrderRow } from './rows.js';

/* What a host is told of exports, and what it says of them. */

/** A file that is whole stays so long, seconds; whoever wants it longer exports again. */
export const exportKeptSeconds = 24 * 3_600;

/** Those whose file is to be made. One that was given up, or is being deleted, has no source any more. */
export async function exportOrdersRead(tx: Tx, hostId: HostId): Promise<readonly CloneOrderRow[]> {
  const rows = await tx.rows<
    Omit<CloneOrderRow, 'export' | 'snapshotId'> & { snapshot_id: CloneOrderRow['snapshotId'] | null }
  >(
    `SELECT e.operation_id AS id, e.volume_id AS "volumeId", coalesce(c.source_volume_id, v.source_volume_id) AS "sourceId",
       v.format, v.size_mib AS "sizeMiB", v.source_snapshot_id AS snapshot_id
     FROM volume_exports e JOIN volumes v ON v.id = e.volume_id LEFT JOIN volume_clones c ON c.volume_id = v.id
     WHERE v.host_id = $1 AND coalesce(c.source_volume_id, v.source_volume_id) IS NOT NULL ORDER BY v.created_at, v.id`,
    [hostId],
  );
  return rows.map(({ snapshot_id: snapshotId, ...order }) => ({
    ...order,
    export: true as const,
    ...(snapshotId === null || snapshotId === undefined ? {} : { snapshotId }),
  }));
}

/** The file is whole: it waits to be downloaded, and what it was made of is let go. */
export async function exportMade(tx: Tx, volumeId: string, file: ExportedFile | undefined): Promise<void> {
  if (file === undefined) throw new Error(`a host made export ${volumeId}, and does not say what it is`);
  const expiresAt = new Date(tx.now.getTime() + exportKeptSeconds * 1000);
  await tx.changed(
    `UPDATE volume_exports SET size_bytes = $2, sha256 = $3, expires_at = $4 WHERE volume_id = $1`,
    [volumeId, file.sizeBytes, file.sha256, expiresAt],
  );
  await sourcesLetGo(tx, [volumeId]);
}

import { z } from 'zod';
import { Name, SnapshotId, VolumeId } from './ids.js';

/** A snapshot of an instance of the same project, as whose root disk another one begins. It may be deleted once that has been made. */
export const RootDiskSource = z.strictObject({ instance: Name, snapshot: Name });
export type RootDiskSource = z.infer<typeof RootDiskSource>;

/** A disk of a snapshot of the same project, as which a data volume begins. `volume` names the data volume that it was taken of. */
export const VolumeSource = RootDiskSource.extend({ volume: Name });
export type VolumeSource = z.infer<typeof VolumeSource>;

/** What a disk that its host has yet to make begins as: a snapshot in another volume of that host. */
export const DiskSource = z.strictObject({ volumeId: VolumeId, snapshotId: SnapshotId });
export type DiskSource = z.infer<typeof DiskSource>;

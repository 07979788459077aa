import { z } from 'zod';
import { DiskSource, RootDiskSource, VolumeSource } from './disk-source.js';
import { HostId, Name, OperationId, VolumeId } from './ids.js';
import { DiskFormat } from './image.js';
import { layerDiskMiB } from './layer-size.js';
import { DiskConsistency } from './snapshot.js';

/** Largest disk, MiB. */
const MAX_MIB = 64 * 1024 * 1024;
const perSecond = z
  .int()
  .min(1)
  .max(2 ** 50)
  .optional();

/** What a volume's disk is held to in each second, whoever has it; what is absent is not limited. */
export const VolumeLimits = z.strictObject({
  readBytesPerSecond: perSecond,
  writeBytesPerSecond: perSecond,
  readOperationsPerSecond: perSecond,
  writeOperationsPerSecond: perSecond,
});
export type VolumeLimits = z.infer<typeof VolumeLimits>;

/** What a data volume is: a disk of a vm, or a file system that containers have. */
export const VolumeFormat = z.enum([...DiskFormat.options, 'ext4']);
export type VolumeFormat = z.infer<typeof VolumeFormat>;

const size = z.int().min(1).max(MAX_MIB);

export const VolumeCreate = z
  .strictObject({
    name: Name,
    /** Size that the guest sees, MiB. It takes room on its host when it is first attached, as the guest writes. */
    sizeMiB: size,
    /** Disks are for vms: `raw` costs no more than its file; `qcow2` can be copied on write. `ext4` is a file system for containers, made by its host. */
    format: VolumeFormat.default('qcow2'),
    pool: Name.default('default'),
    limits: VolumeLimits.default({}),
    /** What it begins as (qcow2), instead of empty. It is on the host of the snapshot, and takes room there at once. */
    source: VolumeSource.optional(),
  })
  .refine((v) => v.source === undefined || v.format === 'qcow2', {
    path: ['format'],
    message: 'must be qcow2 for a volume that begins as a snapshot',
  })
  .refine((v) => v.format !== 'ext4' || v.sizeMiB >= layerDiskMiB, {
    path: ['sizeMiB'],
    message: `must be at least ${layerDiskMiB} for format ext4, whose tables are in it`,
  })
  .refine((v) => v.format !== 'ext4' || Object.keys(v.limits).length === 0, {
    path: ['limits'],
    message: 'are for disks (raw, qcow2); leave them out',
  })
  .meta({ id: 'VolumeCreate' });
export type VolumeCreate = z.infer<typeof VolumeCreate>;

/** What is absent stays as it is. */
export const VolumeUpdate = z
  .strictObject({
    /** Only more than before: a guest's file system does not survive less. */
    sizeMiB: size.optional(),
    limits: VolumeLimits.optional(),
  })
  .meta({ id: 'VolumeUpdate' });
export type VolumeUpdate = z.infer<typeof VolumeUpdate>;

/** A new data volume that holds what another one holds now, of which it is independent. */
export const VolumeClone = z
  .strictObject({
    /** Of the new volume. */
    name: Name,
    /** As the other one has it unless said. */
    format: DiskFormat.optional(),
  })
  .meta({ id: 'VolumeClone' });
export type VolumeClone = z.infer<typeof VolumeClone>;

/** A file that a host has made of a volume, whole. */
export const ExportedFile = z.strictObject({
  sizeBytes: z.int().min(0),
  /** SHA-256 of the file, hexadecimal. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type ExportedFile = z.infer<typeof ExportedFile>;

/** A file of what a volume holds, to be downloaded. */
export const VolumeExport = z
  .strictObject({
    format: DiskFormat.default('qcow2'),
    /** As the volume was in this snapshot, whatever runs now. Absent: as it is, and then nothing may write it meanwhile. */
    source: RootDiskSource.optional(),
  })
  .meta({ id: 'VolumeExport' });
export type VolumeExport = z.infer<typeof VolumeExport>;

export const Volume = z
  .strictObject({
    id: VolumeId,
    project: Name,
    name: z.string(),
    pool: Name,
    host: z.strictObject({ id: HostId, name: Name }).nullable(),
    /** `export`: a file of what another volume held, which no instance can have. */
    kind: z.enum(['rootDisk', 'writableLayer', 'data', 'export']),
    format: z.enum([...VolumeFormat.options, 'dir']),
    /** As asked for. */
    sizeMiB: z.int(),
    /** As its guest saw it last; null before that. */
    actualSizeMiB: z.int().nullable(),
    limits: VolumeLimits,
    /** Who has it. One that is detached keeps it until its host says that the guest has let go. */
    owner: z.strictObject({ instance: Name }).nullable(),
    /** What it began as; null for one that began as an image, or empty. It need not be there any more. */
    source: RootDiskSource.extend({ volume: Name.optional() }).nullable(),
    /** Its host has yet to make it of its source, which stays until then. */
    sourceHeld: z.boolean(),
    /** Its host copies another volume into it now; it cannot be attached until that is done. */
    cloning: z.strictObject({ from: Name, operationId: OperationId }).nullable(),
    /** Of kind `export`, else null. */
    export: z
      .strictObject({
        of: Name,
        operationId: OperationId,
        /** What can be relied on in it, as of a snapshot. */
        consistency: DiskConsistency,
        /** The file; null until its host has made it. */
        file: ExportedFile.nullable(),
        /** When it is deleted by itself; null until its host has made it. */
        expiresAt: z.iso.datetime().nullable(),
      })
      .nullable(),
    deleteWithInstance: z.boolean(),
    deletingSince: z.iso.datetime().nullable(),
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Volume' });
export type Volume = z.infer<typeof Volume>;

/** A data volume as a host realises it for a machine. */
export const HostVolume = z.strictObject({
  id: VolumeId,
  format: DiskFormat,
  sizeMiB: z.int().min(1),
  readOnly: z.boolean(),
  limits: VolumeLimits,
  /** Absent for one that begins empty, or has been made. */
  source: DiskSource.optional(),
});
export type HostVolume = z.infer<typeof HostVolume>;

/** A disk that a machine has, and the size it sees. */
export const VolumeSeen = z.strictObject({ id: VolumeId, sizeMiB: z.int().min(0) });
export type VolumeSeen = z.infer<typeof VolumeSeen>;

/**
 * Serial number of a volume's disk in its guest, which finds it as `/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_<serial>`.
 * QEMU shows 20 characters of it there.
 */
export const volumeSerial = (id: VolumeId): string => id.replaceAll('-', '').slice(0, 20);

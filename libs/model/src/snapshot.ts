import { z } from 'zod';
import { Name, OperationId, SnapshotId, VolumeId } from './ids.js';
import { SnapshotMachine } from './snapshot-machine.js';

/**
 * What can be relied on in disks as they were at a moment:
 *
 *   application  the guest had frozen its file systems through its agent: programs that take part in that are whole too
 *   filesystem   the guest had shut down, so that its file systems were closed
 *   crash        as after a power cut: file systems repair themselves, programs that write carefully lose nothing
 */
export const DiskConsistency = z.enum(['application', 'filesystem', 'crash']);
export type DiskConsistency = z.infer<typeof DiskConsistency>;

/**
 * The same of a snapshot; `exact` of one with its guest's memory: it goes on from that moment, and nothing has to be repaired. Its disks
 * by themselves are as in `crash`.
 */
export const Consistency = z.enum(['exact', ...DiskConsistency.options]);
export type Consistency = z.infer<typeof Consistency>;

/**
 * Snapshots that are taken by themselves while the instance runs: at every multiple of `everyMinutes` since 1970-01-01T00:00Z, moved
 * by `offsetMinutes`. So 60 is every full hour, and 1440 with an offset of 120 is 02:00 UTC each day.
 */
export const SnapshotSchedule = z
  .strictObject({
    everyMinutes: z
      .int()
      .min(5)
      .max(60 * 24 * 366),
    offsetMinutes: z.int().min(0).default(0),
    /** How many of them are kept, the newest. Those that users asked for are not counted, and never deleted. */
    keep: z.int().min(1).max(64),
  })
  .refine((s) => s.offsetMinutes < s.everyMinutes, {
    path: ['offsetMinutes'],
    message: 'must be less than everyMinutes',
  });
export type SnapshotSchedule = z.infer<typeof SnapshotSchedule>;

export const SnapshotCreate = z
  .strictObject({
    name: Name,
    /** Also the memory of its guest, which runs: a revert goes on from that moment. */
    memory: z.boolean().default(false),
  })
  .meta({ id: 'SnapshotCreate' });
export type SnapshotCreate = z.infer<typeof SnapshotCreate>;

/** What a host says of a snapshot that it took. */
export const SnapshotTaken = z.strictObject({
  consistency: Consistency,
  /** What that was concluded from, in words for people. */
  indications: z.array(z.string().max(500)).max(16),
  /** The host's clock when the disks stood still. */
  takenAt: z.iso.datetime(),
  /** Most room that it can hold once everything was written anew, MiB: what was allocated then. */
  heldMiB: z.int().min(0),
  /** Where its guest's memory is part of it. */
  memory: z
    .strictObject({
      /** Room of the file, MiB; a part of `heldMiB`. */
      sizeMiB: z.int().min(0),
      /** How long its guest stood still for it, ms. */
      stoodStillMs: z.int().min(0),
      machine: SnapshotMachine,
    })
    .optional(),
});
export type SnapshotTaken = z.infer<typeof SnapshotTaken>;

/** The disks of an instance, and the memory of its guest where that was asked for, as they were at one moment. */
export const Snapshot = z
  .strictObject({
    id: SnapshotId,
    project: Name,
    instance: Name,
    name: Name,
    /** Who asked for it. */
    actor: z.string(),
    /** The moment of its schedule; null for one that a user asked for. */
    scheduledFor: z.iso.datetime().nullable(),
    /** All but `ready` name the operation that owns it. */
    state: z.enum(['creating', 'ready', 'reverting', 'deleting']),
    /** Null until it is taken, as are `takenAt` and what is concluded from. */
    consistency: Consistency.nullable(),
    indications: z.array(z.string()),
    takenAt: z.iso.datetime().nullable(),
    /** Whether its guest's memory is part of it. */
    memory: z.boolean(),
    /** What that takes, MiB, and how long its guest stood still for it, ms; null without memory, and until it is taken. */
    memoryMiB: z.int().nullable(),
    stoodStillMs: z.int().nullable(),
    /** Room that is booked for it on its host, MiB. */
    bookedMiB: z.int(),
    disks: z.array(
      z.strictObject({ volumeId: VolumeId, volume: z.string(), root: z.boolean(), sizeMiB: z.int() }),
    ),
    operationId: OperationId.nullable(),
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Snapshot' });
export type Snapshot = z.infer<typeof Snapshot>;

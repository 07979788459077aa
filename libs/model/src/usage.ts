import { z } from 'zod';
import { InstanceId, NicId, VolumeId } from './ids.js';

const counter = z.int().min(0);

/** Operations of disks since their machine started, as its guest asked for them, and the time that they took. */
export const DiskActivity = z.strictObject({
  reads: counter,
  writes: counter,
  flushes: counter,
  /** Of all operations of the kind together, from the guest's request to the host's answer, microseconds. */
  readMicros: counter,
  writeMicros: counter,
  flushMicros: counter,
  /** Absent where the driver does not tell. */
  failedReads: counter.optional(),
  failedWrites: counter.optional(),
  failedFlushes: counter.optional(),
});
export type DiskActivity = z.infer<typeof DiskActivity>;

/** What one disk of a machine did. */
export const DiskUsage = z.strictObject({
  /** Null for the root disk. */
  volumeId: VolumeId.nullable(),
  readBytes: counter,
  writtenBytes: counter,
  ...DiskActivity.shape,
});
export type DiskUsage = z.infer<typeof DiskUsage>;

/** What a guest says of its memory through its balloon (virtio 1.2, 5.5.6.3). What it does not tell is absent. */
export const GuestMemory = z.strictObject({
  /** How old its word was at the look, milliseconds: one that hangs, or stands still, says nothing new. */
  ageMs: counter,
  /** All that its kernel manages. */
  sizeBytes: counter.optional(),
  freeBytes: counter.optional(),
  /** What it could give to new programs without swapping. */
  availableBytes: counter.optional(),
  /** Of files, and given back when needed. */
  cacheBytes: counter.optional(),
  /** Since its boot, as the following. */
  swapInBytes: counter.optional(),
  swapOutBytes: counter.optional(),
  majorFaults: counter.optional(),
  minorFaults: counter.optional(),
});
export type GuestMemory = z.infer<typeof GuestMemory>;

/** A word older than this tells nothing of now, milliseconds. Guests are asked every 10 s, looked at every 15 s. */
export const staleGuestMs = 60_000;

/** What a guest really uses, bytes; null where it does not tell, or has not told lately. */
export function guestUsedBytes(memory: GuestMemory | undefined): number | null {
  if (memory === undefined || memory.ageMs > staleGuestMs) return null;
  const { sizeBytes, availableBytes } = memory;
  if (sizeBytes === undefined || availableBytes === undefined) return null;
  return Math.max(0, sizeBytes - availableBytes);
}

/** What one instance has used since its run began, and uses now, as its host measured it. */
export const Usage = z.strictObject({
  /** Processor time, microseconds. */
  cpuMicros: counter,
  /** Memory held now: of the cgroup (container) or resident in the QEMU process (vm), bytes. */
  memoryBytes: counter,
  /** Null where the host cannot tell. */
  blockReadBytes: counter.nullable(),
  blockWriteBytes: counter.nullable(),
  /** Of all its disks together. What a runtime cannot tell is absent here and below, and so is what an older agent does not know. */
  operations: DiskActivity.optional(),
  guest: GuestMemory.optional(),
  /** Processes of a container that its host's kernel killed for want of memory. */
  oomKills: counter.optional(),
  /** Processes and threads of a container now. */
  pids: counter.optional(),
  /** In the newest sample of a host only. */
  disks: z.array(DiskUsage).max(300).optional(),
});
export type Usage = z.infer<typeof Usage>;

const bytesOfNic = { receivedBytes: counter, sentBytes: counter };

/** What went through one nic since it was made, as the guest sees it: what the host's end sends, the guest receives. */
export const NicUsage = z.strictObject({
  nicId: NicId,
  ...bytesOfNic,
  receivedPackets: counter,
  sentPackets: counter,
  receiveErrors: counter,
  sendErrors: counter,
  /** Not taken by the guest in time, so given up by its host. */
  receiveDrops: counter,
  sendDrops: counter,
});
export type NicUsage = z.infer<typeof NicUsage>;

/** What went through all nics of an instance. */
export const Traffic = z.strictObject({
  ...bytesOfNic,
  receivedPackets: counter.optional(),
  sentPackets: counter.optional(),
  /** In the newest sample of a host only. */
  nics: z.array(NicUsage).max(64).optional(),
});
export type Traffic = z.infer<typeof Traffic>;

export const InstanceUsage = z.strictObject({
  instanceId: InstanceId,
  epoch: z.int().min(1),
  ...Usage.shape,
  ...Traffic.shape,
});
export type InstanceUsage = z.infer<typeof InstanceUsage>;

/** What a whole machine has used since it booted, and uses now. */
export const HostUsage = z.strictObject({
  cpuMicros: counter,
  /** Not available to a new process, bytes. */
  memoryBytes: counter,
  /** Used on the file system of the pool, bytes. */
  diskBytes: counter,
});
export type HostUsage = z.infer<typeof HostUsage>;

/** One look at a host and everything that runs on it. */
export const UsageSample = z.strictObject({
  /** By the host's clock, milliseconds since the epoch. */
  at: counter,
  host: HostUsage,
  instances: z.array(InstanceUsage).max(10_000),
});
export type UsageSample = z.infer<typeof UsageSample>;

/** What an instance uses now. Bytes of disks and nics are counted since its run, or the nic, began. */
export const InstanceStats = z
  .strictObject({
    time: z.iso.datetime().describe('When it was measured'),
    cpuMillis: z
      .number()
      .min(0)
      .nullable()
      .describe(
        'Thousandths of a processor since the object before, or since the request; null where it was started anew meanwhile',
      ),
    memoryBytes: counter.describe(
      'Held now: of a container with its cache of files, of a VM what its process has resident',
    ),
    memoryLimitBytes: counter.describe('`memoryMiB` of its spec'),
    guestMemoryBytes: counter
      .nullable()
      .describe(
        'What a guest says that it uses and could not give to a new program; null where it does not tell',
      ),
    networkReceivedBytes: counter,
    networkSentBytes: counter,
    blockReadBytes: counter.nullable().describe('Null where its host cannot tell'),
    blockWriteBytes: counter.nullable().describe('Null where its host cannot tell'),
    pids: counter.nullable().describe('Processes and threads of a container; null for others'),
  })
  .meta({ id: 'InstanceStats' });
export type InstanceStats = z.infer<typeof InstanceStats>;

const points = z.array(z.number().nullable());

const seriesHead = {
  /** Seconds between two points. */
  stepSeconds: z.int(),
  times: z
    .array(z.int())
    .describe('Unix time of each point, seconds; the arrays beside it have the same length'),
  cpuMillis: points.describe('Thousandths of a processor; null where nothing was measured'),
  memoryBytes: points,
};

/** The last hour of an instance, as arrays that a plot takes as they are. */
export const InstanceMetrics = z
  .strictObject({
    ...seriesHead,
    blockReadBytesPerSecond: points,
    blockWriteBytesPerSecond: points,
    networkReceiveBytesPerSecond: points,
    networkTransmitBytesPerSecond: points,
    guestMemoryBytes: points.describe(
      'What a guest says that it uses and could not give to a new program; null where it has not told lately',
    ),
    blockReadOperationsPerSecond: points,
    blockWriteOperationsPerSecond: points,
    blockFlushesPerSecond: points,
    blockReadMillis: points.describe('Mean time of a read of that step, milliseconds; null without one'),
    blockWriteMillis: points.describe('The same of a write'),
    blockFlushMillis: points.describe('The same of a flush'),
    networkReceivePacketsPerSecond: points,
    networkTransmitPacketsPerSecond: points,
  })
  .meta({ id: 'InstanceMetrics' });
export type InstanceMetrics = z.infer<typeof InstanceMetrics>;

/** The last hour of a host. */
export const HostMetrics = z.strictObject({ ...seriesHead, diskBytes: points }).meta({ id: 'HostMetrics' });
export type HostMetrics = z.infer<typeof HostMetrics>;

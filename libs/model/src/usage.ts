import { z } from 'zod';
import { InstanceId } from './ids.js';

const counter = z.int().min(0);

/** What one instance has used since its run began, and uses now, as its host measured it. */
export const Usage = z.strictObject({
  /** Processor time, microseconds. */
  cpuMicros: counter,
  /** Memory held now: of the cgroup (container) or resident in the QEMU process (vm), bytes. */
  memoryBytes: counter,
  /** Null where the host cannot tell. */
  blockReadBytes: counter.nullable(),
  blockWriteBytes: counter.nullable(),
});
export type Usage = z.infer<typeof Usage>;

/** What went through an instance's nics since they were made, as the guest sees it. */
export const Traffic = z.strictObject({ receivedBytes: counter, sentBytes: counter });
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
  })
  .meta({ id: 'InstanceMetrics' });
export type InstanceMetrics = z.infer<typeof InstanceMetrics>;

/** The last hour of a host. */
export const HostMetrics = z.strictObject({ ...seriesHead, diskBytes: points }).meta({ id: 'HostMetrics' });
export type HostMetrics = z.infer<typeof HostMetrics>;

import { z } from 'zod';
import { CpuModels } from './cpu.js';
import { HostDevices } from './host-device.js';
import { HostPathOffers } from './host-path.js';
import { HugePages } from './huge-pages.js';
import { HostId, Labels, Name } from './ids.js';
import { Isolation } from './instance.js';
import { HostNumaNode } from './numa.js';
import { PortOffer } from './published-port.js';

export const Arch = z.enum(['x86_64', 'aarch64']);

/** Verdict on one acceleration path, measured rather than guessed. */
export const AccelVerdict = z.strictObject({
  verdict: z.enum(['usable', 'unusable', 'absent', 'unmeasured']),
  reason: z.string(),
  /** How many times slower than TCG the probe payload ran, where it was measured. */
  factor: z.number().optional(),
});
export type AccelVerdict = z.infer<typeof AccelVerdict>;

/** What a host can do, as its agent probed it. */
export const Capabilities = z
  .strictObject({
    arch: Arch,
    cpus: z.int().min(1),
    /** Numbers of the processors that its containers may be bound to, as `0-3,8`. Absent where none can be, and from an agent of before. */
    processors: z.string().max(4096).optional(),
    memoryMiB: z.int().min(1),
    diskMiB: z.int().min(0),
    kernel: z.string(),
    cgroup: z.enum(['v1', 'v2', 'hybrid']),
    /** Per isolation: can it run here, with which drivers, and if not, why. */
    isolation: z.partialRecord(
      Isolation,
      z.strictObject({ ok: z.boolean(), drivers: z.array(z.string()), reason: z.string().optional() }),
    ),
    accel: z.strictObject({ kvm: AccelVerdict, tcg: z.boolean() }),
    cpu: z.strictObject({
      vendor: z.string(),
      model: z.string(),
      virtualisation: z.enum(['vmx', 'svm', 'none']),
      secondLevelPaging: z.enum(['ept', 'npt', 'none', 'unknown']),
      nested: z.boolean(),
      /** `/dev/kvm` exists and opens. */
      kvmDevice: z.boolean(),
    }),
    /** Processors that its virtual machines may be given. Absent from an agent of before. */
    cpuModels: CpuModels.optional(),
    /** Absent from an agent of before, and where there are no virtual machines. */
    hugePages: HugePages.optional(),
    /** Its nodes of memory and processors. Absent from an agent of before, and where there are no virtual machines; empty where its kernel knows of none. */
    numa: z.array(HostNumaNode).optional(),
    /** Ports that it publishes for instances; absent where it publishes none. */
    publishedPorts: PortOffer.optional(),
    /** Devices that it lends to containers, by name. Absent from an agent of before. */
    devices: HostDevices.optional(),
    /** Directories that it lets containers mount. Absent from an agent of before. */
    hostPaths: HostPathOffers.optional(),
    /** Optional abilities of the runtimes (pause, logs, exec …). */
    facets: z.array(z.string()),
    /** TCG is no security boundary between tenants; true only with usable hardware virtualisation. */
    tenantBoundary: z.boolean(),
    versions: z.record(z.string(), z.string()),
  })
  .meta({ id: 'Capabilities' });
export type Capabilities = z.infer<typeof Capabilities>;

export const Capacity = z.strictObject({ cpuMillis: z.int(), memoryMiB: z.int(), diskMiB: z.int() });
export type Capacity = z.infer<typeof Capacity>;

export const Host = z
  .strictObject({
    id: HostId,
    name: Name,
    labels: Labels,
    schedulable: z.boolean(),
    /** `ready`: connected and reporting; `silent`: no report for longer than the grace time; `new`: never connected. */
    state: z.enum(['new', 'ready', 'silent']),
    reason: z.string().nullable(),
    bootId: z.string().nullable(),
    capabilities: Capabilities.nullable(),
    capacity: Capacity.nullable(),
    used: Capacity,
    lastSeenAt: z.iso.datetime().nullable(),
    /** Milliseconds its clock is ahead of the API's, behind below zero; null before it was compared. */
    clockAheadMs: z.int().nullable(),
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Host' });
export type Host = z.infer<typeof Host>;

/** Beyond this a host's clock is wrong, milliseconds: times of what happens there are in no order with those of others. */
const clockToleranceMs = 2_000;

/** What is wrong with a host's clock in words, or null when nothing is, or when it was never compared. */
export function clockTrouble(host: Pick<Host, 'clockAheadMs'>): { message: string; remedy: string } | null {
  const ms = host.clockAheadMs ?? 0;
  if (Math.abs(ms) <= clockToleranceMs) return null;
  return {
    message: `clock is ${Math.round(Math.abs(ms) / 1000)} s ${ms > 0 ? 'ahead of' : 'behind'} the API's`,
    remedy: 'Keep both clocks right, by chrony say: an hour apart, they refuse each other’s certificates.',
  };
}

import { z } from 'zod';
import { DecisionId, Digest, HostId, InstanceId, Name, OperationId } from './ids.js';
import { FieldError, type BerthError } from './errors.js';
import { ImageSources } from './image.js';

export const OperationKind = z.enum([
  'create',
  'update',
  'start',
  'stop',
  'restart',
  'rebuild',
  'pause',
  'resume',
  'suspend',
  'reset',
  'freeze',
  'thaw',
  'delete',
  'snapshot',
  'snapshotRevert',
  'snapshotDelete',
  'volumeClone',
  'volumeExport',
  'imageImport',
  'imageCommit',
  'imagePush',
]);
export type OperationKind = z.infer<typeof OperationKind>;

/** A long-running request. Kept for ever; `state` moves only forward. */
export const Operation = z
  .strictObject({
    id: OperationId,
    project: Name,
    kind: OperationKind,
    target: z.strictObject({
      kind: z.enum(['instance', 'image', 'volume']),
      id: z.string(),
      name: z.string(),
    }),
    actor: z.string(),
    traceId: z.string(),
    state: z.enum(['pending', 'running', 'succeeded', 'failed', 'cancelled', 'superseded']),
    steps: z.array(
      z.strictObject({ name: z.string(), at: z.iso.datetime(), message: z.string().optional() }),
    ),
    /** 0 to 100. */
    progress: z.int(),
    deadline: z.iso.datetime().nullable(),
    error: z
      .strictObject({
        code: z.string(),
        message: z.string(),
        remedy: z.string().optional(),
        errors: z.array(FieldError).optional(),
      })
      .nullable(),
    createdAt: z.iso.datetime(),
    finishedAt: z.iso.datetime().nullable(),
  })
  .meta({ id: 'Operation' });
export type Operation = z.infer<typeof Operation>;

/** What an operation says of the error that ended it. */
export function operationError({
  code,
  publicMessage: message,
  options: { remedy },
}: BerthError): NonNullable<Operation['error']> {
  return { code, message, ...(remedy === undefined ? {} : { remedy }) };
}

/** One part of an operation and how long it took. `host`: as the host measured it, within the API's parts around it. */
export const Span = z.strictObject({ room: z.enum(['api', 'host']), name: z.string(), ms: z.number() });
export type Span = z.infer<typeof Span>;

/** Where the time of an operation went, in the order in which the parts ended. */
export const Trace = z
  .strictObject({ operationId: z.string(), traceId: z.string(), spans: z.array(Span) })
  .meta({ id: 'Trace' });
export type Trace = z.infer<typeof Trace>;

/** `audit` is never trimmed. */
export const EventClass = z.enum(['audit', 'lifecycle', 'observation']);
export type EventClass = z.infer<typeof EventClass>;

/** Kinds of objects that the ledger tells of, or may tell of. */
export const EventObjectKind = z.enum([
  'host',
  'image',
  'instance',
  'joinToken',
  'network',
  'project',
  'registryCredential',
  'roleBinding',
  'secret',
  'snapshot',
  'token',
  'volume',
  'securityGroup',
]);
export type EventObjectKind = z.infer<typeof EventObjectKind>;

/** One row of the ledger. `position` is dense enough to resume from, and is set after commit by the sequencer. */
export const Event = z
  .strictObject({
    position: z.string(),
    at: z.iso.datetime(),
    class: EventClass,
    /** `noun.verb`, for example `instance.created`. */
    type: z.string(),
    project: Name.nullable(),
    object: z.strictObject({ kind: z.string(), id: z.string(), name: z.string() }),
    actor: z.string(),
    traceId: z.string().nullable(),
    operationId: OperationId.nullable(),
    data: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Event' });
export type Event = z.infer<typeof Event>;

/** Names of the scheduler's filters, in the order they run. */
export const FilterName = z.enum([
  'ready',
  'schedulable',
  'arch',
  'isolation',
  'driver',
  'accel',
  'firmware',
  'devices',
  'hostPaths',
  'resources',
  'hugePages',
  'numa',
  'cpuModel',
  'labels',
  'volume',
  'ipv6',
  'ports',
  'cpu',
  'memory',
  'disk',
  'dependencies',
]);
export type FilterName = z.infer<typeof FilterName>;

export const HostVerdict = z
  .strictObject({
    hostId: HostId,
    host: Name,
    fits: z.boolean(),
    /** The first filter that refused, with what was needed and what there was. */
    failed: z
      .strictObject({ filter: FilterName, need: z.string(), have: z.string(), message: z.string() })
      .nullable(),
    score: z.number().nullable(),
    scores: z.record(z.string(), z.number()),
    free: z.strictObject({ cpuMillis: z.int(), memoryMiB: z.int(), diskMiB: z.int() }),
  })
  .meta({ id: 'HostVerdict' });
export type HostVerdict = z.infer<typeof HostVerdict>;

/** The scheduler's stored answer for one placement attempt. */
export const Decision = z
  .strictObject({
    id: DecisionId,
    instanceId: InstanceId,
    snapshotId: z.string(),
    outcome: z.enum(['placed', 'unplaced']),
    hostId: HostId.nullable(),
    host: Name.nullable(),
    strategy: z.enum(['spread', 'pack']),
    seed: z.string(),
    considered: z.int(),
    /** Hosts refused per filter. */
    rejected: z.array(
      z.strictObject({ filter: FilterName, hosts: z.int(), need: z.string(), bestHave: z.string() }),
    ),
    /** Best hosts first. */
    best: z.array(HostVerdict),
    /** Refused hosts that came closest. */
    nearest: z.array(HostVerdict),
    /** Every host's verdict where there are at most 64 hosts, else null. */
    verdicts: z.array(HostVerdict).nullable(),
    summary: z.string(),
    at: z.iso.datetime(),
  })
  .meta({ id: 'Decision' });
export type Decision = z.infer<typeof Decision>;

export const Role = z.enum(['admin', 'operator', 'viewer']);
export type Role = z.infer<typeof Role>;

export const Project = z
  .strictObject({
    id: z.uuid(),
    name: Name,
    imageSources: ImageSources,
    resourceVersion: z.int(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: 'Project' });
export type Project = z.infer<typeof Project>;

/** Blob kept by a host, as its inventory names it. */
export const HostImage = z.strictObject({ digest: Digest });

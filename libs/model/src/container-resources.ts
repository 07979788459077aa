import { z } from 'zod';

/*
 * What a container gets of its host beside `cpuMillis` and `memoryMiB`, which are booked. Nothing here is: a share, and bounds
 * that keep one container from being felt by the others. All of it changes while the container runs.
 */

/** Processes and threads that a container may have where its spec says nothing. */
export const defaultPids = 4096;
/** Fewer do not start: the OCI runtime is in the container's group until its program begins, with threads of its own. */
const leastPids = 16;

/** Highest number of a processor that Linux is built for (CONFIG_NR_CPUS), less one. */
const lastProcessor = 8191;

/**
 * Numbers of processors in Linux' list format (cpuset(7)), ascending and each once; null for what is none: an empty text, a number too
 * high, a range that runs backwards. Pure.
 */
export function processorsIn(list: string): readonly number[] | null {
  const numbers = new Set<number>();
  for (const part of list.split(',')) {
    const [, first, last = first] = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(part) ?? [];
    if (first === undefined || Number(last) < Number(first) || Number(last) > lastProcessor) return null;
    for (let n = Number(first); n <= Number(last); n += 1) numbers.add(n);
  }
  return [...numbers].sort((a, b) => a - b);
}

const perSecond = z.int().min(1).max(1_000_000);
/**
 * What passes between a container and each disk of its host that holds files of its: its writable layer, its image. On cgroup v1 writes that
 * wait in the page cache are written by the host, and not counted: what is read, and what is written with O_DIRECT or O_SYNC, is.
 */
export const ContainerIo = z.strictObject({
  readMiBPerSecond: perSecond.optional(),
  writeMiBPerSecond: perSecond.optional(),
  readOperationsPerSecond: perSecond.optional(),
  writeOperationsPerSecond: perSecond.optional(),
  /** How much of a busy disk it gets, in proportion to others, who have 100 unless told otherwise. Where the disk's I/O scheduler is bfq. */
  weight: z.int().min(10).max(1000).optional(),
});
export type ContainerIo = z.infer<typeof ContainerIo>;

export const ContainerResources = z.strictObject({
  /** Most processes and threads, 4096 when absent. Below what there are, it has no new ones until fewer are left. */
  pids: z.int().min(leastPids).max(4_194_304).optional(),
  /**
   * How much of the processors it gets while others want them too, in proportion to theirs. Absent: as much as its `cpuMillis`, or 100 where it
   * has no cap.
   */
  cpuWeight: z.int().min(10).max(256_000).optional(),
  /** The processors of its host that it runs on, by their numbers: `0-3,8`. Absent: all. */
  cpus: z
    .string()
    .max(256)
    .regex(/^\d{1,4}(-\d{1,4})?(,\d{1,4}(-\d{1,4})?)*$/, 'numbers and ranges of processors, as 0-3,8')
    .optional(),
  io: ContainerIo.optional(),
  /** Above this its kernel takes memory back from it, and slows it down meanwhile, before `memoryMiB` ends something. Hosts with cgroup v2 only. */
  memoryHighMiB: z
    .int()
    .min(4)
    .max(16 * 1024 * 1024)
    .optional(),
  /** Most of its memory that may be in its host's swap, beside `memoryMiB`; 0 when absent. */
  swapMiB: z
    .int()
    .min(0)
    .max(16 * 1024 * 1024)
    .optional(),
});
export type ContainerResources = z.infer<typeof ContainerResources>;
export type ResourceField = keyof ContainerResources;

/** Facet of hosts whose containers take `resources`. */
export const resourcesFacet = 'resources';

interface Asking {
  readonly isolation: string;
  readonly memoryMiB: number;
  readonly resources?: ContainerResources | undefined;
}
type Refuse = (path: readonly (string | number)[], message: string) => void;

/** Tells of everything in `resources` that cannot be so on any host. */
export function checkResources({ isolation, memoryMiB, resources }: Asking, refuse: Refuse): void {
  if (resources === undefined) return;
  if (isolation !== 'container')
    return refuse(
      ['resources'],
      'only for isolation container: a machine is bounded by vcpus, cpuMillis and memoryMiB; leave it out',
    );
  if (resources.cpus !== undefined && processorsIn(resources.cpus) === null)
    refuse(
      ['resources', 'cpus'],
      `ranges run upwards, and no processor has a number above ${lastProcessor}: 0-3,8`,
    );
  if (resources.memoryHighMiB !== undefined && resources.memoryHighMiB > memoryMiB)
    refuse(
      ['resources', 'memoryHighMiB'],
      `must be at most memoryMiB, ${memoryMiB}: above that nothing is taken back`,
    );
}

/** What of a host decides whether it can give a container its `resources`. */
export interface ResourcesOffer {
  readonly facets: readonly string[];
  readonly processors?: string | undefined;
}

/** Why a host cannot give a container what it asks for, and what to do. */
export interface ResourcesRefusal {
  /** Of the spec: `resources`, or a field in it. */
  readonly field: 'resources' | 'resources.io.weight' | `resources.${ResourceField}`;
  readonly need: string;
  readonly have: string;
  readonly message: string;
  readonly remedy: string;
}

/** Null where the host can. Pure. */
export function resourcesRefusal(
  { resources }: Pick<Asking, 'resources'>,
  offer: ResourcesOffer,
): ResourcesRefusal | null {
  if (resources === undefined) return null;
  if (!offer.facets.includes(resourcesFacet))
    return {
      field: 'resources',
      need: 'resources',
      have: 'no resources',
      message: 'its containers take no resources: its agent is older than this API',
      remedy: 'bring its agent to the version of this API, or leave resources out',
    };
  const missing = needs.find(({ facet, asked }) => asked(resources) && !offer.facets.includes(facet));
  if (missing === undefined) return processorsRefusal(resources.cpus, offer);
  const { field, message, remedy } = missing;
  return { field, need: field, have: `no ${field}`, message, remedy };
}

/** What not every kernel has, by the facets of hosts that have it. */
const needs: readonly {
  readonly facet: string;
  readonly field: ResourcesRefusal['field'];
  readonly asked: (resources: ContainerResources) => boolean;
  readonly message: string;
  readonly remedy: string;
}[] = [
  {
    facet: 'ioLimits',
    field: 'resources.io',
    asked: ({ io: { weight: _, ...limits } = {} }) => Object.values(limits).some((one) => one !== undefined),
    message: 'its kernel bounds no disks: it has no cgroup controller blkio (v1) or io (v2)',
    remedy: 'mount or delegate that controller there, or leave the limits of resources.io out',
  },
  {
    facet: 'ioWeight',
    field: 'resources.io.weight',
    asked: ({ io }) => io?.weight !== undefined,
    message: 'its disk heeds no weights: they are the work of the I/O scheduler bfq',
    remedy:
      'choose bfq for the disk of its state directory (/sys/block/…/queue/scheduler) and start its agent again, or leave resources.io.weight out',
  },
  {
    facet: 'memoryHigh',
    field: 'resources.memoryHighMiB',
    asked: ({ memoryHighMiB }) => memoryHighMiB !== undefined,
    message: 'its memory is under cgroup v1, which knows no such bound',
    remedy:
      'boot it with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or leave resources.memoryHighMiB out',
  },
  {
    facet: 'swap',
    field: 'resources.swapMiB',
    asked: ({ swapMiB }) => (swapMiB ?? 0) > 0,
    message: 'its kernel does not count swap by container',
    remedy: 'boot it with swapaccount=1, or leave resources.swapMiB out',
  },
];

function processorsRefusal(cpus: string | undefined, offer: ResourcesOffer): ResourcesRefusal | null {
  if (cpus === undefined) return null;
  const has = new Set(processorsIn(offer.processors ?? ''));
  const missing = (processorsIn(cpus) ?? []).filter((n) => !has.has(n));
  if (missing.length === 0) return null;
  const told = offer.processors ?? 'none';
  return {
    field: 'resources.cpus',
    need: `processors ${cpus}`,
    have: told,
    message:
      has.size === 0
        ? 'it binds no container to processors: its kernel has no cgroup controller cpuset'
        : `it has no processor ${missing.slice(0, 8).join(', ')}; those that containers may have are ${told}`,
    remedy: 'name processors that the host has (its capabilities.processors), or leave resources.cpus out',
  };
}

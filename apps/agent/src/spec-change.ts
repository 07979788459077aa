import type { Assignment } from '@berth/link';
import type { Condition, HostMount, HostSecret, KeptByRun } from '@berth/model';
import { restartRequiredType, sameDrives, sameValue, secretIsLive, sizeFields } from '@berth/model';
import type { Unsettled } from '@berth/runtime';

/*
 * What a change of the spec does to a workload that runs: its runtime puts into effect what it can, and the rest is
 * named until the next start. Sizes that do not change while it runs are those of its epoch; `restart` makes a new one.
 */

type Workload = Assignment['workload'];

/** Fields that a run keeps as it was started with, by their names in a spec. */
const kept = {
  process: 'process',
  userData: 'userData',
  cloudInit: 'cloudInit',
  firmware: 'firmware',
  tpm: 'tpm',
  usbTablet: 'usbTablet',
  displays: 'displays',
  vsock: 'vsock',
  numa: 'numa',
  hugePages: 'hugePages',
  cpuModel: 'cpu.model',
  watchdog: 'watchdog',
  security: 'security',
  devices: 'devices',
  hostPaths: 'hostPaths',
  system: 'system',
  dns: 'dns',
  accel: 'placement.accel',
  driver: 'placement.driver',
} as const satisfies Partial<Record<keyof Workload, KeptByRun | `${KeptByRun}.${string}`>>;

const unbounded = {
  maxVcpus: undefined,
  minVcpus: undefined,
  maxMemoryMiB: undefined,
  minMemoryMiB: undefined,
};

/** What an epoch is to run with: its workload, with the sizes that it is to have. */
export function booking({ workload, booked: room }: Assignment): Workload {
  return room === undefined ? workload : { ...workload, ...unbounded, ...room };
}

/** Fields of the spec that take effect at the next start. @param started what the run was started with, where that is known */
export function restartFields(assignment: Assignment, started: Workload | undefined): string[] {
  const wanted = assignment.workload;
  const has = booking(assignment);
  return [
    ...sizeFields.filter((field) => wanted[field] !== has[field]),
    ...Object.entries(kept).flatMap(([field, name]) =>
      started === undefined || same(wanted[field as keyof Workload], started[field as keyof Workload])
        ? []
        : [name],
    ),
    ...(started === undefined || sameDrives(wanted.cdroms, started.cdroms) ? [] : ['cdroms']),
    ...(started === undefined || sameMounts(wanted.mounts, started.mounts) ? [] : ['volumes']),
    ...(started === undefined ? [] : secretFields(wanted.secrets, started.secrets)),
  ];
}

/** Whether a container has what is wanted, at the same places. They grow while it runs. */
function sameMounts(wanted: readonly HostMount[] = [], started: readonly HostMount[] = []): boolean {
  const place = ({ sizeMiB: _, ...rest }: HostMount): object => rest;
  return sameValue(wanted.map(place), started.map(place));
}

/** Secrets that are others than it was started with, or whose new values cannot reach it. */
function secretFields(wanted: readonly HostSecret[] = [], started: readonly HostSecret[] = []): string[] {
  const use = ({ version: _, ...rest }: HostSecret): object => rest;
  if (!sameValue(wanted.map(use), started.map(use))) return ['secrets'];
  const behind = wanted.filter((one, i) => !secretIsLive(one) && one.version !== started[i]?.version);
  const names = [...new Set(behind.map(({ name }) => name))];
  return names.length === 0 ? [] : [`secrets (a new value of ${names.join(', ')})`];
}

/** Null when all that was asked for is in effect. @param unsettled what was offered to the workload, and not taken */
export function restartRequired(
  fields: readonly string[],
  unsettled: readonly Unsettled[],
  since: string,
): Condition | null {
  const all = [...fields, ...unsettled.map(({ field, why }) => `${field} (${why})`)];
  if (all.length === 0) return null;
  const offered = unsettled.map(({ field }) => field).join(', ');
  return {
    type: restartRequiredType,
    reason: unsettled.length === 0 ? 'SpecChanged' : 'NotTaken',
    message: `takes effect at the next start: ${all.join(', ')}`,
    remedy:
      unsettled.length === 0
        ? 'restart the instance when it suits'
        : `restart the instance when it suits; while it runs this is tried again: ${offered}`,
    since,
  };
}

/** What of an assignment a runtime can put into effect while it runs, as text to compare. */
export const liveText = ({
  revision,
  workload: { volumes, mounts, rootVolume, nics, cdroms, secrets },
}: Assignment): string =>
  JSON.stringify([revision, volumes.map(sourceless), sourceless(rootVolume), nics, cdroms, secrets, mounts]);

/** The same of all but what is in its drives. */
export const besideText = (assignment: Assignment): string => {
  const { cdroms: _, ...workload } = assignment.workload;
  return liveText({ ...assignment, workload });
};

/** What a disk began as is no wish of something that runs, and is told no more once it has been made. */
const sourceless = <D extends { readonly source?: unknown }>({ source: _, ...disk }: D): Omit<D, 'source'> =>
  disk;

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

import { z } from 'zod';
import type { CdromSpec } from './cdrom.js';
import type { InstanceSpec } from './instance.js';
import { sizeFields, sizesNow, sizesOf } from './sizes.js';

/** When a changed field comes into effect: at once, also while the instance runs, or with its next start. */
export const ChangeEffect = z.enum(['now', 'nextStart']);
export type ChangeEffect = z.infer<typeof ChangeEffect>;

export const FieldChange = z.strictObject({
  path: z.string().describe('JSON pointer, as in refusals: `/spec/memoryMiB`'),
  effect: ChangeEffect,
  from: z.unknown().describe('null where there was none'),
  to: z.unknown().describe('null where there is none'),
});
export type FieldChange = z.infer<typeof FieldChange>;

/** What an update would do. */
export const ChangePreview = z
  .strictObject({
    changes: z.array(FieldChange),
    restartRequired: z
      .boolean()
      .describe('It runs, and goes on with some of the old values until it is started again'),
  })
  .meta({ id: 'ChangePreview' });
export type ChangePreview = z.infer<typeof ChangePreview>;

/** Fields, each with all below it, that a run keeps as it began with; of sizes, see sizes.ts. All others take effect while it runs. */
export const keptByRun = [
  'process',
  'userData',
  'cloudInit',
  'cpu',
  'firmware',
  'tpm',
  'usbTablet',
  'displays',
  'vsock',
  'numa',
  'security',
  'devices',
  'hostPaths',
  'system',
  'dns',
  'secrets',
  'hugePages',
  'watchdog',
  'placement',
] as const;
export type KeptByRun = (typeof keptByRun)[number];

interface Changing {
  readonly spec: InstanceSpec;
  readonly labels: Readonly<Record<string, string>>;
}

/** What says which nics there are, and where. They come to and leave only a VM while it runs. */
export const nicsPath = /^\/spec\/nics(\/\d+\/(network|address6?))?$/;
/** An address of a nic that stays is its guest's until that starts anew. */
const addressPath = /^\/spec\/nics\/(\d+)\/address6?$/;

/** What says which CD-ROM drives a machine has. What is in them, and by what means it is taken out, changes while it runs. */
const drivesPath = /^\/spec\/cdroms(\/\d+(\/(bus|bootFirst))?)?$/;

/** Whether both ask for the same drives, whatever is in them. */
export function sameDrives(a: readonly Drive[] = [], b: readonly Drive[] = []): boolean {
  const drives = (of: readonly Drive[]): unknown => of.map(({ bus, bootFirst }) => ({ bus, bootFirst }));
  return sameValue(drives(a), drives(b));
}
type Drive = Pick<CdromSpec, 'bus' | 'bootFirst'>;

/**
 * Every field that differs, in the order of their paths; an empty list where nothing does.
 * @param has what runs of it; when nothing does, what would run of the spec as it was
 */
export function fieldChanges(was: Changing, wanted: Changing, has = sizesOf(was.spec)): FieldChange[] {
  const [now, asked] = [sizesNow(has, wanted.spec), sizesOf(wanted.spec)];
  const sizes = sizeFields.filter((field) => now[field] !== asked[field]);
  const nicKept = (path: string): boolean => {
    if (wanted.spec.isolation !== 'vm') return nicsPath.test(path);
    const at = Number(addressPath.exec(path)?.[1] ?? Number.NaN);
    return !Number.isNaN(at) && was.spec.nics[at]?.network === wanted.spec.nics[at]?.network;
  };
  const kept = [...sizes, ...keptByRun].map((field) => `/spec/${field}`);
  return differences('', was, wanted).map(({ path, from, to }) => ({
    path,
    effect:
      (was.spec.isolation === 'container' && path === '/spec/volumes') ||
      nicKept(path) ||
      drivesPath.test(path) ||
      kept.some((k) => path === k || path.startsWith(`${k}/`))
        ? 'nextStart'
        : 'now',
    from,
    to,
  }));
}

interface Difference {
  readonly path: string;
  readonly from: unknown;
  readonly to: unknown;
}

/** Nics and CD-ROM drives are told apart by their place; every other list is one value. */
function differences(path: string, from: unknown, to: unknown): Difference[] {
  const [a, b] = [from ?? null, to ?? null];
  if (isObject(a) && isObject(b)) {
    const keys = [...new Set([...Object.keys(a), ...Object.keys(b)])].sort();
    return keys.flatMap((key) => differences(`${path}/${pointerPart(key)}`, a[key], b[key]));
  }
  if (path === '/spec/nics' && Array.isArray(a) && Array.isArray(b) && a.length === b.length)
    return a.flatMap((nic, i) => differences(`${path}/${i}`, nic, b[i]));
  if (path === '/spec/cdroms' && Array.isArray(a) && Array.isArray(b))
    return Array.from({ length: Math.max(a.length, b.length) }, (_, i) =>
      differences(`${path}/${i}`, a[i], b[i]),
    ).flat();
  return sameValue(a, b) ? [] : [{ path, from: a, to: b }];
}

/** Whether two JSON values are the same, whatever the order of their keys: jsonb does not keep it. */
export function sameValue(a: unknown, b: unknown): boolean {
  if (Array.isArray(a) && Array.isArray(b))
    return a.length === b.length && a.every((v, i) => sameValue(v, b[i]));
  if (isObject(a) && isObject(b)) return differences('', a, b).length === 0;
  return a === b;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** RFC 6901. */
const pointerPart = (key: string): string => key.replaceAll('~', '~0').replaceAll('/', '~1');

import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { deviceParts } from './device-node.js';
import { hasCode } from './errno.js';

/** Bounds of what passes between a group and each of its disks, in bytes and operations per second; null for none. */
export interface IoLimits {
  readonly readBytes: number | null;
  readonly writeBytes: number | null;
  readonly readOperations: number | null;
  readonly writeOperations: number | null;
}
const fields = ['readBytes', 'writeBytes', 'readOperations', 'writeOperations'] as const;

/** A disk by its number at the kernel. */
export interface BlockDevice {
  readonly major: number;
  readonly minor: number;
}

/** v1 has a file for each bound (blkio-controller.rst), v2 a word in one line for each disk (cgroup-v2.rst, io.max). */
const v1Files: Readonly<Record<keyof IoLimits, string>> = {
  readBytes: 'blkio.throttle.read_bps_device',
  writeBytes: 'blkio.throttle.write_bps_device',
  readOperations: 'blkio.throttle.read_iops_device',
  writeOperations: 'blkio.throttle.write_iops_device',
};
const v2Words: Readonly<Record<keyof IoLimits, string>> = {
  readBytes: 'rbps',
  writeBytes: 'wbps',
  readOperations: 'riops',
  writeOperations: 'wiops',
};

/** The files of one group in the tree that bounds its disks. */
export interface IoGroup {
  readonly version: 1 | 2;
  /** Null for a file that is not there. */
  read(file: string): Promise<string | null>;
  write(file: string, line: string): Promise<void>;
}

export const ioGroup = (version: 1 | 2, directory: string): IoGroup => ({
  version,
  read: (file) =>
    readFile(join(directory, file), 'utf8').catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    }),
  write: (file, line) => writeFile(join(directory, file), `${line}\n`),
});

/** Each of these disks is bounded so, and no other is any more. @throws Node's error of what the kernel refuses, ENODEV for a disk that is gone */
export async function ioBring(
  group: IoGroup,
  disks: readonly BlockDevice[],
  limits: IoLimits,
): Promise<void> {
  const wanted = fields.some((field) => limits[field] !== null) ? disks.map(deviceText) : [];
  if (group.version === 2) {
    const line = (value: (field: keyof IoLimits) => number | null): string =>
      fields.map((field) => `${v2Words[field]}=${value(field) ?? 'max'}`).join(' ');
    for (const disk of strays(await group.read('io.max'), wanted))
      await group.write('io.max', `${disk} ${line(() => null)}`);
    for (const disk of wanted) await group.write('io.max', `${disk} ${line((field) => limits[field])}`);
    return;
  }
  for (const field of fields) {
    const bounded = limits[field] === null ? [] : wanted;
    for (const disk of strays(await group.read(v1Files[field]), bounded))
      await group.write(v1Files[field], `${disk} 0`); // no bound
    for (const disk of bounded) await group.write(v1Files[field], `${disk} ${limits[field]}`);
  }
}

/** What bfq gives a group that is told nothing. */
const USUAL_WEIGHT = 100;

/** Weight of a group at disks whose I/O scheduler is bfq, 1 to 1000; null for the usual one. @throws Error where the kernel has no bfq */
export async function ioWeigh(group: IoGroup, weight: number | null): Promise<void> {
  const file = group.version === 1 ? 'blkio.bfq.weight' : 'io.bfq.weight';
  const there = (await group.read(file)) !== null;
  if (there) await group.write(file, `${weight ?? USUAL_WEIGHT}`);
  else if (weight !== null)
    throw Object.assign(new Error('this kernel has no weights of disks'), { code: 'EOPNOTSUPP' });
}

/** Disks of a file of the kernel (`8:0 rbps=1 …`) that are not among these. */
const strays = (text: string | null, wanted: readonly string[]): string[] =>
  [...(text ?? '').matchAll(/^(\d+:\d+) /gm)].flatMap(([, disk = '']) =>
    wanted.includes(disk) ? [] : [disk],
  );

const deviceText = ({ major, minor }: BlockDevice): string => `${major}:${minor}`;

/**
 * The whole disks that hold these files, each once: the kernel bounds no partitions. A file system without a disk of its own (tmpfs, btrfs,
 * overlayfs, of the network) has none.
 */
export function disksHolding(paths: readonly string[]): BlockDevice[] {
  const found = new Map<string, BlockDevice>();
  for (const path of paths) {
    const disk = wholeDisk(deviceParts(statSync(path, { bigint: true }).dev));
    if (disk !== null) found.set(deviceText(disk), disk);
  }
  return [...found.values()];
}

function wholeDisk(device: BlockDevice): BlockDevice | null {
  const at = `/sys/dev/block/${deviceText(device)}`;
  if (device.major === 0 || !existsSync(at)) return null;
  if (!existsSync(join(at, 'partition'))) return device;
  const [major = 0, minor = 0] = readFileSync(join(dirname(realpathSync(at)), 'dev'), 'utf8')
    .split(':')
    .map(Number);
  return { major, minor };
}

/** Whether the disk that holds a file gives groups their weights: its I/O scheduler is bfq. */
export function diskHeedsWeights(path: string): boolean {
  const [disk] = disksHolding([path]);
  if (disk === undefined) return false;
  const file = `/sys/dev/block/${deviceText(disk)}/queue/scheduler`;
  return existsSync(file) && readFileSync(file, 'utf8').includes('[bfq]');
}

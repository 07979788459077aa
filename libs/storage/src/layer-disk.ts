import { constants, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { chmod, mkdir, open, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import {
  CommandError,
  hasCode,
  isCapable,
  isMounted,
  loopAgain,
  loopAttach,
  type LoopDevice,
  MNT,
  mount,
  MS,
  readOnlyExt4,
  run,
  SystemError,
  umount,
} from '@berth/linux';
import { VolumeId } from '@berth/model';
import { createRaw, growRaw } from './disk-files.js';
import { StorageError } from './storage-error.js';

/*
 * A container's writable layer: an ext4 in a file of its own, which is its limit (ADR 50). In the volume's directory:
 *
 *   layer.ext4   the file, sparse: what nobody wrote takes nothing
 *   layer        where it is mounted while a placement needs it, with `upper` and `work`
 *   loop         number of the loop device that it was given last
 */

const FILE = 'layer.ext4';
const MOUNT = 'layer';
const DEVICE = 'loop';
const MIB = 2 ** 20;
const BLOCK = 4096;
/** The log of what a power cut interrupts: so much is read again at the next mount, at most. Less ext4 does not take. */
const JOURNAL_MIB = 4;
/** Twice as many files as mke2fs would think of: a layer holds programs, not films. */
const BYTES_PER_INODE = 8192;
/** A full disk below, or a broken one, ends all writing instead of spoiling what is there. What is deleted is given back to the host. */
const OPTIONS = 'errors=remount-ro,discard';

/** A file system goes with the last mount of it, a moment after the process that had that. */
const GONE_MS = 2_000;

/** A layer as overlayfs is given it. */
export interface Layer {
  readonly upper: string;
  readonly work: string;
  /** What it can hold, less what its file system needs for itself. */
  readonly sizeMiB: number;
}

export const layerAt = (directory: string, sizeMiB: number): Layer => ({
  upper: join(directory, 'upper'),
  work: join(directory, 'work'),
  sizeMiB,
});

/** Makes the file, with the two directories in it, without mounting anything. About 6 ms. @throws StorageError hostFault */
export async function layerMake(directory: string, sizeMiB: number): Promise<void> {
  const model = join(directory, '.model');
  const { upper, work } = layerAt(model, sizeMiB);
  // The upper directory's mode is that of the container's `/`.
  for (const [path, mode] of [
    [model, 0o700],
    [upper, 0o755],
    [work, 0o700],
  ] as const) {
    await mkdir(path);
    await chmod(path, mode);
  }
  await mkdir(join(directory, MOUNT), { mode: 0o700 });
  await createRaw(join(directory, FILE), sizeMiB);
  const shape = [
    '-t',
    'ext4',
    '-b',
    `${BLOCK}`,
    '-m',
    '0',
    '-i',
    `${BYTES_PER_INODE}`,
    '-J',
    `size=${JOURNAL_MIB}`,
  ];
  // The file is all zeros: nothing needs to be written for what is empty, now or later.
  const lazy = ['-E', 'lazy_itable_init=0,lazy_journal_init=1'];
  await tool('mke2fs', ['-q', '-F', ...shape, ...lazy, '-d', model, join(directory, FILE)]);
  await rm(model, { recursive: true });
}

/**
 * Mounts the file, if it is not mounted, and makes it as large as asked if it is smaller. While it is in use the kernel lets
 * only who has CAP_SYS_RESOURCE do that: without, it stays as large as it is until it is opened again. Never is the file behind two devices, which would ruin it: a mount that goes on where we do not see it (that of a container
 * which is still on its way out) keeps its device, and that one is mounted again.
 * @throws StorageError hostFault, with what the host lacks
 */
export async function layerOpen(volumeId: VolumeId, directory: string, sizeMiB: number): Promise<Layer> {
  const hasMiB = await fileSystemMiB(directory);
  const online = isCapable('sys_resource');
  let is = hasMiB;
  if (hasMiB < sizeMiB && !online && !isMounted(join(directory, MOUNT)))
    is = await growUnused(volumeId, directory, sizeMiB);
  if (!isMounted(join(directory, MOUNT))) await layerMountNew(volumeId, directory);
  if (is < sizeMiB && online) is = await growInUse(volumeId, directory, sizeMiB);
  return layerAt(join(directory, MOUNT), is);
}

/** Takes the mount away; the file system ends with the last container on it. Repeating it is no error. */
export function layerClose(directory: string): void {
  while (isMounted(join(directory, MOUNT))) umount(join(directory, MOUNT), MNT.DETACH | MNT.NOFOLLOW);
}

/** One whose writing has ended is mounted anew only once nobody has it any more: until then it is the same file system. */
async function layerMountNew(volumeId: VolumeId, directory: string): Promise<void> {
  for (const end = performance.now() + GONE_MS; ; await wait(20)) {
    inLoopDevice(volumeId, directory, (device) => layerMount(device, directory));
    if (takesWrites(join(directory, MOUNT))) return;
    layerClose(directory);
    if (performance.now() > end)
      throw new StorageError(
        'hostFault',
        `${join(directory, FILE)} is read-only since a write to it failed, and is in use`,
        'Make space in the pool; end what has it mounted (grep layer /proc/*/mountinfo), and start the instance again.',
      );
  }
}

function takesWrites(mounted: string): boolean {
  const now = new Date();
  try {
    utimesSync(mounted, now, now);
    return true;
  } catch (error) {
    if (hasCode(error, 'EROFS')) return false;
    throw error;
  }
}

/**
 * Layers of a pool that the kernel writes nothing to any more, because a write to their file failed: the disk below is full or broken. They
 * stay so for whoever has them mounted.
 */
export function layersEnded(pool: string): ReadonlySet<VolumeId> {
  const ended = readOnlyExt4().filter(
    ({ target }) => basename(target) === MOUNT && dirname(dirname(target)) === pool,
  );
  return new Set(ended.map(({ target }) => VolumeId.parse(basename(dirname(target)))));
}

function layerMount(device: LoopDevice, directory: string): void {
  try {
    mount(device.path, join(directory, MOUNT), 'ext4', MS.NODEV | MS.NOSUID, OPTIONS);
  } catch (cause) {
    if (!(cause instanceof SystemError)) throw cause;
    const file = join(directory, FILE);
    throw new StorageError(
      'hostFault',
      `${file} cannot be mounted: ${cause.message}`,
      `Make space in the pool if it is full; else e2fsck -f ${file}`,
      { cause },
    );
  }
}

/** The file grows, then its device, then the file system in it; what was cut short is done by the repeat. */
async function growInUse(volumeId: VolumeId, directory: string, sizeMiB: number): Promise<number> {
  await fileGrow(directory, sizeMiB);
  await inLoopDevice(volumeId, directory, (device) => {
    device.resize();
    return tool('resize2fs', [device.path]);
  });
  return sizeMiB;
}

/** Not where a mount goes on unseen. Returns what it has then, MiB. */
async function growUnused(volumeId: VolumeId, directory: string, sizeMiB: number): Promise<number> {
  const device = knownDevice(volumeId, directory);
  if (device !== null) {
    device.close();
    return fileSystemMiB(directory);
  }
  await fileGrow(directory, sizeMiB);
  const file = join(directory, FILE);
  // resize2fs wants to see that it was looked at; what a power cut interrupted is finished by it.
  await tool('e2fsck', ['-f', '-p', file], [0, 1]);
  await tool('resize2fs', [file]);
  return sizeMiB;
}

async function fileGrow(directory: string, sizeMiB: number): Promise<void> {
  const file = join(directory, FILE);
  if (statSync(file).size < sizeMiB * MIB) await growRaw(file, sizeMiB);
}

function inLoopDevice<T>(volumeId: VolumeId, directory: string, use: (device: LoopDevice) => T): T {
  const device = loopDevice(volumeId, directory);
  let result: T;
  try {
    result = use(device);
  } catch (error) {
    device.close();
    throw error;
  }
  if (result instanceof Promise) return result.finally(() => device.close()) as T;
  device.close();
  return result;
}

function loopDevice(volumeId: VolumeId, directory: string): LoopDevice {
  const known = join(directory, DEVICE);
  try {
    const again = knownDevice(volumeId, directory);
    if (again !== null) return again;
    rmSync(known, { force: true });
    const device = loopAttach(join(directory, FILE), volumeId);
    // Before anything is mounted: without a mount the device lets go of the file by itself.
    writeFileSync(known, `${device.number}`, { mode: 0o600 });
    return device;
  } catch (error) {
    if (!(error instanceof SystemError) && !hasCode(error, 'ENOENT', 'ENODEV', 'ENXIO')) throw error;
    throw new StorageError(
      'hostFault',
      `${join(directory, FILE)} gets no loop device: ${error instanceof Error ? error.message : String(error)}`,
      'modprobe loop; in a container pass /dev/loop-control and the loop devices. berth doctor looks at them.',
      { cause: error },
    );
  }
}

/** The device that it was given last, if it has it still. */
function knownDevice(volumeId: VolumeId, directory: string): LoopDevice | null {
  const number = numberIn(join(directory, DEVICE));
  return number === null ? null : loopAgain(number, volumeId);
}

/** Null where none is written down. */
function numberIn(path: string): number | null {
  try {
    const text = readFileSync(path, 'utf8');
    return /^[0-9]{1,7}$/.test(text) ? Number(text) : null;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

/** Of the superblock (kernel Documentation/filesystems/ext4/super.rst): s_blocks_count_lo and _hi. */
const SUPERBLOCK = { at: 1024, size: 1024, blocksLow: 0x4, blocksHigh: 0x150 } as const;

/** What the file says of its file system's size, MiB, rounded down. It may lag behind one that has just grown. */
async function fileSystemMiB(directory: string): Promise<number> {
  const file = await open(join(directory, FILE), constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const { buffer } = await file.read(Buffer.alloc(SUPERBLOCK.size), 0, SUPERBLOCK.size, SUPERBLOCK.at);
    const blocks =
      buffer.readUInt32LE(SUPERBLOCK.blocksLow) + buffer.readUInt32LE(SUPERBLOCK.blocksHigh) * 2 ** 32;
    return Math.floor((blocks * BLOCK) / MIB);
  } finally {
    await file.close();
  }
}

async function tool(program: string, args: readonly string[], good: readonly number[] = [0]): Promise<void> {
  try {
    await run(program, args);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    if (error.exitCode !== null && good.includes(error.exitCode)) return;
    throw new StorageError(
      'hostFault',
      `${program}: ${error.stderr.trim() || error.reason}`,
      'Look at the disk of the pool; install e2fsprogs where it is missing.',
      {
        cause: error,
      },
    );
  }
}

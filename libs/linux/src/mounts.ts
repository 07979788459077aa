import { closeSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { hasCode } from './errno.js';
import { c, check, SYS } from './libc.js';
import { mountinfoParse, type MountEntry } from './mountinfo.js';
import { AT_FDCWD } from './openat2.js';
import { userNamespaceCreate, type IdMapEntry } from './user-namespace.js';

/** Mount flags of mount(2), from <linux/mount.h>. */
export const MS = {
  RDONLY: 1,
  NOSUID: 2,
  NODEV: 4,
  NOEXEC: 8,
  REMOUNT: 32,
  BIND: 4096,
  MOVE: 8192,
  REC: 16384,
  UNBINDABLE: 1 << 17,
  PRIVATE: 1 << 18,
  SLAVE: 1 << 19,
  SHARED: 1 << 20,
} as const;

/** Flags of umount2(2). DETACH takes the mount out of the tree at once and ends it when it is no longer busy. */
export const MNT = { FORCE: 1, DETACH: 2, EXPIRE: 4, NOFOLLOW: 8 } as const;

const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_NOSUID = 2n;
const MOUNT_ATTR_NODEV = 4n;
const MOUNT_ATTR_NOEXEC = 8n;
const MOUNT_ATTR_IDMAP = 0x100000n;

/** mount(2). `data` is the file system's own option string. @throws SystemError. */
export function mount(
  source: string,
  target: string,
  type: string | null,
  flags = 0,
  data: string | null = null,
): void {
  check(c.mount(source, target, type, flags, data), 'mount', `${source} on ${target}`);
}

/** Bind mount; read-only takes a second call, because mount(2) ignores the flag in the first. @throws SystemError. */
export function bindMount(
  source: string,
  target: string,
  options: { readOnly?: boolean; recursive?: boolean } = {},
): void {
  mount(source, target, null, MS.BIND | (options.recursive === true ? MS.REC : 0));
  if (options.readOnly === true) mount('none', target, null, MS.REMOUNT | MS.BIND | MS.RDONLY);
}

/** umount2(2). @throws SystemError EINVAL when nothing is mounted there, EBUSY. */
export function umount(target: string, flags: number = MNT.NOFOLLOW): void {
  check(c.umount2(target, flags), 'umount2', target);
}

/** Whether a file system of its own is mounted at a path: what is there is on another device than the directory around it. */
export function isMounted(target: string): boolean {
  const own = statSync(target, { throwIfNoEntry: false });
  return own !== undefined && own.dev !== statSync(dirname(target)).dev;
}

/**
 * Unmounts everything that is stacked at a path (lazily), also when nothing is. Returns how many were taken away. The kernel
 * is asked and not its table, which is as long as there are containers.
 */
export function umountAll(target: string): number {
  for (let count = 0; ; count += 1) {
    try {
      umount(target, MNT.DETACH | MNT.NOFOLLOW);
    } catch (error) {
      // EINVAL: nothing is mounted there, or it cannot be taken away from here.
      if (hasCode(error, 'ENOENT', 'ENOTDIR') || (hasCode(error, 'EINVAL') && !isMounted(target)))
        return count;
      throw error;
    }
  }
}

/** A detached copy of a mount, as a file descriptor the caller closes (open_tree(2)). @throws SystemError. */
export function openTree(path: string, options: { recursive?: boolean } = {}): number {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (options.recursive === true ? AT_RECURSIVE : 0);
  return check(c.openTree(SYS.openTree, AT_FDCWD, path, flags), 'open_tree', path);
}

/** Attaches a detached mount at a path (move_mount(2)). @throws SystemError. */
export function moveMount(treeFd: number, target: string): void {
  check(
    c.moveMount(SYS.moveMount, treeFd, '', AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH),
    'move_mount',
    target,
  );
}

/** Gives a detached mount the id mapping of a user namespace and, if asked, makes it read-only (mount_setattr(2)). */
export function mountSetIdmap(
  treeFd: number,
  userNamespaceFd: number,
  options: { readOnly?: boolean } = {},
): void {
  const set = MOUNT_ATTR_IDMAP | (options.readOnly === true ? MOUNT_ATTR_RDONLY : 0n);
  mountSetAttributes(treeFd, 'idmap', { set, userNamespaceFd });
}

/** mount_setattr(2) of a detached mount. @param what for the error */
function mountSetAttributes(
  treeFd: number,
  what: string,
  {
    set,
    propagation = 0,
    userNamespaceFd = 0,
  }: { set: bigint; propagation?: number; userNamespaceFd?: number },
): void {
  const attributes = Buffer.alloc(32); // struct mount_attr: attr_set, attr_clr, propagation, userns_fd
  attributes.writeBigUInt64LE(set, 0);
  attributes.writeBigUInt64LE(BigInt(propagation), 16);
  attributes.writeBigUInt64LE(BigInt(userNamespaceFd), 24);
  check(
    c.mountSetattr(SYS.mountSetattr, treeFd, '', AT_EMPTY_PATH, attributes, attributes.length),
    'mount_setattr',
    what,
  );
}

/**
 * Mounts `source` at `target` with its owners shifted by a user namespace (see `userNamespaceCreate`; one namespace
 * serves many mounts). @throws SystemError EINVAL where the file system cannot be idmapped.
 */
export function idmappedMount(
  source: string,
  target: string,
  userNamespaceFd: number,
  options: { readOnly?: boolean } = {},
): void {
  const tree = openTree(source);
  try {
    mountSetIdmap(tree, userNamespaceFd, options);
    moveMount(tree, target);
  } finally {
    closeSync(tree);
  }
}

/**
 * Mounts a file or directory once more, to be read and no more, and as no peer of where it comes from: what comes to lie over the one is
 * not over the other. Unlike after a bind mount, its copies are so as well where `target` hands mounts on. @throws SystemError.
 */
export function readOnlyMount(source: string, target: string): void {
  const tree = openTree(source);
  try {
    const set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    mountSetAttributes(tree, source, { set, propagation: MS.PRIVATE });
    moveMount(tree, target);
  } finally {
    closeSync(tree);
  }
}

/**
 * Mounts an open directory at `target` for strangers: its owners shifted by a user namespace, without set-user-id programs and devices, as
 * no peer of where it comes from, and nothing that is mounted below it. No path is looked up, so none can change its mind.
 * @param directory a descriptor, which O_PATH is enough for @throws SystemError EINVAL where the file system cannot be idmapped.
 */
export function lentMount(
  directory: number,
  target: string,
  userNamespaceFd: number,
  options: { readOnly: boolean },
): void {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH;
  const tree = check(c.openTree(SYS.openTree, directory, '', flags), 'open_tree', target);
  try {
    const bounds = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (options.readOnly ? MOUNT_ATTR_RDONLY : 0n);
    mountSetAttributes(tree, target, {
      set: MOUNT_ATTR_IDMAP | bounds,
      propagation: MS.PRIVATE,
      userNamespaceFd,
    });
    moveMount(tree, target);
  } finally {
    closeSync(tree);
  }
}

/** A place in a file system, whichever mounts show it. */
export interface FilePlace {
  /** `major:minor`. */
  readonly device: string;
  /** From the root of the file system. */
  readonly path: string;
}

/** Where an open file is: in its file system, and by which mount of `all` it was reached; null when that is not among them. */
export function placeOf(
  fd: number,
  all: readonly MountEntry[],
): { readonly place: FilePlace; readonly mount: MountEntry; readonly path: string } | null {
  const id = Number(/^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]);
  const mount = all.find((one) => one.id === id);
  if (mount === undefined) return null;
  const path = readlinkSync(`/proc/self/fd/${fd}`);
  return {
    place: { device: mount.device, path: join(mount.root, relative(mount.target, path)) },
    mount,
    path,
  };
}

/** `idmappedMount` with a user namespace made for this one mount. About 5 ms, most of it the short-lived child. */
export async function idmappedClone(
  source: string,
  target: string,
  uidMap: readonly IdMapEntry[],
  gidMap: readonly IdMapEntry[],
  options: { readOnly?: boolean } = {},
): Promise<void> {
  const namespace = await userNamespaceCreate(uidMap, gidMap);
  try {
    idmappedMount(source, target, namespace.fd, options);
  } finally {
    namespace.close();
  }
}

/**
 * Mounts of ext4 file systems that the kernel writes nothing to any more, by their super options: `ro` is what `errors=remount-ro` made of
 * one until Linux 6.11 (or how it was mounted); `emergency_ro` is told since 6.15, and what comes between tells nothing. Only such lines
 * of the table are taken apart: it is long where there are many containers.
 */
export function readOnlyExt4(): MountEntry[] {
  const lines = readFileSync('/proc/self/mountinfo', 'utf8').match(
    /^.* - ext4 \S+ (?:\S+,)?(?:ro|emergency_ro|shutdown)(?:,.*)?$/gm,
  );
  return mountinfoParse((lines ?? []).join('\n'));
}

/** Every mount that a process sees; this one by default. */
export function mounts(pid: number | 'self' = 'self'): MountEntry[] {
  return mountinfoParse(readFileSync(`/proc/${pid}/mountinfo`, 'utf8'));
}

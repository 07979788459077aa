import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { MNT, MS, Netlink, hasCode, inUserNamespace, isMounted, mount, umount } from '@berth/linux';
import { RANGE_SIZE } from './uid-ranges.js';

/** Where a container's user and network namespace are kept, as bind mounts of nsfs. */
export interface NamespacePaths {
  readonly user: string;
  readonly network: string;
}

/**
 * Makes a user namespace with the range that begins at `base`, and a network namespace *owned by it*, and keeps both
 * at their paths. The owner matters: only so can sysfs be mounted inside, ports below 1024 be bound and net sysctls
 * be set without any capability on the host. A short-lived child enters them; this process must not.
 * Returns at once when both stand.
 */
export async function namespacesEnsure(paths: NamespacePaths, base: number): Promise<void> {
  if (stand(paths)) return;
  namespacesRemove(paths);
  mkdirSync(dirname(paths.user), { recursive: true, mode: 0o700 });
  const map = [{ inside: 0, outside: base, count: RANGE_SIZE }];
  try {
    await inUserNamespace(['net'], map, map, (pid) => {
      keep(`/proc/${pid}/ns/user`, paths.user);
      keep(`/proc/${pid}/ns/net`, paths.network);
    });
  } catch (error) {
    namespacesRemove(paths);
    throw error;
  }
  Netlink.with(paths.network, (netlink) => netlink.setLink('lo', { up: true }));
}

/** Takes both names away; a namespace ends with its last process. Removing what never was is no error. */
export function namespacesRemove(paths: NamespacePaths): void {
  for (const path of [paths.network, paths.user]) {
    try {
      umount(path, MNT.DETACH | MNT.NOFOLLOW);
    } catch (error) {
      if (!hasCode(error, 'EINVAL', 'ENOENT')) throw error;
    }
    rmSync(path, { force: true });
  }
}

/** Runs a synchronous function with the kept user namespace open. */
export function withUserNamespace<T>(paths: NamespacePaths, work: (fd: number) => T): T {
  const fd = openSync(paths.user, 'r');
  try {
    return work(fd);
  } finally {
    closeSync(fd);
  }
}

function keep(namespace: string, path: string): void {
  closeSync(openSync(path, 'wx', 0o600));
  mount(namespace, path, null, MS.BIND);
}

function stand(paths: NamespacePaths): boolean {
  return isMounted(paths.user) && isMounted(paths.network);
}

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, writeFileSync } from 'node:fs';

/** Ids from `inside` on appear as ids from `outside` on; `count` of them. */
export interface IdMapEntry {
  readonly inside: number;
  readonly outside: number;
  readonly count: number;
}

/** An open user namespace. It lives as long as the descriptor or a mount that uses it. */
export interface UserNamespace {
  readonly fd: number;
  close(): void;
}

/**
 * Makes a user namespace with these id maps, by a short-lived child that enters it (this process must not). For an
 * idmapped mount, `inside` is the owner on disk and `outside` the owner seen through the mount.
 */
export function userNamespaceCreate(
  uidMap: readonly IdMapEntry[],
  gidMap: readonly IdMapEntry[],
): Promise<UserNamespace> {
  return inUserNamespace([], uidMap, gidMap, (pid) => {
    const fd = openSync(`/proc/${pid}/ns/user`, 'r');
    return { fd, close: () => closeSync(fd) };
  });
}

/**
 * Runs `use` while a child sits in a new user namespace with these id maps, and in the namespaces of `also`, which that
 * user namespace owns. They last only as long as `use` keeps a descriptor or a bind mount of `/proc/<pid>/ns/…`.
 * @throws Error where the kernel refuses user namespaces
 */
export async function inUserNamespace<T>(
  also: readonly 'net'[],
  uidMap: readonly IdMapEntry[],
  gidMap: readonly IdMapEntry[],
  use: (pid: number) => T,
): Promise<T> {
  const flags = ['--user', ...also.map((kind) => `--${kind}`)];
  const child = spawn('unshare', [...flags, '--', 'cat'], { stdio: ['pipe', 'pipe', 'inherit'] });
  const closed = once(child, 'close');
  try {
    // The echo proves that cat was executed, that is: that the child is in its own namespaces.
    child.stdin.on('error', () => undefined);
    child.stdin.write('.');
    const echoed = await Promise.race([
      once(child.stdout, 'data').then(() => true),
      closed.then(() => false),
    ]);
    if (!echoed || child.pid === undefined)
      throw new Error(`unshare ${flags.join(' ')} ended before its namespaces could be used`);
    writeFileSync(`/proc/${child.pid}/uid_map`, mapText(uidMap));
    writeFileSync(`/proc/${child.pid}/gid_map`, mapText(gidMap));
    return use(child.pid);
  } finally {
    child.kill('SIGKILL');
    await closed;
  }
}

function mapText(map: readonly IdMapEntry[]): string {
  return map.map((e) => `${e.inside} ${e.outside} ${e.count}\n`).join('');
}

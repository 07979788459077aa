import { closeSync, mkdirSync, openSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { hasCode } from './errno.js';
import { c, check } from './libc.js';
import { MS, MNT, mount, umount } from './mounts.js';

const CLONE_NEWNET = 0x40000000;

/**
 * Runs a *synchronous* function with this thread in another network namespace, and comes back before it returns.
 *
 * Only the calling thread moves: libuv's pool threads stay where they are, and no other JavaScript can run meanwhile,
 * so nothing else ever sees the foreign namespace. A socket or tun descriptor opened inside stays bound to that
 * namespace for life, and so does /proc/sys/net as opened inside. Asynchronous work started inside would run in the
 * wrong namespace: a returned promise is refused. If the way back fails the process ends, because going on in a
 * guest's namespace would be worse.
 */
export function inNetns<T>(path: string, work: () => T): T {
  const target = openSync(path, 'r');
  try {
    return inForeignNetns(() => check(c.setns(target, CLONE_NEWNET), 'setns', path), work);
  } finally {
    closeSync(target);
  }
}

/**
 * Moves the calling thread for good and returns the way back. Only for a process that starts its life in a namespace
 * (a lab host, a test): libuv's pool threads stay behind, so asynchronous file access to /proc/sys/net is not moved.
 */
export function enterNetns(path: string): () => void {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  const target = openSync(path, 'r');
  try {
    check(c.setns(target, CLONE_NEWNET), 'setns', path);
  } finally {
    closeSync(target);
  }
  return () => {
    check(c.setns(home, CLONE_NEWNET), 'setns', 'home');
    closeSync(home);
  };
}

function inForeignNetns<T>(enter: () => void, work: () => T): T {
  const home = openSync('/proc/thread-self/ns/net', 'r');
  try {
    enter();
    let result: T;
    try {
      result = work();
    } finally {
      if (c.setns(home, CLONE_NEWNET) < 0) process.abort();
    }
    if (result instanceof Promise)
      throw new TypeError('work in another network namespace must be synchronous');
    return result;
  } finally {
    closeSync(home);
  }
}

/**
 * Makes an empty network namespace and keeps it at a path (a bind mount, like `ip netns`). The loopback link is down.
 * @throws SystemError; Node's EEXIST when the path exists.
 */
export function createNetns(path: string): void {
  mkdirSync(dirname(path), { recursive: true });
  closeSync(openSync(path, 'wx', 0o600));
  try {
    inForeignNetns(
      () => check(c.unshare(CLONE_NEWNET), 'unshare', path),
      () => mount('/proc/thread-self/ns/net', path, null, MS.BIND),
    );
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/** Takes the name of a namespace away; it ends with its last process. Deleting what never was is no error. */
export function deleteNetns(path: string): void {
  try {
    umount(path, MNT.DETACH | MNT.NOFOLLOW);
  } catch (error) {
    if (!hasCode(error, 'EINVAL', 'ENOENT')) throw error; // a plain file: the mount is gone since a reboot
  }
  rmSync(path, { force: true });
}

import { c } from './libc.js';

/**
 * Does something short with files as this user and group, without root's rights over the files of others (setfsuid(2)): what it makes is theirs
 * from the beginning on, also on a file system of a user namespace that does not know root. Only this thread is someone else
 * meanwhile, so the work must not wait for anything.
 */
export function asFileOwner<T>(uid: number, gid: number, work: () => T): T {
  // The group first: afterwards the right to is gone.
  const group = c.setfsgid(gid);
  const user = c.setfsuid(uid);
  try {
    return work();
  } finally {
    c.setfsuid(user);
    c.setfsgid(group);
  }
}

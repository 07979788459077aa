import koffi from 'koffi';
import { SystemError } from './errno.js';
import { c } from './libc.js';

/** Linux keeps no larger value, and no longer list of names (xattr(7)). */
const ATTRIBUTE_MAX = 65_536;
const ENODATA = 61;
const EOPNOTSUPP = 95;

/** An extended attribute of an open file; null where it has none of that name. @throws SystemError */
export function attributeOf(fd: number, name: string): Buffer | null {
  const value = Buffer.alloc(ATTRIBUTE_MAX);
  return taken(c.fgetxattr(fd, name, value, value.length), value, 'fgetxattr', name);
}

/** Every extended attribute of what a path names, of a link itself. @throws SystemError */
export function attributesAt(path: string): Map<string, Buffer> {
  const list = Buffer.alloc(ATTRIBUTE_MAX);
  const names = taken(c.llistxattr(path, list, list.length), list, 'llistxattr', path) ?? Buffer.alloc(0);
  const found = new Map<string, Buffer>();
  for (const name of names.toString('latin1').split('\0').filter(Boolean)) {
    const value = Buffer.alloc(ATTRIBUTE_MAX);
    // It may have gone between the list and the look.
    const one = taken(c.lgetxattr(path, name, value, value.length), value, 'lgetxattr', `${path} ${name}`);
    if (one !== null) found.set(name, one);
  }
  return found;
}

function taken(length: number | bigint, buffer: Buffer, call: string, subject: string): Buffer | null {
  if (Number(length) >= 0) return Buffer.from(buffer.subarray(0, Number(length)));
  const errno = koffi.errno();
  if (errno === ENODATA || errno === EOPNOTSUPP) return null;
  throw new SystemError(call, errno, subject);
}

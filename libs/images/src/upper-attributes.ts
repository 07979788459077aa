import { ImageError } from './image-error.js';

/** A range of ids that stand for 0 and on in a user namespace. */
export interface IdRange {
  /** First host id. */
  readonly base: number;
  readonly size: number;
}

/** The id that a host id stands for. @throws ImageError badLayer where it stands for none */
export function idIn({ base, size }: IdRange, id: number, of: string): number {
  if (id >= base && id < base + size) return id - base;
  throw new ImageError(
    'badLayer',
    `${of} belongs to ${id}, which is no user or group of the container`,
    'Change its owner in the container, or remove it.',
  );
}

/** Of struct vfs_ns_cap_data (capabilities(7), "File capability extensible format"), bytes. */
const CAP_V2 = 20;
const CAP_V3 = 24;
const REVISION_2 = 0x0200_0000;
const REVISION_3 = 0x0300_0000;
const REVISION_MASK = 0xff00_0000;

/** Of posix_acl_xattr_entry: tags that name a user or group. */
const NAMED = new Set([0x02, 0x08]);

/**
 * What of the extended attributes of a file in a writable layer is the guest's, with ids as it sees them: its own (`user.`), file capabilities
 * and access lists. Marks of overlayfs and of the host's security modules stay here.
 * @throws ImageError badLayer for an id of nobody in the container
 */
export function guestAttributes(
  found: ReadonlyMap<string, Buffer>,
  ids: IdRange,
  of: string,
): ReadonlyMap<string, Buffer> {
  const kept = new Map<string, Buffer>();
  for (const [name, value] of found) {
    if (name.startsWith('user.')) kept.set(name, value);
    else if (name === 'security.capability') kept.set(name, capabilities(value, ids, of));
    else if (name === 'system.posix_acl_access' || name === 'system.posix_acl_default')
      kept.set(name, accessList(value, ids, of));
  }
  return kept;
}

/** Those that a namespace's root gave are in an image those of root: version 2 names no root. */
function capabilities(value: Buffer, ids: IdRange, of: string): Buffer {
  if (value.length !== CAP_V3) return value;
  const magic = value.readUInt32LE(0);
  if ((magic & REVISION_MASK) >>> 0 !== REVISION_3) return value;
  const root = idIn(ids, value.readUInt32LE(CAP_V2), of);
  const own = Buffer.from(value);
  if (root === 0) {
    own.writeUInt32LE(((magic & ~REVISION_MASK) | REVISION_2) >>> 0, 0);
    return own.subarray(0, CAP_V2);
  }
  own.writeUInt32LE(root, CAP_V2);
  return own;
}

/** Version, then entries of tag, permissions and id (acl(5), linux/posix_acl_xattr.h). */
function accessList(value: Buffer, ids: IdRange, of: string): Buffer {
  const own = Buffer.from(value);
  for (let at = 4; at + 8 <= own.length; at += 8)
    if (NAMED.has(own.readUInt16LE(at))) own.writeUInt32LE(idIn(ids, own.readUInt32LE(at + 4), of), at + 4);
  return own;
}

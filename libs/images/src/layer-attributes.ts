import type { TarType } from './tar-header.js';

/** struct vfs_cap_data of version 2 (capabilities(7)): it names no root of a user namespace. */
const CAP_V2_BYTES = 20;
const CAP_REVISION = 0xff00_0000;
const CAP_V2 = 0x0200_0000;

/**
 * What of the extended attributes in a layer becomes attributes of its files: the guest's own (`user.`) of files and directories, and
 * capabilities of files. Marks of overlayfs (`trusted.`) would redirect to other paths, those of security modules are the host's to give,
 * and access lists name ids in a form that file systems do not share.
 */
export function keptAttributes(
  stated: ReadonlyMap<string, Buffer>,
  type: TarType,
): readonly (readonly [string, Buffer])[] {
  return [...stated].filter(([name, value]) => {
    if (name.startsWith('user.')) return type === 'file' || type === 'directory';
    return name === 'security.capability' && type === 'file' && isCapability(value);
  });
}

const isCapability = (value: Buffer): boolean =>
  value.length === CAP_V2_BYTES && (value.readUInt32LE(0) & CAP_REVISION) >>> 0 === CAP_V2;

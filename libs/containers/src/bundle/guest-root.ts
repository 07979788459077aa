import { type Stats, lstatSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode } from '@berth/linux';
import { guestPathResolve } from './guest-file.js';

/** Where the kernel's own file systems are mounted: no place for a link, or the OCI runtime would have to follow it. */
const KERNEL_DIRECTORIES = ['/proc', '/sys', '/dev'];

/**
 * Looks at the places of a root file system where something is mounted or entered at a start, before the OCI runtime
 * does. The guest must not run.
 * @param over paths that get a file of ours mounted over, and those that get a file system
 * @param cwd the working directory, normalized; it need not exist, but a link to it must not lead nowhere
 * @throws Error that names the place and what is wrong with it
 */
export function guestRootCheck(
  root: string,
  over: { readonly files: readonly string[]; readonly directories: readonly string[] },
  cwd: string,
): void {
  for (const path of KERNEL_DIRECTORIES) {
    const seen = look(join(root, path));
    if (seen?.isSymbolicLink() === true) throw new Error(`${path} in the image is a symbolic link`);
    if (seen?.isDirectory() === false) throw new Error(`${path} in the image is no directory`);
  }
  for (const path of over.files)
    if (resolvedLook(root, path)?.isDirectory() === true)
      throw new Error(`${path} in the image is a directory`);
  for (const path of over.directories)
    if (resolvedLook(root, path)?.isDirectory() === false)
      throw new Error(`${path} in the image is no directory`);
  cwdCheck(root, cwd);
}

/** What stands at a path that is mounted over; nothing above it is a file, and no link leads into the kernel's directories. */
function resolvedLook(root: string, path: string): Stats | null {
  const resolved = guestPathResolve(root, path);
  linkCheck(path, resolved);
  if (notBelowDirectories(root, resolved)) throw new Error(`${path} in the image lies below a file`);
  return look(join(root, resolved));
}

function cwdCheck(root: string, cwd: string): void {
  const resolved = guestPathResolve(root, cwd);
  linkCheck(cwd, resolved);
  const seen = look(join(root, resolved));
  if (notBelowDirectories(root, resolved) || seen?.isDirectory() === false)
    throw new Error(`the working directory ${cwd} in the image is no directory`);
  if (seen === null && `/${resolved}` !== cwd.replace(/\/$/, ''))
    throw new Error(`the working directory ${cwd} in the image links to ${resolved}, which is not there`);
}

/** A link into /proc can name a descriptor of the OCI runtime, and so a directory of the host (CVE-2024-21626). */
function linkCheck(path: string, resolved: string): void {
  const into = KERNEL_DIRECTORIES.find((directory) => `/${resolved}/`.startsWith(`${directory}/`));
  if (into !== undefined) throw new Error(`${path} in the image links into ${into}`);
}

/** Whether something that is no directory stands above a resolved path. */
function notBelowDirectories(root: string, resolved: string): boolean {
  const parts = resolved.split('/').filter((part) => part !== '');
  const above = parts.slice(0, -1).map((_, index) => join(root, ...parts.slice(0, index + 1)));
  return above.some((path) => look(path)?.isDirectory() === false);
}

function look(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ENOTDIR')) return null;
    throw error;
  }
}

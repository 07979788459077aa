import { chmodSync, chownSync, lstatSync, mkdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { MS, bindMount, hasCode, idmappedMount, isMounted, mount, namesIn, umountAll } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';
import { type NamespacePaths, withUserNamespace } from './namespaces.js';

export interface RootfsRequest {
  /** Mount point; its directory is made passable for the container's root group alone. */
  readonly target: string;
  /** A directory of ours for mounts that live only during this call. */
  readonly scratch: string;
  /** Unshifted layers, bottom first. */
  readonly layers: readonly string[];
  readonly upper: string;
  readonly work: string;
  /** First host id of the container's range. */
  readonly base: number;
  readonly namespaces: NamespacePaths;
}

/** mount(2) takes one page of options. */
const OPTIONS_MAX = 4095;

/**
 * Mounts the root file system: the layers, seen through idmapped mounts as owned by the container's range, below its
 * writable layer. The idmapped mounts are taken away again at once: overlayfs holds private copies of them.
 * Returns at once when it is mounted. Everything here is synchronous and short.
 * @throws RuntimeError unsupported for too many layers, hostFault where the path cannot be reached by the container.
 */
export function rootfsMount(request: RootfsRequest): void {
  if (isMounted(request.target)) return;
  const parent = dirname(request.target);
  passable(dirname(parent));
  mkdirSync(request.target, { recursive: true, mode: 0o755 });
  // The container's init mounts its root with the ids of its own root: group `base` must pass, nobody else may.
  chownSync(parent, 0, request.base);
  chmodSync(parent, 0o710);
  ownUpper(request.upper, request.base);
  scratchClear(request.scratch);
  const lowers: string[] = [];
  try {
    withUserNamespace(request.namespaces, (fd) => {
      for (const [index, layer] of request.layers.entries()) {
        const lower = join(request.scratch, String(index));
        mkdirSync(lower, { recursive: true, mode: 0o700 });
        idmappedMount(layer, lower, fd, { readOnly: true });
        lowers.unshift(lower);
      }
    });
    mount('overlay', request.target, 'overlay', MS.NODEV, options(lowers, request));
  } finally {
    scratchClear(request.scratch);
  }
}

/**
 * The merged tree of layers, unshifted, read-only and closed to everyone but root, mounted in a directory of ours until
 * {@link layersUnmount}. Synchronous and short. @throws RuntimeError unsupported for too many layers
 */
export function layersMount(views: string, name: string, layers: readonly string[]): string {
  mkdirSync(views, { recursive: true, mode: 0o700 });
  const target = join(views, name);
  const lowers: string[] = [];
  mkdirSync(target, { mode: 0o700 });
  try {
    // By short names: mount(2) takes one page of options.
    for (const [index, layer] of layers.entries()) {
      const lower = `${target}.${index}`;
      mkdirSync(lower, { mode: 0o700 });
      lowers.unshift(lower);
      bindMount(layer, lower);
    }
    const [only, ...more] = lowers;
    // overlayfs wants two: one layer is bound there as it is.
    if (only !== undefined && more.length === 0) bindMount(only, target, { readOnly: true });
    else {
      const flags = MS.RDONLY | MS.NODEV | MS.NOSUID | MS.NOEXEC;
      mount('overlay', target, 'overlay', flags, lowerOptions(lowers));
    }
  } catch (error) {
    layersUnmount(target);
    throw error;
  } finally {
    for (const lower of lowers) layersUnmount(lower);
  }
  return target;
}

/** Unmounts what {@link layersMount} made, and removes its directory. */
export function layersUnmount(target: string): void {
  umountAll(target);
  removeEmpty(target);
}

/**
 * Unmounts the layers below a scratch directory and removes it. A process that was killed between their mounts and that
 * of the root leaves them, once or several times over. Removing what never was is no error.
 */
export function scratchClear(scratch: string): void {
  for (const name of namesIn(scratch)) {
    umountAll(join(scratch, name));
    // Not recursive: what is still mounted there is a layer, which others use.
    removeEmpty(join(scratch, name));
  }
  removeEmpty(scratch);
}

/** Unmounts and removes the mount point and its directory. Removing what never was is no error. */
export function rootfsUnmount(target: string): void {
  umountAll(target);
  // Not recursive: were the unmount to fail silently, nothing of the guest's could be deleted here.
  for (const directory of [target, dirname(target)]) removeEmpty(directory);
}

function options(lowers: readonly string[], request: RootfsRequest): string {
  return lowerOptions(lowers, [`upperdir=${escape(request.upper)}`, `workdir=${escape(request.work)}`]);
}

function lowerOptions(lowers: readonly string[], more: readonly string[] = []): string {
  const text = [
    `lowerdir=${lowers.map(escape).join(':')}`,
    ...more,
    // Layers are foreign: no attribute in them may redirect to another path, or lend another file's content.
    'redirect_dir=nofollow,metacopy=off,index=off',
  ].join(',');
  if (Buffer.byteLength(text) > OPTIONS_MAX)
    throw new RuntimeError(
      'unsupported',
      `an image of ${lowers.length} layers does not fit into one overlay mount`,
      {
        remedy: 'flatten the image to fewer layers, or use a shorter run directory',
      },
    );
  return text;
}

/** overlayfs splits at `:` and `,` and takes `\` as escape. */
function escape(path: string): string {
  return path.replace(/[\\:,]/g, '\\$&');
}

/** The root directory of the container is the root directory of its upper layer. */
function ownUpper(upper: string, base: number): void {
  const seen = lstatSync(upper);
  if (!seen.isDirectory()) throw new RuntimeError('hostFault', `${upper} is no directory`);
  if (seen.uid === base) return;
  chownSync(upper, base, base);
  chmodSync(upper, 0o755);
}

/** Every directory above must let other users pass, or the container's root cannot reach its root. */
export function passable(directory: string): void {
  for (let at = directory; ; at = dirname(at)) {
    const mode = statSync(at, { throwIfNoEntry: false })?.mode;
    if (mode !== undefined && (mode & 0o001) === 0)
      throw new RuntimeError('hostFault', `${at} does not let other users pass`, {
        remedy: `chmod o+x ${at}`,
      });
    if (at === dirname(at)) return;
  }
}

export function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

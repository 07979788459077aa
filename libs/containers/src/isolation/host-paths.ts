import { closeSync, constants, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  AT_FDCWD,
  type FilePlace,
  hasCode,
  lentMount,
  type MountEntry,
  mounts,
  namesIn,
  O_PATH,
  openat2,
  placeOf,
  RESOLVE,
  umountAll,
} from '@berth/linux';
import { hostPathFits, type HostPathOffer, hostPathsFor, type HostPathUse } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import type { OciMount } from '../bundle/oci-types.js';
import type { ContainerRuntimeOptions, HostPath } from '../ports.js';
import { removeEmpty } from './rootfs.js';

/*
 * Directories of the host that its operator offers to containers (ADR 71). Each is opened by the kernel without following a link, looked at as
 * what was opened, and mounted as it was opened, so that no change of a path meanwhile leads anywhere else:
 *
 *   path -> descriptor -> place in its file system: none of Berth's -> <directory>/<n>, with the ids of the container -> OCI bind
 */

/** What the host offers, and what of it is nobody's. */
export interface HostPathRoom {
  readonly offers: Readonly<Record<string, HostPath>>;
  /** Directories of Berth's own, with all that is mounted in them. */
  readonly own: readonly string[];
  /** Mounts of ours below this one are others' directories: the ones that are lent. */
  readonly lent: string;
}

/** What a host offers of its directories, and what of them is Berth's. */
export const hostPathRoom = ({
  runDir,
  stateDir,
  logDir,
  hostPaths: offers = {},
  ownPaths = [],
}: ContainerRuntimeOptions): HostPathRoom => ({
  offers,
  own: [runDir, stateDir, logDir, ...ownPaths],
  lent: join(runDir, 'host-paths'),
});

/** Mount points of one container. */
interface Asking {
  readonly directory: string;
  readonly project: string;
  /** The user namespace of the container. */
  readonly userNamespace: number;
}

const noLinks = RESOLVE.noSymlinks | RESOLVE.noMagicLinks;
const asDirectory = O_PATH | constants.O_DIRECTORY;

/** Names of those that can be mounted now, and why the others cannot. @param userNamespace any, to see whether ids can be shifted there */
export function hostPathsThere(
  room: HostPathRoom,
  userNamespace: number,
): { readonly offers: HostPathOffer[]; readonly faults: ReadonlyMap<string, string> } {
  // With the others, and never where files of ours are deleted: a killed agent leaves the host's directory mounted there.
  const scratch = join(room.lent, '.probe');
  hostPathsTake(scratch);
  const faults = new Map<string, string>();
  const offers: HostPathOffer[] = [];
  for (const [name, { mode, projects }] of Object.entries(room.offers).sort(([a], [b]) => (a < b ? -1 : 1))) {
    const readOnly = mode === 'ro';
    try {
      const use = { name, path: '/', readOnly };
      lend(room, use, { directory: scratch, project: projects?.[0] ?? '', userNamespace }, 0, mounts());
      offers.push({ name, readOnly, ...(projects === undefined ? {} : { projects: [...projects] }) });
    } catch (error) {
      if (!(error instanceof RuntimeError)) throw error;
      faults.set(name, error.message);
    } finally {
      hostPathsTake(scratch);
    }
  }
  return { offers, faults };
}

/**
 * Mounts what a container asks for, below a directory of ours that only root may enter. Mounting it again is no error.
 * @throws RuntimeError unsupported for what is not offered to its project, is not there, or cannot be lent
 */
export function hostPathsLend(room: HostPathRoom, uses: readonly HostPathUse[], asking: Asking): OciMount[] {
  hostPathsTake(asking.directory);
  if (uses.length === 0) return [];
  const all = mounts();
  return uses.map((use, n) => lend(room, use, asking, n, all));
}

/** Takes away what {@link hostPathsLend} mounted. Taking what never was is no error. */
export function hostPathsTake(directory: string): void {
  for (const name of namesIn(directory)) {
    umountAll(join(directory, name));
    // Not recursive: what is still mounted there is the host's.
    removeEmpty(join(directory, name));
  }
  removeEmpty(directory);
}

function lend(
  room: HostPathRoom,
  use: HostPathUse,
  { directory, project, userNamespace }: Asking,
  n: number,
  all: readonly MountEntry[],
): OciMount {
  const offer = offerOf(room, use, project);
  const fd = opened(offer.path, use);
  try {
    const { mount } = placed(fd, use, room, all);
    const may = [...mount.options, ...mount.superOptions.filter((one) => one === 'ro')];
    if (!use.readOnly && may.includes('ro'))
      throw refused(use, 'is on a file system that is mounted read-only', 'offer it as ro');
    if (!use.readOnly && !may.includes('nosuid'))
      throw refused(
        use,
        'is offered to be written where set-user-id programs run: the root of a container could leave one to users of this host',
        `mount what holds it with nosuid, as by "mount --bind ${offer.path} ${offer.path}" and "mount -o remount,bind,nosuid ${offer.path}"`,
      );
    const target = join(directory, String(n));
    mkdirSync(target, { recursive: true, mode: 0o700 });
    shifted(use, () => lentMount(fd, target, userNamespace, use));
    const noexec = may.includes('noexec') ? ['noexec'] : [];
    return {
      destination: use.path,
      type: 'bind',
      source: target,
      options: ['bind', use.readOnly ? 'ro' : 'rw', 'nosuid', 'nodev', ...noexec, 'rprivate'],
    };
  } finally {
    closeSync(fd);
  }
}

function offerOf({ offers }: HostPathRoom, use: HostPathUse, project: string): HostPath {
  const there = Object.entries(offers).map(([name, { mode, projects }]) => ({
    ...{ name, readOnly: mode === 'ro' },
    ...(projects === undefined ? {} : { projects: [...projects] }),
  }));
  const found = hostPathsFor(there, project).find((offer) => hostPathFits(offer, use));
  const offer = found === undefined ? undefined : offers[found.name];
  if (offer === undefined)
    throw new RuntimeError(
      'unsupported',
      `this host offers its project no host path ${use.name}${use.readOnly ? '' : ' to write'}`,
      { remedy: 'name it under hostPaths in its agent.yaml, and restart the agent' },
    );
  return offer;
}

/** What is offered, and below it what is asked for, with no link on the way, and in no other mount than what is offered is in. */
function opened(path: string, use: HostPathUse): number {
  const { subPath } = use;
  const whole = lookedUp(use, () => openat2(AT_FDCWD, path, asDirectory, noLinks));
  if (subPath === undefined) return whole;
  try {
    return lookedUp(use, () =>
      openat2(whole, subPath, asDirectory, noLinks | RESOLVE.beneath | RESOLVE.noXdev),
    );
  } finally {
    closeSync(whole);
  }
}

function lookedUp(use: HostPathUse, open: () => number): number {
  try {
    return open();
  } catch (error) {
    if (hasCode(error, 'ELOOP')) throw refused(use, 'is or lies behind a link', 'name the directory itself');
    if (hasCode(error, 'EXDEV'))
      throw refused(
        use,
        'is outside of what is offered, or on another mount',
        'offer that by a name of its own',
      );
    if (hasCode(error, 'ENOENT')) throw refused(use, 'is not there', 'make the directory on the host');
    if (hasCode(error, 'ENOTDIR')) throw refused(use, 'is no directory', 'offer the directory that holds it');
    throw error;
  }
}

/** Where it is, which is nowhere that Berth keeps its own. */
function placed(fd: number, use: HostPathUse, room: HostPathRoom, all: readonly MountEntry[]) {
  const found = placeOf(fd, all);
  if (found === null) throw refused(use, 'is no place of this host’s mounts', 'name another directory');
  if (ownPlaces(room, all).some((own) => overlap(own, found.place)))
    throw refused(use, 'is Berth’s own on this host, holds it, or is below it', 'name another directory');
  const below = all.find(({ target }) => target.startsWith(found.path === '/' ? '/' : `${found.path}/`));
  if (below !== undefined)
    throw refused(
      use,
      `has another mount below it, ${below.target}`,
      'offer what is in the one and in the other by names of their own',
    );
  return found;
}

/** Where Berth's directories are in their file systems, by whatever mounts; and all that is mounted in them. */
function ownPlaces({ own, lent }: HostPathRoom, all: readonly MountEntry[]): FilePlace[] {
  const places: FilePlace[] = [];
  for (const directory of own) {
    try {
      const fd = openat2(AT_FDCWD, directory, asDirectory, 0);
      try {
        const found = placeOf(fd, all);
        if (found === null) continue;
        places.push(found.place);
        for (const { target, device, root } of all)
          if (target.startsWith(`${found.path}/`) && !target.startsWith(`${lent}/`))
            places.push({ device, path: root });
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      if (!hasCode(error, 'ENOENT', 'ENOTDIR')) throw error;
    }
  }
  return places;
}

const within = (inner: string, outer: string): boolean =>
  outer === '/' || inner === outer || inner.startsWith(`${outer}/`);
const overlap = (a: FilePlace, b: FilePlace): boolean =>
  a.device === b.device && (within(a.path, b.path) || within(b.path, a.path));

function shifted(use: HostPathUse, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!hasCode(error, 'EINVAL', 'EPERM')) throw error;
    throw refused(
      use,
      'is on a file system whose owners this kernel cannot shift to those of a container',
      'offer a directory of ext4, xfs or btrfs; of tmpfs from Linux 6.3 on',
    );
  }
}

function refused({ name, subPath }: HostPathUse, why: string, remedy: string): RuntimeError {
  const what = subPath === undefined ? '' : `, "${subPath}",`;
  return new RuntimeError('unsupported', `host path ${name}${what} ${why}`, { remedy });
}

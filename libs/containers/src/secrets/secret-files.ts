import { chmodSync, chownSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { hasCode, isMounted, memoryMount, valuesKeep } from '@berth/linux';
import { SECRETS_DIRECTORY, secretPath } from '@berth/model';
import { secretKey, secretsFound, secretVariables, type WorkloadSecret } from '@berth/runtime';
import type { OciMount } from '../bundle/oci-types.js';

/*
 * Secrets of one container on its host. All of it is in a file system in memory that is mounted on the container's bundle, so that
 * config.json and the files of execs, which hold the environment, are in it too:
 *
 *   values/<id>.<version>   each value: a run that is started again after a crash needs nobody for it
 *   secrets/                what the container sees as /run/secrets; files are replaced in it while it runs
 *   files/<n>               those that it has elsewhere, each mounted by itself
 *   placed.json             which are in secrets/
 *
 * It is gone with the placement, and with the boot.
 */

/** Bytes that are kept at most: values and their files, config.json and the files of execs. */
const SIZE = '64m';
const PLACED = 'placed.json';

interface Placed {
  readonly id: string;
  readonly path: string;
}

/** What of the secrets a bundle's configuration is made with. */
export interface SecretParts {
  readonly mounts: readonly OciMount[];
  /** `NAME=value` */
  readonly env: readonly string[];
}

/** Mounts memory on the bundle's directory, unless it is. Synchronous and short. */
export const bundleInMemory = (bundle: string): void => memoryMount(bundle, SIZE, '0700');

/** Where in the container a file, or the directory, is mounted. */
export function secretMountPoints(secrets: readonly WorkloadSecret[] = []): {
  readonly files: string[];
  readonly directories: string[];
} {
  const paths = secrets.flatMap((use) => secretPath(use) ?? []);
  const inDirectory = (path: string): boolean => path.startsWith(`${SECRETS_DIRECTORY}/`);
  return {
    files: paths.filter((path) => !inDirectory(path)),
    directories: paths.some(inDirectory) ? [SECRETS_DIRECTORY] : [],
  };
}

/**
 * Writes the files of a run that is about to start, in place of those of the run before.
 * @param base first host id of the container's range @throws RuntimeError secretMissing
 */
export function secretsLay(bundle: string, secrets: readonly WorkloadSecret[], base: number): SecretParts {
  const values = valuesOf(bundle, secrets);
  for (const name of ['secrets', 'files', PLACED])
    rmSync(join(bundle, name), { recursive: true, force: true });
  const mounts: OciMount[] = [];
  const placed: Placed[] = [];
  secrets.forEach((use, i) => {
    const path = secretPath(use);
    const value = values.get(secretKey(use));
    if (path === null || value === undefined) return;
    const live = path.startsWith(`${SECRETS_DIRECTORY}/`);
    const directory = directoryMake(bundle, live ? 'secrets' : 'files', base);
    const file = join(directory, live ? basename(path) : String(i));
    place(bundle, file, value, use, base);
    if (live) placed.push({ id: use.id, path });
    else mounts.push(bind(file, path));
  });
  if (placed.length > 0) mounts.unshift(bind(join(bundle, 'secrets'), SECRETS_DIRECTORY));
  if (placed.length > 0) writeFileSync(join(bundle, PLACED), JSON.stringify(placed), { mode: 0o600 });
  return { mounts, env: secretVariables(secrets, values) };
}

/**
 * Brings the files in `/run/secrets` of a container that runs to the newest values, each at once, and keeps the others for the next
 * run. @throws RuntimeError secretMissing
 */
export function secretsBring(bundle: string, secrets: readonly WorkloadSecret[], base: number): void {
  if (secrets.length === 0 || !isMounted(bundle)) return; // it was started without any
  const placed = placedRead(bundle);
  const values = valuesOf(bundle, secrets);
  for (const use of secrets) {
    const path = secretPath(use);
    const value = values.get(secretKey(use));
    if (value === undefined || !placed.some((one) => one.id === use.id && one.path === path)) continue;
    const file = join(bundle, 'secrets', basename(path ?? ''));
    if (!readFileSync(file).equals(value)) place(bundle, file, value, use, base);
  }
}

/** From now on these are kept, and no others. @throws RuntimeError secretMissing */
function valuesOf(bundle: string, secrets: readonly WorkloadSecret[]): ReadonlyMap<string, Uint8Array> {
  const wanted = secrets.map((secret) => ({ name: secretKey(secret), value: secret.value }));
  return secretsFound(secrets, valuesKeep(join(bundle, 'values'), wanted));
}

/** Readers see the file as it was or as it is, and never half of it. */
function place(bundle: string, file: string, value: Uint8Array, use: WorkloadSecret, base: number): void {
  // Not in the directory that the container sees.
  const temporary = join(bundle, 'values', 'placing.tmp');
  writeFileSync(temporary, value, { mode: 0o600 });
  chownSync(temporary, base + use.uid, base + use.gid);
  chmodSync(temporary, Number.parseInt(use.mode, 8));
  renameSync(temporary, file);
}

function directoryMake(bundle: string, name: string, base: number): string {
  const directory = join(bundle, name);
  if (mkdirSync(directory, { recursive: true, mode: 0o700 }) !== undefined && name === 'secrets') {
    chownSync(directory, base, base);
    chmodSync(directory, 0o755);
  }
  return directory;
}

function placedRead(bundle: string): readonly Placed[] {
  try {
    return JSON.parse(readFileSync(join(bundle, PLACED), 'utf8')) as Placed[];
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

const bind = (source: string, destination: string): OciMount => ({
  destination,
  type: 'bind',
  source,
  options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec', 'rprivate'],
});

import { chown, mkdir, readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { hasCode } from '@berth/linux';
import { InstanceId } from '@berth/model';
import { RuntimeError, type HeldParts, type WorkloadKey } from '@berth/runtime';
import type { Account } from './qemu-account.js';

/*
 * Files of epochs lie as `<dir>/<instance>/<epoch>`, with or without an ending: `3`, `3.json`, `3.log.0`. A write that
 * a kill cut short leaves `.3.json.<random>.tmp`.
 */

/** The epoch whose file has this name, or null. */
function epochOf(name: string): number | null {
  const epoch = /^\.?([1-9]\d{0,8})(?:$|\.)/.exec(name)?.[1];
  return epoch === undefined ? null : Number(epoch);
}

/** sun_path of struct sockaddr_un with its final zero: unix(7). */
const MAX_SOCKET_PATH = 107;

/** Where the QEMU of this epoch listens for VNC, for viewers of its first screen or of another one. */
export function vncSocket(runDir: string, key: WorkloadKey, head = 0): string {
  return join(runDir, key.instanceId, String(key.epoch), head === 0 ? 'vnc' : `vnc${head}`);
}

/** Where the TPM of this epoch listens. */
export function tpmSocket(runDir: string, key: WorkloadKey): string {
  return join(runDir, key.instanceId, String(key.epoch), 'tpm');
}

/**
 * Makes the directory of an epoch's sockets, which only its QEMU and root may enter.
 * @throws RuntimeError hostFault where the path of a socket would be too long
 */
export async function ownEpochDirectory(
  runDir: string,
  key: WorkloadKey,
  account: Account,
  displays = 1,
): Promise<void> {
  const socket = vncSocket(runDir, key, displays - 1);
  if (Buffer.byteLength(socket) > MAX_SOCKET_PATH)
    throw new RuntimeError('hostFault', `${socket} is too long for a socket`, {
      remedy: 'choose a shorter root directory',
    });
  const own = dirname(socket);
  await mkdir(dirname(own), { recursive: true, mode: 0o711 });
  await mkdir(own, { recursive: true, mode: 0o700 });
  await chown(own, account.uid, account.gid);
}

/** Adds every file of an epoch below `dir`. A folder without any is a part of the first epoch: any removal takes it. */
export async function epochFiles(dir: string, what: string, held: HeldParts): Promise<void> {
  for (const name of await listed(dir)) {
    const instanceId = InstanceId.safeParse(name).data;
    if (instanceId === undefined) continue;
    const files = await listed(join(dir, name));
    if (files.length === 0) held.part({ instanceId, epoch: 1 }, `${what} ${name}`);
    for (const file of files) {
      const epoch = epochOf(file);
      if (epoch !== null) held.part({ instanceId, epoch }, `${what} ${name}/${file}`);
    }
  }
}

/** Takes away every file of an epoch and the folder, if that was all. Its record goes last: it tells of the others. */
export async function removeEpochFiles(dir: string, key: WorkloadKey): Promise<void> {
  const own = join(dir, key.instanceId);
  const doomed = (await listed(own)).filter((name) => epochOf(name) === key.epoch);
  const record = `${key.epoch}.json`;
  for (const name of [...doomed.filter((n) => n !== record), ...doomed.filter((n) => n === record)])
    await rm(join(own, name), { recursive: true, force: true });
  try {
    await rmdir(own);
  } catch (error) {
    if (!hasCode(error, 'ENOENT', 'ENOTEMPTY', 'EEXIST')) throw error;
  }
}

/** Names in a directory; none when there is no such directory. */
export async function listed(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

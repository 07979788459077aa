import type { FileHandle } from 'node:fs/promises';
import { StorageError } from './storage-error.js';

/*
 * The snapshots that a qcow2 file holds, by our own reader (QEMU, docs/interop/qcow2.txt, "Header" and "Snapshots"). A QEMU
 * that a guest took over may have written anything there, so all of it is bounded, and only names are told.
 */

const MAGIC = 'QFI\xfb';
const HEADER_BYTES = 80;
/** Incompatible features that our own disks may have: not closed cleanly, compression type, extended L2 entries. */
const FEATURES = 0b11001n;
/** QEMU itself takes no more. */
const MOST_SNAPSHOTS = 65_536;
const MOST_TABLE_BYTES = 16 * 2 ** 20;
const ENTRY_BYTES = 40;

/** What may lie in a table of snapshots. @throws StorageError hostFault when it is none */
export function snapshotNamesIn(table: Buffer, count: number): string[] {
  const names: string[] = [];
  for (let at = 0, n = 0; n < count; n += 1) {
    if (at + ENTRY_BYTES > table.length) throw damaged('its table of snapshots is cut off');
    const idBytes = table.readUInt16BE(at + 12);
    const nameBytes = table.readUInt16BE(at + 14);
    const nameAt = at + ENTRY_BYTES + table.readUInt32BE(at + 36) + idBytes;
    const end = nameAt + nameBytes;
    if (end > table.length) throw damaged('its table of snapshots is cut off');
    names.push(table.toString('utf8', nameAt, end));
    at = Math.ceil(end / 8) * 8;
  }
  return names;
}

/** Names of the snapshots in an open qcow2 file. @throws StorageError hostFault when it is no disk of ours any more */
export async function snapshotNames(file: FileHandle): Promise<string[]> {
  const header = await read(file, 0, HEADER_BYTES);
  if (
    header.length < HEADER_BYTES ||
    header.toString('latin1', 0, 4) !== MAGIC ||
    header.readUInt32BE(4) !== 3
  )
    throw damaged('it is no qcow2 of ours');
  const features = header.readBigUInt64BE(72);
  // One that keeps its data elsewhere, above all: no program may be led to another file.
  if ((features & ~FEATURES) !== 0n) throw damaged(`it needs features 0x${features.toString(16)}`);
  const count = header.readUInt32BE(60);
  if (count === 0) return [];
  const offset = header.readBigUInt64BE(64);
  if (count > MOST_SNAPSHOTS || offset > BigInt(Number.MAX_SAFE_INTEGER))
    throw damaged(`it states ${count} snapshots`);
  return snapshotNamesIn(await read(file, Number(offset), MOST_TABLE_BYTES), count);
}

async function read(file: FileHandle, position: number, most: number): Promise<Buffer> {
  const { size } = await file.stat();
  const bytes = Math.max(0, Math.min(most, size - position));
  const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, position);
  return buffer.subarray(0, bytesRead);
}

const damaged = (why: string): StorageError =>
  new StorageError(
    'hostFault',
    `the disk cannot be used: ${why}`,
    'Look at it with qemu-img info and qemu-img check.',
  );

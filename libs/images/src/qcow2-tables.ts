import type { FileHandle } from 'node:fs/promises';
import { qcow2Damaged } from './qcow2-header.js';

/** Bytes of the tables of a kind that are looked at: QEMU's own bound for the first level, 512 GiB of data for the second. */
const FIRST_LEVEL_BYTES = 32 * 2 ** 20;
const SECOND_LEVEL_BYTES = 64 * 2 ** 20;

/** Bits 9 to 55 of an entry, as its high and low word: where in the file it points. */
const OFFSET_HIGH = 0x00ffffff;
const OFFSET_LOW = 0xfffffe00;
/** Bit 62 of an entry of a second level: the cluster is compressed, and its offset has a layout of its own. */
const COMPRESSED = 0x40000000;
const FEATURE_EXTENDED_L2 = 16;

/**
 * Looks whether the image's tables, and what they point to, lie inside the file: an upload that was cut short has a good
 * header, and its guest would read zeros or errors where its data is missing. A cut within the last cluster cannot be seen. The header was inspected before; tables beyond
 * the first 64 MiB of a kind are not looked at. (QEMU, docs/interop/qcow2.txt, "Cluster mapping", "Host cluster management")
 * @throws ImageError badDisk
 */
export async function qcow2TablesCheck(file: FileHandle, head: Buffer, fileBytes: number): Promise<void> {
  const clusterBytes = 2 ** head.readUInt32BE(20);
  const within = (what: string, offset: number, length: number): void => {
    if (offset % clusterBytes !== 0) throw qcow2Damaged(`an entry of its ${what} points between clusters`);
    if (offset + length > fileBytes)
      throw qcow2Damaged(`its ${what} points beyond the end of the file: it was cut short`);
  };
  const refcountBytes = head.readUInt32BE(56) * clusterBytes;
  for (const offset of offsets(await table(file, head, 48, refcountBytes)))
    within('refcount table', offset, clusterBytes);
  const second = offsets(await table(file, head, 40, head.readUInt32BE(36) * 8));
  const extended = head.readUInt32BE(4) >= 3 && (head.readUInt32BE(76) & FEATURE_EXTENDED_L2) !== 0;
  let left = SECOND_LEVEL_BYTES;
  for (const offset of second) {
    within('L1 table', offset, clusterBytes);
    if ((left -= clusterBytes) < 0) continue;
    const entries = await bytesAt(file, offset, clusterBytes);
    // The last cluster of a file need not be whole: its beginning must be there.
    for (const data of dataOffsets(entries, extended ? 16 : 8, Math.log2(clusterBytes)))
      if (data >= fileBytes)
        throw qcow2Damaged('its data goes on beyond the end of the file: it was cut short');
  }
}

async function table(file: FileHandle, head: Buffer, field: number, length: number): Promise<Buffer> {
  if (length > FIRST_LEVEL_BYTES) throw qcow2Damaged(`it states a table of ${length} bytes`);
  return bytesAt(file, Number(head.readBigUInt64BE(field)), length);
}

/** Where the entries of a first-level or refcount table point; empty ones are left out. */
function offsets(entries: Buffer): number[] {
  const found: number[] = [];
  for (let at = 0; at < entries.length; at += 8) {
    const offset =
      (entries.readUInt32BE(at) & OFFSET_HIGH) * 2 ** 32 +
      ((entries.readUInt32BE(at + 4) & OFFSET_LOW) >>> 0);
    if (offset !== 0) found.push(offset);
  }
  return found;
}

/** Where the data of a second-level table begins. A compressed cluster's offset ends below the bits for its length. */
function* dataOffsets(entries: Buffer, entryBytes: number, clusterBits: number): Generator<number> {
  const compressedHigh = 2 ** (62 - (clusterBits - 8) - 32) - 1;
  for (let at = 0; at < entries.length; at += entryBytes) {
    const high = entries.readUInt32BE(at);
    const low = entries.readUInt32BE(at + 4);
    if (high === 0 && low === 0) continue;
    if ((high & COMPRESSED) !== 0) yield (high & compressedHigh) * 2 ** 32 + low;
    else yield (high & OFFSET_HIGH) * 2 ** 32 + ((low & OFFSET_LOW) >>> 0);
  }
}

async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead - (bytesRead % 8));
}

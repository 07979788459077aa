import { ImageError } from './image-error.js';

/** Header extensions (QEMU, docs/interop/qcow2.txt, "Header extensions") that matter here. */
const EXTENSION_BACKING_FORMAT = 0xe2792aca;
const EXTENSION_ENCRYPTION = 0x0537be77;
const EXTENSION_DATA_FILE = 0x44415441;

/** Incompatible feature bits: compression type and extended L2 entries are taken; the others are refused by name. */
const FEATURE_DIRTY = 1n << 0n;
const FEATURE_CORRUPT = 1n << 1n;
const FEATURE_DATA_FILE = 1n << 2n;
const FEATURE_COMPRESSION = 1n << 3n;
const FEATURE_EXTENDED_L2 = 1n << 4n;

/**
 * Virtual size in bytes of a qcow2 image (version 2 or 3) from its first bytes. Accepts only an image that stands alone.
 * @throws ImageError unsupported, badDisk
 */
export function qcow2Inspect(head: Buffer, fileBytes: number): number {
  if (head.length < 72) throw qcow2Damaged('its header is cut off');
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw unsupported(`has qcow version ${version}`);
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw qcow2Damaged(`it states clusters of 2^${clusterBits} bytes`);
  if (head.readBigUInt64BE(8) !== 0n || head.readUInt32BE(16) !== 0) throw hasBackingFile();
  if (head.readUInt32BE(32) !== 0) throw unsupported('is encrypted');
  const headerBytes = version === 2 ? 72 : featuresCheck(head);
  extensionsCheck(head, headerBytes, 1 << clusterBits);
  // QEMU reads the table of snapshots whole when it opens the image; a root disk has no use for one.
  if (head.readUInt32BE(60) !== 0) throw unsupported('holds snapshots');
  const size = head.readBigUInt64BE(24);
  if (size === 0n || size % 512n !== 0n || size > BigInt(Number.MAX_SAFE_INTEGER))
    throw qcow2Damaged(`it states a size of ${size} bytes`);
  tablesCheck(head, fileBytes, size, clusterBits);
  return Number(size);
}

/** Version 3 fields. Returns the length of the header. */
function featuresCheck(head: Buffer): number {
  if (head.length < 104) throw qcow2Damaged('its header is cut off');
  const length = head.readUInt32BE(100);
  if (length < 104 || length % 8 !== 0 || length > head.length)
    throw qcow2Damaged(`it states a header of ${length} bytes`);
  const features = head.readBigUInt64BE(72);
  if ((features & FEATURE_DATA_FILE) !== 0n) throw unsupported('keeps its data in another file');
  if ((features & FEATURE_CORRUPT) !== 0n) throw qcow2Damaged('it is marked as corrupt');
  if ((features & FEATURE_DIRTY) !== 0n) throw qcow2Damaged('it was not closed cleanly');
  const unknown = features & ~(FEATURE_COMPRESSION | FEATURE_EXTENDED_L2);
  if (unknown !== 0n) throw unsupported(`needs unknown features (0x${unknown.toString(16)})`);
  const compression = length > 104 ? head.readUInt8(104) : 0;
  const refcountOrder = head.readUInt32BE(96);
  if (refcountOrder > 6) throw qcow2Damaged(`it states reference counts of 2^${refcountOrder} bits`);
  if (compression > 1 || (compression !== 0) !== ((features & FEATURE_COMPRESSION) !== 0n))
    throw unsupported(`is compressed in an unknown way (${compression})`);
  return length;
}

function extensionsCheck(head: Buffer, start: number, clusterBytes: number): void {
  // Extensions end with type 0, and all of them lie in the first cluster.
  const end = Math.min(head.length, clusterBytes);
  for (let at = start; at + 8 <= end;) {
    const type = head.readUInt32BE(at);
    const length = head.readUInt32BE(at + 4);
    if (type === 0) return;
    if (type === EXTENSION_BACKING_FORMAT) throw hasBackingFile();
    if (type === EXTENSION_ENCRYPTION) throw unsupported('is encrypted');
    if (type === EXTENSION_DATA_FILE) throw unsupported('keeps its data in another file');
    at += 8 + Math.ceil(length / 8) * 8;
    if (at > clusterBytes) throw qcow2Damaged('its header extensions run out of the first cluster');
  }
}

/** The tables that the header points to must lie inside the file and cover the disk. */
function tablesCheck(head: Buffer, fileBytes: number, size: bigint, clusterBits: number): void {
  const l1Entries = BigInt(head.readUInt32BE(36));
  const l1Offset = head.readBigUInt64BE(40);
  const refcountOffset = head.readBigUInt64BE(48);
  const refcountBytes = BigInt(head.readUInt32BE(56)) << BigInt(clusterBits);
  const cluster = 1n << BigInt(clusterBits);
  for (const [what, offset, length] of [
    ['L1 table', l1Offset, l1Entries * 8n],
    ['refcount table', refcountOffset, refcountBytes],
  ] as const)
    if (offset % cluster !== 0n || offset === 0n || length === 0n || offset + length > BigInt(fileBytes))
      throw qcow2Damaged(`its ${what} lies outside of the file`);
  // One L2 table fills a cluster with 8-byte entries (16-byte ones where they are extended), one per cluster.
  const extended = head.readUInt32BE(4) >= 3 && (head.readBigUInt64BE(72) & FEATURE_EXTENDED_L2) !== 0n;
  const perL1Entry = (cluster / (extended ? 16n : 8n)) * cluster;
  if (l1Entries * perL1Entry < size) throw qcow2Damaged('its L1 table is too short for its size');
}

function hasBackingFile(): ImageError {
  return new ImageError(
    'unsupported',
    'the qcow2 image stands on a backing file',
    'Make it whole: qemu-img convert -O qcow2 <file> <file>.qcow2',
  );
}

function unsupported(why: string): ImageError {
  return new ImageError(
    'unsupported',
    `the qcow2 image ${why}`,
    'Convert it: qemu-img convert -O qcow2 <file> <file>.qcow2',
  );
}

/** The refusal of an image that is not whole. */
export function qcow2Damaged(why: string): ImageError {
  return new ImageError(
    'badDisk',
    `the qcow2 image is damaged: ${why}`,
    'Check it with qemu-img check -r all, or upload it again.',
  );
}

import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import type { DiskFormat } from '@berth/model';
import { ImageError } from './image-error.js';
import { qcow2Inspect } from './qcow2-header.js';
import { qcow2TablesCheck } from './qcow2-tables.js';

export interface DiskFacts {
  readonly format: DiskFormat;
  /** Size the guest sees, bytes. */
  readonly virtualSizeBytes: number;
  /** The same in MiB, rounded up. */
  readonly virtualSizeMiB: number;
}

/** Largest disk that is taken, bytes. */
const MAX_VIRTUAL = 64 * 2 ** 40;

/** Formats that would pass as raw if nobody looked: name, offset (negative: from the end), magic. */
const REFUSED: readonly (readonly [string, number, string])[] = [
  ['VMDK', 0, 'KDMV'],
  ['VMDK', 0, 'COWD'],
  ['VMDK', 0, '# Disk DescriptorFile'],
  ['VHD', 0, 'conectix'],
  ['VHD', -512, 'conectix'],
  ['VHDX', 0, 'vhdxfile'],
  ['QED', 0, 'QED\0'],
  ['VDI', 64, '\x7f\x10\xda\xbe'],
  ['Parallels', 0, 'WithoutFreeSpace'],
  ['Parallels', 0, 'WithouFreSpacExt'],
  ['Bochs', 0, 'Bochs Virtual HD Image'],
  ['DMG', -512, 'koly'],
  ['LUKS (encrypted)', 0, 'LUKS\xba\xbe'],
  ['cloop', 0, '#!/bin/sh\n#V2.0 Format'],
  ['gzip', 0, '\x1f\x8b'],
  ['xz', 0, '\xfd7zXZ\0'],
  ['zstd', 0, '\x28\xb5\x2f\xfd'],
  ['bzip2', 0, 'BZh'],
  ['tar', 257, 'ustar'],
];

/**
 * Format and size of a disk image, by its own header alone: nothing that the header points to is opened. Raw is what has
 * no known magic and is whole sectors long.
 * @throws ImageError unsupported (other formats, backing or data files, encryption, unknown features), badDisk, tooLarge
 */
export function inspectDisk(path: string): Promise<DiskFacts> {
  return inspect(path, false);
}

/**
 * The same for an image that has just come: of a qcow2, its tables are read too, so that one that was cut short on its way
 * is refused now and not by the guest.
 * @throws ImageError as `inspectDisk`
 */
export function inspectNewDisk(path: string): Promise<DiskFacts> {
  return inspect(path, true);
}

async function inspect(path: string, tables: boolean): Promise<DiskFacts> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    const head = await bytesAt(file, 0, 64 * 1024);
    const isQcow2 = head.subarray(0, 4).toString('latin1') === 'QFI\xfb';
    if (!isQcow2) await refuseOthers(file, head, size);
    const virtualSizeBytes = isQcow2 ? qcow2Inspect(head, size) : rawSize(size);
    if (virtualSizeBytes > MAX_VIRTUAL)
      throw new ImageError('tooLarge', 'the disk is larger than 64 TiB', 'Use a smaller disk.');
    if (isQcow2 && tables) await qcow2TablesCheck(file, head, size);
    const virtualSizeMiB = Math.ceil(virtualSizeBytes / 2 ** 20);
    return { format: isQcow2 ? 'qcow2' : 'raw', virtualSizeBytes, virtualSizeMiB };
  } finally {
    await file.close();
  }
}

function rawSize(size: number): number {
  if (size > 0 && size % 512 === 0) return size;
  throw new ImageError(
    'badDisk',
    `the file is no qcow2 and, with ${size} bytes, no raw disk either: those are whole sectors of 512 bytes`,
    'Upload a qcow2 or raw disk image.',
  );
}

/** Refuses what has the magic of another format. @throws ImageError unsupported */
export async function refuseOthers(file: FileHandle, head: Buffer, size: number): Promise<void> {
  const tail = size >= 512 ? await bytesAt(file, size - 512, 512) : Buffer.alloc(0);
  for (const [name, offset, magic] of REFUSED) {
    const found = offset < 0 ? tail : head.subarray(offset);
    if (found.subarray(0, magic.length).toString('latin1') === magic) throw otherFormat(name);
  }
  if (isVmdkDescriptor(head.toString('latin1', 0, 4096))) throw otherFormat('VMDK');
}

/** A text that names the files of a disk. QEMU knows it by the first line that is neither blank nor a comment. */
function isVmdkDescriptor(text: string): boolean {
  const first = text.split('\n').find((line) => line.trim() !== '' && !line.startsWith('#'));
  return first !== undefined && /^version=[0-9]/.test(first);
}

function otherFormat(name: string): ImageError {
  return new ImageError(
    'unsupported',
    `the disk is ${name}; only qcow2 and raw are taken`,
    'Decompress it, or convert it: qemu-img convert -O qcow2 <file> <file>.qcow2',
  );
}

/** So many bytes of a file, or as many as there are. */
export async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, position);
  return buffer.subarray(0, bytesRead);
}

import { open } from 'node:fs/promises';
import { bytesAt, refuseOthers } from './disk-inspect.js';
import { ImageError } from './image-error.js';

/*
 * The medium of a CD-ROM drive. Whoever has one reads it as a raw file, never by what it says of itself; this only tells a medium
 * from a web page, a disk or half a download. ECMA-119 (ISO 9660), ECMA-167 (UDF), and the El Torito specification.
 */

export interface IsoFacts {
  /** It says that a machine can be booted from it (El Torito). */
  readonly bootable: boolean;
}

const SECTOR = 2048;
/** Volume descriptors begin here; what is before is the system's, and may be a boot sector. */
const FIRST = 16;
/** As many are looked at: an image has some four, and as many of UDF. */
const MOST = 64;
/** Largest that is taken, bytes: four of the largest discs there are (BDXL, 128 GB). */
const MAX_BYTES = 512 * 10 ** 9;

/**
 * What a file is as a medium, by its volume descriptors alone.
 * @throws ImageError badDisk (no medium, or cut short), unsupported (another format), tooLarge
 */
export async function inspectIso(path: string): Promise<IsoFacts> {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    if (size > MAX_BYTES) throw new ImageError('tooLarge', 'the medium is larger than 512 GB', advice);
    const head = await bytesAt(file, 0, FIRST * SECTOR);
    if (head.toString('latin1', 0, 4) === 'QFI\xfb')
      throw new ImageError('unsupported', 'the file is a qcow2 disk', 'Import it as kind disk.');
    await refuseOthers(file, head, size);
    return isoFacts(await bytesAt(file, FIRST * SECTOR, MOST * SECTOR), size);
  } finally {
    await file.close();
  }
}

const advice = 'Import an ISO 9660 or UDF image, as installers are published, whole.';
const refused = (why: string): ImageError =>
  new ImageError('badDisk', `the file is no ISO image: ${why}`, advice);

/** Pure. @param descriptors the bytes from the first volume descriptor on @param size of the whole file @throws ImageError badDisk */
export function isoFacts(descriptors: Buffer, size: number): IsoFacts {
  if (size % SECTOR !== 0) throw refused(`${size} bytes are not whole sectors of ${SECTOR}`);
  let [primary, udf, bootable] = [false, false, false];
  for (let at = 0; at + SECTOR <= descriptors.length; at += SECTOR) {
    const sector = descriptors.subarray(at, at + SECTOR);
    const standard = sector.toString('latin1', 1, 6);
    if (standard === 'NSR02' || standard === 'NSR03') udf = true;
    if (standard !== 'CD001') {
      if (['BEA01', 'NSR02', 'NSR03', 'BOOT2'].includes(standard)) continue;
      // What ends the sequence of UDF, or belongs to no sequence.
      break;
    }
    if (sector[0] === 0 && sector.toString('latin1', 7, 30) === 'EL TORITO SPECIFICATION') bootable = true;
    if (sector[0] !== 1) continue;
    refuseCut(sector, size);
    primary = true;
  }
  if (!primary && !udf) throw refused('it has no volume descriptor of ISO 9660 or UDF');
  return { bootable };
}

/** Sizes stand twice in a descriptor, in both orders of bytes. */
function refuseCut(primary: Buffer, size: number): void {
  const [sectors, again] = [primary.readUInt32LE(80), primary.readUInt32BE(84)];
  const [block, blockAgain] = [primary.readUInt16LE(128), primary.readUInt16BE(130)];
  if (sectors !== again || block !== blockAgain) throw refused('its volume descriptor contradicts itself');
  if (block === 0 || sectors === 0) throw refused('its volume descriptor tells of no size');
  if (sectors * block > size)
    throw refused(`its volume has ${sectors * block} bytes, and the file only ${size}`);
}

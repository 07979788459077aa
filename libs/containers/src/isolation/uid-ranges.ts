import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { VolumeId } from '@berth/model';
import { hasCode, writeFileAtomic } from '@berth/linux';

/** Ids per range: all that an image's files and users may have. */
export const RANGE_SIZE = 65_536;
const FIRST = 0x1000_0000;
/** Below 2^31: some programs and file systems read uids as signed. */
const SLOTS = Math.floor((0x7fff_0000 - FIRST) / RANGE_SIZE);

interface RangesFile {
  readonly version: 1;
  readonly ranges: Readonly<Record<string, number>>;
}

/**
 * A range of 65,536 host uids and gids for each writable layer, kept for the layer's life, because the files in it
 * belong to these ids. The slot is derived from the volume's id, so that agents that share a machine seldom meet, and
 * a range is not soon used again; a slot that is taken moves on to the next free one.
 */
export class UidRanges {
  private queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly path: string) {}

  /** First host id of the volume's range; allocates and records one at the first call. @throws Error when all are taken. */
  ensure(volumeId: VolumeId): Promise<number> {
    return this.alone(async () => {
      const { ranges } = await this.read();
      const known = ranges[volumeId];
      if (known !== undefined) return known;
      const base = FIRST + freeSlot(volumeId, new Set(Object.values(ranges))) * RANGE_SIZE;
      await this.write({ ...ranges, [volumeId]: base });
      return base;
    });
  }

  /** The recorded range, or null. */
  async find(volumeId: VolumeId): Promise<number | null> {
    return (await this.read()).ranges[volumeId] ?? null;
  }

  /** Gives the range back. Releasing what never was is no error. */
  release(volumeId: VolumeId): Promise<void> {
    return this.alone(async () => {
      const { [volumeId]: known, ...rest } = (await this.read()).ranges;
      if (known !== undefined) await this.write(rest);
    });
  }

  private alone<T>(work: () => Promise<T>): Promise<T> {
    const next = this.queue.then(work, work);
    this.queue = next.catch(() => undefined);
    return next;
  }

  private async read(): Promise<RangesFile> {
    try {
      return JSON.parse(await readFile(this.path, 'utf8')) as RangesFile;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return { version: 1, ranges: {} };
      // A damaged file must stop us: a second owner of a range could read the first one's files.
      throw new Error(`${this.path} cannot be read; restore it, or remove all containers and then the file`, {
        cause: error,
      });
    }
  }

  private async write(ranges: RangesFile['ranges']): Promise<void> {
    await mkdir(dirname(this.path), { recursive: true, mode: 0o700 });
    await writeFileAtomic(this.path, JSON.stringify({ version: 1, ranges }));
  }
}

function freeSlot(volumeId: string, taken: ReadonlySet<number>): number {
  const wanted = createHash('sha256').update(volumeId).digest().readUInt32BE(0) % SLOTS;
  for (let step = 0; step < SLOTS; step += 1) {
    const slot = (wanted + step) % SLOTS;
    if (!taken.has(FIRST + slot * RANGE_SIZE)) return slot;
  }
  throw new Error(`all ${SLOTS} uid ranges of this host are taken`);
}

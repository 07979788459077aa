import { createHash } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { hasCode, writeFileAtomic } from '@berth/linux';
import type { VolumeId } from '@berth/model';
import { z } from 'zod';

/** Sixteen million ids that no distribution gives to people or services; container ranges begin above. */
const FIRST = 0x0f00_0000;
const COUNT = 0x0100_0000;

const UidsFile = z.strictObject({
  version: z.literal(1),
  uids: z.record(
    z.string(),
    z
      .int()
      .min(FIRST)
      .max(FIRST + COUNT - 1),
  ),
});
type Uids = z.infer<typeof UidsFile>['uids'];

/** Whether a process of this uid can be no container's: root, accounts of the distribution, and machines. */
export function isBelowContainers(uid: number): boolean {
  return uid < FIRST + COUNT;
}

/** Whether a process of this uid can be one of our QEMUs. */
export function isVmUid(uid: number): boolean {
  return uid >= FIRST && uid < FIRST + COUNT;
}

/**
 * A uid (and gid of the same number) for each root disk, kept for the disk's life: what one QEMU left behind can never
 * belong to the next. It is derived from the volume's id, so that agents that share a machine seldom meet.
 */
export class VmUids {
  #queue: Promise<unknown> = Promise.resolve();

  constructor(private readonly path: string) {}

  /** Allocates and records at the first call. @throws Error when the record is damaged. */
  ensure(volumeId: VolumeId): Promise<number> {
    return this.#alone(async () => {
      const uids = await this.#read();
      const known = uids[volumeId];
      if (known !== undefined) return known;
      const uid = freeUid(volumeId, new Set(Object.values(uids)));
      await this.#write({ ...uids, [volumeId]: uid });
      return uid;
    });
  }

  /** Gives it back. Releasing what never was is no error. */
  release(volumeId: VolumeId): Promise<void> {
    return this.#alone(async () => {
      const { [volumeId]: known, ...rest } = await this.#read();
      if (known !== undefined) await this.#write(rest);
    });
  }

  #alone<T>(work: () => Promise<T>): Promise<T> {
    const next = this.#queue.then(work, work);
    this.#queue = next.catch(() => undefined);
    return next;
  }

  async #read(): Promise<Uids> {
    try {
      return UidsFile.parse(JSON.parse(await readFile(this.path, 'utf8'))).uids;
    } catch (cause) {
      if (hasCode(cause, 'ENOENT')) return {};
      // A damaged file must stop us: a second owner of an id could read the first one's disk.
      throw new Error(`${this.path} cannot be read; restore it, or remove all machines and then the file`, {
        cause,
      });
    }
  }

  async #write(uids: Uids): Promise<void> {
    if (Object.keys(uids).length === 0) return rm(this.path, { force: true });
    await mkdir(dirname(this.path), { recursive: true, mode: 0o711 });
    await writeFileAtomic(this.path, JSON.stringify({ version: 1, uids }), { mode: 0o600 });
  }
}

function freeUid(volumeId: string, taken: ReadonlySet<number>): number {
  const wanted = createHash('sha256').update(volumeId).digest().readUInt32BE(0) % COUNT;
  for (let step = 0; step < COUNT; step += 1) {
    const uid = FIRST + ((wanted + step) % COUNT);
    if (!taken.has(uid)) return uid;
  }
  throw new Error(`all ${COUNT} uids for machines are taken`);
}

import { statSync } from 'node:fs';
import { mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { ExitInfo, InstanceId, NetworkId, VolumeId } from '@berth/model';
import { atomicTemporaryOf, hasCode, syncPath, writeFileAtomic, type ProcessIdentity } from '@berth/linux';
import { RuntimeError, type WorkloadKey } from '@berth/runtime';

/** What the host remembers of one epoch. It is always read from disk: another process may have written it. */
export interface WorkloadRecord extends WorkloadKey {
  readonly version: 1;
  readonly volumeId: VolumeId;
  /** First host id of its range; absent in a record of before. */
  readonly uidBase?: number;
  readonly networkIds: readonly NetworkId[];
  /** Where files and directories of ours are mounted over the image, beside those of every container; absent where there are none. */
  readonly mountPoints?: readonly string[];
  /** Signal that asks the image to end. */
  readonly stopSignal: string;
  /** The current or last run; null before the first. */
  readonly run: { readonly init: ProcessIdentity; readonly monitor: ProcessIdentity } | null;
  /** Set when a stop was asked for in this run; `forced` once the grace time was over. */
  readonly stop: { readonly forced: boolean } | null;
  /** How the last run ended; null while it runs. */
  readonly exit: ExitInfo | null;
}

interface EpochRecord {
  readonly version: 1;
  readonly highestEpoch: number;
  readonly volumeId: VolumeId;
}

const ID = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([0-9]{1,9})$/;

/** Name of one epoch on the host: of its container, directories, cgroup and log. @throws RuntimeError for a key that is none. */
export function workloadId(key: WorkloadKey): string {
  const id = `${key.instanceId}.${key.epoch}`;
  if (!ID.test(id)) throw new RuntimeError('hostFault', `not a workload key: ${JSON.stringify(id)}`);
  return id;
}

/** The key in such a name, or null when it is not ours. */
export function workloadKey(id: string): WorkloadKey | null {
  const match = ID.exec(id);
  return match === null ? null : { instanceId: match[1] as InstanceId, epoch: Number(match[2]) };
}

/** A record with the state of its file when it was read. */
interface Seen {
  readonly file: string;
  readonly record: WorkloadRecord;
}

/**
 * Records below the state directory: one file per epoch of an instance, and the highest epoch of each instance. Every one is looked at every
 * two seconds, so that what was read of a file counts until another is in its place.
 */
export class RecordStore {
  private readonly seen = new Map<string, Seen>();
  /** Whose root volumes are, as far as this object was told: others are looked for. */
  private readonly owners = new Map<VolumeId, InstanceId>();

  constructor(private readonly directory: string) {}

  async write(record: WorkloadRecord): Promise<void> {
    await mkdir(this.workloads, { recursive: true, mode: 0o700 });
    await writeFileAtomic(this.file(record), JSON.stringify(record));
    this.seen.delete(this.file(record));
  }

  async read(key: WorkloadKey): Promise<WorkloadRecord | null> {
    const path = this.file(key);
    const file = fileState(path);
    const known = this.seen.get(path);
    if (file !== null && known?.file === file) return known.record;
    const record = await readJson<WorkloadRecord>(path);
    if (record === null) this.seen.delete(path);
    // The state before: were the file replaced meanwhile, it would be read again.
    else if (file !== null) this.seen.set(path, { file, record });
    return record;
  }

  /** Keys of every workload, or of every epoch of one. */
  async keys(of?: InstanceId): Promise<WorkloadKey[]> {
    return (await names(this.workloads)).flatMap((name) => {
      const key = name.endsWith('.json') ? workloadKey(name.slice(0, -'.json'.length)) : null;
      return key === null || (of !== undefined && key.instanceId !== of) ? [] : [key];
    });
  }

  /** The record goes last: while it stands, an interrupted removal is found again. */
  async remove(key: WorkloadKey): Promise<void> {
    const file = basename(this.file(key));
    for (const name of await names(this.workloads))
      if (atomicTemporaryOf(name) === file) await rm(join(this.workloads, name), { force: true });
    await removeDurably(this.workloads, this.file(key));
    this.seen.delete(this.file(key));
  }

  /** Of every workload, or of every epoch of one. */
  async list(of?: InstanceId): Promise<WorkloadRecord[]> {
    const found: WorkloadRecord[] = [];
    for (const key of await this.keys(of)) {
      const record = await this.read(key);
      if (record !== null) found.push(record);
    }
    return found;
  }

  /** @throws RuntimeError lowerEpoch when a higher epoch of the instance was seen on this host. */
  async epochCheck(key: WorkloadKey): Promise<void> {
    const seen = await readJson<EpochRecord>(this.epochFile(key.instanceId));
    if (seen !== null && key.epoch < seen.highestEpoch)
      throw new RuntimeError(
        'lowerEpoch',
        `epoch ${key.epoch} is refused: epoch ${seen.highestEpoch} was seen here`,
      );
  }

  /** Remembers an epoch. On disk when it returns. */
  async epochRaise(key: WorkloadKey, volumeId: VolumeId): Promise<void> {
    await this.epochCheck(key);
    await mkdir(this.epochs, { recursive: true, mode: 0o700 });
    const record: EpochRecord = { version: 1, highestEpoch: key.epoch, volumeId };
    await writeFileAtomic(this.epochFile(key.instanceId), JSON.stringify(record));
    this.owners.set(volumeId, key.instanceId);
  }

  /** Forgets the instance of a root volume that is gone for good. */
  async epochForget(volumeId: VolumeId): Promise<void> {
    const owner = this.owners.get(volumeId);
    this.owners.delete(volumeId);
    for (const name of owner === undefined ? await names(this.epochs) : [`${owner}.json`]) {
      const path = join(this.epochs, name);
      if (name.endsWith('.json') && (await readJson<EpochRecord>(path))?.volumeId === volumeId)
        await removeDurably(this.epochs, path);
    }
  }

  private get workloads(): string {
    return join(this.directory, 'workloads');
  }
  private get epochs(): string {
    return join(this.directory, 'epochs');
  }
  private file(key: WorkloadKey): string {
    return join(this.workloads, `${workloadId(key)}.json`);
  }
  private epochFile(instanceId: InstanceId): string {
    return join(this.epochs, `${instanceId}.json`);
  }
}

/** Changes with every replacement of a file; null where there is none. */
function fileState(path: string): string | null {
  const stat = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stat === undefined ? null : `${stat.ino} ${stat.ctimeNs} ${stat.size}`;
}

async function names(directory: string): Promise<string[]> {
  return (await orNull(readdir(directory))) ?? [];
}

async function readJson<T>(path: string): Promise<T | null> {
  const text = await orNull(readFile(path, 'utf8'));
  if (text === null) return null;
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new RuntimeError('hostFault', `${path} is damaged`, {
      cause: error,
      remedy: `inspect and remove ${path}`,
    });
  }
}

async function removeDurably(directory: string, path: string): Promise<void> {
  await rm(path, { force: true });
  await orNull(syncPath(directory));
}

async function orNull<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

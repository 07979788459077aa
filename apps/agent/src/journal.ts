import { mkdir, readFile, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Assignment, Workload } from '@berth/link';
import { writeFileAtomic } from '@berth/linux';
import { Condition, ExitInfo, HostNetworkSpec, InstanceId } from '@berth/model';
import type { InstanceId as InstanceIdType } from '@berth/model';
import { z } from 'zod';

/** What the agent must not forget about one placement. */
export const PlacementRecord = z.strictObject({
  assignment: Assignment,
  /** Networks of its nics as last listed. */
  networks: z.array(HostNetworkSpec),
  /** Number of the current run; raised here before anything of that run is done. */
  run: z.int().min(1),
  /** Crash restarts in a row. */
  restarts: z.int().min(0),
  /** When `start` of the current run was called, and in which boot of the host; null before. */
  started: z
    .strictObject({
      at: z.iso.datetime(),
      bootId: z.string(),
      /** What it was started with; absent in records of before it was kept. */
      workload: Workload.optional(),
    })
    .nullable(),
  /** How the current run ended. */
  exit: ExitInfo.nullable(),
  /** How the run before it ended. */
  lastExit: ExitInfo.nullable(),
  ended: z.boolean(),
  /** What its probes say of the current run; absent before they said anything. */
  health: z
    .strictObject({
      /** Its start-up probe was answered well. */
      started: z.boolean(),
      conditions: z.array(Condition),
    })
    .optional(),
  /** Its probes say that the current run is to be ended, and started again as its restart policy has it; absent otherwise. */
  unhealthy: z.strictObject({ message: z.string(), at: z.iso.datetime() }).optional(),
  /** Name of the runtime that has it; null before one was chosen, absent in records of before there was a choice. */
  runtime: z.string().nullable().optional(),
});
export type PlacementRecord = z.infer<typeof PlacementRecord>;

const InstanceRecord = z.strictObject({
  format: z.literal(1),
  instanceId: InstanceId,
  /** Never lowered: a lower epoch is refused for ever. */
  highestEpoch: z.int().min(0),
  placements: z.array(PlacementRecord),
  /** Set when nothing of the instance is left here; the record is kept a while for its highest epoch. */
  goneAt: z.iso.datetime().nullable(),
});
export type InstanceRecord = z.infer<typeof InstanceRecord>;

const HostRecord = z.strictObject({
  format: z.literal(1),
  storeIncarnation: z.string().nullable(),
  assignmentRev: z.int().min(0),
});
export type HostRecord = z.infer<typeof HostRecord>;

/** How long the highest epoch of a gone instance is remembered. */
const rememberMs = 30 * 24 * 3600 * 1000;

/**
 * The agent's memory: one file per instance, replaced by fsync and rename. Writes of one instance happen in order; a
 * caller that awaits `save` knows it is on disk.
 */
export class Journal {
  private readonly records = new Map<InstanceIdType, InstanceRecord>();
  private readonly chains = new Map<string, Promise<void>>();
  private hostRecord: HostRecord = { format: 1, storeIncarnation: null, assignmentRev: 0 };

  private constructor(
    private readonly dir: string,
    private readonly now: () => Date,
  ) {}

  /** Reads everything. A file that cannot be read is set aside as `.bad` and named in `damaged`. */
  static async open(dir: string, now: () => Date): Promise<{ journal: Journal; damaged: string[] }> {
    await mkdir(join(dir, 'instances'), { recursive: true, mode: 0o700 });
    const journal = new Journal(dir, now);
    const damaged: string[] = [];
    const host = await journal.read(join(dir, 'host.json'), HostRecord, damaged);
    if (host !== null) journal.hostRecord = host;
    for (const name of await readdir(join(dir, 'instances'))) {
      if (!name.endsWith('.json')) continue;
      const record = await journal.read(join(dir, 'instances', name), InstanceRecord, damaged);
      if (record !== null) journal.records.set(record.instanceId, record);
    }
    await journal.sweep();
    return { journal, damaged };
  }

  private async read<S extends z.ZodType>(
    path: string,
    schema: S,
    damaged: string[],
  ): Promise<z.output<S> | null> {
    try {
      return schema.parse(JSON.parse(await readFile(path, 'utf8')));
    } catch (e) {
      if ((e as NodeJS.ErrnoException).code === 'ENOENT') return null;
      await rename(path, `${path}.bad`);
      damaged.push(path);
      return null;
    }
  }

  get host(): HostRecord {
    return this.hostRecord;
  }

  async saveHost(host: Omit<HostRecord, 'format'>): Promise<void> {
    this.hostRecord = { format: 1, ...host };
    await this.write('host.json', () => this.hostRecord);
  }

  all(): IterableIterator<InstanceRecord> {
    return this.records.values();
  }

  get(instanceId: InstanceIdType): InstanceRecord | undefined {
    return this.records.get(instanceId);
  }

  /** The record of an instance, made when there is none; not yet on disk. */
  ensure(instanceId: InstanceIdType): InstanceRecord {
    let record = this.records.get(instanceId);
    if (record === undefined) {
      record = { format: 1, instanceId, highestEpoch: 0, placements: [], goneAt: null };
      this.records.set(instanceId, record);
    }
    return record;
  }

  /** Resolves when the record as it is now is on disk. */
  async save(instanceId: InstanceIdType): Promise<void> {
    const record = this.ensure(instanceId);
    if (record.placements.length === 0) record.goneAt ??= this.now().toISOString();
    else record.goneAt = null;
    await this.write(join('instances', `${instanceId}.json`), () => record);
  }

  /** For when nobody saves any more: resolves once nothing is being written, whether it could be or not. */
  async close(): Promise<void> {
    let writes: readonly Promise<void>[];
    do {
      writes = [...this.chains.values()];
      await Promise.allSettled(writes);
    } while ([...this.chains.values()].some((write) => !writes.includes(write)));
  }

  private write(name: string, value: () => object): Promise<void> {
    const before = this.chains.get(name) ?? Promise.resolve();
    const next = before
      .catch(() => undefined)
      .then(() => writeFileAtomic(join(this.dir, name), JSON.stringify(value()), { mode: 0o600 }));
    this.chains.set(name, next);
    return next;
  }

  private async sweep(): Promise<void> {
    for (const record of this.records.values()) {
      if (record.goneAt === null || this.now().getTime() - Date.parse(record.goneAt) < rememberMs) continue;
      this.records.delete(record.instanceId);
      await rm(join(this.dir, 'instances', `${record.instanceId}.json`), { force: true });
    }
  }
}

import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, writeFileAtomic } from '@berth/linux';
import { InstanceId } from '@berth/model';
import type { HeldParts, WorkloadKey } from '@berth/runtime';
import { z } from 'zod';
import { epochFiles, listed, ownEpochDirectory, removeEpochFiles } from '../driver/epoch-files.js';
import { guestReport, REPORT_BYTES, type GuestReport } from '../driver/guest-report.js';
import type { Account } from '../driver/qemu-account.js';

/** What must be known of a QEMU process to find, ask and end it. */
const ProcessRecord = z.strictObject({
  instanceId: InstanceId,
  epoch: z.int().min(1),
  uuid: z.uuid(),
  name: z.string(),
  uid: z.int(),
  serialLog: z.string(),
  /** A machine that its watchdog paused is off. */
  watchdogOff: z.boolean().default(false),
  /** Null while it is being launched: what runs then never ran its guest. */
  process: z.strictObject({ pid: z.int(), startTime: z.int(), bootId: z.string() }).nullable(),
});
export type ProcessRecord = z.infer<typeof ProcessRecord>;

/**
 * Files of running QEMUs, gone with a reboot: `<dir>/<instance>/<epoch>.json`, which only root may touch, the
 * pipe `<epoch>.in` for what is typed, and the directory `<dir>/<instance>/<epoch>/`, which only that QEMU and root may
 * enter, with its sockets: `qmp`, `vnc`, and `ga` for the agent in the guest; and a direct machine's `exit`.
 */
export class RunFiles {
  constructor(private readonly dir: string) {}

  socketPath(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, String(key.epoch), 'qmp');
  }

  /** Where QEMU sends its memory: see memory-stream.ts. */
  memorySocket(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, String(key.epoch), 'mem');
  }

  /** Where the agent in the guest is reached. */
  agentSocket(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, String(key.epoch), 'ga');
  }

  /** Where a direct machine says how its entry point ended. */
  exitPath(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, String(key.epoch), 'exit');
  }

  /** What it said; null when it said nothing, or what makes no sense. */
  async report(key: WorkloadKey): Promise<GuestReport | null> {
    // The directory is QEMU's own: what lies there may be anything.
    const file = await open(
      this.exitPath(key),
      constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
    ).catch(() => null);
    if (file === null) return null;
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(REPORT_BYTES), 0, REPORT_BYTES, 0);
      return guestReport(buffer.subarray(0, bytesRead).toString('utf8'));
    } catch {
      return null;
    } finally {
      await file.close();
    }
  }

  /** What is typed at the first serial port: see serial-input.ts. */
  serialPipe(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, `${key.epoch}.in`);
  }

  /** Makes the directory for QEMU. @throws RuntimeError hostFault where the socket's path would be too long. */
  async prepare(key: WorkloadKey, account: Account, displays: number): Promise<void> {
    await ownEpochDirectory(this.dir, key, account, displays);
  }

  async read(key: WorkloadKey): Promise<ProcessRecord | null> {
    try {
      return ProcessRecord.parse(JSON.parse(await readFile(this.#record(key), 'utf8')));
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    }
  }

  write(record: ProcessRecord): Promise<void> {
    return writeFileAtomic(this.#record(record), `${JSON.stringify(record)}\n`, { mode: 0o600 });
  }

  remove(key: WorkloadKey): Promise<void> {
    return removeEpochFiles(this.dir, key);
  }

  /** What lies here of any epoch. */
  inventory(held: HeldParts): Promise<void> {
    return epochFiles(this.dir, 'run', held);
  }

  /** Epochs of an instance that left anything here, newest first. */
  async epochs(instanceId: InstanceId): Promise<number[]> {
    const names = await listed(join(this.dir, instanceId));
    const epochs = names.flatMap((name) => /^([1-9]\d*)(?:\.json)?$/.exec(name)?.[1] ?? []);
    return [...new Set(epochs.map(Number))].sort((a, b) => b - a);
  }

  async instances(): Promise<InstanceId[]> {
    return (await listed(this.dir)).flatMap((name) => InstanceId.safeParse(name).data ?? []);
  }

  #record(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, `${key.epoch}.json`);
  }
}

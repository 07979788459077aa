import { readFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, writeFileAtomic } from '@berth/linux';
import {
  CdromBus,
  CloudInitSeed,
  Digest,
  ExitInfo,
  displaysMost,
  FirmwareKind,
  HostVolume,
  HugePageSize,
  InstanceId,
  NetworkId,
  NicId,
  numaNodesMost,
  VolumeId,
  WatchdogAction,
} from '@berth/model';
import type { HeldParts, WorkloadKey } from '@berth/runtime';
import { z } from 'zod';
import { epochFiles, listed, removeEpochFiles } from './epoch-files.js';

/*
 * What no hypervisor remembers for us, one small file per incarnation. It is written before acting:
 *
 *   prepared -> starting -> started -> ended
 *                  ^         |   ^       |
 *                  +---------|---|-------+   another run of the same epoch
 *                            v   |
 *                    suspending  restoring
 *                            |   ^
 *                            v   |
 *                          suspended         its memory image is whole, and its guest does not run
 */

/** What a machine's memory fits. */
export const MachineShape = z.strictObject({
  accel: z.enum(['kvm', 'tcg']),
  /** With its version, as its QEMU calls it: `pc-q35-7.2`. */
  machineType: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,63}$/),
  /** What its guest booted with. */
  vcpus: z.int().min(1),
  /** What was suspended before there were places for more has none. */
  vcpuPlug: z
    .strictObject({ most: z.int().min(1), plugged: z.int().min(0) })
    .nullable()
    .default(null),
  /** What its guest booted with. */
  memoryMiB: z.int().min(1),
  /** What was suspended before machines could grow cannot. */
  plug: z
    .strictObject({ sizeMiB: z.int().min(1), requestedMiB: z.int().min(0) })
    .nullable()
    .default(null),
  /** What was suspended before there were displays has none. */
  display: z.boolean().default(false),
  /** How many screens, of one that has any. What was suspended before there could be several has one. */
  displays: z.int().min(1).max(displaysMost).default(1),
  /** What was suspended before there was a choice has a BIOS. */
  firmware: FirmwareKind.default('bios'),
  /** What was suspended before machines could have a TPM has none. */
  tpm: z.boolean().default(false),
  /** What was suspended before machines could have huge pages has ordinary ones. */
  hugePages: HugePageSize.nullable().default(null),
  /** What was suspended before there was a USB tablet has none. */
  usbTablet: z.boolean().default(false),
  /** What was suspended before machines could have several nodes has one. */
  numaNodes: z.int().min(1).max(numaNodesMost).default(1),
  /** What was suspended before machines could have a vsock device has none. */
  vsock: z.boolean().default(false),
  /** What was suspended before balloons told of free pages has one that does not. */
  freePageReporting: z.boolean().default(false),
  /** What was suspended before machines could have volumes has no controller for them. */
  scsi: z.boolean().default(false),
  /** Nics that are plugged in, and where; null of what was suspended before they had slots: those of its spec, in none. */
  nics: z
    .array(
      z.strictObject({
        id: NicId,
        networkId: NetworkId,
        mac: z.string(),
        ipv4: z.string(),
        ipv6: z.string().optional(),
        port: z.int().min(0).nullable(),
      }),
    )
    .nullable()
    .default(null),
  /** Slots for nics that it has. Those of libvirt are in its own image of the memory. */
  nicPorts: z.int().min(0).default(0),
  /** Its CD-ROM drives and what is in them; what was suspended before machines could have any has none. */
  cdroms: z
    .array(z.strictObject({ bus: CdromBus, bootFirst: z.boolean(), digest: Digest.nullable() }))
    .default([]),
  /** The volumes that are plugged in, and where. */
  volumes: z.array(HostVolume.omit({ sizeMiB: true }).extend({ target: z.int().min(0) })).default([]),
});
export type MachineShape = z.infer<typeof MachineShape>;

/** The memory of a machine that is or was about to be suspended. The image lies with the volume. */
const MemoryRecord = MachineShape.extend({ volumeId: VolumeId });
export type MemoryRecord = z.infer<typeof MemoryRecord>;
const WorkloadRecord = z.strictObject({
  instanceId: InstanceId,
  epoch: z.int().min(1),
  uuid: z.uuid(),
  state: z.enum(['prepared', 'starting', 'started', 'suspending', 'suspended', 'restoring', 'ended']),
  /** What we asked of the running workload; it tells a wanted end from one by itself. */
  intent: z.enum(['none', 'stop', 'kill']),
  /** Boot of the host during which the last run began. */
  bootId: z.string().nullable(),
  /** It was asked to pause: then nothing but a wish lets it go on. */
  paused: z.boolean().default(false),
  /** What the watchdog of the last run does; null for a machine without one. */
  watchdog: WatchdogAction.nullable().default(null),
  /** The processor that the last run's guest sees; null for its host's choice. */
  cpuModel: z.string().nullable().default(null),
  /** When it expired last in this run, and reset its machine or let it go on. */
  expiredAt: z.iso.datetime().nullable().default(null),
  /** When its file systems are thawed at the latest; null when they are not frozen. */
  frozenUntil: z.iso.datetime().nullable().default(null),
  /** It stands still for a snapshot of its memory: whoever finds it so, and is not about to take it, lets it go on. */
  stilled: z.boolean().default(false),
  exit: ExitInfo.nullable(),
  /** Its disks are as a guest left them that had shut down. */
  closed: z.boolean().default(false),
  /** Set from `suspending` on until the guest goes on or its memory is discarded. */
  memory: MemoryRecord.nullable().default(null),
});
export type WorkloadRecord = z.infer<typeof WorkloadRecord>;

/** The records of one host. `<dir>/<instance>/<epoch>.json`, with the seed image and what it holds beside it. */
export class WorkloadRecords {
  constructor(private readonly dir: string) {}

  seedPath(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, `${key.epoch}.seed.iso`);
  }

  /** What a microVM is told, as a disk. */
  configPath(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, `${key.epoch}.config`);
  }

  /** What the seed image holds, to be told. */
  async writeSeed(key: WorkloadKey, seed: CloudInitSeed): Promise<void> {
    await writeFileAtomic(this.#seedText(key), `${JSON.stringify(seed)}\n`, { mode: 0o600 });
  }

  /** Null where none was written. */
  async readSeed(key: WorkloadKey): Promise<CloudInitSeed | null> {
    const text = await readFile(this.#seedText(key), 'utf8').catch((error: unknown) => {
      if (hasCode(error, 'ENOENT')) return null;
      throw error;
    });
    return text === null ? null : CloudInitSeed.parse(JSON.parse(text));
  }

  async read(key: WorkloadKey): Promise<WorkloadRecord | null> {
    try {
      return WorkloadRecord.parse(JSON.parse(await readFile(this.#path(key), 'utf8')));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  async write(record: WorkloadRecord): Promise<void> {
    // Others may pass through, because QEMU's account must reach the seed; they cannot list.
    await mkdir(join(this.dir, record.instanceId), { recursive: true, mode: 0o711 });
    await writeFileAtomic(this.#path(record), `${JSON.stringify(record)}\n`, { mode: 0o600 });
  }

  async remove(key: WorkloadKey): Promise<void> {
    await removeEpochFiles(this.dir, key);
  }

  /** What lies here of any epoch. */
  inventory(held: HeldParts): Promise<void> {
    return epochFiles(this.dir, 'record', held);
  }

  /** Epochs of an instance that have a record, in no order. */
  async epochs(instanceId: InstanceId): Promise<number[]> {
    const names = await listed(join(this.dir, instanceId));
    return names.flatMap((name) => {
      const epoch = /^(\d+)\.json$/.exec(name)?.[1];
      return epoch === undefined ? [] : [Number(epoch)];
    });
  }

  async all(): Promise<WorkloadRecord[]> {
    const records: WorkloadRecord[] = [];
    for (const name of await listed(this.dir)) {
      const instanceId = InstanceId.safeParse(name);
      if (!instanceId.success) continue;
      for (const epoch of await this.epochs(instanceId.data)) {
        const record = await this.read({ instanceId: instanceId.data, epoch });
        if (record !== null) records.push(record);
      }
    }
    return records;
  }

  #seedText(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, `${key.epoch}.seed.json`);
  }

  #path(key: WorkloadKey): string {
    return join(this.dir, key.instanceId, `${key.epoch}.json`);
  }
}

import { z } from 'zod';
import { CdromBus } from './cdrom.js';
import { displaysMost } from './displays.js';
import { FirmwareKind } from './firmware.js';
import { HugePageSize } from './huge-pages.js';
import { Digest, NicId } from './ids.js';
import { numaNodesMost } from './numa.js';

/** Of memory that can be plugged in, only whole sections of this size are used on x86 Linux, MiB. */
const PLUG_SECTION_MIB = 128;

/** How much beside what it boots with a machine can be given while it runs, MiB. */
export const plugSizeMiB = (bootMiB: number, maxMiB: number): number =>
  Math.ceil(Math.max(0, maxMiB - bootMiB) / PLUG_SECTION_MIB) * PLUG_SECTION_MIB;

/** What a machine was whose memory a snapshot holds: only the same one can go on with it. */
export const SnapshotMachine = z.strictObject({
  /** Whose form the memory has. */
  driver: z.string().max(32),
  accel: z.enum(['kvm', 'tcg']),
  vcpus: z.int().min(1),
  /** With those that it could be given; null where it could be given none. */
  mostVcpus: z.int().min(1).nullable().default(null),
  /** What its guest booted with, how much it could be given beside, and how much of that it was asked to use. */
  bootMiB: z.int().min(1),
  plugMiB: z.int().min(0),
  requestedMiB: z.int().min(0),
  /** Null: what suits its host. */
  cpuModel: z.string().max(64).nullable(),
  firmware: FirmwareKind,
  tpm: z.boolean(),
  hugePages: HugePageSize.nullable(),
  /** Nodes of memory and processors. */
  numaNodes: z.int().min(1).max(numaNodesMost).default(1),
  vsock: z.boolean().default(false),
  watchdog: z.string().max(32).nullable(),
  /** Null where it had no display. */
  usbTablet: z.boolean().nullable(),
  /** Null where it had none. */
  displays: z.int().min(1).max(displaysMost).nullable().default(null),
  /** With what lay in them. */
  cdroms: z
    .array(z.strictObject({ bus: CdromBus, digest: Digest.nullable() }))
    .max(64)
    .default([]),
  nics: z.array(z.strictObject({ id: NicId, mac: z.string().max(32) })).max(64),
});
export type SnapshotMachine = z.infer<typeof SnapshotMachine>;

/** What a machine is to be by now. */
export interface WantedMachine extends Pick<
  SnapshotMachine,
  | 'vcpus'
  | 'cpuModel'
  | 'firmware'
  | 'tpm'
  | 'hugePages'
  | 'numaNodes'
  | 'vsock'
  | 'watchdog'
  | 'cdroms'
  | 'nics'
> {
  readonly driver: string;
  readonly accel: string;
  readonly memoryMiB: number;
  readonly maxMemoryMiB: number | null;
  readonly maxVcpus: number | null;
  readonly usbTablet: boolean;
  readonly displays: number;
}

/** A field of a spec that does not hold for a memory. */
export interface Misfit {
  /** Its path in a spec, `placement/accel`. */
  readonly field: string;
  readonly message: string;
  readonly remedy: string;
}

/** `any` is whatever it was. */
const other = (wanted: string, had: string): boolean => wanted !== 'any' && wanted !== had;

/** A guest is given memory in blocks of so much, MiB: less than a block may be lacking. */
const PLUG_BLOCK_MIB = 2;

/** What of a machine is by now wanted otherwise than a memory has it. Pure; none when it can go on. */
export function misfits(had: SnapshotMachine, wanted: WantedMachine): Misfit[] {
  const found: Misfit[] = [];
  const say = (field: string, was: unknown, set: string): void => {
    found.push({
      field,
      message: `the memory is of a machine with ${was === null || was === false ? 'none' : String(was)}`,
      remedy: set,
    });
  };
  const differs = (field: string, was: string | number | boolean | null, is: unknown): void => {
    if (was !== is)
      say(field, was, was === null || was === false ? 'leave it out' : `set it to ${String(was)}`);
  };
  differs('vcpus', had.vcpus, wanted.vcpus);
  // A spec whose most is what it has asks for no place more.
  const most = wanted.maxVcpus === wanted.vcpus && had.mostVcpus === null ? null : wanted.maxVcpus;
  differs('maxVcpus', had.mostVcpus, most);
  const hadMiB = had.bootMiB + had.requestedMiB;
  const short = wanted.memoryMiB - hadMiB;
  if (short < 0 || short >= (had.plugMiB === 0 ? 1 : PLUG_BLOCK_MIB))
    say('memoryMiB', `${hadMiB} MiB`, `set it to ${hadMiB}`);
  const plugMiB = plugSizeMiB(had.bootMiB, wanted.maxMemoryMiB ?? had.bootMiB);
  if (plugMiB !== had.plugMiB)
    say(
      'maxMemoryMiB',
      `at most ${had.bootMiB + had.plugMiB} MiB`,
      had.plugMiB === 0 ? 'leave it out' : `set it to ${had.bootMiB + had.plugMiB}`,
    );
  differs('cpu/model', had.cpuModel, wanted.cpuModel);
  if (had.firmware !== wanted.firmware)
    say('firmware', `firmware ${had.firmware}`, 'set it as it was when the snapshot was taken');
  differs('tpm', had.tpm, wanted.tpm);
  differs('hugePages', had.hugePages, wanted.hugePages);
  differs('numa/nodes', had.numaNodes, wanted.numaNodes);
  differs('vsock', had.vsock, wanted.vsock);
  differs('watchdog/action', had.watchdog, wanted.watchdog);
  if (had.usbTablet !== null) differs('usbTablet', had.usbTablet, wanted.usbTablet);
  if (had.displays !== null) differs('displays', had.displays, wanted.displays);
  const drives = (machine: Pick<SnapshotMachine, 'cdroms'>): string =>
    machine.cdroms.map(({ bus, digest }) => `${bus} with ${digest ?? 'nothing'} in it`).join(', ');
  if (drives(had) !== drives(wanted))
    say(
      'cdroms',
      had.cdroms.length === 0 ? null : `drives: ${drives(had)}`,
      had.cdroms.length === 0
        ? 'leave them out'
        : 'give it these drives, with images of these digests in them',
    );
  if (other(wanted.accel, had.accel)) say('placement/accel', had.accel, `set it to ${had.accel}, or to any`);
  if (other(wanted.driver, had.driver))
    say('placement/driver', `driver ${had.driver}`, `set it to ${had.driver}`);
  const mac = (nics: SnapshotMachine['nics']): string =>
    nics
      .map((nic) => `${nic.id} ${nic.mac}`)
      .sort()
      .join();
  if (mac(had.nics) !== mac(wanted.nics))
    say('nics', `${had.nics.length} other nics`, 'attach to the networks that it had, and to no others');
  return found;
}

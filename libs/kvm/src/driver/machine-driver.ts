import type { Socket } from 'node:net';
import type { NicId, Power, VolumeId, VolumeLimits } from '@berth/model';
import {
  RuntimeError,
  type EnforcedLimits,
  type HeldParts,
  type StepContext,
  type WorkloadKey,
} from '@berth/runtime';
import type { QgaTransport } from '../qga/transport.js';
import type { MachineNic, MachineSpec, MachineVolume } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';
import type { AttachedVolume, PluggedVolume } from './attached-disks.js';
import type { AttachedNic } from './attached-nics.js';
import type { MachineFigures } from './machine-figures.js';
import type { MemoryTarget } from './memory-images.js';
import type { GuestReport } from './guest-report.js';
import type { Account } from './qemu-account.js';
import type { TpmSeen } from '../tpm/tpm-watch.js';

/** How a machine's last run ended: `saved` when its memory was written to a file, `lost` when its driver cannot tell how, `unknown` when it may never have run. */
export type MachineEnd =
  'guestOff' | 'destroyed' | 'panicked' | 'failed' | 'saved' | 'watchdog' | 'lost' | 'unknown';

/** What a disk lacks: room on the host, or that a write succeeds. */
export type StorageFault = 'noSpace' | 'writeFailed';

/** A machine of ours as a driver sees it: it runs, or traces of its run are left. */
export interface Machine extends WorkloadKey {
  /** SMBIOS UUID. */
  readonly uuid: string;
  /** For people and messages. */
  readonly name: string;
  /** Null when its guest is off. */
  readonly power: Extract<Power, 'running' | 'paused'> | null;
  /** It does not answer, so its power is a guess: whatever it does, it holds its disk. */
  readonly guessed?: true;
  /** Meaningful while `power` is null; `saved` also of one that stands still for good, since its memory was written. */
  readonly end: MachineEnd;
  /** The signal that ended the QEMU of one that failed, null when it ended by itself; absent where nobody saw it. */
  readonly signal?: NodeJS.Signals | null;
  /** How its entry point ended, where its guest said so before it turned itself off. */
  readonly report?: GuestReport;
  /** Why QEMU paused it by itself: its disk could not be written. Null when it runs, or is paused for another reason. */
  readonly storage: StorageFault | null;
  /** It stands still because its watchdog expired and paused it. */
  readonly watchdog?: true;
  /** Its guest has opened the port of the guest agent. Whether an agent answers there is another question. */
  readonly agentPort: boolean;
}

/** @throws RuntimeError notPrepared when it does not run. */
export function runningOn<M extends Machine>(key: WorkloadKey, machine: M | null): M {
  const running = runningOf(machine);
  if (running?.epoch === key.epoch) return running;
  throw new RuntimeError('notPrepared', 'the instance does not run here');
}

export function runningOf<M extends Machine>(machine: M | null): M | null {
  return machine !== null && machine.power !== null ? machine : null;
}

/** The hypervisor said no, so nothing runs. */
export class StartRefused extends RuntimeError {
  constructor(
    driver: string,
    /** What the hypervisor said. */
    readonly reason: string,
    cause?: unknown,
  ) {
    super('hostFault', `${driver}: ${reason}`, { cause });
    this.name = 'StartRefused';
  }
}

/** What a driver tells by itself. */
export interface MachineListener {
  /** Something happened to this machine; ask for it. */
  noticed(key: WorkloadKey): void;
  /** The watchdog of this machine expired; it was reset, or nothing was done. */
  expired(key: WorkloadKey): void;
  /** Events may have been missed; ask for everything. */
  resync(): void;
}

/**
 * One way to run virtual machines. It starts and ends them and says what is true now; records, disks, logs and the
 * order of steps belong to `VmRuntime`, the same for every driver. Calls that change a machine come with its
 * instance's lock held, except `press` and `destroy`.
 */
export interface MachineDriver<M extends Machine = Machine> {
  readonly name: string;
  /** Most screens of one of its machines. */
  readonly displaysMost: number;
  /** Versions by program. @throws Error saying why no machine can run. */
  versions(): Promise<Record<string, string>>;
  /** From now on the listener is told. */
  listen(listener: MachineListener): void;
  /** Begins to watch: from now on nothing is missed, or `resync` says so. */
  watch(): void;
  /** Ends connections and timers; machines run on. */
  close(): void;

  /** The account QEMU will run as with this disk. */
  account(volumeId: VolumeId): Promise<Account>;
  /** The instance's machine: the one that runs, of whatever epoch, else the one with the newest traces. */
  find(key: Pick<WorkloadKey, 'instanceId'>, signal?: AbortSignal): Promise<M | null>;
  list(): Promise<M[]>;
  /** Adds what this driver finds on the host of any epoch, and which run. @throws when it cannot look everywhere. */
  inventory(held: HeldParts): Promise<void>;
  pid(machine: M): Promise<number | null>;
  /** What became of the TPM of a machine, by its processes. */
  tpm(machine: M): Promise<TpmSeen>;
  limits(machine: M): Promise<EnforcedLimits>;
  /** What it tells of itself since it started. Null when it does not run any more, or gave no answer in time. */
  figures(machine: M, bounds: ExecuteOptions): Promise<MachineFigures | null>;

  /** Starts it. Nothing of the instance runs. @throws StartRefused when nothing runs and nothing is left. */
  launch(machine: MachineSpec, account: Account, ctx: StepContext): Promise<void>;
  /** A connection to the first serial port of a machine that runs, for what is typed: see serial-input.ts. */
  serial(machine: M): Promise<Socket>;
  /** The way to the agent in the guest of a machine that runs. */
  agent(machine: M): QgaTransport;
  /**
   * A connection to the VNC server of a machine that runs. @param head which of its screens, counted from 0
   * @throws RuntimeError unsupported when it was started without one
   */
  display(machine: M, head: number): Promise<Socket>;
  /** Presses the power button. */
  press(machine: M): Promise<void>;
  pause(machine: M, ctx: StepContext): Promise<void>;
  resume(machine: M, ctx: StepContext): Promise<void>;
  /** Presses the reset button of one whose guest runs. */
  reset(machine: M, ctx: StepContext): Promise<void>;
  /** QMP of a machine that runs. @throws when it does not answer */
  monitor(machine: M): QmpExecutor | Promise<QmpExecutor>;
  /**
   * Writes its memory to a new file. After it the machine is off, or its guest stands still and is not to go on; when it
   * fails, the guest stands still and can go on. Whoever repeats it while it is under way is refused.
   */
  save(machine: M, target: MemoryTarget, ctx: StepContext): Promise<void>;
  /**
   * Writes the memory of one that stands still to a new file, for `restore`. It goes on standing still, and can go on. When it fails
   * nothing of it is under way.
   */
  copyMemory(machine: M, target: MemoryTarget, ctx: StepContext): Promise<void>;
  /** After it no `save` or `copyMemory` is under way, not even one that an agent before us began: it was given up, or came to its end. */
  unsave(machine: M): Promise<void>;
  /**
   * Like `launch`, with the memory in this file and the machine type it came from, of this epoch or an earlier one; the guest
   * stands still. The file stays as it is.
   * @throws StartRefused when nothing runs and nothing is left.
   */
  restore(machine: MachineSpec, account: Account, path: string, ctx: StepContext): Promise<void>;
  /** Plugs a volume into a machine that runs and has a SCSI controller. What an attempt before this one left is no error. */
  attach(machine: M, volume: MachineVolume, ctx: StepContext): Promise<void>;
  /** Begins to unplug a volume. */
  detach(machine: M, volume: AttachedVolume, ctx: StepContext): Promise<void>;
  /** Its guest has a volume no more: what QEMU still holds of it is closed. */
  detached(machine: M, volume: AttachedVolume, ctx: StepContext): Promise<void>;
  /**
   * Plugs a nic, whose tap is there, into a machine that runs. What an attempt before this one left is no error.
   * @throws RuntimeError unsupported when it has no slot for it
   */
  plugNic(machine: M, nic: MachineNic & { readonly port: number }, ctx: StepContext): Promise<void>;
  /** Asks the guest to let go of a nic: its device goes when it does. One that was asked already is no error. */
  unplugNic(machine: M, nic: AttachedNic, ctx: StepContext): Promise<void>;
  /** The device of a nic is gone: on return QEMU has its tap open no more. */
  nicUnplugged(machine: M, nicId: NicId, ctx: StepContext): Promise<void>;
  /**
   * Asks for the tray of a CD-ROM drive to be opened. One that its guest has locked stays closed, unless by force, and its guest is
   * told that somebody wants it open. One that is open is no error.
   */
  openTray(machine: M, drive: number, force: boolean, ctx: StepContext): Promise<void>;
  /** Puts another medium into a drive whose tray is open, or none, and closes it. @param medium its file */
  changeMedium(machine: M, drive: number, medium: string | null, ctx: StepContext): Promise<void>;
  /** Tells a running guest of a larger disk. @param volume null for the root disk */
  resize(machine: M, volume: PluggedVolume | null, sizeMiB: number, ctx: StepContext): Promise<void>;
  /** Sets all limits of a volume; those that are absent are lifted. */
  throttle(machine: M, volume: PluggedVolume, limits: VolumeLimits, ctx: StepContext): Promise<void>;
  /** Caps the processor time of a machine that runs, vCPUs and emulator together; null lifts the cap. */
  cap(machine: M, cpuMillis: number | null, ctx: StepContext): Promise<void>;
  /**
   * Gives a machine that runs so many virtual processors, of the places that it has (`VcpuPlug`). Those that are too many its guest
   * is asked to let go of, and goes on with until it does.
   */
  plugVcpus(machine: M, vcpus: number, ctx: StepContext): Promise<void>;
  /** Asks the guest of a machine that runs to use so much of the memory that it can be given (`MemoryPlug`). */
  plugMemory(machine: M, requestedMiB: number, ctx: StepContext): Promise<void>;
  /** Ends it without asking the guest. One that is off already is no error. */
  destroy(machine: M, ctx: StepContext): Promise<void>;
  /** Its end is written down: what was kept only to tell of it may go. */
  ended(key: WorkloadKey): Promise<void>;
  /** Ends it if it runs, and takes away all traces of this epoch. What never was is no error. */
  clear(key: WorkloadKey, ctx?: StepContext): Promise<void>;
  /** The volume is deleted. */
  volumeGone(volumeId: VolumeId): Promise<void>;
}

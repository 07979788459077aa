import type { NicId, VolumeLimits } from '@berth/model';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { faultPoint } from '@berth/faults';
import {
  type EnforcedLimits,
  type HeldParts,
  RuntimeError,
  type StepContext,
  type WorkloadKey,
} from '@berth/runtime';
import { cgroupCreate, cgroupKill, cgroupRemove } from '@berth/linux';
import { LibvirtClient } from '../libvirt/client.js';
import { LibvirtConnectionError, LibvirtError } from '../libvirt/errors.js';
import {
  DiskErrorCode,
  DomainState,
  PausedReason,
  ShutoffReason,
  StatsGroup,
  WatchdogDeed,
  type DomainRef,
} from '../libvirt/protocol.js';
import { domainXml, nicXml, QUOTA_PERIOD, ROOT_DISK } from '../machine/domain-xml.js';
import {
  cdromDevice,
  nicDevice,
  userAlias,
  type MachineNic,
  type MachineSpec,
  type MachineTpm,
  type MachineVolume,
} from '../machine/machine-spec.js';
import { mediumDocument } from '../machine/cdrom-xml.js';
import { scsiName, tuneNames, volumeXml } from '../machine/volume-xml.js';
import type { QgaTransport } from '../qga/transport.js';
import type { ExecuteOptions } from '../qmp/commands.js';
import { grafted, memorySnapshotXml, readDiskNames } from '../machine/memory-xml.js';
import {
  domainName,
  parsed,
  plugDocument,
  readCid,
  readDisk,
  readMetadata,
  readNic,
} from '../machine/metadata.js';
import type { AttachedVolume, PluggedVolume } from './attached-disks.js';
import type { AttachedNic } from './attached-nics.js';
import { DomainReader, type DomainReading } from './domain-reader.js';
import { displaySocket } from './display-socket.js';
import { epochFiles, ownEpochDirectory, removeEpochFiles, vncSocket } from './epoch-files.js';
import { LibvirtAgent } from './libvirt-agent.js';
import { libvirtGroups, libvirtGroupsRemove } from './libvirt-groups.js';
import { libvirtLogRemove } from './libvirt-log.js';
import { LibvirtMonitor } from './libvirt-monitor.js';
import {
  StartRefused,
  type Machine,
  type MachineDriver,
  type MachineEnd,
  type MachineListener,
  type StorageFault,
} from './machine-driver.js';
import { BALLOON_SECONDS, guestMemoryOfLibvirt } from './guest-memory.js';
import { disksOfLibvirt, type MachineFigures } from './machine-figures.js';
import type { MemoryTarget } from './memory-images.js';
import type { KvmRuntimeOptions } from './ports.js';
import { qemuAccount, type Account } from './qemu-account.js';
import { argumentsOf, cpuCapMillis, QemuProcesses } from './qemu-process.js';
import { serialInput } from './serial-input.js';
import { callBounds, guard, unlessGone } from './step-bounds.js';
import { startTpm } from '../tpm/swtpm.js';
import { tpmSeen, type TpmSeen } from '../tpm/tpm-watch.js';
import { ownGroups } from './own-groups.js';

/** What libvirt calls the chardev of the first serial port. */
const SERIAL_ALIAS = 'charserial0';

/** What libvirt takes for no quota. */
const NO_QUOTA = -1;

const MIB = 2n ** 20n;

const CAPABILITIES_MS = 120_000;

/** Between two looks at a nic that libvirt is closing. */
const CLOSING_MS = 20;
/** What libvirt says where nothing more can be plugged in (libvirt 9.0, domain_addr). */
const NO_SLOT = /No more available PCI slots/;
/** What it says of a device that is on its way out, or gone (qemu_hotplug, qemu_monitor). */
const ASKED = /already in the process of unplug|no matching|not found|no device/i;

/** What libvirt says of a QEMU that ended while it started; of one that said why, that follows (libvirt 9.0, qemu_process). */
const WORDLESS = /(?:unexpectedly closed the monitor|exited while connecting to monitor):?\s*$/;

/** A domain that carries our metadata for this host. */
export interface OwnDomain extends Machine {
  readonly ref: DomainRef;
  /** By libvirt's names of its disks, at the look. */
  readonly disks: DomainReading['disks'];
  /** Nobody told its balloon yet how often to ask its guest. */
  readonly wantsPeriod: boolean;
}

/** Machines through this host's libvirtd, which owns their processes. */
export class LibvirtMachines implements MachineDriver<OwnDomain> {
  readonly name = 'libvirt';
  /** It takes one graphics device of each type (libvirt 9.0, qemu_validate.c). */
  readonly displaysMost = 1;
  readonly #client: LibvirtClient;
  readonly #processes = new QemuProcesses();
  readonly #reader = new DomainReader();

  constructor(
    private readonly options: Pick<KvmRuntimeOptions, 'libvirtSocket' | 'hostTag' | 'qemuUser' | 'runDir'>,
  ) {
    this.#client = new LibvirtClient({ socketPath: options.libvirtSocket });
  }

  async versions(): Promise<Record<string, string>> {
    // libvirtd asks every emulator what it can, once: seconds that the first start need not wait for.
    await this.#client.capabilities({ timeoutMs: CAPABILITIES_MS });
    const libvirt = await this.#client.libVersion();
    const qemu = await this.#client.hypervisorVersion();
    await this.account();
    return { libvirt, qemu };
  }

  listen(listener: MachineListener): void {
    const changed = async (ref: DomainRef): Promise<void> => {
      const domain = await this.#own(ref);
      if (domain !== null) listener.noticed(domain);
    };
    const noticed = (ref: DomainRef): void => void changed(ref).catch(() => listener.resync());
    this.#client.on('lifecycle', ({ domain }) => noticed(domain));
    this.#client.on('agent', noticed);
    this.#client.on('tray', noticed);
    this.#client.on('watchdog', (ref, deed) => {
      if (deed === WatchdogDeed.pause) return noticed(ref);
      void this.#own(ref).then(
        (domain) => domain !== null && listener.expired(domain),
        () => listener.resync(),
      );
    });
    this.#client.on('resync', () => listener.resync());
  }

  watch(): void {
    this.#client.keepConnected();
  }

  close(): void {
    this.#client.close();
  }

  account(): Promise<Account> {
    return qemuAccount(this.options.qemuUser ?? 'libvirt-qemu');
  }

  async find(key: Pick<WorkloadKey, 'instanceId'>, signal?: AbortSignal): Promise<OwnDomain | null> {
    const ref = await this.#client.lookupByName(
      domainName(this.options.hostTag, key.instanceId),
      signal === undefined ? {} : { signal },
    );
    return ref === null ? null : this.#own(ref);
  }

  async list(): Promise<OwnDomain[]> {
    const refs = await this.#client.list();
    this.#reader.keep(refs);
    const own = await Promise.all(refs.map((ref) => this.#own(ref)));
    return own.filter((domain) => domain !== null);
  }

  async inventory(held: HeldParts): Promise<void> {
    await epochFiles(this.options.runDir, 'run', held);
    const groups = await libvirtGroups();
    for (const { key, name } of await ownGroups(`berth-tpm.${this.options.hostTag}.`))
      held.part(key, `cgroup ${name}`);
    const domains = await this.list();
    for (const domain of domains) {
      held.part(domain, `domain ${domain.name}`);
      if (domain.power !== null) held.runs(domain);
      for (const group of groups.get(domain.name) ?? []) held.part(domain, `cgroup ${group}`);
    }
  }

  pid(domain: OwnDomain): Promise<number | null> {
    return this.#processes.find(domain.uuid);
  }

  async tpm(domain: OwnDomain): Promise<TpmSeen> {
    return tpmSeen(await this.pid(domain), this.#tpmGroup(domain));
  }

  async limits(domain: OwnDomain): Promise<EnforcedLimits> {
    const memory = await this.monitor(domain).execute('query-memory-size-summary');
    const { 'base-memory': boot, 'plugged-memory': plugged = 0 } = memory;
    const pid = await this.pid(domain);
    const cpuMillis = pid === null ? null : await cpuCapMillis(pid);
    return { memoryBytes: boot + plugged, cpuMillis, pids: null };
  }

  async figures(
    { ref, disks, wantsPeriod }: OwnDomain,
    bounds: ExecuteOptions,
  ): Promise<MachineFigures | null> {
    try {
      const stats = await this.#client.stats(ref, StatsGroup.block | StatsGroup.balloon, bounds);
      // It answers, so this is no question to one that hangs. Its XML has it at the next look.
      if (wantsPeriod) await this.#client.setMemoryStatsPeriod(ref, BALLOON_SECONDS, bounds);
      const guest = guestMemoryOfLibvirt(stats, Date.now());
      return { disks: disksOfLibvirt(stats, disks), guest };
    } catch (error) {
      const late = error instanceof LibvirtConnectionError && error.fault === 'timeout';
      if (late || error instanceof LibvirtError) return null;
      throw error;
    }
  }

  async launch(machine: MachineSpec, account: Account, ctx: StepContext): Promise<void> {
    await this.#launch(machine, account, (ref) => this.#client.create(ref, callBounds(ctx)), ctx);
  }

  async save(domain: OwnDomain, { path }: MemoryTarget, ctx: StepContext): Promise<void> {
    try {
      await this.#client.save(domain.ref, path, callBounds(ctx));
    } catch (error) {
      // A call that was given up here goes on there.
      await this.unsave(domain);
      throw error;
    }
  }

  async copyMemory(domain: OwnDomain, { path }: MemoryTarget, ctx: StepContext): Promise<void> {
    const disks = readDiskNames(await this.#client.xml(domain.ref, callBounds(ctx)));
    try {
      await this.#client.copyMemory(domain.ref, memorySnapshotXml(path, disks), callBounds(ctx));
    } catch (error) {
      // A call that was given up here goes on there.
      await this.unsave(domain);
      throw error;
    }
  }

  /** The pause waits until what was aborted is over. */
  async unsave({ ref }: OwnDomain): Promise<void> {
    await unlessGone(this.#client.abortJob(ref));
    await unlessGone(this.#client.suspend(ref));
  }

  async restore(machine: MachineSpec, account: Account, path: string, ctx: StepContext): Promise<void> {
    const saved = await this.#client.savedXml(path, callBounds(ctx));
    // What belongs to an epoch is of another one by now: sockets, taps, the seed. Or its context id is another's.
    const document = parsed(saved);
    const same = readMetadata(document)?.epoch === machine.epoch && readCid(document) === machine.vsockCid;
    const own = same && machine.numa.hosts === null ? null : grafted(saved, domainXml(machine));
    await this.#launch(machine, account, () => this.#client.restore(path, own, callBounds(ctx)), ctx);
  }

  /** Defines it, so that libvirt tells of it also when it is off, and starts it. */
  async #launch(
    machine: MachineSpec,
    account: Account,
    start: (ref: DomainRef) => Promise<unknown>,
    ctx: StepContext,
  ): Promise<void> {
    await this.ended(machine);
    await ownEpochDirectory(this.options.runDir, machine, account);
    if (machine.tpm !== null) await this.#startTpm(machine, machine.tpm, account);
    const ref = await this.#client.define(domainXml(machine), callBounds(ctx));
    await faultPoint('libvirt.defined', machine.instanceId);
    try {
      await start(ref);
      await faultPoint('libvirt.created', machine.instanceId);
    } catch (error) {
      if (!(error instanceof LibvirtError)) throw error;
      await unlessGone(this.#client.undefine(ref));
      await this.#tpmEnd(machine);
      // Somebody ended it: that is no word of QEMU's on this machine, and the next attempt may go well.
      if (WORDLESS.test(error.message)) throw error;
      throw new StartRefused(this.name, error.message, error);
    }
  }

  /** libvirt's own way keeps the state where the other driver would not find it. */
  async #startTpm(key: WorkloadKey, tpm: MachineTpm, account: Account): Promise<void> {
    await this.#tpmEnd(key);
    await cgroupCreate(this.#tpmGroup(key));
    await faultPoint('libvirt.tpm.group', key.instanceId);
    await startTpm(tpm, account, this.#tpmGroup(key));
    await faultPoint('libvirt.tpm', key.instanceId);
  }

  /** It ends with its machine; this ends one that no machine came to. */
  async #tpmEnd(key: WorkloadKey): Promise<void> {
    await cgroupKill(this.#tpmGroup(key));
    await cgroupRemove(this.#tpmGroup(key));
  }

  #tpmGroup({ instanceId, epoch }: WorkloadKey): string {
    return `berth-tpm.${this.options.hostTag}.${instanceId}.${epoch}`;
  }

  async serial(domain: OwnDomain): Promise<Socket> {
    const pid = await this.pid(domain);
    const out = pid === null ? null : serialOutput(await argumentsOf(pid));
    if (out === null)
      throw new RuntimeError(
        'unsupported',
        'libvirt gave this machine no serial port that could take input',
        {
          remedy: 'open the console read-only',
        },
      );
    const pipe = join(this.options.runDir, domain.instanceId, `${domain.epoch}.in`);
    return serialInput(this.monitor(domain), { chardev: SERIAL_ALIAS, out, pipe }, await this.account());
  }

  agent(domain: OwnDomain): QgaTransport {
    return new LibvirtAgent(this.#client, domain.ref);
  }

  async display(domain: OwnDomain, head: number): Promise<Socket> {
    return displaySocket(vncSocket(this.options.runDir, domain, head), (await this.account()).uid, head);
  }

  press(domain: OwnDomain): Promise<void> {
    return unlessGone(this.#client.shutdown(domain.ref));
  }

  async pause(domain: OwnDomain, ctx: StepContext): Promise<void> {
    await this.#client.suspend(domain.ref, callBounds(ctx));
  }

  async resume(domain: OwnDomain, ctx: StepContext): Promise<void> {
    await unlessGone(this.#client.resume(domain.ref, callBounds(ctx)));
  }

  async reset(domain: OwnDomain, ctx: StepContext): Promise<void> {
    await this.#client.reset(domain.ref, callBounds(ctx));
  }

  async attach(domain: OwnDomain, volume: MachineVolume, ctx: StepContext): Promise<void> {
    await this.#client.attachDevice(domain.ref, volumeXml(volume), callBounds(ctx));
  }

  async detach(domain: OwnDomain, volume: AttachedVolume, ctx: StepContext): Promise<void> {
    const document = await this.#client.xml(domain.ref, callBounds(ctx));
    const disk = readDisk(document, volume.device);
    if (disk !== null) await this.#client.detachDevice(domain.ref, disk, callBounds(ctx));
  }

  async plugNic(domain: OwnDomain, nic: MachineNic, ctx: StepContext): Promise<void> {
    try {
      await this.#client.attachDevice(domain.ref, nicXml(nic), callBounds(ctx));
    } catch (error) {
      if (!(error instanceof LibvirtError && NO_SLOT.test(error.message))) throw error;
      throw new RuntimeError('unsupported', `libvirt: ${error.message}`, { cause: error });
    }
  }

  async unplugNic(domain: OwnDomain, { device }: AttachedNic, ctx: StepContext): Promise<void> {
    const nic = readNic(await this.#client.xml(domain.ref, callBounds(ctx)), device);
    if (nic === null) return;
    try {
      await this.#client.detachDevice(domain.ref, nic, callBounds(ctx));
    } catch (error) {
      // Its guest was asked before and has not done it, or has done it just now.
      if (!(error instanceof LibvirtError && ASKED.test(error.message))) throw error;
    }
  }

  async nicUnplugged(domain: OwnDomain, nicId: NicId, ctx: StepContext): Promise<void> {
    while (
      readNic(await this.#client.xml(domain.ref, callBounds(ctx)), userAlias(nicDevice(nicId))) !== null
    ) {
      guard(ctx);
      await wait(CLOSING_MS, undefined, { signal: ctx.signal });
    }
  }

  /** libvirt opens a tray only to change what is in it, and waits five seconds for its guest; QEMU itself can be asked at once. */
  async openTray(domain: OwnDomain, drive: number, force: boolean, ctx: StepContext): Promise<void> {
    const id = userAlias(cdromDevice(drive));
    await this.monitor(domain).execute('blockdev-open-tray', { id, force }, callBounds(ctx));
  }

  async changeMedium(
    { ref }: OwnDomain,
    drive: number,
    medium: string | null,
    ctx: StepContext,
  ): Promise<void> {
    const disk = mediumDocument(await this.#client.xml(ref, callBounds(ctx)), drive, medium);
    if (disk === null) throw new RuntimeError('hostFault', `libvirt knows of no drive ${drive}`);
    await this.#client.updateDevice(ref, disk, callBounds(ctx));
  }

  /** libvirt closes what it opened. */
  detached(): Promise<void> {
    return Promise.resolve();
  }

  async resize(
    { ref }: OwnDomain,
    volume: PluggedVolume | null,
    sizeMiB: number,
    ctx: StepContext,
  ): Promise<void> {
    const disk = volume === null ? ROOT_DISK : scsiName(volume.target);
    await this.#client.blockResize(ref, disk, BigInt(sizeMiB) * MIB, callBounds(ctx));
  }

  async throttle(
    { ref }: OwnDomain,
    volume: PluggedVolume,
    limits: VolumeLimits,
    ctx: StepContext,
  ): Promise<void> {
    const all = Object.entries(tuneNames).map(([name, tune]) => [
      tune,
      limits[name as keyof VolumeLimits] ?? 0,
    ]);
    const disk = scsiName(volume.target);
    await this.#client.setBlockIoTune(ref, disk, Object.fromEntries(all), callBounds(ctx));
  }

  async cap({ ref }: OwnDomain, cpuMillis: number | null, ctx: StepContext): Promise<void> {
    const quota = cpuMillis === null ? NO_QUOTA : (cpuMillis * QUOTA_PERIOD) / 1000;
    await this.#client.setGlobalQuota(ref, { period: QUOTA_PERIOD, quota }, callBounds(ctx));
  }

  /** libvirt waits some seconds for a guest that is to let go of one. That it did not is no failure: it may still. */
  async plugVcpus({ ref }: OwnDomain, vcpus: number, ctx: StepContext): Promise<void> {
    try {
      await this.#client.setVcpus(ref, vcpus, callBounds(ctx));
    } catch (error) {
      if (!(error instanceof LibvirtError && error.isTimeout)) throw error;
    }
  }

  async plugMemory({ ref }: OwnDomain, requestedMiB: number, ctx: StepContext): Promise<void> {
    const device = plugDocument(await this.#client.xml(ref, callBounds(ctx)), requestedMiB);
    if (device === null) throw new RuntimeError('hostFault', 'libvirt knows of no memory to plug');
    await this.#client.updateDevice(ref, device, callBounds(ctx));
  }

  destroy(domain: OwnDomain, ctx: StepContext): Promise<void> {
    return unlessGone(this.#client.destroy(domain.ref, {}, callBounds(ctx)));
  }

  /** libvirt keeps the definition for a later look, and of a guest that was stopped for good also its process. */
  async ended(key: WorkloadKey): Promise<void> {
    const domain = await this.find(key);
    if (domain?.power === null && stoodStill.has(domain.end))
      await unlessGone(this.#client.destroy(domain.ref));
  }

  async clear(key: WorkloadKey, ctx?: StepContext): Promise<void> {
    const bounds = ctx === undefined ? {} : callBounds(ctx);
    const domain = await this.find(key, ctx?.signal);
    if (domain !== null && domain.epoch === key.epoch)
      await unlessGone(this.#client.destroy(domain.ref, {}, bounds));
    await this.#tpmEnd(key);
    if (domain !== null && domain.epoch !== key.epoch) return removeEpochFiles(this.options.runDir, key);
    await faultPoint('libvirt.destroyed', key.instanceId);
    await removeEpochFiles(this.options.runDir, key);
    const name = domainName(this.options.hostTag, key.instanceId);
    await libvirtGroupsRemove(name);
    if (domain === null) return libvirtLogRemove(name);
    await unlessGone(this.#client.undefine(domain.ref, bounds));
    await libvirtLogRemove(name);
    await faultPoint('libvirt.undefined', key.instanceId);
  }

  /** libvirt gives a disk back to its owner when the machine ends. */
  volumeGone(): Promise<void> {
    return Promise.resolve();
  }

  monitor(domain: OwnDomain): LibvirtMonitor {
    return new LibvirtMonitor(this.#client, domain.ref);
  }

  async #storageFault(ref: DomainRef): Promise<StorageFault> {
    const errors = await this.#client.diskErrors(ref);
    return errors.some(({ error }) => error === DiskErrorCode.noSpace) ? 'noSpace' : 'writeFailed';
  }

  /** Null when the domain is not ours, or went away meanwhile. */
  async #own(ref: DomainRef): Promise<OwnDomain | null> {
    if (!ref.name.startsWith('berth-')) return null;
    try {
      const reading = this.#reader.read(ref, await this.#client.xml(ref));
      if (reading?.hostTag !== this.options.hostTag) return null;
      const { state, reason } = await this.#client.state(ref);
      const { instanceId, epoch, disks, wantsPeriod } = reading;
      const { uuid, name } = ref;
      const stalled = state === DomainState.paused && reason === PausedReason.ioError;
      const storage = stalled ? await this.#storageFault(ref) : null;
      const watchdog = state === DomainState.paused && reason === PausedReason.watchdog;
      const off = watchdog && reading.watchdogOff;
      const end = off ? 'watchdog' : state === DomainState.crashed ? 'panicked' : endOf(reason);
      const power = off ? null : powerOf(state);
      const agentPort = power !== null && reading.agentPort;
      const seen = { power, end, storage, agentPort };
      const own = { instanceId, epoch, uuid, name, ref, disks, wantsPeriod, ...seen };
      return watchdog && !off ? { ...own, watchdog } : own;
    } catch (error) {
      if (error instanceof LibvirtError && error.isNoDomain) return null;
      throw error;
    }
  }
}

/** Ends after which the process is still there, and tells of them. */
const stoodStill: ReadonlySet<MachineEnd> = new Set(['panicked', 'watchdog']);

/** A guest that sleeps (ACPI S3) runs: that is its own doing, and it wakes by itself. */
function powerOf(state: number): Machine['power'] {
  if (state === DomainState.shutoff || state === DomainState.crashed) return null;
  return state === DomainState.paused ? 'paused' : 'running';
}

/** What the first serial port writes to, by QEMU's arguments: a descriptor that libvirt gave it. Null when it is another. */
function serialOutput(args: readonly string[]): string | null {
  const chardev = args.find((arg) => arg.startsWith(`file,id=${SERIAL_ALIAS},`));
  return /,path=(\/dev\/fdset\/\d+),append=on$/.exec(chardev ?? '')?.[1] ?? null;
}

/** Of a domain that is shut off. */
function endOf(reason: number): MachineEnd {
  switch (reason) {
    case ShutoffReason.shutdown:
      return 'guestOff';
    case ShutoffReason.destroyed:
      return 'destroyed';
    case ShutoffReason.crashed:
    case ShutoffReason.failed:
      return 'failed';
    case ShutoffReason.saved:
      return 'saved';
    case ShutoffReason.unknown:
      return 'unknown';
    default:
      return 'lost';
  }
}

import { faultPoint } from '@berth/faults';
import {
  firmwareKind,
  hugePageMiB,
  type CloudInitSeed,
  type ImageContent,
  type VolumeId,
} from '@berth/model';
import {
  RuntimeError,
  type StepContext,
  timed,
  type WorkloadKey,
  type WorkloadNic,
  type WorkloadSpec,
} from '@berth/runtime';
import { answersOfProcess } from '../accel/qemu-answers.js';
import { CloudConfigError } from '../cloud-init/login.js';
import { seedOf, writeSeedIso, type SeedNic } from '../cloud-init/seed.js';
import {
  memoryPlug,
  mostVcpus,
  nicPortsFor,
  type MachineCdrom,
  type MachineNic,
  type MachineNuma,
  type MachineSpec,
  type MachineTpm,
  type MachineVolume,
} from '../machine/machine-spec.js';
import { inspectBase, inspectMedium } from './base-image.js';
import { cacheMode } from './cache-mode.js';
import { tpmSocket, vncSocket } from './epoch-files.js';
import type { HostChoices } from './host-choices.js';
import { needHugePages } from './huge-pages.js';
import { machineFirmware } from './firmware.js';
import { tapsOf } from './live-nics.js';
import { machineTypeOf, machineTypes } from './machine-type.js';
import type { VmRuntimeOptions } from './ports.js';
import { checkReachable, type Account } from './qemu-account.js';
import type { SerialLogs } from './serial-log.js';
import { guard } from './step-bounds.js';
import { poolFaults, sourceIn, VolumeDisks } from './volume-disks.js';
import type { MachineShape, WorkloadRecord, WorkloadRecords } from './workload-record.js';

type DiskImage = Extract<ImageContent, { kind: 'disk' }>;

/** What is not as the spec says. With `volumes` these are plugged in as they were, whatever is asked for now. */
export type Shape = Pick<MachineShape, 'accel' | 'display' | 'scsi'> &
  Partial<MachineShape> &
  Partial<Pick<MachineSpec, 'watchdog' | 'cpuModel'>>;

/** Makes what machines of one kind need on the host, and says what they are. */
export interface MachinePreparation {
  readonly disks: VolumeDisks;
  /** Refuses what no machine of this kind can be made from. @throws RuntimeError unsupported, badImage */
  check(spec: WorkloadSpec): void;
  /**
   * Makes all that is missing. @param runs whether the machine runs, which keeps what it started with
   * @throws RuntimeError imageMissing, badImage, noSpace, noSuchSnapshot, hostFault, deadline
   */
  prepare(spec: WorkloadSpec, runs: () => Promise<boolean>, ctx: StepContext): Promise<void>;
  /** The machine as data, its nics attached for `account`. @param shape what is not as the spec says */
  machine(spec: WorkloadSpec, account: Account, signal: AbortSignal, shape: Shape): Promise<MachineSpec>;
}

/** What a machine needs on the host before it can start, whoever starts it: networks, root disk, seed, log, record. */
export class Preparation implements MachinePreparation {
  readonly disks: VolumeDisks;

  constructor(
    private readonly options: VmRuntimeOptions,
    private readonly records: WorkloadRecords,
    private readonly logs: SerialLogs,
    private readonly driver: string,
    private readonly choices: HostChoices,
  ) {
    this.disks = new VolumeDisks(options.volumes);
  }

  check(spec: WorkloadSpec): void {
    diskImage(spec, this.driver);
    if ((spec.displays ?? 1) > 1 && this.driver === 'libvirt')
      throw new RuntimeError(
        'unsupported',
        'libvirt gives a machine one VNC server, which shows one screen',
        {
          remedy: 'Ask for the driver qemu: placement.driver.',
        },
      );
  }

  /** A running machine has its seed open. */
  async prepare(spec: WorkloadSpec, runs: () => Promise<boolean>, ctx: StepContext): Promise<void> {
    const image = diskImage(spec, this.driver);
    const base = await inspectBase(this.options, image);
    guard(ctx);
    await timed(ctx.watch, 'network', async () => {
      for (const network of spec.networks) await this.options.network.ensure(network);
    });
    await faultPoint('vm.networks.ensured', spec.instanceId);
    const disk = await timed(ctx.watch, 'overlay', () => this.#ensureVolume(spec, image, base, ctx.signal));
    await faultPoint('vm.disk.made', spec.instanceId);
    guard(ctx);
    await checkReachable(disk);
    await checkReachable(base);
    for (const { image: iso } of spec.cdroms ?? [])
      if (iso !== null) await checkReachable(await inspectMedium(this.options, iso));
    await this.logs.prepare(spec);
    if ((await this.records.read(spec)) === null) await this.records.write(freshRecord(spec));
    await faultPoint('vm.prepare.recorded', spec.instanceId);
    if (await runs()) return;
    const seed = seedFor(spec);
    await this.records.writeSeed(spec, seed);
    await timed(ctx.watch, 'seed', () => writeSeedIso(this.records.seedPath(spec), seed, ctx.signal));
    await faultPoint('vm.seed.written', spec.instanceId);
  }

  async machine(
    spec: WorkloadSpec,
    account: Account,
    signal: AbortSignal,
    {
      display,
      scsi,
      volumes: saved,
      firmware: hadFirmware,
      tpm: hadTpm,
      machineType: hadType,
      hugePages: hadPages,
      nics: hadNics,
      nicPorts: hadPorts,
      cdroms: hadDrives,
      displays: hadDisplays,
      vsock: hadVsock,
      numaNodes: hadNodes,
      ...shape
    }: Shape,
  ): Promise<MachineSpec> {
    const image = diskImage(spec, this.driver);
    // In the order of the spec, unless a guest that goes on has them elsewhere.
    const nicsOf = hadNics ?? spec.nics.map((nic, i) => ({ ...nic, port: hadNics === null ? null : i }));
    const nics = await tapsFor(spec, nicsOf, account, this.options.network);
    await faultPoint('vm.nics.attached', spec.instanceId);
    const basePath = this.options.blobs.path(image.digest);
    const path = await this.#ensureVolume(spec, image, basePath, signal);
    // A guest that goes on finds its root disk as it was; one that boots may find a larger one.
    if (saved === undefined) await this.disks.grow(spec.rootVolume.id, spec.rootVolume.sizeMiB);
    const volumes: MachineVolume[] = [];
    for (const [i, volume] of (saved ?? spec.volumes).entries()) {
      const [target, sizeMiB] = 'target' in volume ? [volume.target, 1] : [i, volume.sizeMiB];
      volumes.push(await this.disks.ready({ ...volume, sizeMiB }, target, account, signal));
    }
    const kind = hadFirmware ?? firmwareKind(spec.firmware);
    const firmware = await machineFirmware(kind, spec.rootVolume.id, this.options.volumes);
    await faultPoint('vm.volumes.ready', spec.instanceId);
    const bootMiB = spec.minMemoryMiB ?? spec.memoryMiB;
    const bootVcpus = spec.minVcpus ?? spec.vcpus;
    const mostOf = spec.maxVcpus ?? bootVcpus;
    const hugePages = hadPages === undefined ? (spec.hugePages ?? null) : hadPages;
    if (hugePages !== null) await needHugePages(hugePages, shape.memoryMiB ?? bootMiB);
    const machine = {
      instanceId: spec.instanceId,
      epoch: spec.epoch,
      title: `${spec.project}/${spec.name}`,
      hostTag: this.options.hostTag,
      uuid: spec.uuid,
      display: display ? vncSocket(this.options.runDir, spec) : null,
      moreDisplays: display ? this.#moreDisplays(spec, hadDisplays ?? spec.displays ?? 1) : [],
      cpuMillis: spec.cpuMillis,
      machineType: hadType ?? (await this.#machineType(spec.rootVolume.id)),
      vcpus: bootVcpus,
      vcpuPlug: mostOf > bootVcpus ? { most: mostOf, plugged: 0 } : null,
      memoryMiB: bootMiB,
      plug: memoryPlug(bootMiB, spec.memoryMiB, spec.maxMemoryMiB ?? bootMiB),
      watchdog: spec.watchdog ?? null,
      cpuModel: spec.cpuModel ?? null,
      usbTablet: spec.usbTablet ?? true,
      freePageReporting: true,
      ...shape,
      hugePages,
      scsi,
      volumes,
      cdroms: this.#cdroms(spec, hadDrives),
      firmware,
      tpm: (hadTpm ?? spec.tpm === true) ? this.#tpm(spec) : null,
      vsockCid: await this.#vsockCid(spec, hadVsock ?? spec.vsock === true),
      disk: { path, base: { path: basePath, format: image.format }, cache: await cacheMode(path) },
      seedPath: this.records.seedPath(spec),
      nics,
      nicPorts: hadPorts ?? nicPortsFor(nics.length),
      serialLog: await this.logs.prepare(spec),
    };
    return { ...machine, numa: await this.#numa(spec, hadNodes ?? spec.numa?.nodes ?? 1, machine) };
  }

  /** As the spec says, unless a guest that goes on has them otherwise. */
  #cdroms(spec: WorkloadSpec, had: MachineShape['cdroms'] | undefined): MachineCdrom[] {
    const drives =
      had ?? (spec.cdroms ?? []).map(({ image, ...drive }) => ({ ...drive, digest: image?.digest ?? null }));
    return drives.map(({ bus, bootFirst, digest }) => {
      const medium = digest === null ? null : this.options.blobs.path(digest);
      return { bus, bootFirst, medium };
    });
  }

  #moreDisplays(spec: WorkloadSpec, displays: number): string[] {
    return Array.from({ length: displays - 1 }, (_, i) => vncSocket(this.options.runDir, spec, i + 1));
  }

  /** What it boots with is that of its epoch, which another division of its spec need not fit. @throws RuntimeError unsupported, hostFault */
  async #numa(
    spec: WorkloadSpec,
    nodes: number,
    machine: Pick<MachineSpec, 'vcpus' | 'vcpuPlug' | 'memoryMiB' | 'plug' | 'hugePages'>,
  ): Promise<MachineNuma> {
    const { vcpuPlug, memoryMiB, plug, hugePages } = machine;
    const vcpus = mostVcpus(machine);
    const whole = nodes * (hugePages === null ? 1 : hugePageMiB[hugePages]);
    if (vcpus % nodes !== 0 || memoryMiB % whole !== 0 || (nodes > 1 && (vcpuPlug ?? plug) !== null))
      throw new RuntimeError(
        'unsupported',
        `${vcpus} vCPUs and ${memoryMiB} MiB make no ${nodes} equal nodes`,
        {
          remedy: 'restart the instance, which then has the sizes that its spec asks for',
        },
      );
    if (spec.numa?.placement !== 'bind') {
      await this.choices.numa.release(spec);
      return { nodes, hosts: null };
    }
    const need = {
      nodes,
      memoryMiB: (memoryMiB + (plug?.sizeMiB ?? 0)) / nodes,
      vcpus: vcpus / nodes,
    };
    return { nodes, hosts: await this.choices.numa.ensure(spec, need, hugePages) };
  }

  #machineType(root: VolumeId): Promise<string> {
    const { volumes, qemu = answersOfProcess } = this.options;
    return machineTypeOf(root, volumes, () => machineTypes(qemu));
  }

  async #vsockCid(key: WorkloadKey, has: boolean): Promise<number | null> {
    if (has) return this.choices.vsock.ensure(key);
    await this.choices.vsock.release(key);
    return null;
  }

  #tpm(spec: WorkloadSpec): MachineTpm {
    const state = this.options.volumes.tpmPath(spec.rootVolume.id);
    return { socket: tpmSocket(this.options.runDir, spec), state };
  }

  async #ensureVolume(
    spec: WorkloadSpec,
    image: DiskImage,
    basePath: string,
    signal: AbortSignal,
  ): Promise<string> {
    const base = { path: basePath, format: image.format };
    const { id: volumeId, sizeMiB } = spec.rootVolume;
    const source = sourceIn(spec.rootVolume.source);
    const disk = await poolFaults('the root disk', () =>
      this.options.volumes.ensureOverlayDisk({ volumeId, base, sizeMiB, source, signal }),
    );
    return disk.path;
  }
}

/** The nics of a machine that is about to start, attached for `account`. What an earlier run of its epoch had beside them goes. */
export async function tapsFor(
  spec: WorkloadSpec,
  wanted: readonly (WorkloadNic & { readonly port: number | null })[],
  account: Account,
  network: Pick<VmRuntimeOptions['network'], 'attachTap' | 'inventory' | 'detachNic' | 'silence'>,
): Promise<MachineNic[]> {
  for (const { nicId } of await tapsOf(spec, network))
    if (!wanted.some(({ id }) => id === nicId)) await network.detachNic(spec, nicId);
  const nics: MachineNic[] = [];
  for (const { port, ...nic } of wanted) {
    const { ifname } = await network.attachTap(spec, nic, account);
    // A guest that goes on has also what it is to let go of.
    if (!spec.nics.some(({ id }) => id === nic.id)) await network.silence(spec, nic.id);
    nics.push({ id: nic.id, mac: nic.mac, tap: ifname, port });
  }
  return nics;
}

/** The image of a machine. @throws RuntimeError unsupported, badImage */
function diskImage(spec: WorkloadSpec, driver: string): DiskImage {
  if (spec.isolation !== 'vm') throw new RuntimeError('unsupported', `${driver} runs no ${spec.isolation}`);
  if (spec.image.kind !== 'disk') throw new RuntimeError('badImage', 'a vm needs an image of kind disk');
  return spec.image;
}

/** What its cloud-init is given. @throws RuntimeError unsupported */
function seedFor(spec: WorkloadSpec): CloudInitSeed {
  const { instanceId, name: hostname, userData, cloudInit: login } = spec;
  try {
    return seedOf({
      instanceId,
      hostname,
      userData,
      login,
      nics: spec.nics.flatMap((nic) => seedNic(spec, nic)),
    });
  } catch (cause) {
    if (!(cause instanceof CloudConfigError)) throw cause;
    throw new RuntimeError('unsupported', cause.message, { cause });
  }
}

function seedNic({ networks }: WorkloadSpec, { mac, networkId, ipv4, ipv6 }: WorkloadNic): SeedNic[] {
  const network = networks.find(({ id }) => id === networkId);
  if (network === undefined) return [];
  const on = (address: string, { cidr, gateway }: { readonly cidr: string; readonly gateway: string }) => ({
    address: `${address}/${cidr.split('/')[1]}`,
    gateway,
  });
  const six = ipv6 === undefined || network.ipv6 === undefined ? {} : { ipv6: on(ipv6, network.ipv6) };
  return [{ mac, ...on(ipv4, network), ...six }];
}

/** Of an epoch of which nothing was made yet. */
export function freshRecord(spec: WorkloadSpec): WorkloadRecord {
  const { instanceId, epoch, uuid } = spec;
  return {
    instanceId,
    epoch,
    uuid,
    state: 'prepared',
    intent: 'none',
    bootId: null,
    paused: false,
    watchdog: null,
    cpuModel: null,
    expiredAt: null,
    frozenUntil: null,
    stilled: false,
    exit: null,
    closed: false,
    memory: null,
  };
}

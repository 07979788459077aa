import { chmod } from 'node:fs/promises';
import { faultPoint } from '@berth/faults';
import { ImageError } from '@berth/images';
import { writeFileAtomic } from '@berth/linux';
import { RuntimeError, timed, type StepContext, type WorkloadSpec } from '@berth/runtime';
import { cacheMode } from '../driver/cache-mode.js';
import { freshRecord, tapsFor, type MachinePreparation, type Shape } from '../driver/preparation.js';
import { checkReachable, type Account } from '../driver/qemu-account.js';
import type { SerialLogs } from '../driver/serial-log.js';
import { guard } from '../driver/step-bounds.js';
import { poolFaults, VolumeDisks } from '../driver/volume-disks.js';
import type { WorkloadRecords } from '../driver/workload-record.js';
import { configDisk } from '../guest/guest-fields.js';
import { undivided, type MachineSpec } from '../machine/machine-spec.js';
import type { BootFiles, BootFilesStore } from './boot-files.js';
import { guestConfig, type OciImage } from './guest-config.js';
import type { MicrovmSecrets } from './microvm-secrets.js';
import type { MicrovmRuntimeOptions } from './ports.js';

/** Minimal q35: see ADR 29. The version is fixed for as long as a machine runs. */
const MACHINE_TYPE = 'q35';

/**
 * What a microVM needs on the host: its image's root as one read-only file, a writable layer above it, networks, and a disk
 * with what it is told, which is new for each run.
 */
export class MicrovmPreparation implements MachinePreparation {
  readonly disks: VolumeDisks;

  constructor(
    private readonly options: MicrovmRuntimeOptions,
    private readonly boot: BootFilesStore,
    private readonly records: WorkloadRecords,
    private readonly logs: SerialLogs,
    private readonly secrets: MicrovmSecrets,
  ) {
    this.disks = new VolumeDisks(options.volumes);
  }

  check(spec: WorkloadSpec): void {
    ociImage(spec);
  }

  async prepare(spec: WorkloadSpec, _runs: () => Promise<boolean>, ctx: StepContext): Promise<void> {
    const image = ociImage(spec);
    guestConfig(spec, image, null); // refuses what cannot be run before anything is made
    const boot = await this.boot.ensure();
    const root = await timed(ctx.watch, 'root', () => this.#root(image, ctx.signal));
    await faultPoint('microvm.root.made', spec.instanceId);
    guard(ctx);
    await timed(ctx.watch, 'network', async () => {
      for (const network of spec.networks) await this.options.network.ensure(network);
    });
    await faultPoint('microvm.networks.ensured', spec.instanceId);
    const layer = await timed(ctx.watch, 'overlay', () => this.#layer(spec, boot, ctx.signal));
    await faultPoint('microvm.layer.made', spec.instanceId);
    guard(ctx);
    for (const path of [layer, root, boot.kernel]) await checkReachable(path);
    await this.logs.prepare(spec);
    if ((await this.records.read(spec)) === null) await this.records.write(freshRecord(spec));
    await faultPoint('microvm.prepare.recorded', spec.instanceId);
  }

  async machine(
    spec: WorkloadSpec,
    account: Account,
    signal: AbortSignal,
    { accel }: Shape,
  ): Promise<MachineSpec> {
    const image = ociImage(spec);
    const boot = await this.boot.ensure();
    const root = await this.#root(image, signal);
    for (const network of spec.networks) await this.options.network.ensure(network);
    const nics = await tapsFor(
      spec,
      spec.nics.map((nic) => ({ ...nic, port: null })),
      account,
      this.options.network,
    );
    await faultPoint('microvm.nics.attached', spec.instanceId);
    const path = await this.#layer(spec, boot, signal);
    await this.disks.grow(spec.rootVolume.id, spec.rootVolume.sizeMiB);
    const config = await this.#config(spec, image);
    await faultPoint('microvm.config.written', spec.instanceId);
    return {
      instanceId: spec.instanceId,
      epoch: spec.epoch,
      title: `${spec.project}/${spec.name}`,
      hostTag: this.options.hostTag,
      uuid: spec.uuid,
      accel,
      machineType: MACHINE_TYPE,
      vcpus: spec.vcpus,
      vcpuPlug: null,
      cpuMillis: spec.cpuMillis,
      memoryMiB: spec.memoryMiB,
      plug: null,
      disk: { path, base: { path: boot.blank, format: 'raw' }, cache: await cacheMode(path) },
      scsi: false,
      firmware: null,
      cpuModel: null,
      tpm: null,
      hugePages: null,
      vsockCid: null,
      numa: undivided,
      usbTablet: false,
      freePageReporting: false,
      volumes: [],
      cdroms: [],
      seedPath: null,
      nics,
      nicPorts: 0,
      display: null,
      moreDisplays: [],
      watchdog: null,
      serialLog: await this.logs.prepare(spec),
      direct: { kernel: boot.kernel, initrd: boot.initrd, root, config },
    };
  }

  /** A new file for each run: QEMU's user had the one before. With secrets in it, it is in memory. */
  async #config(spec: WorkloadSpec, image: OciImage): Promise<string> {
    const network = spec.nics[0]?.networkId;
    const resolver = network === undefined ? null : await this.options.network.resolver(network);
    const { secrets = [] } = spec;
    const told = secrets.length === 0 ? null : this.secrets.lay(spec, secrets);
    const path = told?.config ?? this.records.configPath(spec);
    const fields = [...guestConfig(spec, image, resolver), ...(told?.fields ?? [])];
    await writeFileAtomic(path, configDisk(fields), {
      mode: 0o600,
      durable: false, // it is of one run
    });
    await chmod(path, 0o600);
    return path;
  }

  async #layer(spec: WorkloadSpec, { blank }: BootFiles, signal: AbortSignal): Promise<string> {
    const { id: volumeId, sizeMiB } = spec.rootVolume;
    const base = { path: blank, format: 'raw' } as const;
    const disk = await poolFaults('the writable layer', () =>
      this.options.volumes.ensureOverlayDisk({ volumeId, base, sizeMiB, signal }),
    );
    return disk.path;
  }

  async #root(image: OciImage, signal: AbortSignal): Promise<string> {
    try {
      return await this.options.roots.ensure(image, signal);
    } catch (error) {
      throw rootFault(error);
    }
  }
}

/** @throws RuntimeError unsupported, badImage */
function ociImage(spec: WorkloadSpec): OciImage {
  if (spec.isolation !== 'microvm')
    throw new RuntimeError('unsupported', `microvm runs no ${spec.isolation}`);
  if (spec.image.kind === 'oci') return spec.image;
  throw new RuntimeError('badImage', 'a disk image cannot run as a microVM', {
    remedy: 'use an OCI image, or isolation vm',
  });
}

/** The image room's faults in the words of a runtime; what is none of its own stays as it is. */
function rootFault(error: unknown): unknown {
  if (!(error instanceof ImageError)) return error;
  const { blame, message, remedy } = error;
  return new RuntimeError(blame, message, { cause: error, remedy });
}

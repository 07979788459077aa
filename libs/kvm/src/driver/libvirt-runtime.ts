import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { bootId } from '@berth/linux';
import type { ImageContent, Isolation, VolumeId } from '@berth/model';
import {
  RuntimeError,
  type EnforcedLimits,
  type LogOptions,
  type Observation,
  type Runtime,
  type RuntimeProbe,
  type StepContext,
  type WorkloadKey,
  type WorkloadSpec,
} from '@berth/runtime';
import { accelFacts } from '../accel/host-facts.js';
import { writeSeedIso } from '../cloud-init/seed.js';
import { LibvirtClient } from '../libvirt/client.js';
import { LibvirtError } from '../libvirt/errors.js';
import { DomainState, type DomainRef } from '../libvirt/protocol.js';
import { domainXml } from '../machine/domain-xml.js';
import type { MachineNic, MachineSpec } from '../machine/machine-spec.js';
import { Domains, type OwnDomain } from './domains.js';
import { inspectBase } from './base-image.js';
import { InstanceLocks } from './instance-locks.js';
import { LibvirtMonitor } from './libvirt-monitor.js';
import { ObservationHub } from './observation-hub.js';
import type { KvmRuntimeOptions } from './ports.js';
import { checkReachable, qemuAccount } from './qemu-account.js';
import { cpuCapMillis, QemuProcesses } from './qemu-process.js';
import { SerialLogs } from './serial-log.js';
import { callBounds, guard, hostFaults, unlessGone } from './step-bounds.js';
import { WorkloadRecords, type WorkloadRecord } from './workload-record.js';

const POWER_BUTTON_AGAIN_MS = 2_000;
const CAPABILITIES_MS = 120_000;

type DiskImage = Extract<ImageContent, { kind: 'disk' }>;

/** Virtual machines through this host's libvirtd. Their life belongs to libvirt: this object may come and go. */
export class LibvirtRuntime implements Runtime {
  readonly name = 'libvirt';
  readonly isolations: readonly Isolation[] = ['vm'];
  readonly #client: LibvirtClient;
  readonly #records: WorkloadRecords;
  readonly #logs: SerialLogs;
  readonly #domains: Domains;
  readonly #processes = new QemuProcesses();
  readonly #locks = new InstanceLocks();
  readonly #hub = new ObservationHub();

  constructor(private readonly options: KvmRuntimeOptions) {
    this.#client = new LibvirtClient({ socketPath: options.libvirtSocket });
    this.#records = new WorkloadRecords(options.stateDir);
    this.#logs = new SerialLogs(options.logDir);
    const now = options.now ?? (() => new Date());
    this.#domains = new Domains(this.#client, this.#records, this.#processes, options.hostTag, now);
    this.#client.on('lifecycle', ({ domain }) => void this.#noticed(domain).catch(() => this.#resync()));
    this.#client.on('resync', () => this.#resync());
  }

  /** Ends the connections to libvirtd. Every machine runs on. */
  close(): void {
    this.#client.close();
  }

  async probe(): Promise<RuntimeProbe> {
    const { cpu, kvm } = await accelFacts();
    const facts = { cpu, accel: { kvm, tcg: true }, tenantBoundary: false };
    const facets = ['pause', 'logs', 'limits'];
    try {
      // libvirtd asks every emulator what it can, once: seconds that the first start need not wait for.
      await this.#client.capabilities({ timeoutMs: CAPABILITIES_MS });
      const versions = {
        libvirt: await this.#client.libVersion(),
        qemu: await this.#client.hypervisorVersion(),
      };
      await qemuAccount(this.#qemuUser);
      return { ok: true, reason: null, facets, facts: { ...facts, versions } };
    } catch (error) {
      return { ok: false, reason: (error as Error).message, facets: [], facts };
    }
  }

  async prepare(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    const image = diskImage(spec);
    await this.#locks.run(spec.instanceId, async () => {
      await this.#refuseLowerEpoch(spec);
      const base = await inspectBase(this.options, image);
      guard(ctx);
      for (const network of spec.networks) await this.options.network.ensure(network);
      const disk = await this.#ensureVolume(spec, base);
      guard(ctx);
      await checkReachable(disk);
      await checkReachable(base);
      await this.#logs.prepare(spec);
      const before = await this.#records.read(spec);
      if (before === null) await this.#records.write(freshRecord(spec));
      await this.#writeSeed(spec, ctx);
    });
  }

  async start(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    const image = diskImage(spec);
    await this.#locks.run(spec.instanceId, () =>
      hostFaults(async () => {
        await this.#refuseLowerEpoch(spec);
        const domain = await this.#domains.find(spec, ctx.signal);
        const running = this.#domains.active(domain);
        if (running?.epoch === spec.epoch) return;
        if (running !== null)
          throw new RuntimeError('hostFault', `epoch ${running.epoch} of this instance still runs`);
        if (domain !== null && domain.epoch !== spec.epoch) await this.#forgetOther(domain);
        const record = await this.#domains.settle(spec, domain);
        if (record === null) throw new RuntimeError('notPrepared', 'prepare comes before start');
        await this.#run(spec, image, record, ctx);
      }),
    );
  }

  async stop(key: WorkloadKey, graceSeconds: number, ctx: StepContext): Promise<void> {
    await hostFaults(async () => {
      const domain = await this.#intend(key, graceSeconds > 0 ? 'stop' : 'kill');
      if (domain === null) return;
      if (graceSeconds > 0 && (await this.#askToEnd(domain, graceSeconds, ctx))) return;
      guard(ctx);
      if ((await this.#intend(key, 'kill')) === null) return;
      await unlessGone(this.#client.destroy(domain.ref, {}, callBounds(ctx)));
      await this.#settled(key);
    });
  }

  async remove(key: WorkloadKey, ctx: StepContext): Promise<void> {
    await this.#locks.run(key.instanceId, () =>
      hostFaults(async () => {
        const domain = await this.#domains.find(key, ctx.signal);
        if (domain?.epoch === key.epoch) {
          if (this.#domains.active(domain) !== null)
            await unlessGone(this.#client.destroy(domain.ref, {}, callBounds(ctx)));
          await unlessGone(this.#client.undefine(domain.ref, callBounds(ctx)));
        }
        await this.options.network.detach(key);
        await this.#logs.remove(key);
        await this.#records.remove(key);
      }),
    );
  }

  async removeVolume(volumeId: VolumeId, ctx: StepContext): Promise<void> {
    await hostFaults(async () => {
      // Only a stopped domain's XML names a volume that may go.
      for (const domain of await this.#domains.list()) {
        if (this.#domains.active(domain) === null) continue;
        if ((await this.#client.xml(domain.ref)).includes(volumeId))
          throw new RuntimeError('hostFault', `volume ${volumeId} is in use by ${domain.ref.name}`, {
            remedy: 'stop the instance first',
          });
      }
      guard(ctx);
      await this.options.volumes.remove(volumeId);
    });
  }

  observe(signal: AbortSignal): AsyncIterable<Observation> {
    const observations = this.#hub.subscribe(signal);
    this.#client.keepConnected();
    return observations;
  }

  async recover(): Promise<Observation[]> {
    return hostFaults(async () => {
      const keys = new Map<string, WorkloadKey>();
      const known = [...(await this.#records.all()), ...(await this.#domains.list())];
      for (const { instanceId, epoch } of known) keys.set(`${instanceId}/${epoch}`, { instanceId, epoch });
      const seen = await Promise.all([...keys.values()].map((key) => this.#settled(key)));
      return seen.filter((o) => o !== null);
    });
  }

  async pause(key: WorkloadKey, ctx: StepContext): Promise<void> {
    await hostFaults(async () => {
      const domain = await this.#running(key);
      if (domain.state !== DomainState.paused) await this.#client.suspend(domain.ref, callBounds(ctx));
    });
  }

  async resume(key: WorkloadKey, ctx: StepContext): Promise<void> {
    await hostFaults(async () => {
      const domain = await this.#running(key);
      if (domain.state === DomainState.paused) await this.#client.resume(domain.ref, callBounds(ctx));
    });
  }

  logs(key: WorkloadKey, options: LogOptions, signal: AbortSignal): AsyncIterable<Uint8Array> {
    return this.#logs.read(key, options, signal);
  }

  async limits(key: WorkloadKey): Promise<EnforcedLimits> {
    return hostFaults(async () => {
      const domain = await this.#running(key);
      const { maxMemoryKiB } = await this.#client.info(domain.ref);
      const pid = await this.#processes.find(domain.ref.uuid);
      const cpuMillis = pid === null ? null : await cpuCapMillis(pid);
      return { memoryBytes: Number(maxMemoryKiB) * 1024, cpuMillis, pids: null };
    });
  }

  /** QMP of a running machine, through libvirt. @throws RuntimeError notPrepared when it does not run. */
  async monitor(key: WorkloadKey): Promise<LibvirtMonitor> {
    return new LibvirtMonitor(this.#client, (await this.#running(key)).ref);
  }

  get #qemuUser(): string {
    return this.options.qemuUser ?? 'libvirt-qemu';
  }

  async #refuseLowerEpoch(key: WorkloadKey): Promise<void> {
    const domain = await hostFaults(() => this.#domains.find(key));
    const epochs = [...(await this.#records.epochs(key.instanceId)), domain?.epoch ?? 0];
    const highest = Math.max(0, ...epochs);
    if (highest > key.epoch)
      throw new RuntimeError(
        'lowerEpoch',
        `epoch ${highest} of this instance was seen here, not taking ${key.epoch}`,
      );
  }

  async #ensureVolume(spec: WorkloadSpec, basePath: string): Promise<string> {
    const image = diskImage(spec);
    try {
      const disk = await this.options.volumes.ensureOverlayDisk({
        volumeId: spec.rootVolume.id,
        base: { path: basePath, format: image.format },
        sizeMiB: spec.rootVolume.sizeMiB,
      });
      return disk.path;
    } catch (cause) {
      const code = (cause as { code?: unknown }).code === 'noSpace' ? 'noSpace' : 'hostFault';
      throw new RuntimeError(code, `the root disk cannot be made: ${(cause as Error).message}`, { cause });
    }
  }

  async #writeSeed(spec: WorkloadSpec, ctx: StepContext): Promise<void> {
    const { instanceId, name: hostname, userData } = spec;
    const seed = { instanceId, hostname, userData, macs: spec.nics.map((nic) => nic.mac) };
    // A running machine has the seed open: it keeps the one it started with.
    if (this.#domains.active(await this.#domains.find(spec, ctx.signal)) !== null) return;
    await writeSeedIso(this.#records.seedPath(spec), seed, ctx.signal);
  }

  /** Defines and creates. Called with the lock held, when nothing of the instance runs. */
  async #run(spec: WorkloadSpec, image: DiskImage, before: WorkloadRecord, ctx: StepContext): Promise<void> {
    const machine = await this.#machine(spec, image);
    const starting: WorkloadRecord = {
      ...before,
      state: 'starting',
      intent: 'none',
      bootId: bootId(),
      exit: null,
    };
    await this.#records.write(starting);
    const ref = await this.#client.define(domainXml(machine), callBounds(ctx));
    try {
      await this.#client.create(ref, callBounds(ctx));
    } catch (error) {
      if (error instanceof LibvirtError) await this.#startFailed(starting, ref, error);
      throw error;
    }
    await this.#records.write({ ...starting, state: 'started' });
  }

  /** libvirt said no, so nothing runs: take the definition back and keep the reason. */
  async #startFailed(record: WorkloadRecord, ref: DomainRef, error: LibvirtError): Promise<void> {
    await unlessGone(this.#client.undefine(ref));
    const at = (this.options.now?.() ?? new Date()).toISOString();
    const exit = { reason: 'startFailed', message: error.message, at } as const;
    await this.#records.write({ ...record, state: 'ended', exit });
  }

  async #machine(spec: WorkloadSpec, image: DiskImage): Promise<MachineSpec> {
    const account = await qemuAccount(this.#qemuUser);
    const nics: MachineNic[] = [];
    for (const nic of spec.nics) {
      const { ifname } = await this.options.network.attachTap(spec, nic, account);
      nics.push({ mac: nic.mac, tap: ifname });
    }
    const basePath = this.options.blobs.path(image.digest);
    const path = await this.#ensureVolume(spec, basePath);
    return {
      instanceId: spec.instanceId,
      epoch: spec.epoch,
      title: `${spec.project}/${spec.name}`,
      hostTag: this.options.hostTag,
      uuid: spec.uuid,
      // `any` takes what was measured to work; nothing was measured yet, so only an explicit wish gets KVM.
      accel: spec.accel === 'kvm' ? 'kvm' : 'tcg',
      vcpus: spec.vcpus,
      cpuMillis: spec.cpuMillis,
      memoryMiB: spec.memoryMiB,
      disk: { path, base: { path: basePath, format: image.format }, cache: await cacheMode(path) },
      seedPath: this.#records.seedPath(spec),
      nics,
      serialLog: await this.#logs.prepare(spec),
    };
  }

  /** An older epoch's definition stands in the way of this one's name. Its end is written down first. */
  async #forgetOther(domain: OwnDomain): Promise<void> {
    await this.#domains.settle(domain, domain);
    await unlessGone(this.#client.undefine(domain.ref));
  }

  /** Writes down what we are about to ask. Null when it does not run any more; its end is then written down. */
  #intend(key: WorkloadKey, intent: 'stop' | 'kill'): Promise<OwnDomain | null> {
    return this.#locks.run(key.instanceId, async () => {
      const domain = await this.#domains.find(key);
      const running = this.#domains.active(domain);
      if (running?.epoch !== key.epoch) {
        const record = await this.#domains.settle(key, domain);
        // A start that never came to run: there is nothing that could still end.
        if (record?.state === 'starting') await this.#records.write({ ...record, state: 'prepared' });
        return null;
      }
      const record = (await this.#records.read(key)) ?? adoptedRecord(running);
      await this.#records.write({ ...record, state: 'started', intent });
      return running;
    });
  }

  /** Presses the power button, again and again, for the grace time. True when the machine is off. */
  async #askToEnd(domain: OwnDomain, graceSeconds: number, ctx: StepContext): Promise<boolean> {
    if (domain.state === DomainState.paused)
      await unlessGone(this.#client.resume(domain.ref, callBounds(ctx)));
    const grace = AbortSignal.any([ctx.signal, AbortSignal.timeout(graceSeconds * 1000)]);
    const watching = new AbortController();
    const changes = this.#hub.subscribe(AbortSignal.any([grace, watching.signal]));
    const press = (): void => void unlessGone(this.#client.shutdown(domain.ref)).catch(() => undefined);
    // A guest that is still booting does not hear the first press.
    const again = setInterval(press, POWER_BUTTON_AGAIN_MS);
    press();
    try {
      if ((await this.#settled(domain))?.phase === 'ended') return true;
      for await (const seen of changes)
        if (seen.instanceId === domain.instanceId && seen.epoch === domain.epoch && seen.phase === 'ended')
          return true;
      return false;
    } finally {
      clearInterval(again);
      watching.abort();
    }
  }

  async #running(key: WorkloadKey): Promise<OwnDomain> {
    const running = this.#domains.active(await this.#domains.find(key));
    if (running?.epoch === key.epoch) return running;
    throw new RuntimeError('notPrepared', 'the instance does not run here');
  }

  /** What is true of a workload now; its end is written down if that is new. */
  #settled(key: WorkloadKey): Promise<Observation | null> {
    return this.#locks.run(key.instanceId, async () => {
      const domain = await this.#domains.find(key);
      const record = await this.#domains.settle(key, domain);
      return this.#domains.observation(key, domain, record);
    });
  }

  async #noticed(ref: DomainRef): Promise<void> {
    const domain = await this.#domains.own(ref);
    if (domain === null) return;
    const seen = await this.#settled(domain);
    if (seen !== null) this.#hub.publish(seen);
  }

  #resync(): void {
    // A failure here means that the connection is lost again; the next one resynchronises.
    void this.recover()
      .then((all) => all.forEach((o) => this.#hub.publish(o)))
      .catch(() => undefined);
  }
}

function diskImage(spec: WorkloadSpec): DiskImage {
  if (spec.isolation !== 'vm') throw new RuntimeError('unsupported', `libvirt runs no ${spec.isolation}`);
  if (spec.image.kind !== 'disk') throw new RuntimeError('badImage', 'a vm needs an image of kind disk');
  return spec.image;
}

function freshRecord(spec: WorkloadSpec): WorkloadRecord {
  const { instanceId, epoch, uuid } = spec;
  return { instanceId, epoch, uuid, state: 'prepared', intent: 'none', bootId: null, exit: null };
}

/** Record of a domain of ours whose own was lost. */
function adoptedRecord(domain: OwnDomain): WorkloadRecord {
  const { instanceId, epoch, ref } = domain;
  return {
    instanceId,
    epoch,
    uuid: ref.uuid,
    state: 'started',
    intent: 'none',
    bootId: bootId(),
    exit: null,
  };
}

/** `none` needs O_DIRECT, which some file systems (tmpfs) do not have. */
async function cacheMode(path: string): Promise<'none' | 'writeback'> {
  try {
    await (await open(path, constants.O_RDONLY | constants.O_DIRECT)).close();
    return 'none';
  } catch {
    return 'writeback';
  }
}

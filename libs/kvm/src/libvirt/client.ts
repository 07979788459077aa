import { EventEmitter } from 'node:events';
import type { CallOptions } from './connection.js';
import { LibvirtConnectionError, LibvirtError } from './errors.js';
import {
  MAX_DOMAINS,
  readDomain,
  readDomains,
  readTyped,
  Remote,
  uuidBytes,
  writeDomain,
  type DomainRef,
  type TypedValue,
} from './protocol.js';
import { Session, type Lifecycle } from './session.js';
import { XdrReader, XdrWriter } from './xdr.js';

export interface LibvirtClientOptions {
  /** Path of libvirtd's read-write socket. */
  readonly socketPath: string;
  /** Driver to open; default `qemu:///system`. */
  readonly uri?: string;
  readonly connectTimeoutMs?: number;
  /** Default bound of one call, milliseconds. */
  readonly callTimeoutMs?: number;
  readonly keepaliveMs?: number;
  /** First and longest wait between attempts to reach a daemon that went away, milliseconds. */
  readonly backoffMs?: { readonly first: number; readonly longest: number };
}

interface ClientEvents {
  lifecycle: [Lifecycle];
  /** The agent in this domain's guest came or went. */
  agent: [DomainRef];
  /** The tray of a CD-ROM drive of this domain was opened or closed. */
  tray: [DomainRef];
  /** A domain's watchdog expired; the number is a value of `WatchdogDeed`. */
  watchdog: [DomainRef, number];
  /** Connected again after a loss: events may have been missed, ask for everything. */
  resync: [];
  /** The daemon went away; the client is trying to get it back. */
  down: [LibvirtConnectionError];
}

export interface DomainInfo {
  readonly state: number;
  readonly maxMemoryKiB: bigint;
  readonly memoryKiB: bigint;
  readonly vcpus: number;
  readonly cpuTimeNs: bigint;
}

export interface NodeInfo {
  readonly model: string;
  readonly memoryKiB: bigint;
  readonly cpus: number;
  readonly mhz: number;
}

/** Flags of undefine: managed save, snapshots' and checkpoints' metadata go as well; variables of firmware, which are ours, stay. */
const UNDEFINE = 1 | 2 | 8 | 16;
const DESTROY_GRACEFUL = 1;
/** Of save and restore: the guest stands still when it is back. */
const SAVE_PAUSED = 4;
/** Of a snapshot: libvirt does not note that there is one. */
const SNAPSHOT_NO_METADATA = 4;
/** Of changes: the domain as it runs, not as it is defined. */
const AFFECT_LIVE = 1;
/** Of resize: the size is in bytes. */
const RESIZE_BYTES = 1;
/** Type of a parameter that is a signed 64-bit number. */
const TYPED_LLONG = 3;
/** Type of a parameter that is an unsigned 64-bit number. */
const TYPED_ULLONG = 4;
const FIRST_BACKOFF_MS = 50;
const LONGEST_BACKOFF_MS = 5_000;
const MODEL_CHARS = 32;
/** Of figures: what another job holds up is left out. */
const STATS_NOWAIT = 1 << 29;
/** A domain and an empty list. */
const STATS_MIN_BYTES = 28;
/** The most the daemon tells of at once. */
const MAX_DISK_ERRORS = 256;

/**
 * A client of libvirtd's RPC. It connects at the first call, keeps four connections, and after a loss reconnects with
 * back-off and emits `resync`. Calls during a loss fail with `unreachable` or `closed`; none is repeated on its own.
 */
export class LibvirtClient extends EventEmitter<ClientEvents> {
  #session: Session | null = null;
  #opening: Promise<Session> | null = null;
  #retry: NodeJS.Timeout | null = null;
  #wasConnected = false;
  #closed = false;

  constructor(private readonly options: LibvirtClientOptions) {
    super();
  }

  /** Connects now. @throws LibvirtConnectionError */
  async connect(): Promise<void> {
    await this.#ready();
  }

  /** Connects in the background and never gives up; `resync` tells when it is there. For those who wait for events. */
  keepConnected(): void {
    if (this.connected || this.#closed || this.#retry !== null) return;
    this.#wasConnected = true;
    this.#reconnect(0);
  }

  get connected(): boolean {
    return this.#session !== null && !this.#session.isClosed;
  }

  /** Ends its connections for good. */
  close(): void {
    this.#closed = true;
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#session?.close();
    this.#session = null;
  }

  /** Version of the daemon as `major.minor.release`. */
  async libVersion(options?: CallOptions): Promise<string> {
    return versionText((await this.#call(Remote.libVersion, new XdrWriter(), options)).uhyper());
  }

  /** Version of the hypervisor (QEMU). */
  async hypervisorVersion(options?: CallOptions): Promise<string> {
    return versionText((await this.#call(Remote.getVersion, new XdrWriter(), options)).uhyper());
  }

  async nodeInfo(options?: CallOptions): Promise<NodeInfo> {
    const reply = await this.#call(Remote.nodeInfo, new XdrWriter(), options);
    const chars = Array.from({ length: MODEL_CHARS }, () => reply.int());
    const model = String.fromCharCode(...chars.slice(0, Math.max(chars.indexOf(0), 0)).map((c) => c & 0xff));
    return { model, memoryKiB: reply.uhyper(), cpus: reply.int(), mhz: reply.int() };
  }

  /** The daemon's capabilities document (XML). */
  async capabilities(options?: CallOptions): Promise<string> {
    return (await this.#call(Remote.capabilities, new XdrWriter(), options)).string();
  }

  /** Defines a persistent domain, or changes the definition of the same UUID and name. */
  async define(xml: string, options?: CallOptions): Promise<DomainRef> {
    // Without the flag that validates against the schema: it takes libvirt 9.0 up to 20 s (measured). Tests validate.
    return readDomain(await this.#call(Remote.define, new XdrWriter().string(xml).uint(0), options));
  }

  /** Starts a defined domain. Events: RESUMED, then STARTED, both before the answer. */
  async create(domain: DomainRef, options?: CallOptions): Promise<DomainRef> {
    return readDomain(await this.#callLong(Remote.create, domainArgs(domain).uint(0), options));
  }

  /** Kills the domain's process. `graceful` sends SIGTERM only, so that caches are written, and may fail. */
  async destroy(domain: DomainRef, flags: { graceful?: boolean } = {}, options?: CallOptions): Promise<void> {
    const bits = flags.graceful === true ? DESTROY_GRACEFUL : 0;
    await this.#callLong(Remote.destroy, domainArgs(domain).uint(bits), options);
  }

  /** Presses the power button; the guest decides. */
  async shutdown(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#call(Remote.shutdown, domainArgs(domain), options);
  }

  async reboot(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#call(Remote.reboot, domainArgs(domain).uint(0), options);
  }

  /** Presses the reset button; the guest is not asked. */
  async reset(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#call(Remote.reset, domainArgs(domain).uint(0), options);
  }

  async suspend(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#callLong(Remote.suspend, domainArgs(domain), options);
  }

  async resume(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#callLong(Remote.resume, domainArgs(domain), options);
  }

  /** Writes a domain's memory to a file that the daemon makes, and ends it. Events: SUSPENDED, then STOPPED. */
  async save(domain: DomainRef, path: string, options?: CallOptions): Promise<void> {
    await this.#callLong(Remote.save, domainArgs(domain).string(path).bool(false).uint(SAVE_PAUSED), options);
  }

  /** Gives up what is under way for long with this domain, as `save`. Refused when there is nothing. */
  async abortJob(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#call(Remote.abortJob, domainArgs(domain), options);
  }

  /**
   * Writes the memory of a domain that stands still to a file like those of `save`; it stays as it is. libvirt keeps no note of it.
   * @param document of a snapshot of the memory alone
   */
  async copyMemory(domain: DomainRef, document: string, options?: CallOptions): Promise<void> {
    const args = domainArgs(domain).string(document).uint(SNAPSHOT_NO_METADATA);
    await this.#callLong(Remote.snapshotCreate, args, options);
  }

  /** The document in a file that `save` wrote. */
  async savedXml(path: string, options?: CallOptions): Promise<string> {
    const reply = await this.#callLong(Remote.savedXml, new XdrWriter().string(path).uint(0), options);
    return reply.string();
  }

  /** Starts the domain of a file that `save` wrote, paused. @param document instead of the one in the file; null for that one */
  async restore(path: string, document: string | null, options?: CallOptions): Promise<void> {
    const args = new XdrWriter().string(path).bool(document !== null);
    if (document !== null) args.string(document);
    await this.#callLong(Remote.restore, args.uint(SAVE_PAUSED), options);
  }

  /** Plugs a device into a domain that runs; its definition stays as it is. `document` is the device's XML. */
  async attachDevice(domain: DomainRef, document: string, options?: CallOptions): Promise<void> {
    await this.#callLong(Remote.attachDevice, domainArgs(domain).string(document).uint(AFFECT_LIVE), options);
  }

  /** Changes a device of a domain that runs; its definition stays as it is. `document` is the device's XML. */
  async updateDevice(domain: DomainRef, document: string, options?: CallOptions): Promise<void> {
    await this.#callLong(Remote.updateDevice, domainArgs(domain).string(document).uint(AFFECT_LIVE), options);
  }

  /** Gives a domain that runs so many virtual processors; of those that are too many each is waited for some seconds. */
  async setVcpus(domain: DomainRef, vcpus: number, options?: CallOptions): Promise<void> {
    await this.#callLong(Remote.setVcpus, domainArgs(domain).uint(vcpus).uint(AFFECT_LIVE), options);
  }

  /** Begins to unplug a device, and waits a few seconds for it. */
  async detachDevice(domain: DomainRef, document: string, options?: CallOptions): Promise<void> {
    await this.#callLong(Remote.detachDevice, domainArgs(domain).string(document).uint(AFFECT_LIVE), options);
  }

  /** Makes a disk (`sda`) of a domain that runs larger. */
  async blockResize(domain: DomainRef, disk: string, bytes: bigint, options?: CallOptions): Promise<void> {
    const args = domainArgs(domain).string(disk).uhyper(bytes).uint(RESIZE_BYTES);
    await this.#callLong(Remote.blockResize, args, options);
  }

  /** Sets limits of a disk of a domain that runs, by libvirt's names of them; 0 lifts one. */
  async setBlockIoTune(
    domain: DomainRef,
    disk: string,
    limits: Readonly<Record<string, number>>,
    options?: CallOptions,
  ): Promise<void> {
    const args = domainArgs(domain).string(disk).uint(Object.keys(limits).length);
    for (const [name, value] of Object.entries(limits))
      args.string(name).int(TYPED_ULLONG).uhyper(BigInt(value));
    await this.#call(Remote.setBlockIoTune, args.uint(AFFECT_LIVE), options);
  }

  /** Bounds the processor time of a domain that runs, vCPUs and emulator together: microseconds in each period; -1 for none. */
  async setGlobalQuota(
    domain: DomainRef,
    { period, quota }: { readonly period: number; readonly quota: number },
    options?: CallOptions,
  ): Promise<void> {
    const args = domainArgs(domain).uint(2);
    args.string('global_period').int(TYPED_ULLONG).uhyper(BigInt(period));
    args.string('global_quota').int(TYPED_LLONG).hyper(BigInt(quota));
    await this.#call(Remote.setScheduler, args.uint(AFFECT_LIVE), options);
  }

  /** Removes the definition and all that the daemon keeps with it. A file of NVRAM, which it was given, stays. */
  async undefine(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#call(Remote.undefine, domainArgs(domain).uint(UNDEFINE), options);
  }

  /** Null when there is none. */
  async lookupByUuid(uuid: string, options?: CallOptions): Promise<DomainRef | null> {
    return this.#lookup(Remote.lookupByUuid, new XdrWriter().opaqueFixed(uuidBytes(uuid)), options);
  }

  /** Null when there is none. */
  async lookupByName(name: string, options?: CallOptions): Promise<DomainRef | null> {
    return this.#lookup(Remote.lookupByName, new XdrWriter().string(name), options);
  }

  /** Every domain, active or not. */
  async list(options?: CallOptions): Promise<DomainRef[]> {
    const reply = await this.#call(Remote.listAll, new XdrWriter().int(1).uint(0), options);
    return readDomains(reply);
  }

  /** `state` is a value of `DomainState`; `reason` depends on it (`ShutoffReason` for shutoff). */
  async state(domain: DomainRef, options?: CallOptions): Promise<{ state: number; reason: number }> {
    const reply = await this.#call(Remote.getState, domainArgs(domain).uint(0), options);
    return { state: reply.int(), reason: reply.int() };
  }

  /** Disks whose I/O failed last. `error` is a value of `DiskErrorCode`. */
  async diskErrors(
    domain: DomainRef,
    options?: CallOptions,
  ): Promise<{ readonly disk: string; readonly error: number }[]> {
    const args = domainArgs(domain).uint(MAX_DISK_ERRORS).uint(0);
    const reply = await this.#call(Remote.diskErrors, args, options);
    return reply.array(MAX_DISK_ERRORS, 8, () => ({ disk: reply.string(), error: reply.int() }));
  }

  /**
   * Figures of a domain that runs, by libvirt's names of them (virConnectGetAllDomainStats), of these `StatsGroup`s. While another
   * job has the domain, those that only QEMU knows are not among them: nobody waits. Empty when it is gone.
   */
  async stats(domain: DomainRef, groups: number, options?: CallOptions): Promise<Map<string, TypedValue>> {
    const args = new XdrWriter().uint(1);
    writeDomain(args, domain);
    const session = await this.#ready();
    const reply = await session.figures(Remote.domainStats, args.uint(groups).uint(STATS_NOWAIT), options);
    const all = reply.array(MAX_DOMAINS, STATS_MIN_BYTES, () => {
      readDomain(reply);
      return readTyped(reply);
    });
    return all[0] ?? new Map<string, TypedValue>();
  }

  /** Lets the balloon of a domain that runs ask its guest so often; its definition stays as it is. */
  async setMemoryStatsPeriod(domain: DomainRef, seconds: number, options?: CallOptions): Promise<void> {
    const session = await this.#ready();
    const args = domainArgs(domain).int(seconds).uint(AFFECT_LIVE);
    await session.figures(Remote.setMemoryStatsPeriod, args, options);
  }

  async info(domain: DomainRef, options?: CallOptions): Promise<DomainInfo> {
    const reply = await this.#call(Remote.getInfo, domainArgs(domain), options);
    return {
      state: reply.uint(),
      maxMemoryKiB: reply.uhyper(),
      memoryKiB: reply.uhyper(),
      vcpus: reply.uint(),
      cpuTimeNs: reply.uhyper(),
    };
  }

  /** The domain's XML as it runs; of one that does not, the one it will start with. */
  async xml(domain: DomainRef, options?: CallOptions): Promise<string> {
    return (await this.#call(Remote.getXml, domainArgs(domain).uint(0), options)).string();
  }

  /** One QMP command as JSON text; the answer is JSON text too. libvirt marks the domain as tainted. */
  async monitorCommand(domain: DomainRef, command: string, options?: CallOptions): Promise<string> {
    return (await this.#ready()).monitor(domain, command, options);
  }

  /** One command to the agent in the guest, as JSON text; the answer is JSON text too. `seconds` bounds the agent. */
  async agentCommand(
    domain: DomainRef,
    command: string,
    seconds: number,
    options?: CallOptions,
  ): Promise<string> {
    return (await this.#ready()).agent(domain, command, seconds, options);
  }

  async #call(procedure: number, args: XdrWriter, options?: CallOptions): Promise<XdrReader> {
    return (await this.#ready()).remote(procedure, args, options);
  }

  async #callLong(procedure: number, args: XdrWriter, options?: CallOptions): Promise<XdrReader> {
    return (await this.#ready()).remoteLong(procedure, args, options);
  }

  async #lookup(procedure: number, args: XdrWriter, options?: CallOptions): Promise<DomainRef | null> {
    try {
      return readDomain(await this.#call(procedure, args, options));
    } catch (error) {
      if (error instanceof LibvirtError && error.isNoDomain) return null;
      throw error;
    }
  }

  async #ready(): Promise<Session> {
    if (this.#closed) throw new LibvirtConnectionError('closed', 'the libvirt client was closed');
    if (this.#session !== null && !this.#session.isClosed) return this.#session;
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null;
    });
    return this.#opening;
  }

  async #open(): Promise<Session> {
    const session = await Session.open({
      ...this.options,
      uri: this.options.uri ?? 'qemu:///system',
      onLifecycle: (event) => this.emit('lifecycle', event),
      onWatchdog: (domain, deed) => this.emit('watchdog', domain, deed),
      onAgent: (domain) => this.emit('agent', domain),
      onTray: (domain) => this.emit('tray', domain),
      onClose: (error) => this.#lost(error),
    });
    if (this.#closed) {
      session.close();
      throw new LibvirtConnectionError('closed', 'the libvirt client was closed');
    }
    this.#session = session;
    if (this.#wasConnected) queueMicrotask(() => this.emit('resync'));
    this.#wasConnected = true;
    return session;
  }

  #lost(error: LibvirtConnectionError): void {
    this.#session = null;
    if (this.#closed) return;
    this.emit('down', error);
    this.#reconnect(this.options.backoffMs?.first ?? FIRST_BACKOFF_MS);
  }

  #reconnect(waitMs: number): void {
    if (this.#retry !== null) clearTimeout(this.#retry);
    this.#retry = setTimeout(() => {
      this.#retry = null;
      this.#ready().catch(() => {
        const longest = this.options.backoffMs?.longest ?? LONGEST_BACKOFF_MS;
        if (!this.#closed) this.#reconnect(Math.min(waitMs * 2, longest));
      });
    }, waitMs);
    this.#retry.unref();
  }
}

function domainArgs(domain: DomainRef): XdrWriter {
  const args = new XdrWriter();
  writeDomain(args, domain);
  return args;
}

function versionText(version: bigint): string {
  const n = Number(version);
  return `${Math.floor(n / 1_000_000)}.${Math.floor(n / 1000) % 1000}.${n % 1000}`;
}

import { bootId } from '@berth/linux';
import type { Phase, Power } from '@berth/model';
import type { Observation, WorkloadKey } from '@berth/runtime';
import type { LibvirtClient } from '../libvirt/client.js';
import { LibvirtError } from '../libvirt/errors.js';
import { DomainState, type DomainRef } from '../libvirt/protocol.js';
import { domainName, readMetadata } from '../machine/metadata.js';
import { exitOf, hasRun } from './domain-end.js';
import type { QemuProcesses } from './qemu-process.js';
import type { WorkloadRecord, WorkloadRecords } from './workload-record.js';

/** A domain that carries our metadata for this host. */
export interface OwnDomain extends WorkloadKey {
  readonly ref: DomainRef;
  readonly state: number;
  readonly reason: number;
}

/** Our view of libvirt: which domains are ours, and what they and the records together say of a workload. */
export class Domains {
  constructor(
    private readonly client: LibvirtClient,
    private readonly records: WorkloadRecords,
    private readonly processes: QemuProcesses,
    private readonly hostTag: string,
    private readonly now: () => Date,
  ) {}

  /** The domain if a process carries it, else null. */
  active(domain: OwnDomain | null): OwnDomain | null {
    if (domain === null || domain.state === DomainState.shutoff || domain.state === DomainState.crashed)
      return null;
    return domain;
  }

  /** The instance's domain of whatever epoch; null when there is none of ours. */
  async find(key: Pick<WorkloadKey, 'instanceId'>, signal?: AbortSignal): Promise<OwnDomain | null> {
    const ref = await this.client.lookupByName(
      domainName(this.hostTag, key.instanceId),
      signal === undefined ? {} : { signal },
    );
    return ref === null ? null : this.own(ref);
  }

  /** Null when the domain is not ours, or went away meanwhile. */
  async own(ref: DomainRef): Promise<OwnDomain | null> {
    if (!ref.name.startsWith('berth-')) return null;
    try {
      const metadata = readMetadata(await this.client.xml(ref, { inactive: true }));
      if (metadata?.hostTag !== this.hostTag) return null;
      return { ...metadata, ref, ...(await this.client.state(ref)) };
    } catch (error) {
      if (error instanceof LibvirtError && error.isNoDomain) return null;
      throw error;
    }
  }

  async list(): Promise<OwnDomain[]> {
    const refs = await this.client.list();
    const own = await Promise.all(refs.map((ref) => this.own(ref)));
    return own.filter((domain) => domain !== null);
  }

  /**
   * Writes down how the last run ended, once. Call it with the instance's lock held, and before anything that makes
   * libvirt forget (a new start, undefine).
   */
  async settle(key: WorkloadKey, domain: OwnDomain | null): Promise<WorkloadRecord | null> {
    const record = await this.records.read(key);
    if (record === null || record.state === 'ended' || record.state === 'prepared') return record;
    if (this.active(domain)?.epoch === key.epoch) return record;
    const reason = domain?.epoch === key.epoch ? domain.reason : 0;
    if (!hasRun(record, reason)) return record;
    const exit = exitOf(record, reason, { bootId: bootId(), at: this.now().toISOString() });
    const ended: WorkloadRecord = { ...record, state: 'ended', exit };
    await this.records.write(ended);
    return ended;
  }

  /** What is to be said of a workload. Null when neither a record nor a domain of this epoch is left. */
  async observation(
    key: WorkloadKey,
    domain: OwnDomain | null,
    record: WorkloadRecord | null,
  ): Promise<Observation | null> {
    const mine = domain?.epoch === key.epoch ? domain : null;
    if (mine === null && record === null) return null;
    const base = { instanceId: key.instanceId, epoch: key.epoch };
    if (mine !== null && this.active(mine) !== null) {
      const phase: Phase = record !== null && record.intent !== 'none' ? 'stopping' : 'running';
      return {
        ...base,
        phase,
        power: powerOf(mine),
        exit: null,
        pid: await this.processes.find(mine.ref.uuid),
      };
    }
    const phase = record === null ? 'ended' : idlePhase[record.state];
    const exit = record?.exit ?? null;
    return { ...base, phase, power: exit?.reason === 'guestCrash' ? 'crashed' : 'off', exit, pid: null };
  }
}

const idlePhase: Readonly<Record<WorkloadRecord['state'], Phase>> = {
  prepared: 'preparing',
  starting: 'starting',
  started: 'ended',
  ended: 'ended',
};

function powerOf(domain: OwnDomain): Power {
  if (domain.state === DomainState.paused) return 'paused';
  return domain.state === DomainState.suspended ? 'suspended' : 'running';
}

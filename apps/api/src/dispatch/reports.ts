import { faultPoints } from '@berth/faults';
import type { Report, ReportBody } from '@berth/link';
import type { HostId } from '@berth/model';
import type { ReportOutcome, Store } from '../store/store.js';
import { reportFaults } from './fault-names.js';
import type { DispatchHooks, DispatchLog, TraceSink } from './hooks.js';

export interface ReportPorts {
  readonly store: Store;
  readonly hooks: DispatchHooks;
  readonly log: DispatchLog;
  readonly traces?: TraceSink;
  /** The host's list changed: send it again. */
  readonly listChanged: () => void;
  readonly pushBlob: (digest: Extract<ReportBody, { kind: 'imageWanted' }>['digest']) => void;
}

type Of<K extends ReportBody['kind']> = Extract<ReportBody, { kind: K }>;

/**
 * Commits what one session of a host reports. A report is acknowledged once `apply` returned; what Postgres already
 * knew, or refuses as stale, is done too. Only a lost database throws, and the report is then repeated.
 */
export class ReportWriter {
  constructor(
    private readonly hostId: HostId,
    private readonly session: number,
    private readonly ports: ReportPorts,
  ) {}

  async apply(report: Report): Promise<void> {
    const { body } = report;
    await faultPoints(() => reportFaults(body, 'received'));
    switch (body.kind) {
      case 'placement':
        return this.placement(report.seq, body);
      case 'tombstoneDone':
        return this.tombstoneDone(body);
      case 'snapshot':
        return this.snapshot(body);
      case 'clone':
        return this.clone(body);
      case 'imageWanted':
        return this.ports.pushBlob(body.digest);
      case 'imageHeld':
        await this.ports.store.hostImageAdd(this.hostId, this.session, body.digest);
        return;
      case 'imageRemoved':
        await this.ports.store.hostImageRemove(this.hostId, this.session, body.digest);
        return;
      case 'inventory':
        await this.ports.store.hostImagesSet(this.hostId, this.session, body.images);
        return;
      case 'host':
        return this.host(body);
      case 'refusedEpoch':
        return this.refusedEpoch(body);
      case 'unclaimed':
        return this.hostEvent('host.unclaimedWorkload', body);
      case 'orphan':
        return this.hostEvent(body.sweptAt === null ? 'host.orphanFound' : 'host.orphanSwept', body);
    }
  }

  private async placement(seq: number, body: Of<'placement'>): Promise<void> {
    const { kind: _kind, observedAt, conditions, spans = [], ...facts } = body;
    const { traces } = this.ports;
    if (body.phase === 'running') {
      traces?.mark(body.instanceId, 'host');
      traces?.host(body.instanceId, spans);
    }
    const outcome = await this.ports.store.reportApply({
      hostId: this.hostId,
      session: this.session,
      seq,
      ...facts,
      conditions: conditions.map(({ type, reason, message, remedy }) => ({
        type,
        reason,
        message,
        ...(remedy === undefined ? {} : { remedy }),
      })),
      observedAt: new Date(observedAt),
    });
    if (body.phase === 'running') traces?.mark(body.instanceId, 'report', true);
    await faultPoints(() => reportFaults(body, 'committed'));
    this.wake(body, outcome);
  }

  private wake(body: Of<'placement'>, outcome: ReportOutcome): void {
    const { hooks, log, listChanged } = this.ports;
    if (outcome.outcome === 'stale')
      return log.debug(
        { hostId: this.hostId, reason: outcome.reason, ...body },
        'a stale report changed nothing',
      );
    hooks.ledger();
    if (outcome.freed || outcome.awaited) hooks.scheduler();
    if (outcome.assignmentsChanged) listChanged();
  }

  private async tombstoneDone(body: Of<'tombstoneDone'>): Promise<void> {
    const { store, hooks, listChanged } = this.ports;
    const { changed, gone } = await store.tombstoneDone(this.hostId, this.session, body.id);
    await faultPoints(() => reportFaults(body, 'committed'));
    if (!changed) return;
    hooks.ledger();
    listChanged();
    // Volumes and addresses are free: what waited for disk may fit.
    if (gone) hooks.scheduler();
  }

  private async snapshot({ orderId, outcome }: Of<'snapshot'>): Promise<void> {
    const { store, hooks, listChanged } = this.ports;
    const report = { hostId: this.hostId, session: this.session, orderId, outcome };
    const { changed, freed } = await store.snapshotReport(report);
    if (!changed) return;
    hooks.ledger();
    listChanged();
    if (freed) hooks.scheduler();
  }

  private async clone({ orderId, outcome }: Of<'clone'>): Promise<void> {
    const { store, hooks, listChanged } = this.ports;
    const report = { hostId: this.hostId, session: this.session, orderId, outcome };
    const { changed, freed } = await store.cloneReport(report);
    if (!changed) return;
    hooks.ledger();
    listChanged();
    if (freed) hooks.scheduler();
  }

  private async host(body: Of<'host'>): Promise<void> {
    const { store, hooks } = this.ports;
    const { capabilities, capacity } = body;
    if (!(await store.hostCapabilitiesSet(this.hostId, this.session, capabilities, capacity))) return;
    hooks.ledger();
    hooks.scheduler();
  }

  private async refusedEpoch(body: Of<'refusedEpoch'>): Promise<void> {
    const { store, hooks, log, listChanged } = this.ports;
    const { instanceId, epoch, highest } = body;
    log.warn({ hostId: this.hostId, instanceId, epoch, highest }, 'the host refused a low epoch');
    const refusal = { hostId: this.hostId, session: this.session, instanceId, epoch, highestKnown: highest };
    if (!(await store.epochRefused(refusal))) return;
    hooks.ledger();
    hooks.scheduler();
    listChanged();
  }

  /** What no list names: a workload keeps running, left-over parts are removed. The ledger keeps what was seen. */
  private async hostEvent(type: string, body: Of<'unclaimed' | 'orphan'>): Promise<void> {
    const { store, hooks } = this.ports;
    const { kind: _kind, instanceId, ...data } = body;
    const actor = `host:${this.hostId}`;
    await store.eventInsert(
      { actor, traceId: `${this.hostId}/${this.session}` },
      {
        class: 'observation',
        type,
        projectId: null,
        object: { kind: 'host', id: this.hostId, name: this.hostId },
        data: { instanceId, ...data },
      },
    );
    hooks.ledger();
  }
}

import { faultPoint, faultPoints } from '@berth/faults';
import type {
  Assignment,
  AssignmentList,
  Refusal,
  ReportBody,
  SecretValues as SecretValuesMessage,
  Tombstone,
} from '@berth/link';
import type { Digest, HostNetworkSpec, ImageContent, Isolation, NetworkId } from '@berth/model';
import { keyText, type Observation, type Runtime, type WorkloadKey } from '@berth/runtime';
import type { Clock } from './clock.js';
import { Slots } from './clock.js';
import type { ImageFetch } from './image-fetch.js';
import type { InstanceRecord, Journal, PlacementRecord } from './journal.js';
import type { AgentLog } from './log.js';
import type { HostNetworks } from './networks.js';
import type { Runtimes } from './runtimes.js';
import { RuntimeChoice } from './runtime-choice.js';
import type { SecretValues } from './secret-values.js';
import { CloneOrders } from './clone-orders.js';
import { SnapshotOrders } from './snapshot-orders.js';
import { probesAtOnce } from './placement-health.js';
import { Tombstones } from './tombstones.js';
import { Worker } from './worker.js';
import type { WorkerPorts } from './worker-ports.js';

export interface PlacementsOptions {
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly journal: Journal;
  readonly runtimes: Runtimes;
  readonly images: ImageFetch;
  readonly networks: HostNetworks;
  readonly secrets: SecretValues;
  readonly bootId: string;
  /** Concurrent starts of VMs. */
  readonly vmStarts: number;
  readonly report: (body: ReportBody) => void;
  /** Images that the newest list orders to remove. */
  readonly unusedImages: (digests: readonly Digest[]) => void;
}

/** The newest epoch of an instance on this host. */
export interface Newest {
  readonly key: WorkloadKey;
  readonly runtime: Runtime;
  readonly image: ImageContent;
  readonly isolation: Isolation;
  /** As it is asked for now: a change takes effect while it runs, or waits for its next start. */
  readonly memoryMiB: number;
}

/** Why an instance cannot be reached now, as the answer of a request. */
export interface OutOfReach {
  readonly refusal: { readonly status: 404 | 503; readonly body: { code: string; message: string } };
}

function outOfReach(status: 404 | 503, code: string, message: string): OutOfReach {
  return { refusal: { status, body: { code, message } } };
}

/**
 * Leases and published ports come and go with the neighbours: they change nothing for a workload that has its own, and the
 * host's networks keep them.
 */
const withoutLeases = ({ id, project, name, cidr, gateway }: HostNetworkSpec): object => ({
  id,
  project,
  name,
  cidr,
  gateway,
});

/** Every placement of this host, known by the journal, and what runs here beside them. */
export class Placements {
  private readonly workers = new Map<string, Worker>();
  /** What runs here that no record knows. It is left alone. */
  private readonly strangers = new Map<string, { readonly runtime: Runtime; readonly seen: Observation }>();
  private readonly unclaimedSaid = new Map<string, string>();
  private listed: ReadonlySet<string> | null = null;
  private readonly tombstones: Tombstones;
  private readonly snapshots: SnapshotOrders;
  private readonly clones: CloneOrders;
  private readonly choice: RuntimeChoice;
  private readonly ports: WorkerPorts;
  /** Lists are taken one after the other. */
  private turn: Promise<unknown> = Promise.resolve();

  constructor(private readonly o: PlacementsOptions) {
    this.tombstones = new Tombstones(o);
    this.snapshots = new SnapshotOrders({ ...o, newest: (instanceId) => this.newest(instanceId) });
    this.clones = new CloneOrders(o);
    this.choice = new RuntimeChoice(o);
    this.ports = {
      clock: o.clock,
      journal: o.journal,
      log: o.log,
      bootId: o.bootId,
      startSlots: new Slots(o.vmStarts),
      probeSlots: new Slots(probesAtOnce),
      choice: this.choice,
      fetchImages: async (images, signal) => {
        for (const image of images) await o.images.fetch(image, signal);
      },
      imagesPresent: async (images) => {
        for (const image of images) if (!(await o.images.present(image))) return false;
        return true;
      },
      secretValue: (secret) => o.secrets.get(secret),
      bringNetworks: (networks) => o.networks.bring(networks),
      report: (body) => o.report(body),
      predecessors: (key) => this.lowerEpochs(key),
      changed: (key) => this.wakeSiblings(key),
      disksKnown: () => this.tombstones.wake(),
      removed: (key) => this.forget(key),
    };
  }

  /** Workers for all the journal knows; they wait until their runtime said what it holds. */
  start(): void {
    for (const record of this.o.journal.all())
      for (const placement of record.placements) this.hire(placement);
    this.o.runtimes.start({
      observed: (runtime, seen) => this.observed(runtime, seen),
      recovered: (runtime, all) => this.recovered(runtime, all),
      probed: () => {
        this.adoptUnseen();
        for (const worker of this.workers.values()) worker.wake();
        this.tombstones.wake();
        this.snapshots.wake();
        this.clones.wake();
        this.onProbed();
      },
    });
  }
  /** Set by the composition: host facts changed. */
  onProbed: () => void = () => undefined;

  /** Ends the workers, not the workloads. The journal may still be writing; it is closed last. */
  async close(): Promise<void> {
    await this.turn;
    await this.tombstones.close();
    await this.snapshots.close();
    await this.clones.close();
    await Promise.all([...this.workers.values()].map((w) => w.close()));
  }

  /** Values of secrets, sent before the list that names them. */
  secretsCame(values: SecretValuesMessage['values']): void {
    this.o.secrets.take(values);
    for (const worker of this.workers.values()) worker.secretsCame();
  }

  /** Takes a list. Returns why not, when it is not acted on. The journal holds it before anything of it is done. */
  apply(list: AssignmentList): Promise<Refusal | null> {
    const result = this.turn.then(() => this.take(list));
    this.turn = result.catch(() => undefined);
    return result;
  }

  private async take(list: AssignmentList): Promise<Refusal | null> {
    const { journal } = this.o;
    const known = journal.host;
    const same = known.storeIncarnation === list.storeIncarnation;
    if (same && list.assignmentRev < known.assignmentRev)
      return {
        code: 'lowerRevision',
        message: `revision ${list.assignmentRev} is behind ${known.assignmentRev}`,
      };
    const networks = new Map(list.networks.map((n) => [n.id, n]));
    await Promise.all(list.assignments.map((a) => this.accept(a, networks)));
    if (!same || list.assignmentRev !== known.assignmentRev)
      await journal.saveHost({ storeIncarnation: list.storeIncarnation, assignmentRev: list.assignmentRev });
    this.listed = new Set(list.assignments.map(keyText));
    this.o.secrets.keep(
      [...this.workers.values()].flatMap((w) => w.record.assignment.workload.secrets ?? []),
    );
    this.reportUnclaimed();
    await faultPoints(() => list.tombstones.map((t) => ['agent.tombstone.listed', t.instanceId ?? t.id]));
    // First: what is given up is removed.
    this.clones.want(list.clones ?? []);
    for (const tombstone of list.tombstones) this.bury(tombstone);
    this.snapshots.want(list.snapshots ?? []);
    this.o.unusedImages(list.imageTombstones ?? []);
    this.o.networks.want(this.networksInUse, list.networks);
    return null;
  }

  private async accept(assignment: Assignment, networks: Map<NetworkId, HostNetworkSpec>): Promise<void> {
    const { journal, report } = this.o;
    const record = journal.ensure(assignment.instanceId);
    const own = assignment.workload.nics.flatMap((nic) => networks.get(nic.networkId) ?? []);
    const worker = this.workers.get(keyText(assignment));
    if (worker !== undefined) return this.change(worker, assignment, own);
    if (assignment.epoch < record.highestEpoch) {
      const { instanceId, epoch } = assignment;
      return report({ kind: 'refusedEpoch', instanceId, epoch, highest: record.highestEpoch });
    }
    record.highestEpoch = assignment.epoch;
    const placement: PlacementRecord = {
      assignment,
      networks: own,
      run: 1,
      restarts: 0,
      started: null,
      exit: null,
      lastExit: null,
      ended: false,
      runtime: null,
    };
    record.placements.push(placement);
    await journal.save(assignment.instanceId);
    await faultPoint('agent.assignment.journaled', assignment.instanceId);
    this.adopt(this.hire(placement));
    for (const other of this.lowerEpochs(assignment)) other.assignmentChanged();
  }

  private async change(worker: Worker, assignment: Assignment, networks: HostNetworkSpec[]): Promise<void> {
    const { record } = worker;
    const same =
      JSON.stringify([record.assignment, record.networks.map(withoutLeases)]) ===
      JSON.stringify([assignment, networks.map(withoutLeases)]);
    record.assignment = assignment;
    record.networks = networks;
    if (same) return;
    await this.o.journal.save(assignment.instanceId);
    await faultPoint('agent.change.journaled', assignment.instanceId);
    worker.assignmentChanged();
  }

  private hire(placement: PlacementRecord): Worker {
    const worker = new Worker(placement, this.ports);
    this.workers.set(keyText(worker.key), worker);
    worker.start();
    return worker;
  }

  /** A new worker learns what the runtimes are known to hold: nothing, or what was a stranger until now. */
  private adopt(worker: Worker): void {
    const text = keyText(worker.key);
    const stranger = this.strangers.get(text);
    if (stranger !== undefined && this.choice.claim(worker.record, stranger.runtime)) {
      this.strangers.delete(text);
      return worker.observe(stranger.seen);
    }
    if (!('absent' in this.choice.of(worker.record))) worker.observe(null);
  }

  /** Placements without a runtime wait until all that might hold them were asked. */
  private adoptUnseen(): void {
    for (const worker of this.workers.values())
      if (worker.unseen && typeof worker.record.runtime !== 'string') this.adopt(worker);
  }

  private observed(runtime: Runtime, seen: Observation): void {
    const worker = this.workers.get(keyText(seen));
    if (worker === undefined) return this.meetStranger(runtime, seen);
    if (this.choice.claim(worker.record, runtime)) return worker.observe(seen);
    const { instanceId, epoch, phase } = seen;
    const told = { instanceId, epoch, phase, runtime: runtime.name, recorded: worker.record.runtime };
    this.o.log.error(told, 'a runtime holds a placement that another one has; it is left alone');
  }

  private recovered(runtime: Runtime, all: readonly Observation[]): void {
    const found = new Set(all.map(keyText));
    for (const seen of all) this.observed(runtime, seen);
    for (const worker of this.workers.values())
      if (worker.record.runtime === runtime.name && !found.has(keyText(worker.key))) worker.observe(null);
    this.adoptUnseen();
  }

  private meetStranger(runtime: Runtime, seen: Observation): void {
    if (seen.phase === 'ended' || seen.phase === 'preparing') this.strangers.delete(keyText(seen));
    else this.strangers.set(keyText(seen), { runtime, seen });
    const { instanceId, epoch, phase, power, exit } = seen;
    this.sayUnclaimed({ kind: 'unclaimed', instanceId, epoch, run: 0, phase, power, exit });
  }

  /** What no list names keeps running; the API is told. */
  private reportUnclaimed(): void {
    for (const [text, worker] of this.workers) {
      if (this.listed?.has(text) !== false || worker.record.ended || worker.buried) continue;
      const { run, exit } = worker.record;
      this.sayUnclaimed({
        kind: 'unclaimed',
        ...worker.key,
        run,
        phase: 'running',
        power: worker.observedPower,
        exit,
      });
    }
  }

  /** Once per session and change: lists come often. */
  private sayUnclaimed(body: Extract<ReportBody, { kind: 'unclaimed' }>): void {
    const text = JSON.stringify(body);
    if (this.unclaimedSaid.get(keyText(body)) === text) return;
    this.unclaimedSaid.set(keyText(body), text);
    this.o.report(body);
  }

  private bury(tombstone: Tombstone): void {
    const worker = tombstone.kind === 'epoch' ? this.workers.get(keyText(tombstone)) : undefined;
    this.tombstones.add(tombstone, {
      worker: worker ?? null,
      isolation: this.isolationOf(tombstone),
      mayRemoveVolume: () => tombstone.kind === 'epoch' || !this.uses(tombstone),
    });
  }

  private isolationOf(tombstone: Tombstone): Isolation | null {
    const { instanceId } = tombstone;
    if (instanceId === null) return tombstone.kind === 'volume' && tombstone.mounted ? 'container' : 'vm';
    const record = this.o.journal.get(instanceId);
    return record?.placements[0]?.assignment.workload.isolation ?? null;
  }

  /** Whether a placement here has the volume, or may have it. */
  private uses({ volumeId }: Extract<Tombstone, { kind: 'volume' }>): boolean {
    return [...this.workers.values()].some((w) => w.alive && w.hasVolume(volumeId));
  }

  /** An epoch that is known here, of which nothing runs, and never will again. */
  isOver(key: WorkloadKey): boolean {
    return this.workers.get(keyText(key))?.alive === false;
  }

  private lowerEpochs(key: WorkloadKey): Worker[] {
    const own = this.o.journal.get(key.instanceId)?.placements ?? [];
    return own.flatMap(({ assignment }) => {
      const worker = assignment.epoch < key.epoch ? this.workers.get(keyText(assignment)) : undefined;
      return worker?.leftovers === true ? [worker] : [];
    });
  }

  private wakeSiblings({ instanceId, epoch }: WorkloadKey): void {
    for (const other of this.workers.values())
      if (other.key.instanceId === instanceId && other.key.epoch !== epoch) other.wake();
    this.tombstones.wake();
  }

  private async forget(key: WorkloadKey): Promise<void> {
    const record: InstanceRecord = this.o.journal.ensure(key.instanceId);
    record.placements = record.placements.filter((p) => p.assignment.epoch !== key.epoch);
    await this.o.journal.save(record.instanceId);
    this.workers.delete(keyText(key));
    this.wakeSiblings(key);
    this.tombstones.carriedOut(key);
    this.o.networks.want(this.networksInUse, []);
  }

  private readonly networksInUse = (): Map<NetworkId, HostNetworkSpec> => {
    const all = [...this.workers.values()].filter((w) => w.alive || w.leftovers);
    return new Map(all.flatMap((w) => w.record.networks.map((n) => [n.id, n] as const)));
  };

  /**
   * Whether an epoch is one of this host's, by the journal or the newest list. Null while that cannot be told: before the
   * first list of this life, or where the journal remembers no instance at all and so was lost.
   */
  knows(key: WorkloadKey): boolean | null {
    if (this.listed === null || this.o.journal.all().next().done === true) return null;
    const recorded = this.o.journal.get(key.instanceId)?.placements ?? [];
    return recorded.some((p) => p.assignment.epoch === key.epoch) || this.listed.has(keyText(key));
  }

  /** A new session hears everything again. */
  reportAll(): void {
    this.unclaimedSaid.clear();
    for (const worker of this.workers.values()) worker.sayAgain();
    for (const { runtime, seen } of this.strangers.values()) this.meetStranger(runtime, seen);
    this.o.images.askAgain();
  }

  /** Images of all placements, whatever their state. */
  imagesPlaced(): ImageContent[] {
    return [...this.workers.values()].flatMap(({ record }) => {
      const { image, cdroms = [] } = record.assignment.workload;
      return [image, ...cdroms.flatMap(({ image: medium }) => medium ?? [])];
    });
  }

  /** What lies in drives, whatever is asked for by now. */
  mediaSeen(): Digest[] {
    return [...this.workers.values()].flatMap((worker) => worker.media);
  }

  /** Whether something runs here that no record knows: what it uses cannot be told. */
  get hasStrangers(): boolean {
    return this.strangers.size > 0;
  }

  /** The newest epoch of an instance here, what it is made of and who runs it; or the answer to whoever wants to reach it. */
  newest(instanceId: string): Newest | OutOfReach {
    const own = [...this.workers.values()].filter((w) => w.key.instanceId === instanceId);
    const newest = own.sort((a, b) => b.key.epoch - a.key.epoch)[0];
    if (newest === undefined) return outOfReach(404, 'notFound', 'no epoch of this instance is on this host');
    const runtime = this.choice.of(newest.record);
    const { image, isolation, memoryMiB } = newest.record.assignment.workload;
    if (!('absent' in runtime)) return { key: newest.key, runtime, image, isolation, memoryMiB };
    const why = newest.unseen ? 'its agent is still starting' : 'its runtime is away';
    return outOfReach(503, 'unavailable', `${why} (${runtime.absent})`);
  }
}

import type { Instance } from '@berth/model';
import type { FaultBench } from '../../libs/faults/src/testing/fault-bench.js';
import { patience, until, type Berth } from '../e2e/berth.js';
import { defectsOf } from './defects.js';
import type { GuestKind } from './images.js';
import { workloadKind, type LabHost, type Running } from './lab-host.js';
import type { Listing } from './listing.js';
import type { Row, Task } from './plan.js';
import { killed, living } from './processes.js';
import { Slot } from './slot.js';
import { runtimes, type RuntimeName } from './steps.js';
import type { Victims } from './victims.js';

export interface TableParts {
  readonly berth: Berth;
  readonly listing: Listing;
  readonly bench: FaultBench;
  readonly victims: Victims;
  readonly hosts: Readonly<Record<RuntimeName, LabHost>>;
  /** Spec of an instance of a slot that fits only its runtime's host, and that only with these further labels. */
  readonly spec: (
    runtime: RuntimeName,
    labels: Readonly<Record<string, string>>,
    kind: GuestKind,
    slot: string,
  ) => Promise<object>;
  /** Sets the further labels of the runtime's host. */
  readonly label: (runtime: RuntimeName, labels: Readonly<Record<string, string>>) => Promise<void>;
  /** They run all the time, and nothing is asked of them. */
  readonly neighbours: readonly Slot[];
  readonly say: (line: string) => void;
}

/** One task of a round under way. */
interface Trial {
  readonly task: Task;
  /** Where it is held; null while nothing is armed for it. */
  held: { readonly point: string; readonly key: string } | null;
  fault: string | null;
}

export const asWanted = 'as wanted, once';
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** What takes longer is told in the log of the rounds, ms. */
const SLOW_MS = 15_000;

/** Runs the rounds of a plan: holds every row at its step, kills once, lets go, and looks at every instance. */
export class KillTable {
  readonly outcomes = new Map<Row, string>();
  private readonly slots = new Map<string, Slot>();
  /** Labels that let instances onto a host, by slot. */
  private readonly gates = new Map<RuntimeName, Record<string, string>>();
  private made = 0;
  private opening: Promise<void> = Promise.resolve();

  constructor(private readonly p: TableParts) {}

  /** Never rejects: what went wrong is in the outcomes, and said. */
  async round(tasks: readonly Task[]): Promise<void> {
    const begun = Date.now();
    const trials = tasks.map((task): Trial => ({ task, held: null, fault: null }));
    await this.each('to stand where it begins', trials, (t) => this.stand(t));
    const before = this.untouched(trials);
    for (const phase of [0, 1, 2, 3]) await this.hold(trials.filter((t) => phaseOf(t.task) === phase));
    const reached = Date.now();
    await this.kill(trials).catch((error: unknown) => {
      for (const t of trials) t.fault ??= messageOf(error);
    });
    for (const t of trials) this.release(t);
    const served = Date.now();
    await this.each('to settle', trials, (t) => this.settled(t));
    await this.compared(trials);
    const moved = movedOf(before, this.untouched(trials));
    for (const t of trials) {
      t.fault ??= moved;
      if (t.task.row !== null) this.outcomes.set(t.task.row, t.fault ?? asWanted);
      // A container goes on without its monitor, and the next row may want to kill one.
      const over = t.fault !== null || t.task.operation === 'delete' || t.task.row?.victim === 'conmon';
      if (over) await this.forsake(t);
    }
    this.p.say(
      `${trials.length} held after ${reached - begun} ms, serving after ${served - reached} ms, ` +
        `settled after ${Date.now() - served} ms`,
    );
    for (const { task, fault } of trials.filter((t) => t.fault !== null))
      this.p.say(`   ${nameOf({ task })}: ${fault}`);
  }

  /** Works at all of them at once; what fails is that one's fault. */
  private async each(
    what: string,
    trials: readonly Trial[],
    work: (trial: Trial) => Promise<void>,
  ): Promise<void> {
    const attempt = async (t: Trial): Promise<void> => {
      const begun = Date.now();
      await work(t).catch((error: unknown) => void (t.fault ??= messageOf(error)));
      if (Date.now() - begun > SLOW_MS) this.p.say(`   ${nameOf(t)}: ${what} took ${Date.now() - begun} ms`);
    };
    await Promise.all(trials.filter((t) => t.fault === null).map(attempt));
  }

  /** The instance stands where the operation is possible, also when an earlier row lost it. */
  private async stand({ task }: Trial): Promise<void> {
    if (task.operation === 'create' || this.slots.has(task.slot)) return;
    const slot = await this.create(task, { [task.slot]: this.nextName(task) });
    await this.openGate(task.runtime);
    await slot.untilRunning(1);
    slot.boots = await slot.booted(1);
    if (task.operation !== 'start') return;
    await this.p.berth.act(slot.name, 'stop');
    await slot.untilStopped();
  }

  private slot({ task }: Trial): Slot {
    const slot = this.slots.get(task.slot);
    if (slot === undefined) throw new Error(`there is no instance ${task.slot}`);
    return slot;
  }

  /** Asks for what these trials are about, and waits until each is held at its step. */
  private async hold(trials: readonly Trial[]): Promise<void> {
    await this.each('to ask', trials, (t) =>
      t.task.operation === 'create' ? this.askCreate(t) : this.ask(t),
    );
    const creating = trials.filter((t) => t.task.operation === 'create').map((t) => t.task.runtime);
    await Promise.all([...new Set(creating)].map((runtime) => this.openGate(runtime)));
    await this.each('to come to its step', trials, async (t) => {
      if (t.task.row?.key === 'tombstone') await this.passTombstone(t);
      await this.reached(t);
    });
  }

  private async reached({ held }: Trial): Promise<void> {
    if (held === null) return;
    await until(`it came to ${held.point}`, patience(60_000), () =>
      Promise.resolve(this.p.bench.holder(held.point, held.key) === null ? undefined : true),
    );
  }

  private async ask(t: Trial): Promise<void> {
    const { berth } = this.p;
    const { operation, row } = t.task;
    const slot = this.slot(t);
    if (row !== null) this.arm(t, row, slot);
    if (operation === 'crash') return this.crash(slot);
    if (operation === 'medium') return slot.changeMedium();
    const asked =
      operation === 'delete'
        ? berth.ok('DELETE', slot.path)
        : berth.ok('POST', `${slot.path}/actions/${operation === 'kill' ? 'stop' : operation}`, {});
    // Who is held in the request itself gets no answer, or one that the kill cuts off.
    if (row?.key === 'name') asked.catch(() => undefined);
    else await asked;
  }

  /** It ends by itself, as far as Berth can tell. */
  private crash(slot: Slot): Promise<void> {
    const { pid } = slot.host.workload(slot.instance);
    if (!killed(pid)) throw new Error('there was no workload to kill');
    return this.dead(workloadKind(slot.instance), [pid]);
  }

  /** A tombstone's id is known once it is written, so the agent is held before it carries that out. */
  private arm(t: Trial, row: Row, { instance }: Slot): void {
    const keys = {
      id: instance.id,
      name: instance.name,
      volume: instance.status.rootVolumeId ?? '',
      tombstone: instance.id,
    };
    t.held = { point: row.key === 'tombstone' ? 'agent.remove.before' : row.point, key: keys[row.key] };
    this.p.bench.arm(t.held.point, t.held.key);
  }

  private async passTombstone(t: Trial): Promise<void> {
    await this.reached(t);
    const [tombstone] = await this.p.victims.rows<{ id: string }>(
      `select id from tombstones where instance_id = '${t.held?.key ?? ''}' and epoch is not null and done_at is null`,
    );
    if (tombstone === undefined) throw new Error('it is removed without a tombstone');
    const before = t.held;
    t.held = { point: t.task.row?.point ?? '', key: tombstone.id };
    this.p.bench.arm(t.held.point, t.held.key);
    if (before !== null) this.p.bench.release(before.point, before.key);
  }

  private release(t: Trial): void {
    if (t.held !== null) this.p.bench.release(t.held.point, t.held.key);
  }

  private nextName({ slot }: Task): string {
    return `${slot}-${++this.made}`;
  }

  /** One that is held in its own request is let in at once, any other waits at its gate until its id is known. */
  private async askCreate(t: Trial): Promise<void> {
    const { row, runtime, slot } = t.task;
    const name = this.nextName(t.task);
    if (row?.key !== 'name') {
      const made = await this.create(t.task, { [slot]: name });
      return row === null ? undefined : this.arm(t, row, made);
    }
    const { berth, listing, bench, hosts } = this.p;
    t.held = { point: row.point, key: name };
    bench.arm(t.held.point, t.held.key);
    berth.create(name, await this.p.spec(runtime, {}, kindOf(t.task), slot)).catch(() => undefined);
    const instance = await until(`${name} is stored`, patience(30_000), async () => {
      const { status, body } = await berth.call<Instance>('GET', `${berth.instances}/${name}`);
      return status === 200 ? body : undefined;
    });
    this.slots.set(slot, new Slot(berth, listing, runtime, hosts[runtime], instance));
  }

  /** @param gate label without which the host does not fit; its value is the instance's name */
  private async create(task: Task, gate: Readonly<Record<string, string>>): Promise<Slot> {
    const { berth, listing, hosts } = this.p;
    const { slot, runtime } = task;
    const name = gate[slot] ?? '';
    const { instance } = await berth.create(name, await this.p.spec(runtime, gate, kindOf(task), slot));
    const made = new Slot(berth, listing, runtime, hosts[runtime], instance);
    this.slots.set(slot, made);
    this.gates.set(runtime, { ...this.gates.get(runtime), ...gate });
    return made;
  }

  /** One after the other: a late answer must not take back the labels of a later one. */
  private openGate(runtime: RuntimeName): Promise<void> {
    this.opening = this.opening
      .catch(() => undefined)
      .then(() => this.p.label(runtime, this.gates.get(runtime) ?? {}));
    return this.opening;
  }

  /** Ends each victim once for all its rows and lets go of them; resolves when it serves again. */
  private async kill(trials: readonly Trial[]): Promise<void> {
    const { victims, hosts } = this.p;
    const armed = trials.filter((t) => t.held !== null && t.fault === null);
    const parts = new Set<string>();
    await this.each('to be killed', armed, async (t) => {
      const { victim, runtime } = t.task.row ?? { victim: null, runtime: t.task.runtime };
      if (victim === 'workload' || victim === 'conmon') await this.killWorkload(t, victim);
      else if (victim === 'api' || victim === 'postgres') parts.add(victim);
      else if (victim !== null) parts.add(hosts[runtime].part(victim));
    });
    const release = (): void => armed.forEach((t) => this.release(t));
    await victims.killAndWait([...parts], () => Promise.resolve(release()));
  }

  /** Resolves when it is dead, so that nobody takes a dying process for the one that follows it. */
  private async killWorkload(t: Trial, victim: 'workload' | 'conmon'): Promise<void> {
    const slot = this.slot(t);
    const kind = victim === 'conmon' ? 'conmon' : workloadKind(slot.instance);
    slot.counted = false;
    const found = slot.host.of(slot.instance, kind).filter(({ pid }) => killed(pid));
    if (found.length === 0) throw new Error(`there was no ${kind} to kill`);
    await this.dead(
      kind,
      found.map(({ pid }) => pid),
    );
  }

  private async dead(what: string, pids: readonly number[]): Promise<void> {
    await until(`${what} is dead`, patience(20_000), () =>
      Promise.resolve(pids.some(living) ? undefined : true),
    );
  }

  /** Waits for what was asked for. Only a killed workload may need another run, and nothing more than one boot. */
  private async settled(t: Trial): Promise<void> {
    const slot = this.slot(t);
    const { operation } = t.task;
    if (operation === 'stop' || operation === 'kill') return slot.untilStopped();
    if (operation === 'delete') return slot.untilGone();
    if (operation === 'medium') {
      if (!slot.counted) await slot.untilNextRun();
      await slot.untilMedium();
      // It is the same run, and the same process: what is in a drive is none of its guest's concern.
      if (slot.counted) return;
    } else await (operation === 'crash' ? slot.untilNextRun() : slot.untilRunning(slot.epoch + 1));
    // Its output may be lost with its monitor.
    if (t.task.row?.victim === 'conmon') return;
    const before = slot.counted ? slot.boots : 0;
    slot.boots = await slot.booted(before + 1);
    const { run } = slot.instance.status;
    if (slot.counted && (slot.boots !== before + 1 || run !== slot.run))
      throw new Error(`it is run ${run}, and its guest booted ${slot.boots - before} times`);
  }

  /** Gives processes that end a moment to do so; then every difference is a fault. */
  private async compared(trials: readonly Trial[]): Promise<void> {
    const { neighbours, hosts, victims } = this.p;
    const slots = [...this.slots.values(), ...neighbours];
    const look = () => defectsOf(slots, Object.values(hosts), victims);
    let defects = new Map<Slot | null, string>();
    await until('everything is there once', patience(20_000), async () => {
      defects = await look();
      // One that failed is known, and not waited for again.
      for (const t of trials) if (t.fault !== null) defects.delete(this.slots.get(t.task.slot) ?? null);
      return defects.size === 0 ? true : undefined;
    }).catch(() => undefined);
    for (const t of trials) {
      const slot = this.slots.get(t.task.slot);
      t.fault ??= (slot === undefined ? undefined : defects.get(slot)) ?? null;
    }
    const others = [...defects].filter(([slot]) => !trials.some((t) => this.slots.get(t.task.slot) === slot));
    for (const [slot, defect] of others) {
      this.p.say(`   beside the rows: ${slot?.name ?? 'nobody'}: ${defect}`);
      for (const t of trials) t.fault ??= `beside it: ${slot?.name ?? 'nobody'}: ${defect}`;
    }
  }

  /** What runs and is not touched in this round: it keeps its process, whoever is killed. */
  private untouched(trials: readonly Trial[]): Map<Slot, readonly Running[]> {
    const touched = new Set(trials.map((t) => t.task.slot));
    const idle = [...this.slots].filter(([name, slot]) => !touched.has(name) && slot.runs);
    const all = [...idle.map(([, slot]) => slot), ...this.p.neighbours];
    const running = new Map(Object.values(this.p.hosts).map((host) => [host, host.running()]));
    return new Map(
      all.map((slot) => [slot, (running.get(slot.host) ?? []).filter((r) => r.of.startsWith(ofSlot(slot)))]),
    );
  }

  /** Forgets the instance of a slot and deletes it where it is still there, so that the next row begins anew. */
  private async forsake({ task }: Trial): Promise<void> {
    const slot = this.slots.get(task.slot);
    this.slots.delete(task.slot);
    if (slot === undefined || slot.gone) return;
    await this.p.berth.call('DELETE', slot.path).catch(() => undefined);
    await slot.untilGone().catch((error: unknown) => this.p.say(`   cannot be deleted: ${messageOf(error)}`));
  }

  /** Ends all that is left. */
  async cleared(): Promise<void> {
    for (const runtime of runtimes) this.gates.set(runtime, {});
    const left = [...this.slots.values()];
    this.slots.clear();
    await Promise.all(
      left.map(async (slot) => {
        await this.p.berth.call('DELETE', slot.path);
        await slot.untilGone();
      }),
    );
  }
}

/** Slots of stubborn guests, and of guests with a drive, have it before their names. */
export const STUBBORN = 'stubborn-';
export const DRIVE = 'drive-';

function kindOf({ slot, row }: Task): GuestKind {
  if (slot.startsWith(STUBBORN)) return 'stubborn';
  if (slot.startsWith(DRIVE)) return 'drive';
  return row?.point.startsWith('agent.fetchImage.') === true ? 'fresh' : 'steady';
}

const nameOf = ({ task }: Pick<Trial, 'task'>): string =>
  `${task.slot}: ${task.operation} at ${task.row?.point ?? 'no step'}`;

const ofSlot = ({ instance, runtime }: Slot): string => (runtime === 'oci' ? instance.id : instance.uuid);

function movedOf(
  before: ReadonlyMap<Slot, readonly Running[]>,
  after: ReadonlyMap<Slot, readonly Running[]>,
): string | null {
  for (const [slot, processes] of before)
    if (JSON.stringify(after.get(slot)) !== JSON.stringify(processes))
      return `beside it, ${slot.name} moved from ${JSON.stringify(processes)} to ${JSON.stringify(after.get(slot))}`;
  return null;
}

/** What holds up others is asked for last: reports first, then lists, then the scheduler, each needing those after it. */
function phaseOf({ row }: Task): number {
  const lanes = row?.lanes ?? [];
  if (lanes.includes('scheduler')) return 3;
  if (lanes.includes('report')) return 1;
  return lanes.includes('list') ? 2 : 0;
}

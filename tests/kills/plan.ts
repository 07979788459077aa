import { chanceOf } from '../support/chance.js';
import { runtimes, stepsFor } from './steps.js';
import type { Operation, RuntimeName, Step, VictimName } from './steps.js';

/** One row of the kill table: at this step of an operation that victim is killed, under that runtime. */
export interface Row extends Step {
  readonly victim: VictimName;
  readonly runtime: RuntimeName;
}

/** What happens to one instance in a round. */
export interface Task {
  readonly slot: string;
  readonly runtime: RuntimeName;
  readonly operation: Operation;
  /** Null: the operation is not held, it only leads to where the next one is possible. */
  readonly row: Row | null;
}

type State = 'none' | 'running' | 'stopped';
const possible: Readonly<Record<State, readonly Operation[]>> = {
  none: ['create'],
  running: ['stop', 'kill', 'restart', 'crash', 'medium', 'delete'],
  stopped: ['start'],
};
const states = ['running', 'stopped', 'none'] as const;
/** The first operation on the way from one state to another; none leads to where it begins. */
const way: Readonly<Record<State, Readonly<Record<State, Operation>>>> = {
  none: { none: 'create', running: 'create', stopped: 'create' },
  running: { none: 'delete', running: 'restart', stopped: 'stop' },
  stopped: { none: 'delete', running: 'start', stopped: 'start' },
};
const after: Readonly<Record<Operation, State>> = {
  create: 'running',
  stop: 'stopped',
  kill: 'stopped',
  start: 'running',
  restart: 'running',
  crash: 'running',
  medium: 'running',
  delete: 'none',
};

/** Every row of a victim. */
export function rowsOf(victim: VictimName): Row[] {
  return runtimes.flatMap((runtime) =>
    stepsFor(victim, runtime).map((step) => ({ ...step, victim, runtime })),
  );
}

const lanesOf = (row: Row): string[] =>
  row.lanes.map((lane) => (lane === 'scheduler' ? lane : `${lane} of ${row.runtime}`));

/** How many orders of the rows are tried. */
const ORDERS = 40;
/** A round costs as much as so many operations: whoever is killed starts anew, and all others find it again. */
const ROUND = 8;

/**
 * Rounds in which every row has its turn once: in each round every slot does at most one operation, and no two rows of a
 * round hold up the same lane. What stands at the end is left there. Pure; the same rows give the same rounds.
 * @param slots instances per runtime
 * @param kind begins the names of the slots
 */
export function plan(rows: readonly Row[], slots: number, kind = ''): Task[][] {
  const chance = chanceOf(1);
  const plans = Array.from({ length: ORDERS }, () => packed(shuffled(rows, chance), slots, kind));
  return plans.reduce((best, other) => (costOf(other) < costOf(best) ? other : best));
}

const costOf = (rounds: readonly Task[][]): number => rounds.length * ROUND + rounds.flat().length;

function shuffled<T>(all: readonly T[], chance: () => number): T[] {
  return all
    .map((one) => [chance(), one] as const)
    .sort(([a], [b]) => a - b)
    .map(([, one]) => one);
}

function packed(rows: readonly Row[], slots: number, kind: string): Task[][] {
  const all = runtimes.map((runtime) => new Slots(runtime, rows, slots, kind));
  const rounds: Task[][] = [];
  for (;;) {
    const lanes = new Set<string>();
    const round = all.flatMap((of) => of.round(lanes));
    if (round.length === 0) return rounds;
    rounds.push(round);
  }
}

/** The slots of one runtime, and the rows that they have yet to serve. */
class Slots {
  private readonly states: Map<string, State>;
  private left: readonly Row[];

  constructor(
    private readonly runtime: RuntimeName,
    rows: readonly Row[],
    slots: number,
    kind: string,
  ) {
    this.left = rows.filter((row) => row.runtime === runtime);
    this.states = new Map(
      Array.from({ length: slots }, (_, i) => [`${kind}${runtime}-${i}`, 'none'] as const),
    );
  }

  /** What they do in the next round. Takes the lanes that are held up then. */
  round(lanes: Set<string>): Task[] {
    const held = [...this.states].flatMap(([slot, state]) => this.held(slot, state, lanes) ?? []);
    const onward = this.onward([...this.states].filter(([slot]) => !held.some((task) => task.slot === slot)));
    const tasks = [...held, ...onward];
    for (const { slot, operation } of tasks) this.states.set(slot, after[operation]);
    return tasks;
  }

  private count(operation: Operation): number {
    return this.left.filter((row) => row.operation === operation).length;
  }

  /** A row that is possible here: of those whose lanes are free, the one behind which most others wait. */
  private held(slot: string, state: State, lanes: Set<string>): Task | null {
    const [row] = this.left
      .filter(
        (one) => possible[state].includes(one.operation) && lanesOf(one).every((lane) => !lanes.has(lane)),
      )
      .map((one) => [one, this.behind(one)] as const)
      .reduce<readonly [Row | null, number]>((most, one) => (one[1] > most[1] ? one : most), [null, -1]);
    if (row === null) return null;
    for (const lane of lanesOf(row)) lanes.add(lane);
    this.left = this.left.filter((other) => other !== row);
    return { slot, runtime: this.runtime, operation: row.operation, row };
  }

  /** A lane serves one in a round and a slot any, so lanes count before operations. */
  private behind(row: Row): number {
    const lanes = row.lanes.map((lane) => this.left.filter((one) => one.lanes.includes(lane)).length);
    return Math.max(0, ...lanes) * this.left.length + this.count(row.operation);
  }

  /** Operations that only lead to where rows are possible: as many as there are rows that lack a slot there. */
  private onward(idle: readonly [string, State][]): Task[] {
    const wanted = (state: State): number =>
      possible[state].reduce((sum, operation) => sum + this.count(operation), 0);
    const there = (state: State): number => [...this.states.values()].filter((s) => s === state).length;
    const lacking = new Map(states.map((state) => [state, wanted(state) - there(state)]));
    const { runtime } = this;
    return idle.flatMap(([slot, state]): Task[] => {
      // Rows that are possible here wait for a lane.
      if (wanted(state) > 0) return [];
      const goal = states.find((to) => to !== state && (lacking.get(to) ?? 0) > 0);
      if (goal === undefined) return [];
      lacking.set(goal, (lacking.get(goal) ?? 0) - 1);
      return [{ slot, runtime, operation: way[state][goal], row: null }];
    });
  }
}

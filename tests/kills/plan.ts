import { operations, runtimes, stepsFor } from './steps.js';
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

/**
 * Rounds in which every row has its turn once: in each round every slot does at most one operation, and no two rows of a
 * round hold up the same lane. The last rounds delete what is left. Pure; the same rows give the same rounds.
 * @param slots instances per runtime
 * @param kind begins the names of the slots
 */
export function plan(rows: readonly Row[], slots: number, kind = ''): Task[][] {
  const left = new Map(runtimes.map((runtime) => [runtime, rows.filter((row) => row.runtime === runtime)]));
  const states = new Map<string, State>();
  const rounds: Task[][] = [];
  for (;;) {
    const lanes = new Set<string>();
    const round: Task[] = [];
    for (let i = 0; i < slots; i++)
      for (const runtime of runtimes) {
        const slot = `${kind}${runtime}-${i}`;
        const state = states.get(slot) ?? 'none';
        const task = next(slot, runtime, state, left.get(runtime) ?? [], lanes);
        if (task === null) continue;
        if (task.row !== null) {
          for (const lane of lanesOf(task.row)) lanes.add(lane);
          left.set(runtime, left.get(runtime)?.filter((row) => row !== task.row) ?? []);
        }
        round.push(task);
      }
    if (round.length === 0) return rounds;
    for (const { slot, operation } of round) states.set(slot, after[operation]);
    rounds.push(round);
  }
}

function next(
  slot: string,
  runtime: RuntimeName,
  state: State,
  left: readonly Row[],
  lanes: ReadonlySet<string>,
): Task | null {
  const count = (operation: Operation): number => left.filter((row) => row.operation === operation).length;
  const here = [...possible[state]].sort((a, b) => count(b) - count(a));
  for (const operation of here) {
    const row = left.find((r) => r.operation === operation && lanesOf(r).every((lane) => !lanes.has(lane)));
    if (row !== undefined) return { slot, runtime, operation, row };
  }
  // Rows that are possible here wait for a lane.
  if (here.some((operation) => count(operation) > 0)) return null;
  const on = onward(
    state,
    operations.filter((operation) => count(operation) > 0),
  );
  return on === null ? null : { slot, runtime, operation: on, row: null };
}

/** The way to where operations that are still wanted are possible; at the end, to nothing. */
function onward(state: State, wanted: readonly Operation[]): Operation | null {
  if (state === 'none') return wanted.length > 0 ? 'create' : null;
  if (state === 'stopped') return wanted.length > 0 ? 'start' : 'delete';
  return wanted.includes('start') ? 'stop' : 'delete';
}

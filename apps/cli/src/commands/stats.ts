import type { Schemas } from '@berth/client';
import { bytes, cellsOf, columnsShown, tableText, type Column } from '../output.js';
import { exitCodes, Failure } from '../failure.js';
import {
  examples,
  note,
  say,
  untilInterrupted,
  wholeNumber,
  type Commands,
  type Session,
} from '../session.js';
import { escaped, isTerminal } from '../terminal.js';

type Row = Schemas['InstanceStats'] & { readonly name: string };

interface StatsOptions {
  readonly once: boolean;
  readonly interval: number;
}

const size = (n: number | null): string | null => (n === null ? null : bytes(n));
const both = (a: number | null, b: number | null): string => `${size(a) ?? '-'} / ${size(b) ?? '-'}`;

const columns: readonly Column<Row>[] = [
  { head: 'NAME', cell: (r) => r.name },
  { head: 'CPU', cell: (r) => (r.cpuMillis === null ? null : `${(r.cpuMillis / 10).toFixed(1)}%`) },
  { head: 'MEMORY', cell: (r) => both(r.memoryBytes, r.memoryLimitBytes) },
  { head: 'MEMORY%', cell: (r) => `${((r.memoryBytes / r.memoryLimitBytes) * 100).toFixed(1)}%` },
  { head: 'IN GUEST', wide: 'unlessFilled', cell: (r) => size(r.guestMemoryBytes) },
  { head: 'NET IN/OUT', cell: (r) => both(r.networkReceivedBytes, r.networkSentBytes) },
  { head: 'BLOCK IN/OUT', cell: (r) => both(r.blockReadBytes, r.blockWriteBytes) },
  { head: 'PIDS', cell: (r) => r.pids },
];

/** Each is a stream of its own. */
const most = 32;

export const statsCommands: Commands = (program, session) => {
  const stats = program
    .command('stats <name...>')
    .description(
      'what instances use now: processor (100% is one), memory, network, disks, again and again until none of them runs; with -o json an object for each on a line',
    )
    .option('--once', 'measure each once', false)
    .option(
      '--interval <seconds>',
      'between two measurements, 1 to 60',
      (t) => wholeNumber('--interval', t),
      1,
    )
    .action(async (names: string[], options: StatsOptions) => {
      const s = session();
      const wanted = [...new Set(names)];
      if (wanted.length > most)
        throw new Failure(
          `stats measures at most ${most} instances at once, not ${wanted.length}`,
          exitCodes.usage,
        );
      if (options.once) return statsOnce(s, wanted, options.interval);
      await untilInterrupted((signal) => statsFollow(s, wanted, options.interval, signal));
    });
  examples(
    stats,
    `berth stats --once cache
     berth stats web cache
     berth -o json stats --once cache debian`,
  );
};

const asked = (s: Session, instance: string, intervalSeconds: number) => ({
  ...{ project: s.project, instance, intervalSeconds },
});

async function statsOnce(s: Session, names: readonly string[], interval: number): Promise<void> {
  const rows = await Promise.all(
    names.map(async (name) => {
      for await (const now of s.api.stats({ ...asked(s, name, interval), follow: false }))
        return { name, ...now };
      throw new Failure(`${name} does not run any more`, exitCodes.failed);
    }),
  );
  if (lines(s)) for (const row of rows) say(jsonLine(row));
  else say(tableOf(rows, s));
}

/** A table that is drawn anew over itself; without a terminal, tables below each other. */
async function statsFollow(
  s: Session,
  names: readonly string[],
  interval: number,
  interrupted: AbortSignal,
): Promise<void> {
  const table = new LiveTable(s, names);
  const over = new AbortController();
  const signal = AbortSignal.any([interrupted, over.signal]);
  const follow = async (name: string): Promise<void> => {
    for await (const now of s.api.stats({ ...asked(s, name, interval), follow: true, signal }))
      if (lines(s)) say(jsonLine({ name, ...now }));
      else table.set({ name, ...now });
    if (signal.aborted) return;
    table.remove(name);
    note(`${name} does not run any more`);
  };
  try {
    await Promise.all(names.map(follow));
  } finally {
    over.abort();
  }
}

class LiveTable {
  private readonly rows = new Map<string, Row>();
  private readonly left: Set<string>;
  /** Who has been measured since it was drawn. */
  private readonly told = new Set<string>();
  /** Lines of it above the cursor. */
  private drawn = 0;

  constructor(
    private readonly s: Session,
    private readonly names: readonly string[],
  ) {
    this.left = new Set(names);
  }

  /** Draws once for each round. Who is measured a second time begins the next one, however late others are. */
  set(row: Row): void {
    if (this.told.has(row.name)) this.draw();
    this.rows.set(row.name, row);
    this.told.add(row.name);
    if ([...this.left].every((name) => this.told.has(name))) this.draw();
  }

  remove(name: string): void {
    this.left.delete(name);
    this.rows.delete(name);
    // What is said of it stands below the table.
    this.drawn = 0;
  }

  private draw(): void {
    this.told.clear();
    const text = tableOf(
      this.names.flatMap((name) => this.rows.get(name) ?? []),
      this.s,
    );
    if (isTerminal(process.stdout) && this.drawn > 0) say(`\u001b[${this.drawn}A\u001b[J`);
    this.drawn = text.split('\n').length - 1;
    say(text);
  }
}

const lines = ({ format }: Session): boolean => format === 'json' || format === 'yaml';
const jsonLine = (row: Row): string => `${escaped(JSON.stringify(row))}\n`;

function tableOf(rows: readonly Row[], { format }: Session): string {
  const shown = columnsShown(rows, columns, format);
  return tableText(
    shown.map((c) => c.head),
    rows.map((row) => cellsOf(row, shown)),
  );
}

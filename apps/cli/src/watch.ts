import { ProblemError, type Schemas } from '@berth/client';
import type { Kind, KindName } from './kinds.js';
import { cellsOf, columnsShown, type Column } from './output.js';
import { say, untilInterrupted, type Session } from './session.js';
import { escaped } from './terminal.js';

type Event = Schemas['Event'];
type Watched = Kind<unknown> & { readonly name: KindName };
interface Named {
  readonly id?: string;
  readonly name?: string;
}

/**
 * Prints what there is, then each object again whenever it looks different, until Ctrl-C. Told by the event stream; nothing
 * is asked again that no event concerned. In JSON each is one line; a deleted one is `{"name": …, "deleted": true}`.
 */
export async function watch(
  s: Session,
  kind: Watched,
  name: string | undefined,
  limit: number,
): Promise<void> {
  const rows = new Rows(s, kind);
  const changed = new Changes();
  const listAll = async (): Promise<unknown[]> =>
    name === undefined
      ? kind.list(s.api, { project: s.project, limit })
      : [await kind.get(s.api, s.project, name)];
  await untilInterrupted(async (interrupted) => {
    // Asked first, so that an API that is away or a name that is not there ends the command at once.
    rows.show(await listAll());
    const over = new AbortController();
    const signal = AbortSignal.any([interrupted, over.signal]);
    const following = follow(s, kind, name, changed, signal).then(() => null);
    try {
      for (;;) {
        const what = await Promise.race([changed.next(), following]);
        if (what === null) return;
        if (what === 'all') rows.show(await listAll());
        else for (const key of what) await showOne(s, kind, rows, key);
      }
    } finally {
      over.abort();
    }
  });
}

/** Each connection begins with a look at everything: what happened before it is not told. */
export async function follow(
  s: Session,
  kind: Watched,
  name: string | undefined,
  changed: Changes,
  signal: AbortSignal,
): Promise<void> {
  const scope = kind.object === 'host' || kind.object === 'project' ? {} : { project: s.project };
  const filter = kind.object === null ? {} : { objectKind: kind.object };
  const connected = (): void => changed.all();
  for await (const event of s.api.events({ ...scope, ...filter, connected, signal })) {
    const key = keyOf(event);
    if (kind.object === null) changed.all();
    else if (name === undefined || key === name) changed.one(key);
  }
}

/** What `get` takes. */
const keyOf = ({ object }: Event): string => object.name;

async function showOne(s: Session, kind: Watched, rows: Rows, key: string): Promise<void> {
  try {
    rows.show([await kind.get(s.api, s.project, key)]);
  } catch (error) {
    if (!(error instanceof ProblemError) || error.status !== 404) throw error;
    rows.gone(key);
  }
}

/** What has to be looked at, each thing once however many events told of it. */
export class Changes {
  private everything = false;
  private readonly names = new Set<string>();
  private wake: (() => void) | null = null;

  all(): void {
    this.everything = true;
    this.wake?.();
  }
  one(name: string): void {
    this.names.add(name);
    this.wake?.();
  }
  async next(): Promise<'all' | readonly string[]> {
    if (!this.everything && this.names.size === 0)
      await new Promise<void>((resolve) => (this.wake = resolve));
    this.wake = null;
    const names = [...this.names];
    this.names.clear();
    if (!this.everything) return names;
    this.everything = false;
    return 'all';
  }
}

/** Rows below each other under one head; a row that looks as before is not repeated. */
class Rows {
  private readonly seen = new Map<string, string>();
  private columns: readonly Column<unknown>[] | null = null;
  private widths: number[] = [];

  constructor(
    private readonly s: Session,
    private readonly kind: Watched,
  ) {}

  show(items: readonly unknown[]): void {
    const fresh = items.filter((item) => this.isNews(item));
    if (this.s.format === 'json' || this.s.format === 'yaml')
      return fresh.forEach((item) => say(`${escaped(JSON.stringify(item))}\n`));
    if (fresh.length === 0) return;
    const head = this.head(fresh);
    const cells = fresh.map((item) => cellsOf(item, head));
    for (const row of cells) this.widen(row);
    for (const row of cells) this.print(row);
  }

  gone(key: string): void {
    if (!this.seen.delete(key)) return;
    if (this.s.format === 'json' || this.s.format === 'yaml')
      return say(`${escaped(JSON.stringify({ name: key, deleted: true }))}\n`);
    this.print([key, 'deleted']);
  }

  private isNews(item: unknown): boolean {
    const { id, name } = item as Named;
    const key = this.kind.object === 'volume' || name === undefined ? (id ?? '') : name;
    const text = this.looks(item);
    if (this.seen.get(key) === text) return false;
    this.seen.set(key, text);
    return true;
  }

  /** What makes a row another one: ages change without news. */
  private looks(item: unknown): string {
    if (this.s.format === 'json' || this.s.format === 'yaml') return JSON.stringify(item);
    const all = this.kind.columns as readonly Column<unknown>[];
    return JSON.stringify(
      cellsOf(
        item,
        all.filter((c) => c.head !== 'AGE' && c.head !== 'SEEN'),
      ),
    );
  }

  private head(items: readonly unknown[]): readonly Column<unknown>[] {
    if (this.columns !== null) return this.columns;
    const all = this.kind.columns as readonly Column<unknown>[];
    // A column that may be filled later has its place from the beginning: it is the last one.
    this.columns = columnsShown(items, all, this.s.format).concat(
      this.s.format === 'wide' ? [] : all.filter((c) => c.wide === 'unlessFilled'),
    );
    this.columns = [...new Set(this.columns)];
    const titles = this.columns.map((c) => c.head);
    this.widen(titles);
    for (const item of items) this.widen(cellsOf(item, this.columns));
    this.print(titles);
    return this.columns;
  }

  private widen(row: readonly string[]): void {
    row.forEach((cell, i) => (this.widths[i] = Math.max(this.widths[i] ?? 0, cell.length)));
  }
  private print(row: readonly string[]): void {
    say(
      `${row
        .map((cell, i) => cell.padEnd(this.widths[i] ?? 0))
        .join('  ')
        .trimEnd()}\n`,
    );
  }
}

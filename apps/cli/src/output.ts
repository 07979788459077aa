import Table from 'cli-table3';
import { Document, isScalar, Scalar, visit } from 'yaml';
import { escaped, isStrange, plainLine } from './terminal.js';

export type Format = 'table' | 'wide' | 'json' | 'yaml';
export const formats: readonly Format[] = ['table', 'wide', 'json', 'yaml'];

/** One column of a list. `wide` ones show only with `-o wide`; those `unlessFilled` also when some item fills them. */
export interface Column<T> {
  readonly head: string;
  readonly wide?: boolean | 'unlessFilled';
  readonly cell: (item: T) => string | number | null | undefined;
}

const noBorders = Object.fromEntries(
  [
    'top',
    'top-mid',
    'top-left',
    'top-right',
    'bottom',
    'bottom-mid',
    'bottom-left',
    'bottom-right',
    'left',
    'left-mid',
    'mid',
    'mid-mid',
    'right',
    'right-mid',
    'middle',
  ].map((k) => [k, k === 'middle' ? '  ' : '']),
);

/** Items in the format asked for. JSON and YAML are the API's own objects, unchanged. */
export function listText<T>(items: readonly T[], columns: readonly Column<T>[], format: Format): string {
  if (format === 'json' || format === 'yaml') return objectText(items, format);
  if (items.length === 0) return 'none\n';
  const shown = columnsShown(items, columns, format);
  return tableText(
    shown.map((c) => c.head),
    items.map((item) => cellsOf(item, shown)),
  );
}

/** The columns that a list of these items has. */
export function columnsShown<T>(
  items: readonly T[],
  columns: readonly Column<T>[],
  format: Format,
): readonly Column<T>[] {
  const filled = (c: Column<T>): boolean => items.some((i) => plain(c.cell(i)) !== '-');
  return columns.filter(
    (c) => format === 'wide' || (c.wide === 'unlessFilled' ? filled(c) : c.wide !== true),
  );
}

export const cellsOf = <T>(item: T, columns: readonly Column<T>[]): string[] =>
  columns.map((c) => plain(c.cell(item)));

/** One object; tables have no room for it, so it is YAML unless JSON is wanted. */
export function objectText(object: unknown, format: Format): string {
  return format === 'json' ? `${escaped(JSON.stringify(object, null, 2))}\n` : yamlText(object);
}

/** YAML in which no text steers the terminal: such strings stand in double quotes, with escapes. */
export function yamlText(object: unknown): string {
  const document = new Document(object);
  visit(document, {
    Scalar: (_, node) => {
      if (isScalar(node) && typeof node.value === 'string' && isStrange(node.value.replaceAll('\n', '')))
        node.type = Scalar.QUOTE_DOUBLE;
    },
  });
  return escaped(document.toString());
}

export function tableText(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    head: [...head],
    chars: noBorders,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0 },
  });
  for (const row of rows) table.push([...row]);
  return `${table.toString().replace(/[ \t]+$/gm, '')}\n`;
}

/** A cell: what a guest or a user wrote must not steer the terminal. */
export function plain(value: string | number | null | undefined): string {
  return value === null || value === undefined || value === '' ? '-' : plainLine(String(value));
}

/** Age in one unit, as lists show it. */
export function age(from: string | null, now: number): string {
  if (from === null) return '-';
  const s = Math.max(0, Math.floor((now - Date.parse(from)) / 1000));
  if (s < 120) return `${s}s`;
  if (s < 7200) return `${Math.floor(s / 60)}m`;
  if (s < 172_800) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86_400)}d`;
}

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) [n, i] = [n / 1024, i + 1];
  return `${i === 0 ? n : n.toFixed(1)} ${units[i]}`;
}

/** One line of /proc/<pid>/mountinfo (proc(5)). */
export interface MountEntry {
  readonly id: number;
  readonly parentId: number;
  /** `major:minor`. */
  readonly device: string;
  /** Path inside the file system that forms the root of this mount. */
  readonly root: string;
  readonly target: string;
  readonly options: readonly string[];
  /** Optional fields: `shared:N`, `master:N`, `propagate_from:N`, `unbindable`. */
  readonly propagation: readonly string[];
  readonly type: string;
  readonly source: string;
  readonly superOptions: readonly string[];
}

/** Parses mountinfo. Lines that do not have its form are refused, since a mount overlooked may be deleted through. */
export function mountinfoParse(text: string): MountEntry[] {
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseLine);
}

function parseLine(line: string): MountEntry {
  const fields = line.split(' ');
  const dash = fields.indexOf('-', 6);
  const [id, parentId, device, root, target, options] = fields;
  const type = fields[dash + 1];
  const source = fields[dash + 2];
  const superOptions = fields[dash + 3];
  if (
    dash < 0 ||
    options === undefined ||
    target === undefined ||
    root === undefined ||
    device === undefined ||
    type === undefined ||
    source === undefined ||
    superOptions === undefined
  ) {
    throw new Error(`not a mountinfo line: ${JSON.stringify(line)}`);
  }
  return {
    id: Number(id),
    parentId: Number(parentId),
    device,
    root: unescapePath(root),
    target: unescapePath(target),
    options: options.split(','),
    propagation: fields.slice(6, dash),
    type: unescapePath(type),
    source: unescapePath(source),
    superOptions: superOptions.split(',').map(unescapePath),
  };
}

/** The kernel writes space, tab, newline, backslash and (sources) `#` as three octal digits (seq_path, mangle_path). */
function unescapePath(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)));
}

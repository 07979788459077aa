import type { Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { accept, type WaitOptions, waiting } from '../operation.js';
import { listText, objectText, type Column } from '../output.js';
import { append, examples, say, type Commands, type Session } from '../session.js';
import { wantedPreview, wantedPut, type Wanted } from '../spec-change.js';
import { documentsRead, valueSet } from '../spec-file.js';

interface UpdateOptions extends WaitOptions {
  readonly file?: string;
  readonly set: string[];
  readonly dryRun: boolean;
}

/** One instance, and what becomes of it from what it is. */
interface Change {
  readonly name: string;
  readonly wanted: (now: Schemas['Instance']) => Wanted;
}

export const updateCommands: Commands = (program, session) => {
  const update = waiting(program.command('update [name]'))
    .description(
      'change instances: fields of one by --set, or whole specs by a file as create takes it. What cannot change while an instance runs waits for its next start',
    )
    .option('-f, --file <file>', 'name, labels, spec, one document for each; - is the standard input')
    .option('--set <field=value>', 'a field and its new value, for example spec.memoryMiB=64', append, [])
    .option('--dry-run', 'change nothing; show what would change, and when it would take effect', false)
    .action(async (name: string | undefined, options: UpdateOptions) => {
      const s = session();
      const changes = changesOf(name, options);
      if (options.dryRun) return previewShow(s, changes);
      await accept(
        s,
        options,
        changes.map((change) => () => wantedPut(s, change.name, change.wanted)),
      );
    });
  examples(
    update,
    `berth update web --set spec.memoryMiB=96 --dry-run
     berth update web --set labels.tier=front --set spec.restart.policy=always
     berth update cache --set spec.resources.pids=200
     berth update -f examples/container.yaml --set name=cache`,
  );
};

function changesOf(name: string | undefined, { file, set }: UpdateOptions): Change[] {
  if (file === undefined) {
    if (name === undefined || set.length === 0)
      throw new Failure(
        'nothing to change\n  -> Give a name and --set spec.field=value, or a file: berth update -f web.yaml',
        exitCodes.usage,
      );
    return [{ name, wanted: ({ spec, labels }) => changed({ spec, labels }, set) }];
  }
  const documents = documentsRead(file);
  for (const document of documents) for (const assignment of set) valueSet(document, assignment);
  return documents.map((document) => ofDocument(document, name, file));
}

function ofDocument(document: Record<string, unknown>, only: string | undefined, file: string): Change {
  const { name, spec, labels, ...rest } = document;
  if (typeof name !== 'string' || typeof spec !== 'object' || spec === null)
    throw new Failure(`${file}: each document has a name and a spec`, exitCodes.usage);
  if (only !== undefined && only !== name)
    throw new Failure(
      `${file} is of ${name}, not of ${only}\n  -> Leave ${only} out, or --set name=${only}`,
      exitCodes.usage,
    );
  // Whether it is to run is no business of a file that does not say so.
  const wanted = ({ spec: now }: Schemas['Instance']): Wanted =>
    ({
      spec: { desired: now.desired, ...spec },
      ...(labels === undefined ? {} : { labels }),
      ...rest,
    }) as Wanted;
  return { name, wanted };
}

function changed(now: Wanted, assignments: readonly string[]): Wanted {
  const document = structuredClone(now) as unknown as Record<string, unknown>;
  for (const assignment of assignments) valueSet(document, assignment);
  return document as unknown as Wanted;
}

type FieldChange = Schemas['ChangePreview']['changes'][number];

const columns: readonly Column<FieldChange>[] = [
  {
    head: 'FIELD',
    cell: ({ path }) => path.slice(1).replaceAll('/', '.').replaceAll('~1', '/').replaceAll('~0', '~'),
  },
  { head: 'FROM', cell: ({ from }) => shown(from) },
  { head: 'TO', cell: ({ to }) => shown(to) },
  { head: 'TAKES EFFECT', cell: ({ effect }) => (effect === 'now' ? 'at once' : 'at the next start') },
];

const longest = 60;

function shown(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > longest ? `${text.slice(0, longest - 1)}…` : text;
}

async function previewShow(s: Session, changes: readonly Change[]): Promise<void> {
  const previews: (Schemas['ChangePreview'] & { name: string })[] = [];
  for (const { name, wanted } of changes) previews.push({ name, ...(await wantedPreview(s, name, wanted)) });
  if (s.format === 'json' || s.format === 'yaml')
    return say(objectText(previews.length === 1 ? previews[0] : previews, s.format));
  say(previews.map(previewText(s)).join('\n'));
}

const previewText =
  (s: Session) =>
  ({ name, changes, restartRequired }: Schemas['ChangePreview'] & { name: string }): string => {
    if (changes.length === 0) return `${name}: nothing would change\n`;
    const after = restartRequired ? `It runs, and needs a restart for the rest: berth restart ${name}\n` : '';
    return `${name}:\n${listText(changes, columns, s.format)}${after}`;
  };

import { randomUUID } from 'node:crypto';
import { answer, ProblemError, type Schemas } from '@berth/client';
import { Option } from 'commander';
import { exitCodes, Failure } from '../failure.js';
import { download, refuseThere } from '../file-download.js';
import { fileDigest } from '../image-file.js';
import { operationEnd } from '../operation.js';
import { bytes, objectText } from '../output.js';
import { volumes } from '../kinds.js';
import { examples, note, ofInstance, say, wholeNumber, type Commands, type Session } from '../session.js';

interface ExportOptions {
  readonly file?: string;
  readonly format: 'qcow2' | 'raw';
  readonly snapshot?: string;
  readonly instance?: string;
  readonly timeout: number;
}
type Source = NonNullable<Schemas['VolumeExport']['source']>;
type Exported = Schemas['Volume'];

const path = '/v1/projects/{project}/volumes/{volume}';
const snapshots = '/v1/projects/{project}/instances/{name}/snapshots';

export const volumeExportCommand: Commands = (volume, session) => {
  const command = volume
    .command('export <volume>')
    .description(
      'download what a data volume holds, as a disk file; of one in use a snapshot is taken for it',
    )
    .option('-f, --file <path>', "where it goes; the volume's name and format unless said")
    .addOption(new Option('--format <format>', 'of the file').choices(['qcow2', 'raw']).default('qcow2'))
    .option('--snapshot <name>', 'as the volume was in this snapshot')
    .option('--instance <name>', 'of which the snapshot is; who has the volume unless said')
    .option('--timeout <seconds>', 'longest wait for the file', (t) => wholeNumber('--timeout', t), 3600)
    .action(async (ref: string, options: ExportOptions) => {
      await exportTo(session(), ref, options);
    });
  examples(
    command,
    `berth volume export records
     berth volume export records --file records.img --format raw
     berth volume export records --snapshot before-upgrade --file before.qcow2`,
  );
};

async function exportTo(s: Session, ref: string, options: ExportOptions): Promise<void> {
  const found = await volumes.get(s.api, s.project, ref);
  const file = options.file ?? `${found.name}.${options.format}`;
  await refuseThere(file);
  const { source, own } = await sourceFor(s, found, options);
  let exported: Exported;
  try {
    exported = await ordered(s, ref, options, source);
  } finally {
    if (own) await snapshotDrop(s, source);
  }
  try {
    await fetched(s, exported, file);
  } finally {
    await dropped(s, exported.name);
  }
  const { export: told } = exported;
  if (s.format === 'json' || s.format === 'yaml') return say(objectText(exported, s.format));
  say(`${file}: ${bytes(told?.file?.sizeBytes ?? 0)}, consistency ${told?.consistency ?? ''}\n`);
  say(`sha256 ${told?.file?.sha256 ?? ''}\n`);
}

/** What is exported: a snapshot that was named, or one taken for this of a volume that a machine may write; else the volume as it is. */
async function sourceFor(
  s: Session,
  volume: Exported,
  { snapshot, instance, timeout }: ExportOptions,
): Promise<{ readonly source: Source | undefined; readonly own: boolean }> {
  const name = instance ?? volume.owner?.instance;
  if (snapshot !== undefined) {
    if (name === undefined)
      throw new Failure(
        `no instance has ${volume.name}\n  -> Say with --instance of which instance the snapshot is`,
        exitCodes.usage,
      );
    return { source: { instance: name, snapshot }, own: false };
  }
  if (instance !== undefined) throw new Failure('--instance is for --snapshot', exitCodes.usage);
  if (name === undefined) return { source: undefined, own: false };
  const params = ofInstance(s, name);
  const { state } = (await answer(s.api.rest.GET('/v1/projects/{project}/instances/{name}', { params })))
    .status;
  if (state === 'stopped') return { source: undefined, own: false };
  const source = { instance: name, snapshot: `export-${randomUUID().slice(0, 8)}` };
  note(`${name} is ${state}: snapshot ${source.snapshot} is taken of it`);
  const body = { name: source.snapshot };
  const { operation } = await answer(s.api.rest.POST(snapshots, { params, body }));
  await operationEnd(s.api, operation, { seconds: timeout, progress: note });
  return { source, own: true };
}

/** Asks for the file, and waits until its host has made it. One that does not come is given up. */
async function ordered(
  s: Session,
  ref: string,
  { format, timeout }: ExportOptions,
  source: Source | undefined,
): Promise<Exported> {
  const params = { path: { project: s.project, volume: ref } };
  const body = { format, ...(source === undefined ? {} : { source }) };
  const begun = await answer(s.api.rest.POST(`${path}/actions/export`, { params, body }));
  const { name } = begun.operation.target;
  try {
    await operationEnd(s.api, begun.operation, { seconds: timeout, progress: note });
  } catch (error) {
    await dropped(s, name);
    throw error;
  }
  return volumes.get(s.api, s.project, name);
}

/** Downloads what the host made. @throws Failure, ProblemError */
async function fetched(s: Session, exported: Exported, file: string): Promise<void> {
  const whole = exported.export?.file;
  if (!whole) throw new Failure(`${exported.name} is not whole`);
  await download({
    open: (from, tag) => s.api.exportRead({ project: s.project, volume: exported.name, from, tag }),
    to: file,
    mark: exported.id.slice(0, 8),
    check: async (part) => {
      if ((await fileDigest(part)) !== `sha256:${whole.sha256}`)
        throw new Failure(
          `what came is not what the host made: its sha256 is another one\n  -> Export it again`,
        );
    },
  });
}

/** What cannot be removed is told, and goes by itself in a day. */
async function dropped(s: Session, volume: string): Promise<void> {
  await answer(s.api.rest.DELETE(path, { params: { path: { project: s.project, volume } } })).catch(
    (error: unknown) => {
      const gone = error instanceof ProblemError && error.problem.status === 404;
      if (!gone) note(`${volume} could not be deleted: ${(error as Error).message}`);
    },
  );
}

async function snapshotDrop(s: Session, source: Source | undefined): Promise<void> {
  if (source === undefined) return;
  const params = { path: { project: s.project, name: source.instance, snapshot: source.snapshot } };
  await answer(s.api.rest.DELETE(`${snapshots}/{snapshot}`, { params })).catch((error: unknown) =>
    note(`snapshot ${source.snapshot} could not be deleted: ${(error as Error).message}`),
  );
}

import { Option, type Command } from 'commander';
import { answer, type Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { endText, operationEnd, type WaitOptions, waiting } from '../operation.js';
import { volumes } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, inProject, note, say, wholeNumber, type Commands, type Session } from '../session.js';
import { specChange } from '../spec-change.js';
import { volumeExportCommand } from './volume-export.js';

type Volume = Schemas['Volume'];
type Mounts = Schemas['Instance']['spec']['volumes'];
interface Limits {
  readonly readBps?: number;
  readonly writeBps?: number;
  readonly readIops?: number;
  readonly writeIops?: number;
}

const path = '/v1/projects/{project}/volumes/{volume}';

export const volumeCommands: Commands = (program, session) => {
  const volume = program
    .command('volume')
    .description('data volumes, which outlive the instances that have them');
  examples(volume, 'berth volume ls\nberth volume attach --help');
  createCommand(volume, session);
  const list = volume
    .command('ls')
    .description('list the volumes of the project; root disks are volumes too')
    .action(async () => {
      const s = session();
      const all = await volumes.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, volumes.columns, s.format));
    });
  examples(list, 'berth volume ls\nberth volume ls -o wide');
  cloneCommand(volume, session);
  attachCommands(volume, session);
  volumeExportCommand(volume, session);
  const grow = volume
    .command('grow <name>')
    .description('make a volume larger, also while a guest uses it')
    .requiredOption('--size <MiB>', 'new size, MiB', (t) => wholeNumber('--size', t))
    .action(async (name: string, { size }: { size: number }) => {
      const s = session();
      told(s, await change(s, name, { sizeMiB: size }), `${size} MiB`);
    });
  examples(grow, 'berth volume grow data --size 20');
  limitCommand(volume, session);
  const remove = volume
    .command('delete <name...>')
    .description('delete volumes with all they hold; none may be attached')
    .action(async (names: string[]) => {
      const s = session();
      for (const name of names) {
        await answer(s.api.rest.DELETE(path, { params: { path: { project: s.project, volume: name } } }));
        say(`${name}: deleted\n`);
      }
    });
  examples(remove, 'berth volume delete scratch');
};

const createCommand: Commands = (volume, session) => {
  const create = limited(
    volume
      .command('create <name>')
      .description('create an empty volume; it takes room on a host when it is first attached')
      .requiredOption('--size <MiB>', 'size that the guest sees, MiB', (t) => wholeNumber('--size', t))
      .option('--raw', 'store it as a plain file, which cannot be copied on write', false)
      .option('--files', 'a file system for containers (ext4), made by its host', false),
  ).action(async (name: string, options: Limits & { size: number; raw: boolean; files: boolean }) => {
    const s = session();
    const body = {
      name,
      sizeMiB: options.size,
      format: formatOf(options),
      limits: limitsOf(options),
    };
    told(
      s,
      await answer(s.api.rest.POST('/v1/projects/{project}/volumes', { params: inProject(s), body })),
      'created',
    );
  });
  examples(
    create,
    'berth volume create logs --size 64\nberth volume create fast --size 64 --raw --read-iops 500\nberth volume create uploads --size 64 --files',
  );
};

/** @throws Failure for both */
function formatOf({ raw, files }: { readonly raw: boolean; readonly files: boolean }) {
  if (raw && files)
    throw new Failure(
      '--raw is a disk for machines, --files a file system for containers: give one',
      exitCodes.usage,
    );
  return files ? ('ext4' as const) : raw ? ('raw' as const) : ('qcow2' as const);
}

const cloneCommand: Commands = (volume, session) => {
  const clone = volume
    .command('clone <volume> <name>')
    .description('make a volume that holds what this one holds; whoever has this one must not run')
    .addOption(new Option('--format <format>', 'as the other one has it unless said').choices(formats))
    .option('--no-wait', 'return when the request is recorded')
    .option('--timeout <seconds>', 'longest wait', (t) => wholeNumber('--timeout', t), 3600)
    .action(async (ref: string, name: string, options: WaitOptions & { format?: Volume['format'] }) => {
      const s = session();
      const { format } = options;
      const body = { name, ...(format === 'qcow2' || format === 'raw' ? { format } : {}) };
      const params = { path: { project: s.project, volume: ref } };
      const { operation } = await answer(s.api.rest.POST(`${path}/actions/clone`, { params, body }));
      if (!options.wait)
        return say(s.format === 'table' ? endText(operation) : objectText(operation, s.format));
      await operationEnd(s.api, operation, { seconds: options.timeout, progress: note });
      told(s, await volumes.get(s.api, s.project, name), `a clone of ${ref}`);
    });
  examples(clone, 'berth volume clone data copy\nberth volume clone data plain --format raw');
};
const formats = ['qcow2', 'raw'] as const;

const limitCommand: Commands = (volume, session) => {
  const limit = limited(
    volume
      .command('limit <name>')
      .description('set what a volume may be read and written in a second; what is left out is lifted'),
  ).action(async (name: string, options: Limits) => {
    const s = session();
    const limits = limitsOf(options);
    const text = Object.entries(limits).map(([key, value]) => `${key} ${value}`);
    told(s, await change(s, name, { limits }), text.length === 0 ? 'no limits' : text.join(', '));
  });
  examples(limit, 'berth volume limit data --write-bps 10000000\nberth volume limit data');
};

const attachCommands: Commands = (volume, session) => {
  const attach = waiting(volume.command('attach <instance> <volume>'))
    .description('give a volume to an instance, which need not be stopped')
    .option('--read-only', 'the guest may not write it', false)
    .option('--path <path>', 'where a container has it, from its next start on')
    .action(
      async (name: string, ref: string, options: WaitOptions & { readOnly: boolean; path?: string }) => {
        const s = session();
        const mount = {
          name: ref,
          readOnly: options.readOnly,
          ...(options.path === undefined ? {} : { path: options.path }),
        };
        await mounting(s, name, options, (has) => [...has.filter((v) => v.name !== ref), mount]);
      },
    );
  examples(
    attach,
    'berth volume attach web data\nberth volume attach db shared --read-only\nberth volume attach cache pictures --path /srv/pictures',
  );
  const detach = waiting(volume.command('detach <instance> <volume>'))
    .description('take a volume from an instance; unmount it in the guest before')
    .action(async (name: string, ref: string, options: WaitOptions) => {
      const s = session();
      await mounting(s, name, options, (has) => {
        if (has.some((v) => v.name === ref)) return has.filter((v) => v.name !== ref);
        const names = has.map((v) => v.name).join(', ') || 'none';
        throw new Failure(`${name} has no volume ${ref}\n  -> It has: ${names}`, exitCodes.notFound);
      });
    });
  examples(detach, 'berth volume detach web data');
};

/** Changes the volumes that an instance asks for. */
const mounting = (
  s: Session,
  name: string,
  options: WaitOptions,
  change: (has: Mounts) => Mounts,
): Promise<void> => specChange(s, name, options, (spec) => ({ ...spec, volumes: change(spec.volumes) }));

function change(s: Session, name: string, body: Schemas['VolumeUpdate']): Promise<Volume> {
  return answer(s.api.rest.PATCH(path, { params: { path: { project: s.project, volume: name } }, body }));
}

function told(s: Session, volume: Volume, what: string): void {
  say(
    s.format === 'json' || s.format === 'yaml' ? objectText(volume, s.format) : `${volume.name}: ${what}\n`,
  );
}

function limited(command: Command): Command {
  const limit = (flag: string, what: string): void =>
    void command.option(`${flag} <number>`, `${what} in each second`, (t) => wholeNumber(flag, t));
  limit('--read-bps', 'most bytes read');
  limit('--write-bps', 'most bytes written');
  limit('--read-iops', 'most read operations');
  limit('--write-iops', 'most write operations');
  return command;
}

function limitsOf({ readBps, writeBps, readIops, writeIops }: Limits): Volume['limits'] {
  const all = {
    readBytesPerSecond: readBps,
    writeBytesPerSecond: writeBps,
    readOperationsPerSecond: readIops,
    writeOperationsPerSecond: writeIops,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

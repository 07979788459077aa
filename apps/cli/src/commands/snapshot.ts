import { answer, type Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { accept, type WaitOptions, waiting } from '../operation.js';
import { age, listText, objectText, type Column } from '../output.js';
import { examples, ofInstance, say, wholeNumber, type Commands, type Session } from '../session.js';
import { specChange } from '../spec-change.js';
import { snapshotCopyCommand } from './snapshot-copy.js';

type Snapshot = Schemas['Snapshot'];

const all = '/v1/projects/{project}/instances/{name}/snapshots';
const one = '/v1/projects/{project}/instances/{name}/snapshots/{snapshot}';

const columns: readonly Column<Snapshot>[] = [
  { head: 'NAME', cell: (s) => s.name },
  { head: 'STATE', cell: (s) => s.state },
  { head: 'CONSISTENCY', cell: (s) => s.consistency },
  { head: 'DISKS', cell: (s) => s.disks.map((d) => d.volume).join(',') },
  { head: 'MEMORY', cell: (s) => memoryText(s) },
  { head: 'BOOKED', cell: (s) => `${s.bookedMiB} MiB` },
  { head: 'AGE', cell: (s) => age(s.takenAt ?? s.createdAt, Date.now()) },
  { head: 'SCHEDULED FOR', wide: true, cell: (s) => s.scheduledFor },
  { head: 'CONCLUDED FROM', wide: true, cell: (s) => s.indications.join('; ') },
];

export const snapshotCommands: Commands = (program, session) => {
  const snapshot = program
    .command('snapshot')
    .description('disks of virtual machines as they were at one moment');
  examples(snapshot, 'berth snapshot ls web\nberth snapshot create --help');
  const create = waiting(snapshot.command('create <instance> <name>'))
    .description('take a snapshot of all disks of an instance, which may run')
    .option('--memory', 'with the memory of its guest, which runs: a revert goes on from that moment')
    .action(async (name: string, ref: string, options: WaitOptions & { readonly memory?: true }) => {
      const s = session();
      const params = ofInstance(s, name);
      const body = { name: ref, memory: options.memory === true };
      await accept(s, options, [() => answer(s.api.rest.POST(all, { params, body }))]);
      if (options.wait && (s.format === 'table' || s.format === 'wide'))
        say(takenText(await get(s, name, ref)));
    });
  examples(
    create,
    `berth snapshot create web before-upgrade
     berth snapshot create web as-it-is --memory`,
  );
  const list = snapshot
    .command('ls <instance>')
    .description('list the snapshots of an instance, the oldest first')
    .action(async (name: string) => {
      const s = session();
      const { items } = await answer(s.api.rest.GET(all, { params: ofInstance(s, name) }));
      say(listText(items, columns, s.format));
    });
  examples(list, 'berth snapshot ls web\nberth snapshot ls web -o wide');
  const show = snapshot
    .command('get <instance> <name>')
    .description('show a snapshot, and what its consistency was concluded from')
    .action(async (name: string, ref: string) => {
      const s = session();
      const found = await get(s, name, ref);
      say(
        s.format === 'json' || s.format === 'yaml'
          ? objectText(found, s.format)
          : listText([found], columns, 'wide'),
      );
    });
  examples(show, 'berth snapshot get web before-upgrade -o yaml');
  const revert = waiting(snapshot.command('revert <instance> <name>'))
    .description(
      'bring the disks of a stopped instance back; what it wrote since is lost. With memory it is started, and goes on from there',
    )
    .action(async (name: string, ref: string, options: WaitOptions) => {
      const s = session();
      const params = ofSnapshot(s, name, ref);
      await accept(s, options, [() => answer(s.api.rest.POST(`${one}/actions/revert`, { params }))]);
    });
  examples(revert, 'berth stop web\nberth snapshot revert web before-upgrade');
  snapshotCopyCommand(snapshot, session);
  scheduleCommand(snapshot, session);
  const remove = waiting(snapshot.command('rm <instance> <name...>'))
    .description('delete snapshots; the disks stay as they are')
    .action(async (name: string, refs: string[], options: WaitOptions) => {
      const s = session();
      const request = (ref: string) => () =>
        answer(s.api.rest.DELETE(one, { params: ofSnapshot(s, name, ref) }));
      await accept(s, options, refs.map(request));
    });
  examples(remove, 'berth snapshot rm web before-upgrade');
};

interface ScheduleOptions extends WaitOptions {
  readonly every?: number;
  readonly offset: number;
  readonly keep?: number;
  readonly off?: boolean;
}

const scheduleCommand: Commands = (snapshot, session) => {
  const schedule = waiting(snapshot.command('schedule <instance>'))
    .description('have snapshots taken by themselves while it runs, and the newest kept')
    .option('--every <minutes>', 'from one to the next', (t) => wholeNumber('--every', t))
    .option('--offset <minutes>', 'past every multiple of that, in UTC', (t) => wholeNumber('--offset', t), 0)
    .option('--keep <count>', 'how many of them are kept', (t) => wholeNumber('--keep', t))
    .option('--off', 'no more; those that are there stay')
    .action(async (name: string, options: ScheduleOptions) => {
      const snapshots = scheduleOf(options);
      await specChange(session(), name, options, ({ snapshots: _, ...spec }) =>
        snapshots === null ? spec : { ...spec, snapshots },
      );
    });
  examples(
    schedule,
    `berth snapshot schedule web --every 60 --keep 24
     berth snapshot schedule db --every 1440 --offset 120 --keep 7   # at 02:00 UTC each day
     berth snapshot schedule web --off`,
  );
};

/** @throws Failure for half of a schedule, and for one with its end */
function scheduleOf({
  every,
  offset,
  keep,
  off,
}: ScheduleOptions): NonNullable<Schemas['Instance']['spec']['snapshots']> | null {
  if (off === true && every === undefined && keep === undefined) return null;
  if (off === true || every === undefined || keep === undefined)
    throw new Failure('say --every and --keep, or --off', exitCodes.usage);
  return { everyMinutes: every, offsetMinutes: offset, keep };
}

const ofSnapshot = (s: Session, name: string, snapshot: string) => ({
  path: { ...ofInstance(s, name).path, snapshot },
});

const get = (s: Session, name: string, snapshot: string): Promise<Snapshot> =>
  answer(s.api.rest.GET(one, { params: ofSnapshot(s, name, snapshot) }));

/** Room of its memory; nothing without. */
const memoryText = ({ memory, memoryMiB }: Snapshot): string | null =>
  memoryMiB === null ? (memory ? 'yes' : null) : `${memoryMiB} MiB`;

/** What can be relied on, and why. */
function takenText({ name, consistency, indications }: Snapshot): string {
  return `${name}: ${consistency ?? 'not taken yet'} (${indications.join('; ')})\n`;
}

import { Option } from 'commander';
import type { EventQuery, Schemas } from '@berth/client';
import { instances, events as kind, eventsNewest } from '../kinds.js';
import { cellsOf, columnsShown, listText } from '../output.js';
import { examples, say, untilInterrupted, wholeNumber, type Commands, type Session } from '../session.js';
import { escaped } from '../terminal.js';

type Event = Schemas['Event'];
type Filter = Pick<EventQuery, 'project' | 'class' | 'objectKind' | 'objectId'>;

interface EventsOptions {
  readonly follow: boolean;
  readonly limit: number;
  readonly class?: Event['class'];
  readonly instance?: string;
  readonly allProjects: boolean;
}

export const eventsCommands: Commands = (program, session) => {
  const events = program
    .command('events')
    .description('what happened: the newest events of the ledger')
    .option('-f, --follow', 'go on with what comes; a lost connection is taken up where it broke', false)
    .option('--limit <n>', 'how many of what was', (t) => wholeNumber('--limit', t), 50)
    .addOption(
      new Option('--class <class>', 'only of this class').choices(['audit', 'lifecycle', 'observation']),
    )
    .option('--instance <name>', 'only of this instance')
    .option('--all-projects', 'of every project and of the cluster', false)
    .action(async (options: EventsOptions) => {
      const s = session();
      const filter = await filterOf(s, options);
      if (options.follow) return eventsFollow(s, filter, options.limit);
      const { events } = await eventsNewest(s.api, filter, options.limit);
      say(listText(events, kind.columns, s.format));
    });
  examples(
    events,
    `berth events --limit 20
     berth events -f
     berth events -f --instance web -o json
     berth events --class audit --all-projects -o wide`,
  );
};

async function filterOf(s: Session, options: EventsOptions): Promise<Filter> {
  const project = options.allProjects ? {} : { project: s.project };
  const ofClass = options.class === undefined ? {} : { class: options.class };
  if (options.instance === undefined) return { ...project, ...ofClass };
  const { id } = await instances.get(s.api, s.project, options.instance);
  return { ...project, ...ofClass, objectKind: 'instance', objectId: id };
}

/** The newest events, then what comes, until Ctrl-C. In JSON and YAML each is one line. @throws Failure interrupted */
export async function eventsFollow(s: Session, filter: Filter, limit: number): Promise<void> {
  await untilInterrupted(async (signal) => {
    const { events, next } = await eventsNewest(s.api, filter, limit);
    const show = shower(s, events);
    events.forEach(show);
    // From where the list ended, so that none between the two requests is lost.
    for await (const event of s.api.events({ ...defined(filter), after: next, signal })) show(event);
  });
}

function shower(s: Session, before: readonly Event[]): (event: Event) => void {
  if (s.format === 'json' || s.format === 'yaml') return (e) => say(`${escaped(JSON.stringify(e))}\n`);
  const columns = columnsShown(before, kind.columns, s.format);
  const widths = columns.map((c) => c.head.length);
  const line = (cells: readonly string[]): string => {
    cells.forEach((cell, i) => (widths[i] = Math.max(widths[i]!, cell.length)));
    return `${cells
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd()}\n`;
  };
  before.forEach((e) => line(cellsOf(e, columns)));
  say(line(columns.map((c) => c.head)));
  return (e) => say(line(cellsOf(e, columns)));
}

function defined(filter: Filter): { [K in keyof Filter]: Exclude<Filter[K], undefined> } {
  return Object.fromEntries(Object.entries(filter).filter(([, v]) => v !== undefined)) as never;
}

import { answer, type Schemas } from '@berth/client';
import { bytes, listText, type Column } from '../output.js';
import { examples, note, ofInstance, say, type Commands } from '../session.js';

type Process = Schemas['InstanceProcess'];

/** Of a processor, since the process began. */
const share = ({ cpuMicros, ageSeconds }: Process): string =>
  `${((cpuMicros / 1_000_000 / Math.max(1, ageSeconds)) * 100).toFixed(1)}%`;

const columns: readonly Column<Process>[] = [
  { head: 'PID', cell: (p) => p.pid },
  { head: 'PARENT', wide: true, cell: (p) => p.parent },
  { head: 'USER', cell: (p) => p.user },
  { head: 'STATE', cell: (p) => p.state },
  { head: 'THREADS', wide: true, cell: (p) => p.threads },
  { head: 'CPU', cell: share },
  { head: 'TIME', cell: (p) => `${(p.cpuMicros / 1_000_000).toFixed(2)}s` },
  { head: 'MEMORY', cell: (p) => bytes(p.memoryBytes) },
  { head: 'AGE', wide: true, cell: (p) => `${p.ageSeconds}s` },
  { head: 'COMMAND', cell: (p) => p.command },
];

export const topCommands: Commands = (program, session) => {
  const top = program
    .command('top <name>')
    .description('what runs in an instance now; of a VM by the agent in its guest')
    .action(async (name: string) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}/processes';
      const { items, total } = await answer(s.api.rest.GET(path, { params: ofInstance(s, name) }));
      say(listText(items, columns, s.format));
      if (items.length < total) note(`${total - items.length} more run there`);
    });
  examples(
    top,
    `berth top cache
     berth -o wide top cache
     berth -o json top debian`,
  );
};

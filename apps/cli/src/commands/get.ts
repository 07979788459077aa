import { kindOf, kinds } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, say, wholeNumber, type Commands } from '../session.js';
import { watch } from '../watch.js';
import { eventsFollow } from './events.js';

interface GetOptions {
  readonly limit: number;
  readonly watch: boolean;
}

export const getCommands: Commands = (program, session) => {
  const get = program
    .command('get <kind> [name]')
    .description(`list objects or show one: ${Object.keys(kinds).join(', ')}`)
    .option('--limit <n>', 'of operations and events, the newest', (t) => wholeNumber('--limit', t), 50)
    .option('-w, --watch', 'go on and show what changes, told by the event stream', false)
    .action(async (text: string, name: string | undefined, options: GetOptions) => {
      const s = session();
      const kind = kindOf(text);
      if (options.watch)
        return kind.name === 'events'
          ? eventsFollow(s, { project: s.project }, options.limit)
          : watch(s, kind, name, options.limit);
      const items =
        name === undefined
          ? await kind.list(s.api, { project: s.project, limit: options.limit })
          : [await kind.get(s.api, s.project, name)];
      say(
        name !== undefined && s.format !== 'table' && s.format !== 'wide'
          ? objectText(items[0], s.format)
          : listText(items, kind.columns as never, s.format),
      );
    });
  examples(
    get,
    `berth get instances
     berth get instance web -o yaml
     berth get hosts -o wide
     berth get instances --watch
     berth get operations --limit 5 -o json`,
  );
};

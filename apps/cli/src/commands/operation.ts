import { kinds, operations } from '../kinds.js';
import { endText, operationEnd } from '../operation.js';
import { listText, objectText } from '../output.js';
import { examples, note, say, wholeNumber, type Commands } from '../session.js';

export const operationCommands: Commands = (program, session) => {
  const operation = program.command('operation').description('what was asked for, and how it went');
  examples(operation, 'berth operation ls');
  const list = operation
    .command('ls')
    .description('list operations, newest first')
    .option('--limit <n>', 'how many', (t) => wholeNumber('--limit', t), 50)
    .action(async (options: { limit: number }) => {
      const s = session();
      const newest = await operations.list(s.api, { project: s.project, limit: options.limit });
      say(listText(newest, kinds.operations.columns, s.format));
    });
  examples(list, 'berth operation ls --limit 10\nberth operation ls -o wide');
  const get = operation
    .command('get <id>')
    .description('one operation: steps, times, error')
    .action(async (id: string) => {
      const s = session();
      say(objectText(await operations.get(s.api, s.project, id), s.format));
    });
  examples(get, 'berth operation get "$OPERATION"\nberth operation get "$OPERATION" -o json');
  const wait = operation
    .command('wait <id>')
    .description('wait until an operation has ended')
    .option('--timeout <seconds>', 'longest wait', (t) => wholeNumber('--timeout', t), 120)
    .action(async (id: string, options: { timeout: number }) => {
      const s = session();
      const begun = await operations.get(s.api, s.project, id);
      const end = await operationEnd(s.api, begun, { seconds: options.timeout, progress: note });
      say(s.format === 'table' ? endText(end) : objectText(end, s.format));
    });
  examples(wait, 'berth operation wait "$OPERATION" --timeout 60');
};

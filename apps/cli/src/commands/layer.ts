import { answer, type Schemas } from '@berth/client';
import { images } from '../kinds.js';
import { endText, operationEnd, type WaitOptions, waiting } from '../operation.js';
import { bytes, type Column, listText, objectText } from '../output.js';
import { examples, note, ofInstance, say, wholeNumber, type Commands, type Session } from '../session.js';

type Change = Schemas['LayerChange'];

const columns: readonly Column<Change>[] = [
  { head: 'CHANGE', cell: (c) => c.change },
  { head: 'TYPE', cell: (c) => c.type },
  { head: 'SIZE', cell: (c) => (c.sizeBytes === null ? null : bytes(c.sizeBytes)) },
  { head: 'PATH', cell: (c) => c.path },
];

interface Page {
  readonly items: Change[];
  readonly nextCursor: string | null;
}

/** Prints so many changes at most, page by page. */
export async function changesSay(
  s: Session,
  most: number,
  pageGet: (query: { limit: number; cursor?: string }) => Promise<Page>,
): Promise<void> {
  const all: Change[] = [];
  for (let cursor: string | null | undefined; cursor !== null && all.length < most;) {
    const limit = Math.min(1000, most - all.length);
    const page: Page = await pageGet(cursor === undefined ? { limit } : { limit, cursor });
    all.push(...page.items);
    cursor = page.nextCursor;
    if (cursor !== null && all.length >= most) note(`there are more than ${most}; see --limit`);
  }
  say(listText(all, columns, s.format));
}

export const layerCommands: Commands = (program, session) => {
  const diff = program
    .command('diff <container>')
    .description('list what a container added, changed and deleted of its image')
    .option('--limit <number>', 'so many paths at most', (t) => wholeNumber('--limit', t), 10_000)
    .action(async (name: string, options: { limit: number }) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}/diff';
      await changesSay(s, options.limit, (query) =>
        answer(s.api.rest.GET(path, { params: { ...ofInstance(s, name), query } })),
      );
    });
  examples(diff, 'berth diff shop\nberth diff shop --limit 100 -o json');
  const commit = waiting(program.command('commit <container> <image>'))
    .description('make an image of a container as it is; one that runs stands still meanwhile')
    .option('--author <name>', 'who made it, for its history')
    .option('--message <text>', 'why, for its history')
    .action(
      async (name: string, image: string, options: WaitOptions & { author?: string; message?: string }) => {
        const s = session();
        const { author, message } = options;
        const body = {
          image,
          ...(author === undefined ? {} : { author }),
          ...(message === undefined ? {} : { message }),
        };
        const path = '/v1/projects/{project}/instances/{name}/actions/commit';
        const { operation } = await answer(s.api.rest.POST(path, { params: ofInstance(s, name), body }));
        if (!options.wait)
          return say(s.format === 'table' ? endText(operation) : objectText(operation, s.format));
        await operationEnd(s.api, operation, { seconds: options.timeout, progress: note });
        const made = await images.get(s.api, s.project, image);
        say(
          s.format === 'table' ? `${made.name}: ${made.kind}, ${made.digest}\n` : objectText(made, s.format),
        );
      },
    );
  examples(
    commit,
    `berth commit shop shop-tuned
     berth commit shop shop-v2 --author me@example.org --message "with its settings"
     berth commit shop shop-v3 --no-wait`,
  );
};

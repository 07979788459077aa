import { answer, everyPage, type Schemas } from '@berth/client';
import { age, bytes, type Column, listText, objectText, plain } from '../output.js';
import { examples, inProject, ofInstance, say, wholeNumber, type Commands } from '../session.js';
import { changesSay } from './layer.js';

type Tree = Schemas['ImageTree'];
type Layer = Tree['layers'][number];

const steps: readonly Column<Schemas['ImageHistoryEntry']>[] = [
  { head: 'LAYER', cell: (e) => e.layer?.digest.slice(0, 19) },
  { head: 'SIZE', cell: (e) => (e.layer === null ? null : bytes(e.layer.sizeBytes)) },
  { head: 'AGE', cell: (e) => age(e.createdAt, Date.now()) },
  { head: 'AUTHOR', wide: 'unlessFilled', cell: (e) => e.author },
  { head: 'COMMENT', wide: 'unlessFilled', cell: (e) => e.comment },
  { head: 'CREATED BY', cell: (e) => e.createdBy.replace(/\s+/g, ' ').slice(0, 120) },
];

export const imageLayerCommands: Commands = (image, session) => {
  const tag = image
    .command('tag <name> <other>')
    .description('give an image another name; each name is deleted by itself, and the content is kept once')
    .action(async (name: string, other: string) => {
      const s = session();
      const path = '/v1/projects/{project}/images/{name}/actions/tag';
      const made = await answer(
        s.api.rest.POST(path, { params: ofInstance(s, name), body: { name: other } }),
      );
      say(s.format === 'table' ? `${made.name}: ${made.kind}, ${made.digest}\n` : objectText(made, s.format));
    });
  examples(tag, 'berth image tag shop-base shop-stable');
  const history = image
    .command('history <name>')
    .description('list the steps in which an image of containers came to be, newest first, as it says itself')
    .action(async (name: string) => {
      const s = session();
      const path = '/v1/projects/{project}/images/{name}/history';
      const all = await everyPage(({ cursor }) => {
        const query = cursor === undefined ? {} : { cursor };
        return answer(s.api.rest.GET(path, { params: { ...ofInstance(s, name), query } }));
      });
      say(listText(all, steps, s.format));
    });
  examples(history, 'berth image history shop-base');
  const diff = image
    .command('diff <name> <other>')
    .description('list what another image of containers adds to this one, changes and lacks')
    .option('--limit <number>', 'so many paths at most', (t) => wholeNumber('--limit', t), 10_000)
    .action(async (name: string, to: string, { limit }: { readonly limit: number }) => {
      const s = session();
      const path = '/v1/projects/{project}/images/{name}/diff';
      await changesSay(s, limit, (page) =>
        answer(s.api.rest.GET(path, { params: { ...ofInstance(s, name), query: { ...page, to } } })),
      );
    });
  examples(diff, 'berth image diff shop-base shop-next');
  const tree = image
    .command('tree')
    .description('show which layers the images of containers share')
    .action(async () => {
      const s = session();
      const found = await answer(
        s.api.rest.GET('/v1/projects/{project}/imageTree', { params: inProject(s) }),
      );
      say(s.format === 'json' || s.format === 'yaml' ? objectText(found, s.format) : treeText(found));
    });
  examples(tree, 'berth image tree\nberth image tree -o json');
};

/** One line for each run of layers between two forks or images; the sizes are those of the run. */
export function treeText({ layers, storedBytes, statedBytes }: Tree): string {
  if (layers.length === 0) return 'none\n';
  const above = new Map<string | null, Layer[]>();
  for (const layer of layers) above.set(layer.parent, [...(above.get(layer.parent) ?? []), layer]);
  const lines: string[] = [];
  const show = (first: Layer, indent: string, corner: string, below: string): void => {
    const run = [first];
    for (let last = first; ;) {
      const [next, ...others] = above.get(last.id) ?? [];
      if (last.images.length > 0 || next === undefined || others.length > 0) break;
      run.push((last = next));
    }
    const size = bytes(run.reduce((sum, l) => sum + l.sizeBytes, 0));
    const last = run.at(-1) ?? first;
    const what =
      run.length === 1 ? last.digest.slice(7, 19) : `${last.digest.slice(7, 19)} (${run.length} layers)`;
    const names = last.images.map(plain).join(', ');
    lines.push(`${indent}${corner}${what}  ${size}${names === '' ? '' : `  ${names}`}`);
    const inner = above.get(last.id) ?? [];
    for (const [i, child] of inner.entries()) {
      const end = i === inner.length - 1;
      show(child, indent + below, end ? '└─ ' : '├─ ', end ? '   ' : '│  ');
    }
  };
  for (const root of above.get(null) ?? []) show(root, '', '', '');
  const saved = statedBytes === storedBytes ? '' : `, ${bytes(statedBytes)} were none shared`;
  return `${lines.join('\n')}\n${bytes(storedBytes)} stored${saved}\n`;
}

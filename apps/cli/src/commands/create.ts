import { answer, type Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { decisionText } from '../explain.js';
import { accept, type WaitOptions, waiting } from '../operation.js';
import { objectText } from '../output.js';
import { append, examples, inProject, note, say, type Commands, type Session } from '../session.js';
import { documentsRead, valueSet } from '../spec-file.js';

interface CreateOptions extends WaitOptions {
  readonly file: string;
  readonly set: string[];
  readonly dryRun: boolean;
}

export const createCommands: Commands = (program, session) => {
  const create = waiting(program.command('create'))
    .description('create instances from a YAML or JSON file')
    .requiredOption('-f, --file <file>', 'name, labels, spec, one document for each; - is the standard input')
    .option(
      '--set <field=value>',
      'change a field of every document, for example spec.memoryMiB=64',
      append,
      [],
    )
    .option('--dry-run', 'create nothing; show where each would go now, and why not elsewhere', false)
    .action(async (options: CreateOptions) => {
      const s = session();
      const bodies = documentsRead(options.file) as Schemas['InstanceCreate'][];
      for (const body of bodies) for (const assignment of options.set) valueSet(body, assignment);
      namesCheck(bodies, options.file);
      if (options.dryRun) return previewShow(s, bodies);
      const path = '/v1/projects/{project}/instances';
      await accept(
        s,
        options,
        bodies.map((body) => () => answer(s.api.rest.POST(path, { params: inProject(s), body }))),
      );
    });
  examples(
    create,
    `berth create -f examples/container.yaml --set name=web2
     berth create -f examples/container.yaml --set name=web3 --set spec.process.env.NONCE=x --no-wait
     sed 's/web-container/web4/' examples/container.yaml | berth create -f -
     berth create -f examples/container.yaml --set name=web5 --timeout 60 -o json
     berth create -f examples/container.yaml --set spec.memoryMiB=100000 --dry-run`,
  );
};

/** Each by itself: what the ones before it would take is not counted. */
async function previewShow(s: Session, bodies: readonly Schemas['InstanceCreate'][]): Promise<void> {
  const path = '/v1/projects/{project}/decisions/preview';
  const params = { path: { project: s.project } };
  const previews: Schemas['DecisionPreview'][] = [];
  for (const { name, ...rest } of bodies) {
    // Only forms may ask without a name: here one that is missing is refused, as creating would.
    const body = { ...rest, name: name ?? '' };
    previews.push(await answer(s.api.rest.POST(path, { params, body })));
  }
  if (s.format === 'json' || s.format === 'yaml')
    return say(objectText(previews.length === 1 ? previews[0] : previews, s.format));
  const texts = previews.map(
    ({ asOf, decision }, i) => `${bodies[i]!.name}: ${decisionText({ ...decision, at: asOf })}`,
  );
  say(texts.join('\n'));
  if (previews.length > 1) note('each was judged by itself: what the others would take is not counted');
}

/** Found before the first is sent: half of a file is worse than none. */
function namesCheck(bodies: readonly Schemas['InstanceCreate'][], file: string): void {
  const names = bodies.map((b) => b.name);
  const twice = names.find((n, i) => n !== undefined && names.indexOf(n) !== i);
  if (twice !== undefined)
    throw new Failure(
      `${file}: two documents have the name ${twice}\n  -> --set name=… is for a file with one document`,
      exitCodes.usage,
    );
}

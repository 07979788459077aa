import { Option } from 'commander';
import { answer, type BerthClient, type Schemas } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { age, listText, objectText, type Column } from '../output.js';
import { examples, note, say, wholeNumber, type Commands } from '../session.js';

type Token = Schemas['Token'];
interface CreateOptions {
  readonly role: Token['role'];
  readonly cluster: boolean;
  readonly expiresIn?: number;
  readonly neverExpires: boolean;
}

const columns: readonly Column<Token>[] = [
  { head: 'NAME', cell: (t) => t.name },
  { head: 'ROLE', cell: (t) => t.role },
  { head: 'PROJECT', cell: (t) => t.project ?? '(all)' },
  { head: 'STATE', cell: (t) => stateOf(t, Date.now()) },
  { head: 'AGE', cell: (t) => age(t.createdAt, Date.now()) },
  { head: 'ID', cell: (t) => t.id },
  { head: 'EXPIRES', wide: true, cell: (t) => t.expiresAt ?? 'never' },
];

function stateOf(t: Token, now: number): string {
  if (t.revokedAt !== null) return 'revoked';
  return t.expiresAt !== null && Date.parse(t.expiresAt) <= now ? 'expired' : 'valid';
}

export const tokenCommands: Commands = (program, session) => {
  const token = program.command('token').description('API tokens');
  examples(token, 'berth token ls\nberth token create --help');
  createCommand(token, session);
  const list = token
    .command('ls')
    .description('list tokens, without their secrets')
    .action(async () => {
      const s = session();
      say(listText((await answer(s.api.rest.GET('/v1/tokens'))).items, columns, s.format));
    });
  examples(list, 'berth token ls\nberth token ls -o wide');
  const revoke = token
    .command('revoke <name-or-id>')
    .description('revoke a token: it is refused from now on')
    .action(async (text: string) => {
      const s = session();
      const { id, name } = await tokenFind(s.api, text);
      await answer(s.api.rest.DELETE('/v1/tokens/{id}', { params: { path: { id } } }));
      say(`${name}: revoked (${id})\n`);
    });
  examples(revoke, 'berth token revoke ci');
};

const createCommand: Commands = (token, session) => {
  const create = token
    .command('create <name>')
    .description('create a token for --project; its secret is shown once')
    .addOption(
      new Option('--role <role>', 'what it may do')
        .choices(['admin', 'operator', 'viewer'])
        .makeOptionMandatory(),
    )
    .option('--cluster', 'for every project and the cluster, not only for --project', false)
    .option('--expires-in <seconds>', 'life of the token, 90 days when absent', (t) =>
      wholeNumber('--expires-in', t),
    )
    .addOption(new Option('--never-expires', 'until it is revoked').default(false).conflicts('expiresIn'))
    .action(async (name: string, options: CreateOptions) => {
      const s = session();
      const life = options.neverExpires ? null : options.expiresIn;
      const body = {
        name,
        role: options.role,
        project: options.cluster ? null : s.project,
        ...(life === undefined ? {} : { expiresInSeconds: life }),
      };
      const made = await answer(s.api.rest.POST('/v1/tokens', { body }));
      if (s.format !== 'table') return say(objectText(made, s.format));
      note(`valid until ${made.expiresAt ?? 'revoked'}; shown only now:`);
      say(`${made.secret ?? ''}\n`);
    });
  examples(
    create,
    `berth token create ci --role operator
     berth token create ops --role admin --cluster --expires-in 3600
     BERTH_TOKEN=$(berth token create reader --role viewer) berth get instances`,
  );
};

/** By id, or by a name that only one valid token has. @throws Failure */
async function tokenFind(api: BerthClient, text: string): Promise<Token> {
  const { items } = await answer(api.rest.GET('/v1/tokens'));
  const byId = items.find((t) => t.id === text);
  if (byId !== undefined) return byId;
  const [first, ...more] = items.filter((t) => t.name === text && stateOf(t, Date.now()) === 'valid');
  if (first === undefined)
    throw new Failure(`there is no valid token ${text}\n  -> Look: berth token ls`, exitCodes.notFound);
  if (more.length > 0)
    throw new Failure(
      `${more.length + 1} valid tokens are called ${text}\n  -> Revoke by id: ${[first, ...more].map((t) => t.id).join(', ')}`,
      exitCodes.usage,
    );
  return first;
}

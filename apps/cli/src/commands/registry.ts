import { answer } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { registries } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, say, type Commands } from '../session.js';
import { secretFromStdin } from '../stdin-secret.js';

interface LoginOptions {
  readonly username?: string;
  readonly passwordStdin?: boolean;
  readonly identityTokenStdin?: boolean;
}

const path = '/v1/projects/{project}/registries/{host}';

/** @throws Failure for options that do not go together */
async function secretOf({ username, passwordStdin, identityTokenStdin }: LoginOptions) {
  if (identityTokenStdin === true) {
    if (username !== undefined || passwordStdin !== undefined)
      throw new Failure(
        '--identity-token-stdin takes the place of --username and --password-stdin',
        exitCodes.usage,
      );
    return { identityToken: await secretFromStdin() };
  }
  if (username === undefined || passwordStdin === undefined)
    throw new Failure(
      'give --username and --password-stdin, or --identity-token-stdin\n  -> berth registry login HOST --username NAME --password-stdin <FILE',
      exitCodes.usage,
    );
  return { username, password: await secretFromStdin() };
}

export const registryCommands: Commands = (program, session) => {
  const registry = program.command('registry').description('registries that the project signs in at');
  examples(registry, 'berth registry ls\nberth registry login --help');
  const login = registry
    .command('login <host>')
    .description('keep what the project signs in with at a registry; the next pull from there tries it')
    .option('--username <name>', 'who signs in')
    .option('--password-stdin', 'the password, or a token that stands for one, comes by standard input')
    .option('--identity-token-stdin', 'an identity token (OAuth 2 refresh token) comes by standard input')
    .action(async (host: string, options: LoginOptions) => {
      const s = session();
      const params = { path: { project: s.project, host } };
      const kept = await answer(s.api.rest.PUT(path, { params, body: await secretOf(options) }));
      const who = kept.username === null ? 'an identity token' : `the password of ${kept.username}`;
      say(s.format === 'table' ? `${kept.host}: ${who} is kept\n` : objectText(kept, s.format));
    });
  examples(
    login,
    `berth registry login registry.example:5000 --username me --password-stdin <token
     berth registry login registry.example --identity-token-stdin <token`,
  );
  const list = registry
    .command('ls')
    .description('list them; secrets are shown nowhere')
    .action(async () => {
      const s = session();
      const all = await registries.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, registries.columns, s.format));
    });
  examples(list, 'berth registry ls');
  const logout = registry
    .command('logout <host...>')
    .description('forget what the project signs in with')
    .action(async (hosts: string[]) => {
      const s = session();
      for (const host of hosts) {
        await answer(s.api.rest.DELETE(path, { params: { path: { project: s.project, host } } }));
        say(`${host}: forgotten\n`);
      }
    });
  examples(logout, 'berth registry logout registry.example:5000');
};

import { readFile } from 'node:fs/promises';
import { buffer } from 'node:stream/consumers';
import { answer } from '@berth/client';
import { exitCodes, Failure } from '../failure.js';
import { secrets } from '../kinds.js';
import { listText, objectText } from '../output.js';
import { examples, say, type Commands } from '../session.js';

const path = '/v1/projects/{project}/secrets/{name}';

/** The bytes of a file, or of standard input: arguments can be read by every user of a machine. */
async function valueOf(file: string): Promise<Buffer> {
  if (file === '-') return buffer(process.stdin);
  return readFile(file).catch((error: unknown) => {
    throw new Failure(`${file} cannot be read: ${(error as Error).message}`, exitCodes.usage);
  });
}

export const secretCommands: Commands = (program, session) => {
  const secret = program
    .command('secret')
    .description(
      'secrets of the project, which containers and microVMs have as files and as environment variables',
    );
  examples(secret, 'berth secret ls\nberth secret set --help');
  const set = secret
    .command('set <name> <file>')
    .description('make a secret of the bytes of a file, or give it a new value; - is standard input')
    .action(async (name: string, file: string) => {
      const s = session();
      const body = { base64: (await valueOf(file)).toString('base64') };
      const kept = await answer(
        s.api.rest.PUT(path, { params: { path: { project: s.project, name } }, body }),
      );
      const by = kept.usedBy.length === 0 ? 'nothing uses it' : `used by ${kept.usedBy.join(', ')}`;
      say(s.format === 'table' ? `${kept.name}: kept, ${by}\n` : objectText(kept, s.format));
    });
  examples(
    set,
    `printf s3cret | berth secret set db-password -
     berth secret set tls-key token`,
  );
  const list = secret
    .command('ls')
    .description('list them and what uses them; values are shown nowhere')
    .action(async () => {
      const s = session();
      const all = await secrets.list(s.api, { project: s.project, limit: Infinity });
      say(listText(all, secrets.columns, s.format));
    });
  examples(list, 'berth secret ls');
  const remove = secret
    .command('rm <name...>')
    .description('delete secrets that no instance uses')
    .action(async (names: string[]) => {
      const s = session();
      for (const name of names) {
        await answer(s.api.rest.DELETE(path, { params: { path: { project: s.project, name } } }));
        say(`${name}: deleted\n`);
      }
    });
  examples(remove, 'berth secret rm old-password');
};

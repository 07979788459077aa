import type { Command } from 'commander';
import { answer } from '@berth/client';
import { objectText } from '../output.js';
import { examples, note, say, type Session } from '../session.js';

/** How a person gets into the dashboard without ever copying a token. `address` is where the API is. */
export function signInCommands(program: Command, session: () => Session, address: () => string): void {
  const signIn = program
    .command('sign-in')
    .description('a code that signs a browser in to the dashboard, once')
    .action(async () => {
      const s = session();
      const code = await answer(s.api.rest.POST('/v1/sign-in-codes'));
      if (s.format !== 'table') return say(objectText(code, s.format));
      note(`Open ${address()}/ui/ and paste this code. It works once, until ${code.expiresAt}:`);
      say(`${code.secret ?? ''}\n`);
    });
  examples(signIn, 'berth sign-in\nBERTH_TOKEN=$(berth token create me --role viewer) berth sign-in');
}

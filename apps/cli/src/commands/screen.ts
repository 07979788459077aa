import { writeFile } from 'node:fs/promises';
import { answer, type Schemas } from '@berth/client';
import { keyNames, type KeyName } from '@berth/model';
import { exitCodes, Failure } from '../failure.js';
import { examples, note, ofInstance, wholeNumber, type Commands } from '../session.js';
import { isTerminal } from '../terminal.js';

export const screenCommands: Commands = (program, session) => {
  examples(
    program
      .command('screenshot <name> <file>')
      .description('save what is on the screen of a running VM as a PNG file; - is the standard output')
      .option('--head <n>', 'which of its screens, counted from 0, the first', (t) =>
        wholeNumber('--head', t),
      )
      .action(async (name: string, file: string, options: { readonly head?: number }) => {
        if (file === '-' && isTerminal(process.stdout))
          throw new Failure(
            'a picture is not for a terminal\n  -> Name a file, or hand it on: berth screenshot db - | …',
            exitCodes.usage,
          );
        const s = session();
        const png = await s.api.screenshot({ project: s.project, instance: name, ...options });
        if (file === '-') return void process.stdout.write(png);
        await writeFile(file, png).catch((cause: Error) => {
          throw new Failure(`cannot write ${file}: ${cause.message}`);
        });
        note(`${file} shows ${name}`);
      }),
    `berth screenshot db db.png
     berth screenshot db second.png --head 1
     berth screenshot db - | wc -c`,
  );
  examples(
    program
      .command('send-keys <name> <keys...>')
      .description(
        'press keys of a running VM, one combination after another; names of keys: docs/consoles.md',
      )
      .action(async (name: string, words: string[]) => {
        const presses = words.map(pressOf);
        const s = session();
        const params = ofInstance(s, name);
        const path = '/v1/projects/{project}/instances/{name}/keys';
        await answer(s.api.rest.POST(path, { params, body: { presses } }));
        note(`pressed ${words.join(' ')}`);
      }),
    `berth send-keys db ctrl-alt-delete
     berth send-keys db r o o t ret`,
  );
};

/** The keys of `ctrl-alt-delete`. @throws Failure naming the key that is none */
function pressOf(word: string): Schemas['SendKeys']['presses'][number] {
  return word.split('-').map((key) => {
    if ((keyNames as readonly string[]).includes(key)) return key as KeyName;
    const others: Readonly<Record<string, KeyName>> = {
      enter: 'ret',
      space: 'spc',
      del: 'delete',
      escape: 'esc',
    };
    const meant = others[key.toLowerCase()];
    throw new Failure(
      `"${key}" is no key${word === key ? '' : ` (in ${word})`}\n  -> ${meant === undefined ? 'docs/consoles.md lists the names of keys; a capital letter is shift and the letter' : `Its name is ${meant}`}`,
      exitCodes.usage,
    );
  });
}

import { answer, type Schemas } from '@berth/client';
import { objectText, plain } from '../output.js';
import { examples, ofInstance, say, type Commands } from '../session.js';

export const guestCommands: Commands = (program, session) => {
  const guest = program
    .command('guest <name>')
    .description('what the guest of a running VM says of itself, by its agent: system, addresses')
    .action(async (name: string) => {
      const s = session();
      const path = '/v1/projects/{project}/instances/{name}/guest';
      const info = await answer(s.api.rest.GET(path, { params: ofInstance(s, name) }));
      say(s.format === 'table' || s.format === 'wide' ? guestText(info) : objectText(info, s.format));
    });
  examples(
    guest,
    `berth guest debian
     berth guest debian -o json`,
  );
};

/** For people. Every word is the guest's own. */
export function guestText({ agentVersion, hostname, os, interfaces }: Schemas['GuestInfo']): string {
  const addresses = interfaces.flatMap((one) =>
    one.addresses.map((a): [string, string] => [
      'Address',
      `${a.address}/${a.prefixLength} on ${one.name}${one.mac === null ? '' : `, ${one.mac}`}`,
    ]),
  );
  const lines: [string, string | null][] = [
    ['Host name', hostname],
    ['System', os?.name ?? os?.id ?? null],
    ['Version', os?.version ?? null],
    ['Kernel', [os?.kernel, os?.machine].filter((part) => typeof part === 'string').join(', ')],
    ...addresses,
    ['Agent', agentVersion],
  ];
  return lines
    .filter(([, value]) => value !== null && value !== '')
    .map(([key, value]) => `${`${key}:`.padEnd(11)} ${plain(value)}\n`)
    .join('');
}

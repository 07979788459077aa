// How long `berth up` takes on a machine that has everything, and how long a command of the command line.
import { fileURLToPath } from 'node:url';
import { median, now } from '../measure.mjs';
import { run } from '../programs.mjs';

const cli = fileURLToPath(new URL('../../apps/cli/dist/main.js', import.meta.url));
const times = 5;

export async function startup({ berth, progress }) {
  const ups = [];
  for (let i = 0; i < times; i++) {
    await berth.down('leave');
    ups.push(await berth.up());
    progress(`up ${i + 1} of ${times}: ${ups.at(-1).toFixed(0)} ms`);
  }
  const commands = [];
  for (let i = 0; i < times * 2; i++) {
    const begun = now();
    await run(process.execPath, [cli, 'get', 'hosts'], { env: berth.env });
    commands.push(now() - begun);
  }
  return {
    facts: [
      [
        '`berth up` until API, Postgres and agent serve (first time, with initdb)',
        `${berth.firstUp.toFixed(0)} ms`,
      ],
      ['`berth up`, again', `${median(ups).toFixed(0)} ms`],
      ['`berth get hosts`, from the command to its end', `${median(commands).toFixed(0)} ms`],
    ],
  };
}

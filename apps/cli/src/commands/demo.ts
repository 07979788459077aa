import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { demoRun } from '../demo.js';
import { wholeNumber, type Session } from '../session.js';

/** Second half of `./berth demo`, which has built the samples. `address` is where the API is, for people. */
export function demoCommands(program: Command, session: () => Session, address: () => string): void {
  program
    .command('demo', { hidden: true })
    .description('run the example VM and container with a new nonce, until each came back')
    .requiredOption('--samples <dir>', 'directory of the built sample images')
    .option('--timeout <seconds>', 'longest wait', (t) => wholeNumber('--timeout', t), 180)
    .action(async (options: { samples: string; timeout: number }) => {
      const s = session();
      const examples = fileURLToPath(new URL('../../../../examples', import.meta.url));
      await demoRun(s.api, {
        address: address(),
        project: s.project,
        samples: options.samples,
        examples,
        timeoutSeconds: options.timeout,
      });
    });
}

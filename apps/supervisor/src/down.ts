import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { controlAsk } from './control.js';
import { downTold, leftRunning } from './fleet.js';
import type { Paths } from './paths.js';
import { sleep } from './wait.js';

/**
 * Takes Berth down. @throws Error when instances did not stop (then everything still runs), or naming what did not end
 * (then everything else is down).
 */
export async function downCommand(
  paths: Paths,
  instances: 'stop' | 'leave',
  timeoutMs: number,
): Promise<void> {
  const asked = await controlAsk(paths.controlSocket, 'POST', '/down', { instances, timeoutMs });
  if (asked === null) {
    const left = leftOf(paths);
    process.stdout.write(
      left.length === 0
        ? 'Berth is not running.\n'
        : `Berth is not running; left on purpose: ${left.join(', ')}. To end these too: ./berth up, then ./berth down --instances stop\n`,
    );
    return;
  }
  let shown = '';
  const deadline = Date.now() + timeoutMs + 90_000;
  for (;;) {
    const status = await controlAsk(paths.controlSocket, 'GET', '/status');
    if (status === null) break;
    if (status.step !== shown) process.stdout.write(`${(shown = status.step)}\n`);
    if (status.error !== null)
      throw new Error(
        `${status.error}\nNothing was ended; Berth still runs.\n  -> Try again, or leave the instances running and end the rest: ./berth down`,
      );
    if (Date.now() > deadline) throw new Error(`still ${status.step}; see ./berth status`);
    await sleep(100);
  }
  const failures = downTold(paths);
  if (failures.length > 0)
    throw new Error(`Berth is down, but for what did not end:\n${failures.join('\n')}`);
  const left = leftOf(paths);
  process.stdout.write(
    left.length === 0
      ? 'Berth is down.\n'
      : `Berth is down. Left running for the instances: ${left.join(', ')}\n`,
  );
}

function leftOf(paths: Paths): string[] {
  if (!existsSync(paths.components)) return [];
  const records = readdirSync(paths.components).filter((f) => f.endsWith('.json'));
  return leftRunning(records.map((f) => join(paths.components, f))).map((f) =>
    f.slice(paths.components.length + 1, -'.json'.length),
  );
}

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { controlAsk } from './control.js';
import { leftRunning } from './fleet.js';
import type { Paths } from './paths.js';
import { sleep } from './wait.js';

/** Takes Berth down. @throws Error when instances did not stop; then everything still runs. */
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
    if (status.error !== null) throw new Error(`${status.error}\nNothing was ended; Berth still runs.`);
    if (Date.now() > deadline) throw new Error(`still ${status.step}; see ./berth status`);
    await sleep(100);
  }
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

import type { StepContext } from '@berth/runtime';
import type { Machine } from './machine-driver.js';
import type { ObservationHub } from './observation-hub.js';

const AGAIN_MS = 2_000;

interface Asking {
  press(): Promise<void>;
  resume(): Promise<void>;
}

/**
 * Asks the guest to end, again and again, for the grace time. True when the machine is off.
 * @param isOff looks whether it ended already, after the first press
 */
export async function askToEnd(
  asking: Asking,
  hub: ObservationHub,
  machine: Machine,
  graceSeconds: number,
  ctx: StepContext,
  isOff: () => Promise<boolean>,
): Promise<boolean> {
  if (machine.power === 'paused') await asking.resume();
  const watching = new AbortController();
  const end = (): void => watching.abort();
  // A timer of our own: one of `AbortSignal.timeout` may be collected before it fires (nodejs/node issue 57736).
  const grace = setTimeout(end, graceSeconds * 1000);
  ctx.signal.addEventListener('abort', end, { once: true });
  if (ctx.signal.aborted) end();
  const changes = hub.subscribe(watching.signal);
  const press = (): void => void asking.press().catch(() => undefined);
  // A guest that is still booting does not hear the first press.
  const again = setInterval(press, AGAIN_MS);
  press();
  try {
    if (await isOff()) return true;
    for await (const seen of changes)
      if (seen.instanceId === machine.instanceId && seen.epoch === machine.epoch && seen.phase === 'ended')
        return true;
    return false;
  } finally {
    clearInterval(again);
    clearTimeout(grace);
    ctx.signal.removeEventListener('abort', end);
    end();
  }
}

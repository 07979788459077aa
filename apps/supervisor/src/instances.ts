import type { ApiAccess } from './api.js';
import { sleep } from './wait.js';

/** States in which nothing of an instance runs on a host, or which only its host can end. */
const atRest = ['stopped', 'pending', 'error', 'suspended', 'unknown'];

/**
 * Asks every instance to stop and waits until none runs.
 * @throws Error naming those that still run after the time-out; the caller then leaves everything as it is.
 */
export async function stopInstances(
  api: ApiAccess,
  timeoutMs: number,
  step: (line: string) => void,
): Promise<void> {
  const active = (await api.instances()).filter((i) => !['stopped', 'deleting'].includes(i.status.state));
  for (const i of active) await api.instanceStop(i.project, i.name);
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const busy = (await api.instances()).filter((i) => !atRest.includes(i.status.state));
    if (busy.length === 0) return;
    step(
      `waiting for ${busy.length} of ${active.length} instances to stop: ${busy.map((i) => i.name).join(', ')}`,
    );
    if (Date.now() > deadline)
      throw new Error(
        `${busy.length} instances did not stop within ${Math.round(timeoutMs / 1000)} s: ` +
          busy.map((i) => `${i.project}/${i.name} (${i.status.state})`).join(', '),
      );
    await sleep(200);
  }
}

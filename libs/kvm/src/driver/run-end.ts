import type { ExitInfo } from '@berth/model';
import type { Observation, Terminal, WorkloadKey } from '@berth/runtime';
import { endAmong } from './observation-hub.js';

/** How a machine's run ended, once it has; null when the signal fires before. */
export type MachineEndWatch = (signal: AbortSignal) => Promise<ExitInfo | null>;

/**
 * Opens a terminal of a machine that is told of the end of its run. The machine is listened to before it is looked at: an
 * end in between is not missed.
 * @throws what `open` throws
 */
export async function watchedTerminal(
  observe: (signal: AbortSignal) => AsyncIterable<Observation>,
  key: WorkloadKey,
  signal: AbortSignal,
  open: (machineEnd: MachineEndWatch) => Promise<Terminal>,
): Promise<Terminal> {
  const watching = new AbortController();
  const changes = observe(AbortSignal.any([signal, watching.signal]));
  try {
    const terminal = await open(() => endAmong(changes, key));
    void terminal.ended.then(() => watching.abort());
    return terminal;
  } catch (error) {
    watching.abort();
    throw error;
  }
}

import type { ExitInfo } from '@berth/model';
import type { Observation, WorkloadKey } from '@berth/runtime';

/** Most observations a slow reader may have waiting; the oldest go first, a resynchronisation follows anyway. */
const MAX_WAITING = 10_000;

/** Gives every observation to every reader. */
export class ObservationHub {
  readonly #readers = new Set<(o: Observation) => void>();

  publish(observation: Observation): void {
    for (const reader of this.#readers) reader(observation);
  }

  /** Observations from this moment on, until the signal fires. The subscription stands when this returns. */
  subscribe(signal: AbortSignal): AsyncIterable<Observation> {
    const waiting: Observation[] = [];
    let wake: (() => void) | null = null;
    const reader = (o: Observation): void => {
      waiting.push(o);
      if (waiting.length > MAX_WAITING) waiting.shift();
      wake?.();
    };
    this.#readers.add(reader);
    const leave = (): void => {
      this.#readers.delete(reader);
      signal.removeEventListener('abort', abort);
    };
    // Also when nobody ever began to read.
    const abort = (): void => {
      leave();
      wake?.();
    };
    signal.addEventListener('abort', abort, { once: true });
    return (async function* () {
      try {
        while (!signal.aborted) {
          const next = waiting.shift();
          if (next !== undefined) yield next;
          else
            await new Promise<void>((resolve) => {
              wake = resolve;
            });
        }
      } finally {
        leave();
      }
    })();
  }
}

/** How the run of a workload ended, by what is told of it; null when nothing more is told before. */
export async function endAmong(
  changes: AsyncIterable<Observation>,
  key: WorkloadKey,
): Promise<ExitInfo | null> {
  for await (const o of changes)
    if (o.instanceId === key.instanceId && (o.epoch !== key.epoch || o.phase === 'ended')) return o.exit;
  return null;
}

import type { Observation } from '@berth/runtime';
import { workloadId } from './workload-record.js';

interface Subscriber {
  readonly queue: Observation[];
  wake: () => void;
}

/**
 * Hands changes to any number of readers. An observation equal to the last one of its workload is no change. While
 * there is a reader, `watch` runs; it is given a signal that fires when the last one leaves.
 */
export class ObservationHub {
  private readonly subscribers = new Set<Subscriber>();
  private readonly last = new Map<string, string>();
  private watching: AbortController | null = null;

  constructor(private readonly watch: (signal: AbortSignal) => void) {}

  publish(observation: Observation): void {
    const id = workloadId(observation);
    const text = JSON.stringify(observation);
    if (this.last.get(id) === text) return;
    this.last.set(id, text);
    for (const one of this.subscribers) {
      one.queue.push(observation);
      one.wake();
    }
  }

  forget(id: string): void {
    this.last.delete(id);
  }

  /** Subscribes at once, not at the first read: nothing between the two is lost. */
  subscribe(signal: AbortSignal): AsyncIterable<Observation> {
    const subscriber: Subscriber = { queue: [], wake: () => undefined };
    if (signal.aborted) return drain(subscriber, signal);
    this.subscribers.add(subscriber);
    if (this.watching === null) {
      this.watching = new AbortController();
      this.watch(this.watching.signal);
    }
    const leave = (): void => {
      this.subscribers.delete(subscriber);
      subscriber.wake();
      if (this.subscribers.size > 0) return;
      this.watching?.abort();
      this.watching = null;
    };
    signal.addEventListener('abort', leave, { once: true });
    return drain(subscriber, signal);
  }
}

async function* drain(subscriber: Subscriber, signal: AbortSignal): AsyncGenerator<Observation> {
  for (;;) {
    const next = subscriber.queue.shift();
    if (next !== undefined) yield next;
    else if (signal.aborted) return;
    else await new Promise<void>((resolve) => (subscriber.wake = resolve));
  }
}

import { useSyncExternalStore } from 'react';
import { since } from './format.js';

// One clock for all times of a page, so that they move together.
const listeners = new Set<() => void>();
let now = Date.now();
let timer: number | undefined;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  now = Date.now();
  timer ??= window.setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 5000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

export function useNow(): number {
  return useSyncExternalStore(subscribe, () => now);
}

/** How long ago; the absolute time is in the title and for machines. */
export function Time({ at }: { at: string | null }) {
  const current = useNow();
  if (at === null) return <span className="dim">never</span>;
  const date = new Date(at);
  return (
    <time dateTime={at} title={date.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'long' })}>
      {since(date.getTime(), Math.max(current, Math.min(date.getTime(), current + 5000)))}
    </time>
  );
}

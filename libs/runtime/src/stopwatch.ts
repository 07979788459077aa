/** How long one part of a step took. */
export interface Span {
  readonly name: string;
  /** Milliseconds. */
  readonly ms: number;
}

/** Of one run; what comes on top is not kept. */
const mostSpans = 48;

/** Tells where the time of a start goes. Nothing is decided by it. */
export class Stopwatch {
  readonly spans: Span[] = [];

  async time<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    const begun = performance.now();
    try {
      return await work();
    } finally {
      const ms = Math.round((performance.now() - begun) * 100) / 100;
      if (this.spans.length < mostSpans) this.spans.push({ name, ms });
    }
  }
}

/** Does the work, and notes how long it took where somebody wants to know. */
export async function timed<T>(
  watch: Stopwatch | undefined,
  name: string,
  work: () => T | Promise<T>,
): Promise<T> {
  return watch === undefined ? work() : watch.time(name, work);
}

/* What follows from the answers of one probe, as a pure function. */

/** What a probe says of a workload; unknown until enough answers came. */
export type Verdict = 'unknown' | 'good' | 'bad';

export interface Count {
  readonly verdict: Verdict;
  /** Answers of the same kind in a row. */
  readonly good: number;
  readonly bad: number;
}

export interface Thresholds {
  readonly failureThreshold: number;
  readonly successThreshold: number;
}

export const uncounted = (verdict: Verdict): Count => ({ verdict, good: 0, bad: 0 });

/** The count after one more answer. @param forgiven failures do not count yet: it is still starting, and never succeeded */
export function counted(before: Count, good: boolean, need: Thresholds, forgiven: boolean): Count {
  if (good) {
    const row = before.good + 1;
    return { verdict: row >= need.successThreshold ? 'good' : before.verdict, good: row, bad: 0 };
  }
  if (forgiven && before.verdict === 'unknown') return { ...before, good: 0 };
  const row = before.bad + 1;
  return { verdict: row >= need.failureThreshold ? 'bad' : before.verdict, good: 0, bad: row };
}

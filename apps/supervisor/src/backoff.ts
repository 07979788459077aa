/** Pause before the next start after `failures` failed ones in a row: 0.25 s, doubling, at most 30 s. */
export function backoffMs(failures: number): number {
  return Math.min(250 * 2 ** Math.max(0, failures), 30_000);
}

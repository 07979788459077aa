/** Milliseconds until the next start after `failures` ends in a row: 250, doubling, at most `maxMs`. */
export function backoffMs(failures: number, maxMs: number): number {
  return Math.min(250 * 2 ** Math.max(0, failures), maxMs);
}

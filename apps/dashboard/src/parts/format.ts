/** Amounts and times as people read them. Pure. */

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** Bytes in the largest unit that keeps the number above 1. */
export function bytes(n: number): string {
  let value = n;
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? Math.round(value) : trimmed(value)} ${units[unit] ?? ''}`;
}

export const mib = (n: number): string => bytes(n * 1024 * 1024);

/** Thousandths of a processor as processors. */
export const cpus = (millis: number): string => `${trimmed(millis / 1000, 2)} CPU`;

/** How often in a second. */
export const rate = (n: number): string => `${trimmed(n, n < 10 ? 1 : 0)}/s`;

/** Short times, milliseconds: `0.35 ms`, `12 ms`. */
export const millis = (n: number): string => `${trimmed(n, n < 1 ? 2 : n < 10 ? 1 : 0)} ms`;

function trimmed(n: number, digits = 1): string {
  return String(Number(n.toFixed(digits)));
}

const steps: readonly (readonly [seconds: number, unit: Intl.RelativeTimeFormatUnit])[] = [
  [60, 'second'],
  [3600, 'minute'],
  [86_400, 'hour'],
  [86_400 * 30, 'day'],
  [86_400 * 365, 'month'],
  [Infinity, 'year'],
];
const relative = new Intl.RelativeTimeFormat('en', { numeric: 'always', style: 'narrow' });

/** How far a time is from another: `3min ago`, `in 2h`, `just now` within ten seconds. */
export function since(at: number, now: number): string {
  const seconds = (at - now) / 1000;
  if (Math.abs(seconds) < 10) return 'just now';
  let per = 1;
  for (const [limit, unit] of steps) {
    if (Math.abs(seconds) < limit) return relative.format(Math.trunc(seconds / per), unit);
    per = limit;
  }
  return '';
}

/** How long something took: `0.4 s`, `12 s`, `3 min 5 s`. */
export function span(ms: number): string {
  if (ms < 10_000) return `${trimmed(ms / 1000)} s`;
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** `sha256:` and the first twelve digits. */
export const shortDigest = (digest: string): string => digest.slice(0, 'sha256:'.length + 12);

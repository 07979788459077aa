import { exitCodes, Failure } from './failure.js';

const units = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const moment = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/;

/**
 * A time as the API takes it (RFC 3339, UTC): of a duration before now, as `90s`, `10m`, `1h30m` or `2d`, or as it was written.
 * @throws Failure usage
 */
export function timeOf(option: string, text: string, now: Date): string {
  if (/^(\d{1,9}[smhd])+$/.test(text)) {
    const parts = [...text.matchAll(/(\d+)([smhd])/g)];
    const ms = parts.reduce((sum, [, n, unit]) => sum + Number(n) * units[unit as keyof typeof units], 0);
    return new Date(Math.max(0, now.getTime() - ms)).toISOString();
  }
  const at = moment.test(text) ? new Date(text) : new Date(NaN);
  if (Number.isNaN(at.getTime()))
    throw new Failure(
      `${option} is so long ago (90s, 10m, 1h30m, 2d) or a time with its zone (2026-01-31T08:00:00Z), not ${text}`,
      exitCodes.usage,
    );
  return at.toISOString();
}

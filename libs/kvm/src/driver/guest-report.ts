import { constants } from 'node:os';
import type { ExitInfo } from '@berth/model';

/** How the entry point of a direct machine ended, as its first process said; `failed` when it never ran. */
export type GuestReport =
  | { readonly how: 'exited'; readonly code: number }
  | { readonly how: 'signalled' | 'oomKilled'; readonly signal: number }
  | { readonly how: 'failed'; readonly message: string };

/** Longest report that is read, bytes: the file belongs to a guest. */
export const REPORT_BYTES = 1024;

const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name]));

/** The first line of a report. Null for what makes no sense: then nothing is known. Pure. */
export function guestReport(text: string): GuestReport | null {
  const [, how, rest = ''] =
    /^(exited|signalled|oomKilled|failed) (.+)$/m.exec(text.split('\n', 1)[0] ?? '') ?? [];
  if (how === 'failed') return { how, message: rest.replace(/\p{Cc}/gu, '?').slice(0, 500) };
  const number = /^\d{1,3}$/.test(rest) ? Number(rest) : 256;
  if (number > 255) return null;
  if (how === 'exited') return { how, code: number };
  return how === 'signalled' || how === 'oomKilled' ? { how, signal: number } : null;
}

/** What a report means for a run, in the words of a container's. Pure. */
export function reportedExit(report: GuestReport, asked: boolean): Omit<ExitInfo, 'at'> {
  if (report.how === 'failed') return { reason: 'startFailed', message: report.message };
  const cause =
    report.how === 'exited'
      ? causeOf(report.code)
      : { signal: SIGNALS.get(report.signal) ?? `${report.signal}` };
  if (asked) return { reason: 'stopped', ...cause };
  if (report.how === 'oomKilled')
    return { reason: 'oomKilled', message: 'the memory of its machine was used up', ...cause };
  return { reason: 'signal' in cause ? 'signalled' : 'exited', ...cause };
}

/** A status above 128 is read as a signal, as shells do. */
function causeOf(code: number): { readonly code: number } | { readonly signal: string } {
  const signal = code > 128 ? SIGNALS.get(code - 128) : undefined;
  return signal === undefined ? { code } : { signal };
}

import { BerthError, PlaceSearch, type Instance, type LogPlace } from '@berth/model';
import type { HttpDeps } from './deps.js';
import {
  LogBeginning,
  logShown,
  logTail,
  onlyBytes,
  refuseTimes,
  type LogPart,
  type LogView,
} from './log-view.js';

export interface LogWanted extends LogView {
  readonly follow: boolean;
  /** Where an earlier reading broke off. */
  readonly after: LogPlace | null;
}

/** A log that was opened. */
export interface LogOpened {
  /** Where it begins; null when it is not sure of which epoch it is. */
  readonly start: { readonly epoch: number; readonly offset: number } | null;
  /** The place was not found: the host has dropped what lay between. */
  readonly gap: boolean;
  readonly bytes: AsyncIterable<Uint8Array>;
}

type Deps = Pick<HttpDeps, 'logs' | 'store'>;

/** Opens the log of the newest epoch, and knows where it begins. @throws BerthError stateConflict, unavailable, unsupported */
export async function logOpen(
  deps: Deps,
  instance: Instance,
  wanted: LogWanted,
  signal: AbortSignal,
): Promise<LogOpened> {
  const { follow } = wanted;
  refuseTimes(instance, wanted);
  if (!follow && wanted.after === null && onlyBytes(wanted))
    return { start: null, gap: false, bytes: await logTail(deps, instance, wanted.tailBytes, signal) };
  const epoch = reportedEpoch(instance);
  const after = wanted.after?.epoch === epoch ? wanted.after : null;
  const { offset, gap, end } = await startOf(deps, instance, { ...wanted, after }, signal);
  const parts = await logShown(deps, instance, wanted, signal);
  // The host knows of a new epoch after the store does: one that is the newest before and after is what was opened.
  const now = await deps.store.instanceById(instance.id);
  const same = epoch !== null && now !== null && reportedEpoch(now) === epoch;
  const check = after === null || gap ? null : new PlaceSearch({ ...after, offset });
  return {
    start: same ? { epoch, offset } : null,
    gap,
    bytes: skipped(parts, { offset, end: follow ? Infinity : end }, check),
  };
}

/** The newest epoch, once its host has said something of it. */
function reportedEpoch({ status }: Instance): number | null {
  return status.phase === null || status.phase === 'assigned' ? null : status.epoch;
}

async function startOf(
  deps: Deps,
  instance: Instance,
  wanted: LogWanted,
  signal: AbortSignal,
): Promise<{ offset: number; gap: boolean; end: number }> {
  const { after, since, tailBytes, tailLines } = wanted;
  const whole = since === undefined && tailBytes === undefined && tailLines === undefined;
  if (after === null && whole) return { offset: 0, gap: false, end: Infinity };
  const search = after === null ? null : new PlaceSearch(after);
  const beginning = new LogBeginning(wanted);
  let end = 0;
  for await (const part of await logShown(deps, instance, { ...wanted, follow: false }, signal)) {
    end += part.bytes.length;
    if (search === null) beginning.feed(part);
    else search.feed(part.bytes);
  }
  if (search === null) return { offset: beginning.offset, gap: false, end };
  return { offset: search.found ?? 0, gap: search.found === null, end: Infinity };
}

/** @throws BerthError unavailable, when bytes were dropped since the place was looked for: it is found anew */
async function* skipped(
  log: AsyncIterable<LogPart>,
  { offset, end }: { readonly offset: number; readonly end: number },
  check: PlaceSearch | null,
): AsyncGenerator<Uint8Array> {
  let left = offset;
  let at = offset;
  for await (const { bytes } of log) {
    const skip = Math.min(left, bytes.length);
    check?.feed(bytes.subarray(0, skip));
    left -= skip;
    if (left > 0) continue;
    if (skip > 0 && check !== null && check.found !== offset)
      throw new BerthError('unavailable', 'the host has dropped the oldest part of this log just now');
    const more = bytes.subarray(skip, skip + Math.min(bytes.length, end - at));
    at += more.length;
    if (more.length > 0) yield more;
    if (at >= end) return; // what came since it was decided where to begin is of the next reading
  }
}

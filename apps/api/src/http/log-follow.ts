import { BerthError, PlaceSearch, type Instance, type LogPlace } from '@berth/model';
import type { HttpDeps } from './deps.js';

export interface LogWanted {
  readonly follow: boolean;
  readonly tailBytes?: number | undefined;
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

/** Opens the log of the newest epoch, and knows where it begins. @throws BerthError stateConflict, unavailable */
export async function logOpen(
  deps: Deps,
  instance: Instance,
  wanted: LogWanted,
  signal: AbortSignal,
): Promise<LogOpened> {
  const { follow, tailBytes } = wanted;
  if (!follow && wanted.after === null) {
    const options = tailBytes === undefined ? { follow } : { follow, tailBytes };
    return { start: null, gap: false, bytes: await deps.logs(instance, options, signal) };
  }
  const epoch = reportedEpoch(instance);
  const after = wanted.after?.epoch === epoch ? wanted.after : null;
  const { offset, gap } = await startOf(deps, instance, { ...wanted, after }, signal);
  const bytes = await deps.logs(instance, { follow }, signal);
  // The host knows of a new epoch after the store does: one that is the newest before and after is what was opened.
  const now = await deps.store.instanceById(instance.id);
  const same = epoch !== null && now !== null && reportedEpoch(now) === epoch;
  const check = after === null || gap ? null : new PlaceSearch({ ...after, offset });
  return { start: same ? { epoch, offset } : null, gap, bytes: skipped(bytes, offset, check) };
}

/** The newest epoch, once its host has said something of it. */
function reportedEpoch({ status }: Instance): number | null {
  return status.phase === null || status.phase === 'assigned' ? null : status.epoch;
}

async function startOf(
  deps: Deps,
  instance: Instance,
  { tailBytes, after }: LogWanted,
  signal: AbortSignal,
): Promise<{ offset: number; gap: boolean }> {
  if (after === null && tailBytes === undefined) return { offset: 0, gap: false };
  const search = after === null ? null : new PlaceSearch(after);
  let total = 0;
  for await (const bytes of await deps.logs(instance, { follow: false }, signal)) {
    total += bytes.length;
    search?.feed(bytes);
  }
  if (search === null) return { offset: Math.max(0, total - (tailBytes ?? 0)), gap: false };
  return { offset: search.found ?? 0, gap: search.found === null };
}

/** @throws BerthError unavailable, when bytes were dropped since the place was looked for: it is found anew */
async function* skipped(
  log: AsyncIterable<Uint8Array>,
  offset: number,
  check: PlaceSearch | null,
): AsyncGenerator<Uint8Array> {
  let left = offset;
  for await (const bytes of log) {
    const skip = Math.min(left, bytes.length);
    check?.feed(bytes.subarray(0, skip));
    left -= skip;
    if (left > 0) continue;
    if (skip > 0 && check !== null && check.found !== offset)
      throw new BerthError('unavailable', 'the host has dropped the oldest part of this log just now');
    if (skip < bytes.length) yield bytes.subarray(skip);
  }
}

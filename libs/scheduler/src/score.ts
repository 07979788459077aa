import { freeOf } from './filters.js';
import type { HostSnapshot, PlacementRequest, Policy } from './snapshot.js';

/** A small stable hash (FNV-1a, 32 bit) to [0, 1): breaks ties the same way for the same seed. */
export function tieBreak(seed: string, id: string): number {
  let h = 0x811c9dc5;
  for (const c of `${seed}/${id}`) h = Math.imul(h ^ (c.codePointAt(0) ?? 0), 0x01000193);
  return (h >>> 0) / 0x1_0000_0000;
}

/**
 * Parts of a host's score, each from 0 to 1; higher is better. `balance` is the free share of the scarcest resource after
 * the placement (or its complement when packing), `image` saves a transfer, `tie` only orders equals.
 */
export function scoresOf(
  host: HostSnapshot,
  request: PlacementRequest,
  policy: Policy,
): Record<string, number> {
  const free = freeOf(host);
  const c = host.capacity;
  const share = (left: number, all: number | undefined): number =>
    all === undefined || all <= 0 ? 0 : Math.max(0, left) / all;
  const scarcest = Math.min(
    share(free.cpuMillis - request.resources.cpuMillis, c?.cpuMillis),
    share(free.memoryMiB - request.resources.memoryMiB, c?.memoryMiB),
    share(free.diskMiB - request.resources.diskMiB, c?.diskMiB),
  );
  return {
    balance: round(policy.strategy === 'spread' ? scarcest : 1 - scarcest),
    image: host.images.includes(request.imageDigest) ? 1 : 0,
    tie: round(tieBreak(policy.seed, host.id)),
  };
}

const weights: Readonly<Record<string, number>> = { balance: 100, image: 5, tie: 0.001 };

/** The weighted sum of {@link scoresOf}. */
export function total(scores: Record<string, number>): number {
  return round(Object.entries(scores).reduce((sum, [name, value]) => sum + value * (weights[name] ?? 0), 0));
}

const round = (x: number): number => Math.round(x * 1e6) / 1e6;

import type { Decision, HostVerdict } from '@berth/model';
import { filters, freeOf, refusalOf, type Refusal } from './filters.js';
import { scoresOf, total } from './score.js';
import type { HostSnapshot, PlacementRequest, Policy, Snapshot } from './snapshot.js';

/** A decision without what the store adds when it keeps it. */
export type DecisionDraft = Omit<Decision, 'id' | 'at'>;

/** Above this many hosts a decision keeps counts, the best and the nearest misses, not every verdict. */
export const allVerdictsUpTo = 64;
const bestKept = 5;
const nearestKept = 5;

interface Judged {
  readonly verdict: HostVerdict;
  readonly refusal: Refusal | null;
}

/** One host's verdict on one request; `explain --host` is this. Pure. */
export function judge(host: HostSnapshot, request: PlacementRequest, policy: Policy): HostVerdict {
  return judged(host, request, policy).verdict;
}

function judged(host: HostSnapshot, request: PlacementRequest, policy: Policy): Judged {
  const refusal = refusalOf(host, request);
  const scores = refusal === null ? scoresOf(host, request, policy) : {};
  const verdict: HostVerdict = {
    hostId: host.id,
    host: host.name as HostVerdict['host'],
    fits: refusal === null,
    failed:
      refusal === null
        ? null
        : { filter: refusal.filter, need: refusal.need, have: refusal.have, message: refusal.message },
    score: refusal === null ? total(scores) : null,
    scores,
    free: freeOf(host),
  };
  return { verdict, refusal };
}

/**
 * Chooses a host, or none, and says why for every host. Pure: the same snapshot, request and policy give the same answer.
 * The caller commits the placement and re-checks capacity under its lock.
 */
export function decide(snapshot: Snapshot, request: PlacementRequest, policy: Policy): DecisionDraft {
  const all = snapshot.hosts.map((h) => judged(h, request, policy));
  const fitting = all
    .filter((j) => j.refusal === null)
    .map((j) => j.verdict)
    .sort(byScore);
  const refused = all.filter((j): j is Judged & { refusal: Refusal } => j.refusal !== null).sort(byNearness);
  const chosen = fitting[0] ?? null;
  return {
    instanceId: request.instanceId,
    snapshotId: snapshot.id,
    outcome: chosen === null ? 'unplaced' : 'placed',
    hostId: chosen?.hostId ?? null,
    host: chosen?.host ?? null,
    strategy: policy.strategy,
    seed: policy.seed,
    considered: all.length,
    rejected: countRejected(refused.map((j) => j.refusal)),
    best: fitting.slice(0, bestKept),
    nearest: refused.slice(0, nearestKept).map((j) => j.verdict),
    verdicts: all.length <= allVerdictsUpTo ? all.map((j) => j.verdict) : null,
    summary: summarise(
      all.length,
      chosen,
      refused.map((j) => j.refusal),
    ),
  };
}

function byScore(a: HostVerdict, b: HostVerdict): number {
  return (b.score ?? 0) - (a.score ?? 0) || (a.hostId < b.hostId ? -1 : 1);
}

const filterRank = new Map(filters.map((f, i) => [f.name, i]));

/** A later filter is a nearer miss; within a filter the closer one. */
function byNearness(a: Judged & { refusal: Refusal }, b: Judged & { refusal: Refusal }): number {
  const rank = (filterRank.get(b.refusal.filter) ?? 0) - (filterRank.get(a.refusal.filter) ?? 0);
  return rank || b.refusal.closeness - a.refusal.closeness || (a.verdict.hostId < b.verdict.hostId ? -1 : 1);
}

function countRejected(refusals: readonly Refusal[]): Decision['rejected'] {
  return filters.flatMap(({ name }) => {
    const mine = refusals.filter((r) => r.filter === name);
    const best = mine.reduce<Refusal | null>(
      (b, r) => (b === null || r.closeness > b.closeness ? r : b),
      null,
    );
    return best === null ? [] : [{ filter: name, hosts: mine.length, need: best.need, bestHave: best.have }];
  });
}

function summarise(considered: number, chosen: HostVerdict | null, refusals: readonly Refusal[]): string {
  if (chosen !== null)
    return `placed on ${chosen.host} (score ${chosen.score}; ${considered} considered, ${refusals.length} refused)`;
  const waiting = refusals.find((r) => r.filter === 'dependencies');
  if (waiting !== undefined) return waiting.message;
  if (considered === 0) return 'there is no host; join one with a join token';
  const parts = countRejected(refusals).map(
    (r) => `${r.filter}: ${r.hosts} (needs ${r.need}, best has ${r.bestHave})`,
  );
  return `no host of ${considered} fits; ${parts.join('; ')}`;
}

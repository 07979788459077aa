import type { HostId, ProjectId } from '@berth/model';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { body, ctx, decisionFor, ids } from './fixture.js';

/*
 * One API-like process of the contention test: creates instances and places each right after its commit, several at a
 * time, as the API does. Runs bundled in a process of its own; speaks over IPC.
 */

export interface Round {
  readonly url: string;
  readonly projectId: ProjectId;
  readonly hosts: readonly { id: HostId; name: string }[];
  readonly prefix: string;
  readonly creates: number;
  readonly atOnce: number;
}

const clock = { now: () => new Date() };

async function createAndPlace(
  store: Store,
  round: Round,
  full: Set<HostId>,
  n: number,
): Promise<'placed' | 'pending'> {
  const create = {
    projectId: round.projectId,
    // Without a nic: giving out addresses would make the creates take turns.
    body: body(`${round.prefix}${n}`, { cpuMillis: 100, nics: [] }),
    deadlineSeconds: 60,
  };
  const { instance } = await store.instanceCreate(ctx, create);
  // Every process begins at another host, so that both meet at each.
  for (let turn = 0; turn < round.hosts.length; turn += 1) {
    const host = round.hosts[(n + turn) % round.hosts.length];
    // Nothing is freed in a round, so a host that was full stays so.
    if (host === undefined || full.has(host.id)) continue;
    const decision = decisionFor(instance, host, clock.now());
    const commit = { instanceId: instance.id, hostId: host.id, runGeneration: 1, decision };
    const { outcome } = await store.placementCommit(commit);
    if (outcome === 'placed') return 'placed';
    if (outcome === 'full') full.add(host.id);
  }
  await store.decisionInsert(decisionFor(instance, null, clock.now()));
  return 'pending';
}

/** Held open over the rounds, as an API holds it. */
let opened: Promise<Store> | null = null;

async function play(round: Round): Promise<number> {
  opened ??= openStore({ url: round.url, clock, ids, poolSize: round.atOnce });
  const store = await opened;
  let next = 0;
  let placed = 0;
  const full = new Set<HostId>();
  const lane = async (): Promise<void> => {
    for (let n = next++; n < round.creates; n = next++)
      if ((await createAndPlace(store, round, full, n)) === 'placed') placed += 1;
  };
  await Promise.all(Array.from({ length: round.atOnce }, lane));
  return placed;
}

process.on('message', (round: Round) => {
  play(round).then(
    (placed) => process.send?.({ placed }),
    (error: unknown) =>
      process.send?.({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});
process.send?.({ ready: true });

import type { HostId } from '@berth/model';
import type { BlobCollector } from '../images/blob-collector.js';
import type { RemoteImports } from '../images/remote-imports.js';
import type { LoopLog } from '../scheduling/loop.js';
import type { Clock, EventStore, ReconcileStore, TerminalTicketStore } from '../store/store.js';

/** Repeats a task; injected so that tests own the time. Returns what stops it. */
export interface Timers {
  every(milliseconds: number, task: () => void): () => void;
}

export interface ReconcileDeps {
  readonly store: ReconcileStore &
    Pick<EventStore, 'eventsTrim'> &
    Pick<TerminalTicketStore, 'terminalTicketsTrim'>;
  readonly clock: Clock;
  readonly log: LoopLog;
  /** A host that was not heard for this long is silent, ms. */
  readonly silentAfterMs: number;
  /** Lifecycle and observation events are kept this long, ms; audit for ever. */
  readonly eventsKeptMs: number;
  readonly imports: Pick<RemoteImports, 'takeUp'>;
  readonly unused: Pick<BlobCollector, 'collect'>;
  readonly wake: { scheduler(): void; dispatch(hostId: HostId): void; operations(): void };
}

interface Task {
  readonly name: string;
  readonly everyMs: number;
  readonly run: (d: ReconcileDeps) => Promise<void>;
}

/** Enough to see what a host that comes and goes has been through. */
const sessionsKept = 20;

/** The loops take no input: after a restart there is no hint, and a hinted path would be a second one, rarely exercised. */
export const tasks: readonly Task[] = [
  {
    name: 'operations past their deadline fail',
    everyMs: 1000,
    run: async (d) => {
      if ((await d.store.operationsExpire()).length > 0) d.wake.operations();
    },
  },
  {
    name: 'hosts that went silent are marked',
    everyMs: 1000,
    run: async (d) => {
      await d.store.hostsSilentMark(d.silentAfterMs);
    },
  },
  {
    name: 'placements never offered to a silent host are withdrawn',
    everyMs: 2000,
    run: async (d) => {
      if ((await d.store.placementsWithdraw()).length > 0) d.wake.scheduler();
    },
  },
  {
    name: 'deletions move on',
    everyMs: 2000,
    run: async (d) => {
      for (const host of await d.store.deletionsAdvance()) d.wake.dispatch(host);
    },
  },
  {
    name: 'snapshots that are due by schedule are taken, and old ones go',
    everyMs: 10_000,
    run: async (d) => {
      const hosts = await d.store.snapshotSchedulesAdvance();
      for (const host of hosts) d.wake.dispatch(host);
      if (hosts.length > 0) d.wake.operations();
    },
  },
  {
    name: 'exports that were kept long enough go',
    everyMs: 60_000,
    run: async (d) => {
      for (const host of await d.store.exportsExpire()) d.wake.dispatch(host);
    },
  },
  {
    name: 'what waits is offered again',
    everyMs: 5000,
    run: (d) => {
      d.wake.scheduler();
      return Promise.resolve();
    },
  },
  {
    name: 'imports that nobody does are taken up',
    everyMs: 5000,
    run: (d) => d.imports.takeUp(),
  },
  {
    name: 'content that no image uses goes',
    everyMs: 10_000,
    run: (d) => d.unused.collect(),
  },
  {
    name: 'expired idempotency keys go',
    everyMs: 60_000,
    run: async (d) => {
      await d.store.idempotencyTrim();
    },
  },
  {
    name: 'browser sessions and sign-in codes that are over go',
    everyMs: 60_000,
    run: async (d) => {
      await d.store.browserSessionsTrim();
    },
  },
  {
    name: 'expired tickets for terminals go',
    everyMs: 60_000,
    run: async (d) => {
      await d.store.terminalTicketsTrim();
    },
  },
  {
    name: 'old sessions of hosts go',
    everyMs: 60_000,
    run: async (d) => {
      await d.store.hostSessionsTrim(sessionsKept);
    },
  },
  {
    name: 'old events that are not audit go',
    everyMs: 60_000,
    run: async (d) => {
      await d.store.eventsTrim(new Date(d.clock.now().getTime() - d.eventsKeptMs));
    },
  },
];

/** Starts every loop; a round that is still under way is not started twice. Returns what stops them and waits. */
export function reconcileStart(deps: ReconcileDeps, timers: Timers): () => Promise<void> {
  const underWay = new Map<string, Promise<void>>();
  const stops = tasks.map((task) =>
    timers.every(task.everyMs, () => {
      if (underWay.has(task.name)) return;
      const round = task
        .run(deps)
        .catch((error: unknown) =>
          deps.log.error({ err: error, loop: task.name }, 'a round failed; the next one tries again'),
        )
        .finally(() => underWay.delete(task.name));
      underWay.set(task.name, round);
    }),
  );
  return async () => {
    for (const stop of stops) stop();
    await Promise.all(underWay.values());
  };
}

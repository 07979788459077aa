import type { LinkAnswer, LinkRequest, StatsLine } from '@berth/link';
import { guestUsedBytes, type InstanceUsage } from '@berth/model';
import { keyText, type WorkloadKey } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { NetworkKeeper } from './networks.js';
import type { Newest, Placements } from './placements.js';
import { refusalOf } from './refusal.js';

export interface LiveUsagePorts {
  readonly clock: Clock;
  readonly placements: Pick<Placements, 'newest'>;
  readonly traffic: Pick<NetworkKeeper, 'traffic'> | null;
}

/** Streams of one host at a time: each holds a stream of the link, which lists, reports and logs need too. */
const atOnce = 64;
/** Time between two lines, milliseconds. */
const leastMs = 1_000;
const mostMs = 60_000;
/** A look that is younger serves whoever wants one: however many watch an instance, it is asked once. Milliseconds. */
const sharedMs = 500;
/** Cannot be the answer of a runtime for long: one that hangs ends its streams, milliseconds. */
const lookMs = 10_000;

interface Look {
  /** When it was begun, by this host's clock, milliseconds. */
  readonly at: number;
  /** Null when it does not run. */
  readonly used: Promise<InstanceUsage | null>;
}

/** What instances use now, a line after each interval, for as long as their newest epoch runs and somebody reads. */
export class LiveUsage {
  private open = 0;
  private readonly looks = new Map<string, Look>();
  private traffic: { readonly at: number; readonly of: ReturnType<NetworkKeeper['traffic']> } | null = null;

  constructor(private readonly ports: LiveUsagePorts) {}

  async serve(
    instanceId: string,
    { query, signal }: Pick<LinkRequest, 'query' | 'signal'>,
  ): Promise<LinkAnswer> {
    if (this.open >= atOnce)
      return {
        status: 429,
        body: { code: 'rateLimited', message: `this host has ${atOnce} streams of stats open` },
      };
    const newest = this.ports.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    if (newest.runtime.usage === undefined)
      return { status: 501, body: { code: 'unsupported', message: `${newest.runtime.name} tells no usage` } };
    const everyMs = Math.min(mostMs, Math.max(leastMs, Number(query.get('everyMs')) || leastMs));
    this.open += 1;
    const leave = (): void => void (this.open -= 1);
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    try {
      const first = await this.look(newest);
      if ((await first.used) === null)
        return { status: 409, body: { code: 'notPrepared', message: `${keyText(newest.key)} does not run` } };
      return { status: 200, body: this.lines(newest.key, first, everyMs, signal) };
    } catch (error) {
      return refusalOf(error);
    }
  }

  private async *lines(
    key: WorkloadKey,
    first: Look,
    everyMs: number,
    signal: AbortSignal,
  ): AsyncGenerator<Uint8Array> {
    for (let before = first; ;) {
      await this.ports.clock.sleep(everyMs, signal);
      const newest = signal.aborted ? null : this.ports.placements.newest(key.instanceId);
      if (newest === null || 'refusal' in newest || newest.key.epoch !== key.epoch) return;
      const look = await this.look(newest);
      const used = await look.used;
      if (used === null) return;
      const line = lineOf(used, newest.memoryMiB, cpuMillis(await before.used, used, look.at - before.at));
      yield Buffer.from(`${JSON.stringify(line)}\n`);
      before = look;
    }
  }

  private async look({ key, runtime }: Newest): Promise<Look> {
    const now = this.now();
    for (const [other, { at }] of this.looks) if (!within(at, now)) this.looks.delete(other);
    const shared = this.looks.get(keyText(key));
    if (shared !== undefined) return shared;
    const used = Promise.all([
      this.bounded(runtime.usage?.(key) ?? Promise.resolve([])),
      this.nics(now),
    ]).then(([[mine], nics]) => {
      if (mine === undefined) return null;
      const through = nics.find((n) => keyText(n) === keyText(key));
      return { receivedBytes: 0, sentBytes: 0, ...through, ...mine };
    });
    used.catch(() => undefined); // whoever waits for it hears of it
    const look = { at: now, used };
    this.looks.set(keyText(key), look);
    return look;
  }

  /** One dump of all links serves all instances of the moment. */
  private nics(now: number): ReturnType<NetworkKeeper['traffic']> {
    if (this.traffic === null || !within(this.traffic.at, now))
      this.traffic = { at: now, of: this.ports.traffic?.traffic() ?? Promise.resolve([]) };
    return this.traffic.of;
  }

  private async bounded<T>(work: Promise<T>): Promise<T> {
    const over = new AbortController();
    const late = this.ports.clock.sleep(lookMs, over.signal).then(() => {
      if (!over.signal.aborted) throw new Error('the runtime did not tell in time what is used');
    });
    try {
      return (await Promise.race([work, late])) as T;
    } finally {
      over.abort();
    }
  }

  private now(): number {
    return this.ports.clock.now().getTime();
  }
}

/** A clock that was set back makes nothing young again. */
const within = (at: number, now: number): boolean => now >= at && now - at < sharedMs;

/** Null where it counts anew, or a clock was set back. */
function cpuMillis(before: InstanceUsage | null, now: InstanceUsage, ms: number): number | null {
  if (before === null || ms <= 0 || now.cpuMicros < before.cpuMicros) return null;
  return Number(((now.cpuMicros - before.cpuMicros) / ms).toFixed(1));
}

function lineOf(used: InstanceUsage, memoryMiB: number, millis: number | null): StatsLine {
  return {
    cpuMillis: millis,
    memoryBytes: used.memoryBytes,
    memoryLimitBytes: memoryMiB * 1024 * 1024,
    guestMemoryBytes: guestUsedBytes(used.guest),
    networkReceivedBytes: used.receivedBytes,
    networkSentBytes: used.sentBytes,
    blockReadBytes: used.blockReadBytes,
    blockWriteBytes: used.blockWriteBytes,
    pids: used.pids ?? null,
  };
}

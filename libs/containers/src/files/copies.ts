import type { InstanceId } from '@berth/model';
import { RuntimeError } from '@berth/runtime';

/** Copies under way: each holds what is mounted in its container, which must be let go before the mounts are. */
export class Copies {
  private readonly under = new Map<
    InstanceId,
    Set<{ readonly end: () => void; readonly over: Promise<unknown> }>
  >();

  /** Does the work until it is over, its signal fires, or the instance's copies are to end. */
  async run<T>(
    instanceId: InstanceId,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const ended = new AbortController();
    const end = (): void => ended.abort(new RuntimeError('notPrepared', 'it ended meanwhile'));
    const copying = work(AbortSignal.any([signal, ended.signal]));
    const one = { end, over: copying.catch(() => undefined) };
    const all = this.under.get(instanceId) ?? new Set();
    this.under.set(instanceId, all.add(one));
    try {
      return await copying;
    } finally {
      all.delete(one);
      if (all.size === 0) this.under.delete(instanceId);
    }
  }

  /** Ends all of an instance. */
  async end(instanceId: InstanceId): Promise<void> {
    const all = [...(this.under.get(instanceId) ?? [])];
    for (const { end } of all) end();
    await Promise.all(all.map(({ over }) => over));
  }
}

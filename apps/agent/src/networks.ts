import type { HostNetworkSpec, NetworkId, Traffic } from '@berth/model';
import type { WorkloadKey } from '@berth/runtime';
import type { Clock } from './clock.js';
import { backoffMs, Wakeup } from './clock.js';
import type { AgentLog } from './log.js';

/** The part of libs/network the agent itself needs: leases of running networks, and their end. */
export interface NetworkKeeper {
  ensure(spec: HostNetworkSpec): Promise<unknown>;
  /** `released` is false, and nothing done, while a nic is on it, or where it is `used` by the time it would go. */
  release(networkId: NetworkId, used: () => boolean): Promise<{ readonly released: boolean }>;
  /** Takes down nics of epochs that are over, and networks that carry no other; what is known of these is kept. */
  rest(over: (key: WorkloadKey) => boolean): Promise<unknown>;
  /** What is up now, also from before this process. */
  networks(): Promise<readonly { readonly networkId: NetworkId }[]>;
  /** What went through the nics of each epoch, as its guest sees it. */
  traffic(): Promise<readonly (WorkloadKey & Traffic)[]>;
}

/**
 * Keeps the networks of this host as the last list says. Runtimes make a network when they prepare a workload; what is
 * left here is to update the leases of those that are up, and to take away what no placement uses.
 */
export class HostNetworks {
  private wanted = new Map<NetworkId, HostNetworkSpec>();
  private used: () => ReadonlyMap<NetworkId, HostNetworkSpec> = () => this.wanted;
  /** What is up, as it was ensured; an empty text for what an earlier agent left. */
  private readonly done = new Map<NetworkId, string>();
  private inherited = false;
  private listed = false;
  private readonly wakeup = new Wakeup();
  private readonly life = new AbortController();
  private readonly loop: Promise<void>;

  constructor(
    private readonly keeper: NetworkKeeper | null,
    private readonly clock: Clock,
    private readonly log: AgentLog,
  ) {
    this.loop = this.run();
  }

  /**
   * `used` tells the networks of placements here, as they were when accepted, and is asked again before one is taken away: a
   * placement may have come meanwhile, and have been prepared. `listed` has their newest form.
   */
  want(used: () => ReadonlyMap<NetworkId, HostNetworkSpec>, listed: readonly HostNetworkSpec[]): void {
    this.listed = true;
    this.used = used;
    const newest = new Map(listed.map((n) => [n.id, n]));
    this.wanted = new Map(
      [...used()].map(([id, spec]) => [id, newest.get(id) ?? this.wanted.get(id) ?? spec] as const),
    );
    this.wakeup.wake();
  }

  /** On return what a workload's networks have of it is in effect, as far as the lists say. @throws NetworkError */
  async bring(specs: readonly HostNetworkSpec[]): Promise<void> {
    for (const spec of specs) await this.keeper?.ensure(spec);
  }

  async close(): Promise<void> {
    this.life.abort();
    this.wakeup.wake();
    await this.loop;
  }

  /**
   * Networks that nothing runs on do not stay behind an agent that ends; those of what runs go on. For after `close`, when every
   * worker has ended too. `over` tells which epochs never run again.
   */
  async rest(over: (key: WorkloadKey) => boolean): Promise<void> {
    await this.keeper?.rest(over).catch((err: unknown) => {
      this.log.warn({ err }, 'networks that nothing runs on stay on the host');
    });
  }

  private async run(): Promise<void> {
    let attempts = 0;
    while (!this.life.signal.aborted) {
      const failed =
        this.keeper === null || !this.listed ? false : !(await this.pass(this.keeper).catch(() => false));
      attempts = failed ? attempts + 1 : 0;
      const ms = failed ? backoffMs(this.clock, attempts, 500, 60_000) : null;
      await this.wakeup.wait(this.clock, ms, this.life.signal);
    }
  }

  private async pass(keeper: NetworkKeeper): Promise<boolean> {
    let good = true;
    if (!this.inherited) {
      for (const { networkId } of await keeper.networks()) this.done.set(networkId, '');
      this.inherited = true;
    }
    const attempt = async (id: NetworkId, work: () => Promise<unknown>): Promise<boolean> => {
      try {
        await work();
        return true;
      } catch (err) {
        good = false;
        this.log.warn({ err, networkId: id }, 'a network could not be brought up to date; it is tried again');
        return false;
      }
    };
    // First what goes: another network may have its subnet now.
    for (const id of this.done.keys()) {
      if (this.wanted.has(id)) continue;
      let released = false;
      const tried = await attempt(
        id,
        async () => ({ released } = await keeper.release(id, () => this.used().has(id))),
      );
      // A machine may not have let go of its nic there yet.
      if (tried && released) this.done.delete(id);
      else good = false;
    }
    for (const [id, spec] of this.wanted) {
      const text = JSON.stringify(spec);
      if (this.done.get(id) !== text && (await attempt(id, () => keeper.ensure(spec))))
        this.done.set(id, text);
    }
    return good;
  }
}

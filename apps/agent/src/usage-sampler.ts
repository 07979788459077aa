import type { UsageAnswer } from '@berth/link';
import type { HostUsage, InstanceUsage, Traffic, UsageSample } from '@berth/model';
import { keyText } from '@berth/runtime';
import type { Clock } from './clock.js';
import type { AgentLog } from './log.js';
import type { NetworkKeeper } from './networks.js';
import type { Runtimes } from './runtimes.js';

export interface SamplerPorts {
  readonly clock: Clock;
  readonly log: AgentLog;
  readonly runtimes: Pick<Runtimes, 'ready'>;
  readonly networks: Pick<NetworkKeeper, 'traffic'> | null;
  readonly machine: () => Promise<HostUsage>;
}

/** Time between two looks, milliseconds. */
export const sampleEveryMs = 15_000;
/** An hour of samples, and never more lines about instances than these: about 16 MiB. */
const keptSamples = 240;
const keptLines = 100_000;
/** Of one answer: a few MiB of JSON. */
const answerLines = 20_000;
/** Of one sample; a host holds no more (AssignmentList). */
const mostInstances = 10_000;

/**
 * Looks at what this host and its instances use, and keeps the last hour in memory, so that an API that was away or was
 * restarted finds it. Figures are for looking at: nothing is decided by them, and a look that fails is left out.
 */
export class UsageSampler {
  private readonly samples: UsageSample[] = [];
  private lines = 0;

  constructor(private readonly ports: SamplerPorts) {}

  /** Looks again and again until the signal fires. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.look().catch((err: unknown) => this.ports.log.warn({ err }, 'usage could not be measured'));
      await this.ports.clock.sleep(sampleEveryMs, signal);
    }
  }

  /** What was seen after `after` (this host's clock, milliseconds), oldest first, as much as one answer holds. */
  since(after: number): UsageAnswer {
    const fresh = this.samples.filter((s) => s.at > after);
    const fitting: UsageSample[] = [];
    let lines = 0;
    for (const sample of fresh) {
      if (fitting.length > 0 && lines + sample.instances.length > answerLines) break;
      lines += sample.instances.length;
      fitting.push(sample);
    }
    return { now: this.now(), samples: fitting, more: fitting.length < fresh.length };
  }

  async look(): Promise<void> {
    const [host, instances] = await Promise.all([this.ports.machine(), this.instances()]);
    // A clock that was set back must not hide what comes.
    const at = Math.max(this.now(), (this.samples.at(-1)?.at ?? -1) + 1);
    const before = this.samples.pop();
    if (before !== undefined) this.samples.push({ ...before, instances: before.instances.map(withoutParts) });
    this.samples.push({ at, host, instances });
    this.lines += instances.length;
    while (this.samples.length > keptSamples || (this.lines > keptLines && this.samples.length > 1))
      this.lines -= this.samples.shift()?.instances.length ?? 0;
  }

  private async instances(): Promise<InstanceUsage[]> {
    const { runtimes, networks, log } = this.ports;
    const traffic = new Map<string, Traffic>();
    for (const { instanceId, epoch, ...through } of (await networks?.traffic()) ?? [])
      traffic.set(keyText({ instanceId, epoch }), through);
    const perRuntime = runtimes.ready().map((runtime) =>
      (runtime.usage?.() ?? Promise.resolve([])).catch((err: unknown) => {
        log.warn({ err, runtime: runtime.name }, 'a runtime could not tell what is used');
        return [];
      }),
    );
    const none = { receivedBytes: 0, sentBytes: 0 };
    const all = (await Promise.all(perRuntime)).flat();
    return all.slice(0, mostInstances).map((used) => ({ ...used, ...(traffic.get(keyText(used)) ?? none) }));
  }

  private now(): number {
    return this.ports.clock.now().getTime();
  }
}

/** What is told of the past: each disk and nic by itself would be most of what is kept, and no graph shows it. */
function withoutParts({ disks, nics, ...together }: InstanceUsage): InstanceUsage {
  void [disks, nics];
  return together;
}

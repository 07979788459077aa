import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Instance } from '@berth/model';
import { expect } from 'vitest';
import { patience, until, type Berth } from '../e2e/berth.js';
import { LabHost, workloadKind, type Running } from './lab-host.js';
import type { Victims } from './victims.js';

/** Configuration of a lab host's agent, laid below the root before the first start. */
export function layAgent(root: string, number: number, config: object): void {
  const dir = join(root, `var/lib/berth/hosts/host-${number}/etc/berth`);
  mkdirSync(dir, { recursive: true });
  // JSON is YAML.
  writeFileSync(join(dir, 'agent.yaml'), JSON.stringify(config));
}

/** The lab hosts of one Berth together. */
export class Fleet {
  readonly hosts: readonly LabHost[];

  constructor(
    private readonly berth: Berth,
    private readonly victims: Victims,
    numbers: readonly number[],
  ) {
    this.hosts = numbers.map((number) => LabHost.of(berth, number));
  }

  hostOf(instance: Instance): LabHost {
    const name = instance.status.host?.name ?? '';
    const found = this.hosts.find((host) => name.endsWith(`-${host.number}`));
    if (found === undefined) throw new Error(`${instance.name} is on no lab host: ${name}`);
    return found;
  }

  running(): Running[] {
    return this.hosts.flatMap((host) => host.running());
  }

  of(instance: Instance, kind: Running['kind']): Running[] {
    return this.hosts.flatMap((host) => host.of(instance, kind));
  }

  /** The one process that is the workload of the instance. */
  workload(instance: Instance): Running {
    return this.hostOf(instance).workload(instance);
  }

  /** Supervisor's names of that part on every lab host. */
  parts(name: 'agent' | 'libvirtd' | 'virtlogd'): string[] {
    return this.hosts.map((host) => host.part(name));
  }

  async state(): Promise<object> {
    return Object.fromEntries(
      await Promise.all(this.hosts.map(async (host) => [`host-${host.number}`, await host.state()] as const)),
    );
  }

  /** Waits until the hosts are as they were. */
  async untilLike(before: object): Promise<void> {
    const left = await until('the hosts are as they were', patience(60_000), async () => {
      const now = await this.state();
      return JSON.stringify(now) === JSON.stringify(before) ? now : undefined;
    }).catch(() => this.state());
    expect(left).toEqual(before);
  }

  /**
   * Each of these runs exactly once: one owner placement, one process, one domain and, unless it was killed, monitor.
   * Nothing else runs.
   */
  async onceEach(instances: readonly Instance[], monitored = true): Promise<void> {
    const owners = await this.victims.rows<{ instance_id: string; epoch: number }>(
      `select instance_id, epoch from placements where phase <> 'ended' and role = 'owner'`,
    );
    expect(owners.map((o) => o.instance_id).sort()).toEqual(instances.map((i) => i.id).sort());
    const machines = instances.filter((i) => workloadKind(i) === 'qemu');
    const boxes = instances.filter((i) => workloadKind(i) === 'init');
    const running = this.running();
    const of = (kind: string): string[] =>
      running
        .filter((r) => r.kind === kind)
        .map((r) => r.of)
        .sort();
    const epochs = boxes.map((i) => `${i.id}.${owners.find((o) => o.instance_id === i.id)?.epoch}`).sort();
    expect(of('qemu')).toEqual(machines.map((i) => i.uuid).sort());
    expect(of('init')).toEqual(epochs);
    if (monitored) expect(of('conmon')).toEqual(epochs);
    else expect(epochs).toEqual(expect.arrayContaining(of('conmon')));
    const domains = await Promise.all(this.hosts.map((host) => host.domains('--state-running')));
    const owned = machines.filter((i) => i.spec.placement.selector['vm'] === 'libvirt').map((i) => i.uuid);
    expect(domains.flat().sort()).toEqual(owned.sort());
  }

  /** The ledger has every position once and none is missing; what waits for its position gets it. */
  async ledgerWhole(): Promise<void> {
    const count = async () =>
      (
        await this.victims.rows<{
          events: number;
          placed: number;
          positions: number;
          first: number;
          last: number;
        }>(
          `select count(*) events, count(position) placed, count(distinct position) positions,
                  min(position) as first, max(position) as last from events`,
        )
      )[0];
    const seen = await until('every event has its position', patience(10_000), async () => {
      const now = await count();
      return now !== undefined && now.placed === now.events ? now : undefined;
    });
    expect(seen.positions).toBe(seen.events);
    expect(seen.last - seen.first + 1).toBe(seen.events);
  }

  /** Waits until every host is ready and the instances run, as the API says. */
  async converged(names: readonly string[], ms = patience(60_000)): Promise<Instance[]> {
    const { berth } = this;
    let last: unknown;
    return until(
      'hosts are ready and instances run',
      ms,
      async () => {
        const [hosts, instances] = await Promise.all([
          berth.hosts(),
          Promise.all(names.map((n) => berth.get(n))),
        ]);
        last = [hosts.map((h) => [h.name, h.state, h.reason]), instances.map((i) => [i.name, i.status])];
        const runs = instances.every((i) => i.status.state === 'running' && i.status.power === 'running');
        return hosts.every((h) => h.state === 'ready') && runs ? instances : undefined;
      },
      () => JSON.stringify(last),
    );
  }
}

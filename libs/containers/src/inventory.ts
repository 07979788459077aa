import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { cgroupChildren, cgroupProcs, hasCode, mounts } from '@berth/linux';
import { type Held, HeldParts, type WorkloadKey } from '@berth/runtime';
import type { Launcher } from './launch/launcher.js';
import type { ContainerRuntimeOptions } from './ports.js';
import { type WorkloadRecord, workloadId, workloadKey } from './workload-record.js';

/** What stands on this host of any epoch, with a record or without. */
export class Inventory {
  constructor(
    private readonly options: ContainerRuntimeOptions,
    private readonly cgroupParent: string,
  ) {}

  /** @throws when any place cannot be looked into: an inventory with a gap is none. */
  async take(
    launcher: Launcher,
    records: readonly WorkloadRecord[],
    alive: (record: WorkloadRecord) => boolean,
  ): Promise<Held[]> {
    const held = new HeldParts();
    const running = new Set<string>();
    for (const record of records)
      if (alive(record)) {
        held.runs(record);
        running.add(workloadId(record));
      }
    const waiting = await this.containers(launcher, held);
    for (const [what, directory] of this.places(launcher)) await this.files(held, what, directory);
    for (const { target } of mounts()) this.mount(held, target);
    for (const nic of await this.options.network.inventory())
      if (nic.kind === 'veth') held.part(nic, `link ${nic.ifname}`);
    await this.groups(held, (id) => waiting.has(id) || running.has(id));
    return held.all();
  }

  /** Ids of the containers that wait for their start: their process is not the guest's yet. */
  private async containers(launcher: Launcher, held: HeldParts): Promise<ReadonlySet<string>> {
    const waiting = new Set<string>();
    for (const { id, status } of await launcher.list()) {
      const key = workloadKey(id);
      if (key === null) continue;
      held.part(key, `container ${id} (${status})`);
      if (status === 'created') waiting.add(id);
      if (status === 'running' || status === 'paused') held.runs(key);
    }
    return waiting;
  }

  private places(launcher: Launcher): readonly (readonly [what: string, directory: string])[] {
    const { runDir, stateDir, logDir } = this.options;
    return [
      ...['bundles', 'roots', 'scratch', 'views', 'namespaces', 'devices', 'mounts', 'host-paths'].map(
        (name) => [name, join(runDir, name)] as const,
      ),
      ...launcher.directories.map((directory) => ['monitor', directory] as const),
      ['record', join(stateDir, 'workloads')],
      ['log', logDir],
    ];
  }

  private async files(held: HeldParts, what: string, directory: string): Promise<void> {
    for (const name of await names(directory)) {
      const key = keyIn(name);
      if (key !== null) held.part(key, `${what} ${name}`);
    }
  }

  private mount(held: HeldParts, target: string): void {
    if (!target.startsWith(`${this.options.runDir}/`)) return;
    for (const name of target.slice(this.options.runDir.length + 1).split('/')) {
      const key = keyIn(name);
      if (key !== null) return held.part(key, `mount ${target}`);
    }
  }

  /** @param told what is known of it without its group */
  private async groups(held: HeldParts, told: (id: string) => boolean): Promise<void> {
    for (const name of await cgroupChildren(this.cgroupParent)) {
      const key = keyIn(name);
      if (key === null) continue;
      const group = `${this.cgroupParent}/${name}`;
      held.part(key, `cgroup ${group}`);
      // A process in the container's own group is the guest's, whatever became of its records.
      const id = workloadId(key);
      if (name === id && !told(id) && (await cgroupProcs(group)).length > 0) held.runs(key);
    }
  }
}

/** The epoch that a name begins with: `<id>`, `<id>.log`, or a temporary file `.<id>.json.….tmp`. */
function keyIn(name: string): WorkloadKey | null {
  const id = /^\.?([0-9a-f-]{36}\.[0-9]+)(?:$|\.)/.exec(name)?.[1];
  return id === undefined ? null : workloadKey(id);
}

async function names(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return [];
    throw error;
  }
}

import { execFile } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Instance } from '@berth/model';
import type { Berth } from '../e2e/berth.js';
import { processes, procText, type Process } from './processes.js';

const exec = promisify(execFile);
const lines = (text: string): string[] => text.split('\n').filter((l) => l !== '');

/** What runs for one epoch of an instance. */
export interface Running extends Process {
  readonly kind: 'qemu' | 'init' | 'conmon';
  /** UUID of the machine, or `<instance id>.<epoch>` of the container. */
  readonly of: string;
}

/**
 * One of a Berth's further hosts, which has namespaces and cgroups of its own: whatever else runs on this machine (a
 * libvirt on the machine's own paths, another Berth) is neither counted nor killed.
 */
export class LabHost {
  private constructor(
    readonly number: number,
    /** BERTH_ROOT of its agent. */
    readonly root: string,
    private readonly holder: number,
    private readonly group: string,
  ) {}

  static of(berth: Berth, number: number): LabHost {
    const record = join(berth.root, `run/berth/components/lab-${number}.json`);
    const { identity } = JSON.parse(readFileSync(record, 'utf8')) as { identity: Process };
    const group = /\/(berth-lab-[^/\n]+)/.exec(procText(identity.pid, 'cgroup'))?.[1];
    if (group === undefined) throw new Error(`host ${number} has no cgroup of its own`);
    return new LabHost(number, join(berth.root, `var/lib/berth/hosts/host-${number}`), identity.pid, group);
  }

  /** Name of a part of it, as the supervisor knows it. */
  part(name: 'agent' | 'libvirtd' | 'virtlogd'): string {
    return `host-${this.number}/${name}`;
  }

  /** Every QEMU, first process of a container and container monitor of the host. */
  running(): Running[] {
    return processes().flatMap((p): Running[] => {
      const cgroups = procText(p.pid, 'cgroup');
      if (!cgroups.includes(`/${this.group}/`) && !cgroups.includes(`/${this.group}\n`)) return [];
      const args = procText(p.pid, 'cmdline').split('\0');
      const program = args[0]?.split('/').at(-1) ?? '';
      const after = (option: string): string => args[args.indexOf(option) + 1] ?? '';
      // Just spawned it is setpriv, on its way to become QEMU.
      if (/^(qemu-system-.*|setpriv)$/.test(program) && args.includes('-uuid'))
        return [{ ...p, kind: 'qemu', of: after('-uuid') }];
      // conmon forks once for good; its parent is gone by the time the container runs.
      if (program === 'conmon') return [{ ...p, kind: 'conmon', of: after('--cid') }];
      const epoch = /\/([0-9a-f-]{36}\.\d+)$/m.exec(cgroups)?.[1];
      const inner = /^NSpid:.*\t(\d+)$/m.exec(procText(p.pid, 'status'))?.[1];
      return epoch !== undefined && inner === '1' ? [{ ...p, kind: 'init', of: epoch }] : [];
    });
  }

  /** What runs of that kind for the instance, whatever the epoch. */
  of(instance: Pick<Instance, 'id' | 'uuid'>, kind: Running['kind']): Running[] {
    return this.running().filter((r) => r.kind === kind && belongs(r, instance));
  }

  /** The one process that is the workload of the instance. */
  workload(instance: Instance): Running {
    const found = this.of(instance, workloadKind(instance));
    if (found.length !== 1 || found[0] === undefined)
      throw new Error(`${instance.name} runs ${found.length} times: ${JSON.stringify(found)}`);
    return found[0];
  }

  /** UUIDs of libvirt's domains, all of them or those that `virsh list` selects by these options. */
  async domains(...which: string[]): Promise<string[]> {
    return this.inside('virsh', 'list', '--uuid', ...which);
  }

  /** Links, nft tables, domains, cgroups, mounts, processes and files of the host. */
  async state(): Promise<Record<string, readonly string[]>> {
    const links = await this.inside('ip', '-br', 'link');
    return {
      links: links.map((l) => l.split(/[\s@]/)[0] ?? '').sort(),
      nft: await this.inside('nft', 'list', 'tables'),
      domains: await this.inside('virsh', 'list', '--all', '--name'),
      // libvirt keeps its parent group once it has made it.
      cgroups: this.cgroups().filter((path) => !path.endsWith('/machine')),
      mounts: this.mounts(),
      processes: this.running()
        .map((r) => `${r.kind} of ${r.of}`)
        .sort(),
      files: filesBelow(this.root).sort(),
    };
  }

  /** What there is on the host with one of these ids in its name, or null. For one that was deleted. */
  remains(ids: readonly string[]): string | null {
    const has = (text: string): boolean => ids.some((id) => text.includes(id));
    const found = [
      ...this.running()
        .filter((r) => has(r.of))
        .map((r) => `process ${r.kind} ${r.pid}`),
      ...this.cgroups().filter(has),
      ...this.mounts().filter(has),
      ...filesBelow(this.root).filter(has),
    ];
    return found.length === 0 ? null : found.join(', ');
  }

  private async inside(...args: string[]): Promise<string[]> {
    const enter = ['--target', String(this.holder), '--net', '--mount', '--'];
    return lines((await exec('nsenter', [...enter, ...args], { timeout: 60_000 })).stdout);
  }

  private mounts(): string[] {
    return lines(procText(this.holder, 'mountinfo'))
      .map((l) => l.split(' ')[4] ?? '')
      .filter((m) => m.startsWith(this.root))
      .sort();
  }

  private cgroups(): string[] {
    const found: string[] = [];
    const walk = (dir: string, inside: boolean, depth: number): void => {
      for (const entry of readdirSync(dir, { withFileTypes: true })) {
        if (!entry.isDirectory()) continue;
        const path = join(dir, entry.name);
        const within = inside || entry.name === this.group;
        if (within) found.push(path);
        // The host's group lies below the root of each mounted tree.
        if (within || depth === 0) walk(path, within, depth + 1);
      }
    };
    walk('/sys/fs/cgroup', false, 0);
    return found.sort();
  }
}

export const workloadKind = (instance: Pick<Instance, 'spec'>): 'qemu' | 'init' =>
  instance.spec.isolation === 'vm' ? 'qemu' : 'init';

export function belongs(r: Running, instance: Pick<Instance, 'id' | 'uuid'>): boolean {
  return r.kind === 'qemu' ? r.of === instance.uuid : r.of.startsWith(`${instance.id}.`);
}

function filesBelow(root: string): string[] {
  const found: string[] = [];
  const walk = (dir: string): void => {
    for (const entry of entriesOf(dir)) {
      const path = join(dir, entry.name);
      // Kept on purpose: image content and its records, logs of daemons, and in the journal the highest epoch of each instance that was
      // here (a lower one is refused even after it is gone). The join token is spent and goes at the next start.
      if (/\/(blobs|layers|images|libvirtd?|reports|journal)$/.test(path)) continue;
      if (entry.isDirectory()) walk(path);
      // Measured and asked once per boot in the background, so they may come after the first look.
      else if (
        !['accel.json', 'qemu-answers.json', 'join-token', 'uid-ranges.json', 'vm-uids.json'].includes(
          entry.name,
        )
      )
        found.push(path.slice(root.length));
      else if (/uid/.test(entry.name)) found.push(...uidsTaken(path));
    }
  };
  walk(root);
  return found;
}

function entriesOf(dir: string) {
  try {
    return readdirSync(dir, { withFileTypes: true });
  } catch {
    return []; // it went away meanwhile
  }
}

/** Uids and uid ranges that are still taken, by volume. */
function uidsTaken(path: string): string[] {
  return [...readFileSync(path, 'utf8').matchAll(/"([0-9a-f-]{36})"/g)].map((m) => `uid of ${m[1] ?? ''}`);
}

import { belongs, workloadKind, type LabHost, type Running } from './lab-host.js';
import type { Slot } from './slot.js';
import type { Victims } from './victims.js';

interface Owner {
  readonly instance_id: string;
  readonly epoch: number;
}

interface Seen {
  readonly owners: readonly Owner[];
  readonly running: ReadonlyMap<LabHost, readonly Running[]>;
  readonly domains: ReadonlyMap<LabHost, readonly string[]>;
}

/**
 * What is not exactly as wanted, once, by instance: its owner placement, its process, its monitor or domain, and of one
 * that is gone anything at all. Under the key null: what runs and belongs to none of them.
 */
export async function defectsOf(
  slots: readonly Slot[],
  hosts: readonly LabHost[],
  victims: Victims,
): Promise<Map<Slot | null, string>> {
  const seen = await look(hosts, victims);
  const defects = new Map<Slot | null, string>();
  for (const slot of slots) {
    const defect = slot.gone ? remainsOf(slot) : defectOf(slot, seen);
    if (defect !== null) defects.set(slot, defect);
  }
  const strangers = [...seen.running.values()]
    .flat()
    .filter((r) => !slots.some((slot) => belongs(r, slot.instance)));
  if (strangers.length > 0) defects.set(null, `runs for nobody: ${JSON.stringify(strangers)}`);
  return defects;
}

async function look(hosts: readonly LabHost[], victims: Victims): Promise<Seen> {
  const owners = await victims.rows<Owner>(
    `select instance_id, epoch from placements where phase <> 'ended' and role = 'owner'`,
  );
  const domains = await Promise.all(
    hosts.map(async (host) => [host, await host.domains('--state-running')] as const),
  );
  return { owners, running: new Map(hosts.map((host) => [host, host.running()])), domains: new Map(domains) };
}

function remainsOf({ host, instance }: Slot): string | null {
  const { rootVolumeId } = instance.status;
  const left = host.remains([instance.id, ...(rootVolumeId === null ? [] : [rootVolumeId])]);
  return left === null ? null : `left over: ${left}`;
}

function defectOf({ host, instance, runs, epoch, runtime, counted }: Slot, seen: Seen): string | null {
  const epochs = seen.owners.filter((o) => o.instance_id === instance.id).map((o) => o.epoch);
  if (JSON.stringify(epochs) !== JSON.stringify(runs ? [epoch] : []))
    return `owner placements: epochs [${epochs.join()}], wanted ${runs ? epoch : 'none'}`;
  const mine = (seen.running.get(host) ?? []).filter((r) => belongs(r, instance));
  const count = (kind: Running['kind']): number => mine.filter((r) => r.kind === kind).length;
  const wanted = runs ? 1 : 0;
  if (count(workloadKind(instance)) !== wanted) return `processes, wanted ${wanted}: ${JSON.stringify(mine)}`;
  if (runtime === 'oci' && mine.some((r) => r.of !== `${instance.id}.${epoch}`))
    return `another epoch than ${epoch} runs: ${JSON.stringify(mine)}`;
  // One whose monitor was killed goes on without.
  if (runtime === 'oci' && (counted || !runs) && count('conmon') !== wanted)
    return `monitors, wanted ${wanted}: ${JSON.stringify(mine)}`;
  const domains = (seen.domains.get(host) ?? []).filter((uuid) => uuid === instance.uuid).length;
  if (runtime === 'libvirt' && domains !== wanted) return `running domains: ${domains}, wanted ${wanted}`;
  return null;
}

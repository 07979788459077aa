import { cgroupChildren, cgroupProcs, cgroupRemove } from '@berth/linux';

/** Where libvirt makes the cgroups of machines without systemd: `machine/qemu-<id>-<domain>.libvirt-qemu`. */
const PARENT = 'machine';
const GROUP = /^qemu-\d+-(.+)\.libvirt-qemu$/;

/**
 * The cgroups of domains, by domain name. libvirt removes them with the machine, but not when QEMU ended while libvirtd
 * was away. (With systemd, machined owns them and nothing stays.)
 */
export async function libvirtGroups(): Promise<ReadonlyMap<string, readonly string[]>> {
  const groups = new Map<string, string[]>();
  for (const name of await cgroupChildren(PARENT)) {
    const domain = GROUP.exec(name)?.[1];
    if (domain === undefined) continue;
    groups.set(domain, [...(groups.get(domain) ?? []), `${PARENT}/${name}`]);
  }
  return groups;
}

/** Takes away what is left of a domain's cgroups; one in which something runs stays. */
export async function libvirtGroupsRemove(domain: string): Promise<void> {
  for (const group of (await libvirtGroups()).get(domain) ?? [])
    if ((await cgroupProcs(group)).length === 0) await cgroupRemove(group);
}

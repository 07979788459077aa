import { hasCode, setAffinity } from '@berth/linux';
import { allCpus } from '../machine/numa-xml.js';
import { nodeMemory, type MachineNuma, type MachineSpec } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';
import { option, type OptionValue } from './options.js';

/* Nodes of a machine of our own (qemu(1), `-numa`), and where its threads run. */

/** Memory of a node, or all of it: what is not bound to a node of its host is anywhere. */
export const boundTo = (numa: MachineNuma, node: number): Record<string, OptionValue | null> => {
  const host = numa.hosts?.[node];
  return host === undefined ? {} : { 'host-nodes': host.id, policy: 'bind' };
};

/** Each node with its memory, and the socket that is in it. None of a machine with one. */
export function numaArguments({ numa }: Pick<MachineSpec, 'numa'>): string[] {
  if (numa.nodes === 1) return [];
  return Array.from({ length: numa.nodes }, (_, node) => [
    ...option('-numa', 'node', { nodeid: node, memdev: nodeMemory(node) }),
    ...option('-numa', 'cpu', { 'node-id': node, 'socket-id': node }),
  ]).flat();
}

/** Has a QEMU that has only begun run near its memory, and every thread that it begins. @throws SystemError */
export function bindProcess({ hosts }: MachineNuma, pid: number): void {
  if (hosts === null) return;
  try {
    setAffinity(pid, allCpus(hosts));
  } catch (error) {
    // It ended already; why is what the greeting finds out.
    if (!hasCode(error, 'ESRCH')) throw error;
  }
}

/** The same of each virtual processor of a machine with several nodes, before its guest runs. @throws QmpError, SystemError */
export async function bindVcpus(
  { hosts, nodes }: MachineNuma,
  qmp: QmpExecutor,
  bounds: ExecuteOptions,
): Promise<void> {
  if (hosts === null || nodes === 1) return;
  for (const { 'thread-id': thread, props } of await qmp.execute('query-cpus-fast', undefined, bounds)) {
    const host = hosts[props?.['node-id'] ?? 0];
    if (host !== undefined) setAffinity(thread, host.cpus);
  }
}

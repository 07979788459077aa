import { numaNodesMost } from '@berth/model';
import { nodeMemory } from '../machine/machine-spec.js';
import type { ExecuteOptions, QmpExecutor } from '../qmp/commands.js';

/** How many nodes a machine that runs has, by the names of their memory (QOM). @throws QmpError */
export async function numaNodesOf(qmp: QmpExecutor, bounds: ExecuteOptions): Promise<number> {
  const objects = await qmp.execute('qom-list', { path: '/objects' }, bounds);
  const names = new Set(objects.map(({ name }) => name));
  const nodes = Array.from({ length: numaNodesMost }, (_, node) => nodeMemory(node));
  return Math.max(1, nodes.filter((name) => names.has(name)).length);
}

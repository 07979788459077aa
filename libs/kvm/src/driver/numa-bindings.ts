import { nodeHugePages, numaNodes } from '@berth/linux';
import {
  bindableMiB,
  HugePageSize,
  hugePageMiB,
  numaRoom,
  type HostNumaNode,
  type NumaNeed,
} from '@berth/model';
import { RuntimeError, type WorkloadKey } from '@berth/runtime';
import { z } from 'zod';
import type { HostNode } from '../machine/machine-spec.js';
import { EpochValues } from './epoch-values.js';

const Binding = z.strictObject({
  /** Numbers of the host's nodes that its own are bound to, in their order. */
  hostNodes: z.array(z.int().min(0)),
  /** Of each of its nodes. */
  memoryMiB: z.int().min(1),
  /** Which is not of the ordinary memory. */
  hugePages: HugePageSize.nullable(),
});
export type Binding = z.infer<typeof Binding>;

/** The nodes of a host. */
export interface NumaHost {
  nodes(): HostNumaNode[];
  /** Memory that a node keeps in huge pages of this size, MiB. */
  hugeMiB(node: number, size: HugePageSize, of: 'nr' | 'free'): number;
}

const kernel: NumaHost = {
  nodes: () =>
    numaNodes().map(({ cpus, distances, ...node }) => ({
      ...node,
      cpus: [...cpus],
      distances: [...distances],
    })),
  hugeMiB: (node, size, of) => nodeHugePages(node, hugePageMiB[size], of),
};

/** A node of a host, and what of its memory is left, MiB. */
export interface NodeLeft extends HostNumaNode {
  readonly leftMiB: number;
}

/**
 * The nodes of a host for those of one machine: different ones as long as there are some with room, then those that are near to the ones
 * before, then those with the most left. Null where they have no room for all. Pure.
 */
export function nodesFor(need: NumaNeed, host: readonly NodeLeft[]): number[] | null {
  const uses = new Map<number, number>();
  const chosen: number[] = [];
  for (let n = 0; n < need.nodes; n += 1) {
    const way = (node: NodeLeft): number =>
      chosen.reduce((sum, id) => sum + (node.distances[host.findIndex((one) => one.id === id)] ?? 0), 0);
    const used = ({ id }: NodeLeft): number => uses.get(id) ?? 0;
    const [best] = host
      .filter((node) => numaRoom(need, node, node.leftMiB) > used(node))
      .sort((a, b) => used(a) - used(b) || way(a) - way(b) || b.leftMiB - a.leftMiB || a.id - b.id);
    if (best === undefined) return null;
    uses.set(best.id, used(best) + 1);
    chosen.push(best.id);
  }
  return chosen;
}

/**
 * Which nodes of this host its machines are bound to, chosen at the first start of an epoch and kept until that is removed. What is bound
 * is counted here, since no page of it may be anywhere else. One for all drivers of a host.
 */
export class NumaBindings {
  readonly #bindings: EpochValues<Binding>;

  constructor(
    path: string,
    private readonly host: NumaHost = kernel,
  ) {
    this.#bindings = new EpochValues(path, Binding, 'machines are bound to nodes anew when they start');
  }

  /** What this host has; none where its kernel knows of none. */
  nodes(): HostNumaNode[] {
    return this.host.nodes();
  }

  /**
   * Of a machine of which nothing runs: the nodes that it has, unless it wants others or they have no room any more.
   * @throws RuntimeError hostFault where there is no room for it now @throws Error when the file is damaged
   */
  async ensure(key: WorkloadKey, need: NumaNeed, hugePages: HugePageSize | null): Promise<HostNode[]> {
    const nodes = this.host.nodes();
    const { hostNodes } = await this.#bindings.choose(key, (known, others) => {
      const left = nodes.map((node) => ({ ...node, leftMiB: this.#left(node, others, hugePages) }));
      const fits =
        known?.memoryMiB === need.memoryMiB &&
        known.hugePages === hugePages &&
        known.hostNodes.length === need.nodes &&
        left.every((node) => {
          const uses = known.hostNodes.filter((id) => id === node.id).length;
          return numaRoom(need, node, node.leftMiB) >= uses;
        }) &&
        known.hostNodes.every((id) => nodes.some((node) => node.id === id));
      if (fits) return known;
      const chosen = nodesFor(need, left);
      if (chosen === null) throw noRoom(need, hugePages, left);
      return { hostNodes: chosen, memoryMiB: need.memoryMiB, hugePages };
    });
    return hostNodes.map((id) => ({ id, cpus: nodes.find((node) => node.id === id)?.cpus ?? [] }));
  }

  /** Null for an epoch that is bound to none. */
  async of(key: WorkloadKey): Promise<number[] | null> {
    return (await this.#bindings.of(key))?.hostNodes ?? null;
  }

  /** Releasing what never was is no error. */
  release(key: WorkloadKey): Promise<void> {
    return this.#bindings.release(key);
  }

  /** What a node has for one machine more, in such pages, MiB. */
  #left(node: HostNumaNode, others: readonly Binding[], hugePages: HugePageSize | null): number {
    if (hugePages !== null) return this.host.hugeMiB(node.id, hugePages, 'free');
    const huge = HugePageSize.options.reduce((sum, size) => sum + this.host.hugeMiB(node.id, size, 'nr'), 0);
    const bound = others
      .filter((one) => one.hugePages === null)
      .reduce((sum, one) => sum + one.memoryMiB * one.hostNodes.filter((id) => id === node.id).length, 0);
    return bindableMiB(node.memoryMiB - huge) - bound;
  }
}

function noRoom(need: NumaNeed, hugePages: HugePageSize | null, left: readonly NodeLeft[]): RuntimeError {
  const pages = hugePages === null ? '' : ` in pages of ${hugePages}`;
  const has = left.map(({ id, leftMiB, cpus }) => `node ${id} has ${leftMiB} MiB and ${cpus.length}`);
  return new RuntimeError(
    'hostFault',
    `it needs ${need.nodes} times ${need.memoryMiB} MiB${pages} and ${need.vcpus} processors, each in one node of its host; left ${has.length === 0 ? 'is nothing' : has.join(', ')}`,
    { remedy: 'stop a machine that is bound there, divide it into more nodes, or set numa.placement to any' },
  );
}

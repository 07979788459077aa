import { z } from 'zod';

/** Most nodes of a guest: as many as large servers have sockets. */
export const numaNodesMost = 8;

export const NumaSpec = z.strictObject({
  /**
   * Nodes that its guest sees (ACPI SRAT), each with an equal part of `vcpus`, in a socket of its own, and of `memoryMiB`. Both are
   * multiples of it.
   */
  nodes: z.int().min(1).max(numaNodesMost).default(1),
  /**
   * `bind`: each of its nodes is on one node of its host, memory and processors, and on different ones where there are as many: its host
   * chooses them, and the status tells. `any`: wherever its host's kernel puts them.
   */
  placement: z.enum(['any', 'bind']).default('any'),
});
export type NumaSpec = z.infer<typeof NumaSpec>;

/** A node of a host: processors, and memory that is nearer to them than other. */
export const HostNumaNode = z.strictObject({
  /** Its number at the host's kernel. */
  id: z.int().min(0),
  /** Numbers of its processors, those that the agent may use; none of a node of memory alone. */
  cpus: z.array(z.int().min(0)),
  /** All of it, with what is kept in huge pages. */
  memoryMiB: z.int().min(0),
  /** How far it is to each node of the list, in its order, by the firmware's measure: 10 to itself. */
  distances: z.array(z.int().min(0)),
});
export type HostNumaNode = z.infer<typeof HostNumaNode>;

/** What a machine wants of nodes of its host. */
export interface NumaNeed {
  readonly nodes: number;
  /** Of each, the most that it may ever have. */
  readonly memoryMiB: number;
  readonly vcpus: number;
}

interface Sized {
  readonly numa?: NumaSpec | undefined;
  readonly vcpus?: number | undefined;
  readonly maxVcpus?: number | undefined;
  readonly memoryMiB: number;
  readonly maxMemoryMiB?: number | undefined;
}

/** Null where any node of its host will do. */
export function numaNeed({ numa, vcpus = 1, maxVcpus, memoryMiB, maxMemoryMiB }: Sized): NumaNeed | null {
  if (numa?.placement !== 'bind') return null;
  const { nodes } = numa;
  return {
    nodes,
    memoryMiB: Math.ceil((maxMemoryMiB ?? memoryMiB) / nodes),
    vcpus: Math.ceil((maxVcpus ?? vcpus) / nodes),
  };
}

/**
 * What of a node's memory machines may be bound to, MiB. The kernel ends a process that is bound to a node without a free page, so
 * that something is left to what is not counted: page tables, programs of the host.
 */
export const bindableMiB = (memoryMiB: number): number => Math.floor((memoryMiB * 15) / 16);

/** How many nodes of a machine a node of its host has room for, with so much memory left. */
export const numaRoom = (need: NumaNeed, { cpus }: Pick<HostNumaNode, 'cpus'>, leftMiB: number): number =>
  Math.min(Math.floor(Math.max(0, leftMiB) / need.memoryMiB), Math.floor(cpus.length / need.vcpus));

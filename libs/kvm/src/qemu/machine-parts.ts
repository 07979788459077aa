import type { MachineSpec } from '../machine/machine-spec.js';
import { option } from './options.js';

/* What every machine's command line has in common, whatever it boots. */

/** What a process of ours is given beside the machine. */
export interface ProcessPlaces {
  /** Unix socket QEMU listens on for QMP. */
  readonly qmpSocket: string;
  /** Unix socket QEMU listens on for what is said to the guest's agent, or to our first process in it. */
  readonly agentSocket: string;
  /** Of a direct machine: where it says how its entry point ended. */
  readonly exitFile: string;
  /** Descriptor number of each nic's tap in the new process, in the order of the nics: QEMU cannot open taps. */
  readonly tapDescriptors: readonly number[];
  /** Descriptor of a file with the memory of an earlier QEMU; null for a machine that boots. */
  readonly memoryDescriptor: number | null;
  /** Descriptor of the kernel's device with the context id of the machine; null for one without vsock. */
  readonly vsockDescriptor: number | null;
}

/** The argument by which a process of ours is known: no two have the same socket. */
export function qmpChardev(socket: string): string {
  return option('-chardev', 'socket', { id: 'qmp', path: socket, server: true, wait: false })[1];
}

/** Chardev of the first serial port; a rotation gives it another file. */
export const SERIAL_CHARDEV = 'serial0';

/** Node of the root disk. */
export const ROOT_NODE = 'root';

/** Chardev of the guest agent's port. */
export const AGENT_CHARDEV = 'agent0';

/** What QEMU may not do, whatever its guest makes of it. */
const sandbox = option('-sandbox', 'on', {
  obsolete: 'deny',
  elevateprivileges: 'deny',
  spawn: 'deny',
  resourcecontrol: 'deny',
});

/** How a machine and its threads are called ({@link ../driver/qemu-process.ts} looks for those of its processors), and that it has nothing that is not asked for and begins frozen. */
export const beginning = ({ title }: Pick<MachineSpec, 'title'>): string[] => [
  ...option('-name', null, { guest: title, 'debug-threads': 'on' }),
  '-nodefaults',
  '-no-user-config',
  '-S',
  ...sandbox,
];

/** Formats are stated all the way down, so that nothing a guest wrote is ever probed. */
export function rootNodes({ disk }: Pick<MachineSpec, 'disk'>): string[] {
  const direct = disk.cache === 'none';
  return [
    ...fileNode('base-file', disk.base.path, { 'read-only': true, 'cache.direct': false }),
    ...option('-blockdev', disk.base.format, {
      'node-name': 'base',
      file: 'base-file',
      'read-only': true,
    }),
    ...fileNode('root-file', disk.path, { discard: 'unmap', 'cache.direct': direct }),
    ...option('-blockdev', 'qcow2', {
      'node-name': ROOT_NODE,
      file: 'root-file',
      backing: 'base',
      discard: 'unmap',
      'detect-zeroes': 'unmap',
      'cache.direct': direct,
    }),
  ];
}

/** A file as QEMU's lowest node of a disk. */
export function fileNode(
  name: string,
  filename: string,
  more: Readonly<Record<string, string | boolean>>,
): [string, string] {
  return option('-blockdev', 'file', { 'node-name': name, filename, aio: 'threads', ...more });
}

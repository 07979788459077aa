import { randomInt } from 'node:crypto';
import type { Capability } from '@berth/linux';
import { withCapabilities } from '@berth/linux';

export interface Bounds {
  /** Address space, bytes. */
  readonly addressBytes?: number;
  /** Private memory that is written to, bytes; for programs that reserve more address space than they use. */
  readonly dataBytes?: number;
  /** Largest file that it may write, bytes. */
  readonly fileBytes: number;
  /** Processor time, seconds. */
  readonly cpuSeconds: number;
  readonly openFiles: number;
}

/** Ids that no account, no virtual machine and no container has: one for each confined process, by chance. */
const FIRST_ID = 0x0eff_0000;
const IDS = 0x1_0000;

/** An id for one confined process: its user and group, and the owner of what it makes. */
export function confinedId(): number {
  return FIRST_ID + randomInt(IDS);
}

/**
 * Command line of a program that reads what strangers wrote: bounds (prlimit), a network, process and System V name
 * space of its own (unshare), a user and group of its own, only these capabilities in any thread and no way to gain more
 * (setpriv). Where it shall write, it starts in a directory that belongs to its `id`; nothing above need let it pass. It
 * dies with the process that is started here, so that killing this one is enough; the time on the clock is the caller's to
 * bound.
 */
export function confined(
  keep: readonly Capability[],
  bounds: Bounds,
  command: string,
  args: readonly string[],
  id: number,
): { readonly command: string; readonly args: string[] } {
  const weak = withCapabilities(keep, id, command, args);
  const limits = [
    ...(bounds.addressBytes === undefined ? [] : [`--as=${bounds.addressBytes}`]),
    ...(bounds.dataBytes === undefined ? [] : [`--data=${bounds.dataBytes}`]),
    `--fsize=${bounds.fileBytes}`,
    `--cpu=${bounds.cpuSeconds}`,
    `--nofile=${bounds.openFiles}`,
    '--core=0',
  ];
  const apart = ['--net', '--ipc', '--pid', '--fork', '--kill-child=KILL'];
  return {
    command: 'prlimit',
    args: [...limits, '--', 'unshare', ...apart, '--', weak.command, ...weak.args],
  };
}

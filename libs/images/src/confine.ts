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

/**
 * Command line of a program that reads what strangers wrote: bounds (prlimit), a network, process and System V name
 * space of its own (unshare), only these capabilities in any thread and no way to gain more (setpriv). It stays user 0,
 * which without capabilities may do what the owner of root's files may: callers let it see as little as they can. It dies
 * with the process that is started here, so that killing this one is enough; the time on the clock is the caller's to bound.
 */
export function confined(
  keep: readonly Capability[],
  bounds: Bounds,
  command: string,
  args: readonly string[],
): { readonly command: string; readonly args: string[] } {
  const weak = withCapabilities(keep, command, args);
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

import { readFileSync } from 'node:fs';
import { constants } from 'node:os';
import { c, check } from './libc.js';

/** Capability numbers of <linux/capability.h>; the index is the number. */
// prettier-ignore
export const CAPABILITIES = [
  'chown', 'dac_override', 'dac_read_search', 'fowner', 'fsetid', 'kill', 'setgid', 'setuid', 'setpcap',
  'linux_immutable', 'net_bind_service', 'net_broadcast', 'net_admin', 'net_raw', 'ipc_lock', 'ipc_owner',
  'sys_module', 'sys_rawio', 'sys_chroot', 'sys_ptrace', 'sys_pacct', 'sys_admin', 'sys_boot', 'sys_nice',
  'sys_resource', 'sys_time', 'sys_tty_config', 'mknod', 'lease', 'audit_write', 'audit_control', 'setfcap',
  'mac_override', 'mac_admin', 'syslog', 'wake_alarm', 'block_suspend', 'audit_read', 'perfmon', 'bpf',
  'checkpoint_restore',
] as const;
export type Capability = (typeof CAPABILITIES)[number];

/** Whether this thread has a capability (proc_pid_status(5), CapEff). */
export function isCapable(capability: Capability): boolean {
  const effective =
    /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/thread-self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> BigInt(CAPABILITIES.indexOf(capability))) & 1n) === 1n;
}

const PR_SET_PDEATHSIG = 1;
const PR_SET_KEEPCAPS = 8;
const CAPABILITY_VERSION_3 = 0x20080522;

/** chroot(2) and chdir to its root. Holds for the whole process, all threads. @throws SystemError. */
export function chroot(path: string): void {
  check(c.chroot(path), 'chroot', path);
  process.chdir('/');
}

/**
 * Makes the whole process, which must be root's, a user and group of this id, and leaves the *calling thread* these
 * capabilities. Every other thread, libuv's and V8's, is left with none: the C library changes the user in all of them,
 * and who is no longer root keeps capabilities only where that was asked for. Dies with its parent, as before.
 * @throws SystemError.
 */
export function becomeUser(id: number, keep: readonly Capability[]): void {
  check(c.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), 'prctl', 'PR_SET_KEEPCAPS');
  process.setgroups?.([]);
  process.setgid?.(id);
  process.setuid?.(id);
  check(c.prctl(PR_SET_PDEATHSIG, constants.signals.SIGKILL, 0, 0, 0), 'prctl', 'PR_SET_PDEATHSIG');
  capabilitiesSet(keep);
}

/** Exactly these for the calling thread: capabilities belong to threads. */
function capabilitiesSet(keep: readonly Capability[]): void {
  const mask = keep.reduce((bits, name) => bits | (1n << BigInt(CAPABILITIES.indexOf(name))), 0n);
  const header = Buffer.alloc(8); // version and pid 0: this thread
  header.writeUInt32LE(CAPABILITY_VERSION_3, 0);
  const data = Buffer.alloc(24); // effective, permitted, inheritable: low words, then high words
  for (const half of [0, 1]) {
    const word = Number((mask >> BigInt(32 * half)) & 0xffffffffn);
    data.writeUInt32LE(word, 12 * half);
    data.writeUInt32LE(word, 12 * half + 4);
  }
  check(c.capset(header, data), 'capset', keep.join(','));
}

/**
 * Command line that starts a program as user and group `id`, in no other group, with only these capabilities in any of its
 * threads, and no way to gain more: setpriv (util-linux) narrows the bounding set before the program is executed, and
 * hands the capabilities over as ambient ones, which is how a user other than root can have any. It dies with its parent.
 */
export function withCapabilities(
  keep: readonly Capability[],
  id: number,
  command: string,
  args: readonly string[],
): { readonly command: string; readonly args: string[] } {
  const set = ['-all', ...keep.map((name) => `+${name}`)].join(',');
  const who = [`--reuid=${id}`, `--regid=${id}`, '--clear-groups'];
  const may = [`--inh-caps=${set}`, `--ambient-caps=${set}`, `--bounding-set=${set}`];
  // A change of user takes away the signal at the parent's death that was asked for before: asked for anew.
  const end = ['--no-new-privs', '--pdeathsig=KILL'];
  return { command: 'setpriv', args: [...who, ...end, ...may, '--', command, ...args] };
}

import { constants } from 'node:os';
import { c, check, lastErrno } from './libc.js';

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

const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const CAPABILITY_VERSION_3 = 0x20080522;

/** chroot(2) and chdir to its root. Holds for the whole process, all threads. @throws SystemError. */
export function chroot(path: string): void {
  check(c.chroot(path), 'chroot', path);
  process.chdir('/');
}

/** No program started from here on can gain privileges (set-uid bits, file capabilities). This thread and its children. */
export function setNoNewPrivileges(): void {
  check(c.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 'prctl', 'PR_SET_NO_NEW_PRIVS');
}

/**
 * Takes every capability but these from the *calling thread*. Capabilities belong to threads: libuv's pool keeps its
 * own, so a child that must be weak throughout is started through `withCapabilities`, and this narrows it further for
 * synchronous work. @throws SystemError.
 */
export function dropCapabilities(keep: readonly Capability[]): void {
  for (let number = 0; number < 64; number += 1) {
    if (keep.includes(CAPABILITIES[number] as Capability)) continue;
    if (c.prctl(PR_CAPBSET_DROP, number, 0, 0, 0) < 0) {
      if (lastErrno() === constants.errno.EINVAL) break; // beyond the last one this kernel knows
      check(-1, 'prctl', `PR_CAPBSET_DROP ${number}`);
    }
  }
  check(c.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), 'prctl', 'PR_CAP_AMBIENT');
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
 * Command line that starts a program as root with only these capabilities in any of its threads, and no way to gain
 * more: setpriv (util-linux) narrows the bounding set before the program is executed.
 */
export function withCapabilities(
  keep: readonly Capability[],
  command: string,
  args: readonly string[],
): { readonly command: string; readonly args: string[] } {
  const set = ['-all', ...keep.map((name) => `+${name}`)].join(',');
  return {
    command: 'setpriv',
    args: ['--no-new-privs', '--inh-caps=-all', `--bounding-set=${set}`, '--', command, ...args],
  };
}

import { readFile } from 'node:fs/promises';
import { capabilitiesOf, type ContainerSecurity } from '@berth/model';
import type { OciSeccomp, OciSeccompArg, OciSyscallRule } from '../bundle/oci-types.js';

/** Where Debian's golang-github-containers-common puts the profile that Podman and CRI-O use. */
export const SECCOMP_PROFILE = '/usr/share/containers/seccomp.json';

/** A profile in the format of Docker and containers-common: rules that depend on architecture and capabilities. */
export interface SeccompProfile {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly archMap?: readonly {
    readonly architecture: string;
    readonly subArchitectures?: readonly string[] | null;
  }[];
  readonly syscalls: readonly SeccompProfileRule[];
}
export interface SeccompProfileRule {
  readonly names: readonly string[];
  readonly action: string;
  readonly errnoRet?: number;
  readonly args?: readonly OciSeccompArg[] | null;
  readonly includes?: SeccompCondition;
  readonly excludes?: SeccompCondition;
}
interface SeccompCondition {
  readonly arches?: readonly string[];
  readonly caps?: readonly string[];
  readonly minKernel?: string;
}

const MACHINES = {
  x86_64: { profile: 'amd64', seccomp: 'SCMP_ARCH_X86_64' },
  aarch64: { profile: 'arm64', seccomp: 'SCMP_ARCH_AARCH64' },
} as const;
export type SeccompMachine = keyof typeof MACHINES;

/**
 * Calls that the profile allows to everyone, and that only a process with CAP_SYS_ADMIN has a use for. Without it they
 * open one door: a new user namespace, in which the caller is root and the whole of mount, nftables and overlayfs is
 * in reach. Refused with EPERM unless the capability is in the set.
 */
const ADMIN_CALLS: ReadonlySet<string> = new Set([
  'fsconfig', 'fsmount', 'fsopen', 'fspick', 'keyctl', 'mount', 'mount_setattr', 'move_mount', 'name_to_handle_at',
  'open_tree', 'pivot_root', 'reboot', 'setns', 'syslog', 'umount', 'umount2', 'unshare',
]); // prettier-ignore
/** What containers in a container take, of these and others: the kernel lets them only in a user namespace that the caller is root of. */
const NESTING_CALLS: ReadonlySet<string> = new Set([
  'fsconfig', 'fsmount', 'fsopen', 'fspick', 'mount', 'mount_setattr', 'move_mount', 'open_tree', 'pivot_root', 'setdomainname',
  'sethostname', 'setns', 'umount', 'umount2', 'unshare', 'clone', 'clone3',
]); // prettier-ignore
/** What systemd asks of each of its groups, to know it again. By such a handle only the host's root opens anything. */
const SYSTEM_CALLS: readonly string[] = ['name_to_handle_at'];
const EPERM = 1;
const ENOSYS = 38;
/**
 * Socket families that a network namespace parts: no other is allowed. AF_VSOCK reaches the hypervisor and every listener
 * of the host whatever the namespace; AF_ALG and the rare ones are kernel code that nothing here needs. AF_NETLINK's audit log refuses user namespaces by itself, with the
 * answer that C libraries expect.
 */
const FAMILIES = { unix: 1, inet: 2, inet6: 10, netlink: 16 };
/** Frames of its own interfaces, for who has CAP_NET_RAW. */
const PACKET = 17;
/** CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET (sched.h). */
const CLONE_NEW_ANY = 0x7e02_0000;

/** Reads a profile from disk. @throws Error when it is not one: a container never runs without its filter. */
export async function seccompProfileRead(path: string): Promise<SeccompProfile> {
  const profile = JSON.parse(await readFile(path, 'utf8')) as Partial<SeccompProfile>;
  if (typeof profile.defaultAction !== 'string' || !Array.isArray(profile.syscalls))
    throw new Error(`${path} is no seccomp profile: defaultAction and syscalls are needed`);
  if (profile.defaultAction === 'SCMP_ACT_ALLOW')
    throw new Error(`${path} allows every system call that it does not name; such a profile is refused`);
  return profile as SeccompProfile;
}

/**
 * What `strict` refuses beyond the default: other processes' memory, roots and devices, what changes how a program is loaded or
 * where its memory lies, and rings to the kernel. Servers and their runtimes do without; debuggers, package managers and
 * 32-bit programs do not.
 */
const STRICT_CALLS: readonly string[] = [
  'add_key', 'chroot', 'io_uring_enter', 'io_uring_register', 'io_uring_setup', 'kcmp', 'mbind', 'memfd_secret',
  'migrate_pages', 'mknod', 'mknodat', 'modify_ldt', 'move_pages', 'pidfd_getfd', 'process_madvise',
  'process_vm_readv', 'process_vm_writev', 'ptrace', 'remap_file_pages', 'request_key', 'set_mempolicy', 'userfaultfd',
  'vmsplice',
]; // prettier-ignore

/** The filter of a container by what its spec says. Pure. */
export function seccompFor(
  profile: SeccompProfile,
  machine: SeccompMachine,
  security: ContainerSecurity,
  system = false,
): OciSeccomp {
  const filter = seccompRender(
    profile,
    machine,
    capabilitiesOf(security).map((name) => `CAP_${name}`),
    new Set([...(security.nesting === true ? NESTING_CALLS : []), ...(system ? SYSTEM_CALLS : [])]),
  );
  if (security.seccomp !== 'strict') return filter;
  const refused = new Set(STRICT_CALLS);
  const kept = filter.syscalls
    .map((rule) => ({ ...rule, names: rule.names.filter((name) => !refused.has(name)) }))
    .filter((rule) => rule.names.length > 0);
  return {
    ...filter,
    // Only the machine's own calls: no 32-bit ones beside them.
    architectures: filter.architectures.slice(0, 1),
    syscalls: [...kept, { names: STRICT_CALLS, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM }],
  };
}

/**
 * The profile for one machine and one capability set as an OCI `linux.seccomp` (runtime-spec, config-linux.md,
 * "Seccomp"). What only CAP_SYS_ADMIN can use is taken out, see {@link ADMIN_CALLS}. Pure.
 */
export function seccompRender(
  profile: SeccompProfile,
  machine: SeccompMachine,
  capabilities: readonly string[],
  opened: ReadonlySet<string> = new Set(),
): OciSeccomp {
  const names = MACHINES[machine];
  const caps = new Set(capabilities);
  const chosen = profile.syscalls.filter((rule) => applies(rule, names.profile, caps));
  const rules = caps.has('CAP_SYS_ADMIN') ? chosen.map(plain) : harden(chosen.map(plain), caps, opened);
  const entry = profile.archMap?.find((a) => a.architecture === names.seccomp);
  return {
    defaultAction: profile.defaultAction,
    ...(profile.defaultErrnoRet === undefined ? {} : { defaultErrnoRet: profile.defaultErrnoRet }),
    architectures: [names.seccomp, ...(entry?.subArchitectures ?? [])],
    syscalls: rules,
  };
}

function applies(rule: SeccompProfileRule, arch: string, caps: ReadonlySet<string>): boolean {
  const { includes = {}, excludes = {} } = rule;
  if (includes.arches?.length && !includes.arches.includes(arch)) return false;
  if (includes.caps?.length && !includes.caps.every((c) => caps.has(c))) return false;
  if (excludes.arches?.includes(arch) === true) return false;
  return !(excludes.caps ?? []).some((c) => caps.has(c));
}

function plain(rule: SeccompProfileRule): OciSyscallRule {
  return {
    names: rule.names,
    action: rule.action,
    ...(rule.errnoRet === undefined ? {} : { errnoRet: rule.errnoRet }),
    ...(rule.args?.length ? { args: rule.args } : {}),
  };
}

function harden(
  rules: readonly OciSyscallRule[],
  caps: ReadonlySet<string>,
  opened: ReadonlySet<string>,
): OciSyscallRule[] {
  const admin = [...ADMIN_CALLS].filter((name) => !opened.has(name));
  const refused = new Set<string>([...ADMIN_CALLS, ...NESTING_CALLS, 'socket', 'socketcall']);
  const kept = rules
    .map((rule) => ({ ...rule, names: rule.names.filter((n) => !refused.has(n)) }))
    .filter((rule) => rule.names.length > 0);
  return [
    ...kept,
    { names: admin, action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
    ...(opened.size === 0 ? [] : [{ names: [...opened], action: 'SCMP_ACT_ALLOW' }]),
    ...(opened.has('clone') ? [] : noNamespaces),
    ...socketRules(caps),
  ];
}

/** New processes, but none in new namespaces. */
const noNamespaces: readonly OciSyscallRule[] = [
  {
    names: ['clone'],
    action: 'SCMP_ACT_ALLOW',
    args: [{ index: 0, value: CLONE_NEW_ANY, valueTwo: 0, op: 'SCMP_CMP_MASKED_EQ' }],
  },
  // Its flags are in memory, where a filter cannot look: C libraries fall back to clone at ENOSYS.
  { names: ['clone3'], action: 'SCMP_ACT_ERRNO', errnoRet: ENOSYS },
];

/** One rule for each family: libseccomp takes no second action on a call whose arguments it looks at, for x86's sake. */
function socketRules(caps: ReadonlySet<string>): OciSyscallRule[] {
  const families = [...Object.values(FAMILIES), ...(caps.has('CAP_NET_RAW') ? [PACKET] : [])];
  return [
    ...families.map((family) => ({
      names: ['socket'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: family, valueTwo: 0, op: 'SCMP_CMP_EQ' }],
    })),
    // 32-bit x86 programs pass the family in memory by this one. libseccomp opens it with the rules above, unless told.
    { names: ['socketcall'], action: 'SCMP_ACT_ERRNO', errnoRet: EPERM },
  ];
}

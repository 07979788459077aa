import { bad, ok, present, works, type Check } from './check.js';

export interface KernelFindings {
  readonly kernel: string;
  readonly cgroup: 'v1' | 'v2' | 'hybrid' | 'none';
  readonly controllers: readonly string[];
  /** Whether memory and swap can be bounded together; null where the machine has no swap. */
  readonly swapAccounting: boolean | null;
  /** Each: null when it works, else why not. */
  readonly overlayfs: string | null;
  readonly idmappedMounts: string | null;
  readonly userNamespaces: string | null;
  readonly loopDevices: string | null;
  readonly links: string | null;
  readonly tun: string | null;
  readonly nftables: string | null;
  readonly masquerade: string | null;
  /** What seccomp filters can answer, null where the kernel has none. */
  readonly seccompActions: readonly string[] | null;
  /** How many user namespaces there may be: one for each container. */
  readonly userNamespacesMax: number | null;
  readonly vhostNet: boolean;
  /** Null when machines can have vsock devices, else why not. */
  readonly vhostVsock: string | null;
  readonly hugePages: number;
  /** Nodes of memory and processors that the kernel tells of. */
  readonly numaNodes: number;
  readonly appArmor: 'enforces' | 'off' | 'notInKernel';
  /** Null where lxcfs can serve containers, else why not. */
  readonly lxcfs: string | null;
  /** Whether what is mounted may be made larger (CAP_SYS_RESOURCE). */
  readonly growsMounted: boolean;
}

const CONTROLLERS = {
  v1: ['cpu', 'cpuacct', 'memory', 'pids', 'freezer', 'devices'],
  v2: ['cpu', 'memory', 'pids'],
} as const;
/** One for each container, and some for probes and other programs. */
const USER_NAMESPACES = 2000;

export function kernelChecks(f: KernelFindings): Check[] {
  return [
    ok('kernel', f.kernel),
    cgroupCheck(f),
    ...swapCheck(f),
    ...containerChecks(f),
    ...linkChecks(f),
    ...optional(f),
  ];
}

function cgroupCheck(f: KernelFindings): Check {
  if (f.cgroup === 'none')
    return bad('fail', 'cgroups', 'not mounted', 'mount -t cgroup2 cgroup2 /sys/fs/cgroup');
  const missing = CONTROLLERS[f.cgroup === 'v2' ? 'v2' : 'v1'].filter(
    (name) => !f.controllers.includes(name),
  );
  if (missing.length === 0) return ok('cgroups', f.cgroup);
  const them = missing.join(', ');
  const remedy =
    f.cgroup === 'v2'
      ? `let the controllers through to this cgroup (cgroup.subtree_control above it), or boot with cgroup_enable=${missing.join(',')}`
      : `mount them below /sys/fs/cgroup, or boot with cgroup_enable=${missing.join(',')}`;
  return bad('fail', 'cgroups', `${f.cgroup} without ${them}: those limits cannot be held`, remedy);
}

function swapCheck({ swapAccounting }: KernelFindings): Check[] {
  if (swapAccounting === null) return [];
  return [
    present(
      'swap accounting',
      swapAccounting,
      'warn',
      'off: a container at its memory limit goes on into the host’s swap',
      'boot with swapaccount=1, or turn swap off',
    ),
  ];
}

function containerChecks(f: KernelFindings): Check[] {
  const answers = f.seccompActions?.includes('errno') === true;
  return [
    works('overlayfs', f.overlayfs, 'fail', 'modprobe overlay; a kernel with CONFIG_OVERLAY_FS is needed'),
    works('user namespaces', f.userNamespaces, 'fail', 'sysctl -w user.max_user_namespaces=28000'),
    ...(f.userNamespaces === null && f.userNamespacesMax !== null && f.userNamespacesMax < USER_NAMESPACES
      ? [
          bad(
            'warn',
            'user namespaces, number',
            `${f.userNamespacesMax}: no more containers than that`,
            'sysctl -w user.max_user_namespaces=28000',
          ),
        ]
      : []),
    works(
      'idmapped mounts',
      f.idmappedMounts,
      'fail',
      'needs Linux 5.19 or newer and a file system that supports them (ext4, xfs, btrfs)',
    ),
    works(
      'loop devices',
      f.loopDevices,
      'fail',
      'each container writes to a file system in a file: modprobe loop; in a container pass /dev/loop-control and the loop devices',
    ),
    present(
      'seccomp',
      answers,
      'fail',
      'not in this kernel: no container runs without its filter',
      'use a kernel with CONFIG_SECCOMP_FILTER',
    ),
  ];
}

function linkChecks(f: KernelFindings): Check[] {
  return [
    works('veth, bridge', f.links, 'fail', 'modprobe veth bridge'),
    works('tun', f.tun, 'fail', 'modprobe tun; in a container pass /dev/net/tun'),
    works('nftables', f.nftables, 'fail', 'modprobe nf_tables; apt-get install nftables'),
    works(
      'masquerading',
      f.masquerade,
      'fail',
      'modprobe nft_chain_nat nft_masq: without them no guest reaches beyond its network',
    ),
  ];
}

/** What Berth runs without. */
function optional(f: KernelFindings): Check[] {
  const apparmor = {
    enforces: ok('apparmor', 'on'),
    off: bad(
      'note',
      'apparmor',
      'in the kernel, but off: one wall less around QEMU and runc',
      'boot with apparmor=1 security=apparmor',
    ),
    notInKernel: bad('note', 'apparmor', 'not in this kernel: one wall less around QEMU and runc', ''),
  }[f.appArmor];
  return [
    present(
      'vhost-net',
      f.vhostNet,
      'note',
      'not there: packets of virtual machines pass through QEMU, at a part of the speed',
      'modprobe vhost_net',
    ),
    f.vhostVsock === null
      ? ok('vhost-vsock', 'works')
      : bad(
          'note',
          'vhost-vsock',
          `${f.vhostVsock}: a virtual machine with vsock finds no place here`,
          'modprobe vhost_vsock, of a kernel with CONFIG_VHOST_VSOCK; in a container pass /dev/vhost-vsock',
        ),
    f.hugePages > 0
      ? ok('huge pages', `${f.hugePages} reserved`)
      : bad(
          'note',
          'huge pages',
          'none reserved: a virtual machine with hugePages finds no place here, and large ones pay for small pages',
          'sysctl -w vm.nr_hugepages=N',
        ),
    f.numaNodes > 0
      ? ok('numa', f.numaNodes === 1 ? 'one node' : `${f.numaNodes} nodes`)
      : bad(
          'note',
          'numa',
          'the kernel tells of no node: a virtual machine with numa.placement bind finds no place here',
          'use a kernel with CONFIG_NUMA; in a container pass /sys',
        ),
    apparmor,
    f.lxcfs === null
      ? ok('lxcfs', 'works')
      : bad(
          'note',
          'lxcfs',
          `${f.lxcfs}: containers see memory, processors, uptime and load of their host`,
          'apt-get install lxcfs; modprobe fuse; in a container pass /dev/fuse',
        ),
    present(
      'growing mounts',
      f.growsMounted,
      'note',
      'not allowed here: the disk of a container grows at its next start, not while it runs',
      'give the agent CAP_SYS_RESOURCE',
    ),
  ];
}

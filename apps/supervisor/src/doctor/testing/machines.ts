import type { Findings } from '../findings.js';

/** A Debian 12 server with everything, as its probes tell it. */
export const debian12: Findings = {
  software: {
    node: 'v20.20.0',
    uid: 0,
    packagesMissing: [],
    versions: {
      ...{ qemu: '7.2.22', libvirt: '9.0.0', runc: '1.1.5+ds1', crun: null },
      ...{ conmon: '2.1.6', dnsmasq: '2.90', nft: '1.0.6' },
    },
  },
  machine: {
    ...{ arch: 'x64', memoryMiB: 64_000, cpus: 16 },
    disks: [
      { dir: '/var/lib/berth', holds: ['state', 'logs'], freeMiB: 400_000, inodesFree: 20_000_000 },
      { dir: '/tmp', holds: ['temporary files'], freeMiB: 30_000, inodesFree: 1_000_000 },
    ],
    ...{ kvm: null, cpuFlags: ['fpu', 'vmx'], nestedKvm: true },
    clock: { now: 1_790_000_000, built: 1_780_000_000, synchronised: true },
  },
  kernel: {
    ...{ kernel: '6.1.0-44-amd64', cgroup: 'v2' as const },
    controllers: ['cpuset', 'cpu', 'io', 'memory', 'hugetlb', 'pids', 'rdma', 'misc'],
    swapAccounting: true,
    ...{ overlayfs: null, idmappedMounts: null, userNamespaces: null, loopDevices: null },
    ...{ links: null, tun: null, nftables: null, masquerade: null, lxcfs: null },
    seccompActions: ['kill_process', 'kill_thread', 'trap', 'errno', 'user_notif', 'trace', 'log', 'allow'],
    ...{ userNamespacesMax: 255_000, vhostNet: true, vhostVsock: null, hugePages: 512, numaNodes: 2 },
    ...{ appArmor: 'enforces' as const, growsMounted: true },
  },
  forwarding: {
    ...{ ipForward: true, bridgeNfCall: false, bridgePrefix: 'bb', bridges: [], uplink: 'enp1s0' },
    ...{ iptables: [], nftDrops: [] },
    ipv6: { missing: null, forwards: false, bridges: [], deafUplink: 'enp1s0' },
  },
  microvm: { dir: '/opt/berth/.berth/microvm', boot: 'ready' },
  services: { postgres: null, libvirt: 'absent', running: false, portsTaken: [] },
};

/** `iptables -S` where Docker 20.10 turned forwarding on. */
export const dockerRules: readonly string[] = [
  '-P INPUT ACCEPT',
  '-P FORWARD DROP',
  '-P OUTPUT ACCEPT',
  '-N DOCKER',
  '-N DOCKER-ISOLATION-STAGE-1',
  '-N DOCKER-ISOLATION-STAGE-2',
  '-N DOCKER-USER',
  '-A FORWARD -j DOCKER-USER',
  '-A FORWARD -j DOCKER-ISOLATION-STAGE-1',
  '-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
  '-A FORWARD -o docker0 -j DOCKER',
  '-A FORWARD -i docker0 ! -o docker0 -j ACCEPT',
  '-A FORWARD -i docker0 -o docker0 -j ACCEPT',
  '-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2',
  '-A DOCKER-ISOLATION-STAGE-1 -j RETURN',
  '-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP',
  '-A DOCKER-ISOLATION-STAGE-2 -j RETURN',
  '-A DOCKER-USER -j RETURN',
];

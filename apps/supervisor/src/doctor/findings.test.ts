import { describe, expect, it } from 'vitest';
import { doctorText } from './command.js';
import { checksFrom, type Findings } from './findings.js';
import { nodeSuffices, versionAtLeast } from './software.js';
import { debian12 } from './testing/machines.js';

type Change = { readonly [Theme in keyof Findings]?: Partial<Findings[Theme]> };

function changed(change: Change): Findings {
  const entries = Object.entries(debian12).map(([theme, found]) => [
    theme,
    { ...found, ...(change as Record<string, object>)[theme] },
  ]);
  return Object.fromEntries(entries) as Findings;
}

const { versions } = debian12.software;
const { clock, disks } = debian12.machine;
const oneDisk = (change: Partial<(typeof disks)[number]>) => ({
  machine: { disks: [{ ...disks[0]!, ...change }] },
});

const ipv6 = (change: Partial<Findings['forwarding']['ipv6']>): Change => ({
  forwarding: { ipv6: { ...debian12.forwarding.ipv6, ...change } },
});

describe('the doctor', () => {
  it('is content with Debian 12', () => {
    expect(checksFrom(debian12).filter((c) => c.verdict !== 'ok')).toEqual([]);
  });

  it.each<[string, Change, string]>([
    ['node', { software: { node: 'v20.18.3' } }, 'fail'],
    ['packages', { software: { packagesMissing: ['runc'] } }, 'fail'],
    ['user', { software: { uid: 1000 } }, 'fail'],
    ['qemu', { software: { versions: { ...versions, qemu: '5.2.0' } } }, 'warn'],
    ['libvirt', { software: { versions: { ...versions, libvirt: '7.0.0' } } }, 'warn'],
    ['runc', { software: { versions: { ...versions, runc: '1.0.0~rc93+ds1' } } }, 'fail'],
    ['crun', { software: { versions: { ...versions, crun: '0.17' } } }, 'warn'],
    ['conmon', { software: { versions: { ...versions, conmon: '2.0.25' } } }, 'warn'],
    ['dnsmasq', { software: { versions: { ...versions, dnsmasq: '2.85' } } }, 'warn'],
    ['nft', { software: { versions: { ...versions, nft: '0.8.2' } } }, 'fail'],
    ['machine', { machine: { arch: 'riscv64' } }, 'fail'],
    ['disk of state, logs', oneDisk({ freeMiB: 500 }), 'fail'],
    ['disk of state, logs', oneDisk({ freeMiB: 5000 }), 'warn'],
    ['disk of state, logs', oneDisk({ inodesFree: 90 }), 'warn'],
    ['disk of logs', oneDisk({ holds: ['logs'], freeMiB: 20 }), 'fail'],
    ['disk of temporary files', oneDisk({ holds: ['temporary files'], freeMiB: 100 }), 'warn'],
    ['kvm', { machine: { kvm: 'ENOENT', cpuFlags: [] } }, 'warn'],
    ['nested kvm', { machine: { nestedKvm: false } }, 'note'],
    ['clock', { machine: { clock: { ...clock, now: clock.built - 1 } } }, 'fail'],
    ['clock', { machine: { clock: { ...clock, synchronised: false } } }, 'warn'],
    ['cgroups', { kernel: { cgroup: 'none' } }, 'fail'],
    ['cgroups', { kernel: { controllers: ['cpu', 'pids'] } }, 'fail'],
    ['cgroups', { kernel: { cgroup: 'hybrid', controllers: ['cpu', 'cpuacct', 'memory', 'pids'] } }, 'fail'],
    ['swap accounting', { kernel: { swapAccounting: false } }, 'warn'],
    ['overlayfs', { kernel: { overlayfs: 'no' } }, 'fail'],
    ['lxcfs', { kernel: { lxcfs: 'not installed' } }, 'note'],
    ['user namespaces', { kernel: { userNamespaces: 'no' } }, 'fail'],
    ['user namespaces, number', { kernel: { userNamespacesMax: 100 } }, 'warn'],
    ['idmapped mounts', { kernel: { idmappedMounts: 'no' } }, 'fail'],
    ['seccomp', { kernel: { seccompActions: null } }, 'fail'],
    ['veth, bridge', { kernel: { links: 'no' } }, 'fail'],
    ['tun', { kernel: { tun: 'no' } }, 'fail'],
    ['nftables', { kernel: { nftables: 'no' } }, 'fail'],
    ['masquerading', { kernel: { masquerade: 'no' } }, 'fail'],
    ['vhost-net', { kernel: { vhostNet: false } }, 'note'],
    ['vhost-vsock', { kernel: { vhostVsock: 'ENOENT' } }, 'note'],
    ['huge pages', { kernel: { hugePages: 0 } }, 'note'],
    ['numa', { kernel: { numaNodes: 0 } }, 'note'],
    ['apparmor', { kernel: { appArmor: 'off' } }, 'note'],
    ['growing mounts', { kernel: { growsMounted: false } }, 'note'],
    ['loop devices', { kernel: { loopDevices: 'ENODEV' } }, 'fail'],
    ['microVM kernel', { microvm: { boot: 'missing' } }, 'note'],
    ['microVM kernel', { microvm: { boot: 'stale' } }, 'note'],
    ['microVM kernel', { microvm: { boot: 'packed' } }, 'note'],
    ['ip_forward', { forwarding: { ipForward: false } }, 'warn'],
    ['ipv6', ipv6({ missing: { reason: 'off', remedy: 'turn it on' } }), 'note'],
    ['ipv6', ipv6({ bridges: ['bb0'] }), 'warn'],
    ['ipv6', ipv6({ forwards: true }), 'note'],
    ['postgres', { services: { postgres: 'none' } }, 'fail'],
    ['libvirt daemon', { services: { libvirt: 'notInstalled' } }, 'fail'],
    [
      'port 7070',
      { services: { portsTaken: [{ port: 7070, key: 'apiPort', reason: 'EADDRINUSE' }] } },
      'fail',
    ],
  ])('says what to do about %s (%o)', (name, change, verdict) => {
    const odd = checksFrom(changed(change)).filter((c) => c.verdict !== 'ok');
    expect(odd.map((c) => [c.name, c.verdict])).toEqual([[name, verdict]]);
    expect(odd[0]!.remedy).not.toBe('');
    expect(doctorText(odd)).toContain(odd[0]!.remedy);
  });

  it('names the limits that a kernel cannot hold', () => {
    const checks = checksFrom(changed({ kernel: { controllers: ['cpu', 'io'] } }));
    expect(checks.find((c) => c.name === 'cgroups')?.found).toBe(
      'v2 without memory, pids: those limits cannot be held',
    );
  });

  it('tells what stands in the way apart from what merely is not there', () => {
    const text = doctorText(
      checksFrom(changed({ kernel: { vhostNet: false, hugePages: 0, swapAccounting: false } })),
    );
    expect(text).toMatch(/Berth can run here, with 1 limit\(s\) above\.\n$/);
  });

  it('wants Node 20.19, and compares versions by their numbers', () => {
    expect(['v20.19.0', 'v22.1.0'].every(nodeSuffices)).toBe(true);
    expect(nodeSuffices('v18.99.0')).toBe(false);
    expect([
      versionAtLeast('1.1.5+ds1', '1.1'),
      versionAtLeast('1.10', '1.9'),
      versionAtLeast('2', '2.0.0'),
      versionAtLeast('1.0.9', '1.1'),
    ]).toEqual([true, true, true, false]);
  });

  it('does not count the ports of a running Berth as taken', () => {
    const portsTaken = [{ port: 7070, key: 'apiPort', reason: 'EADDRINUSE' }];
    const checks = checksFrom(changed({ services: { running: true, portsTaken } }));
    expect(checks.every((c) => c.verdict === 'ok')).toBe(true);
  });
});

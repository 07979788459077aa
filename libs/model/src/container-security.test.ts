import { describe, expect, it } from 'vitest';
import {
  addableCapabilities,
  capabilitiesOf,
  ContainerCapability,
  defaultCapabilities,
} from './container-security.js';
import { InstanceSpec } from './instance.js';
import { stopGraceOf } from './stop-grace.js';

const base = { isolation: 'container', image: 'busybox', memoryMiB: 16, rootDisk: { sizeMiB: 16 } };
const refusals = (security: unknown, change: object = {}): string[] => {
  const parsed = InstanceSpec.safeParse({ ...base, ...change, security });
  return parsed.success ? [] : parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`);
};

describe('what a container is given', () => {
  it('is the default set, less what is dropped and with what is added', () => {
    expect(capabilitiesOf()).toEqual([...defaultCapabilities].sort());
    expect(capabilitiesOf({ capabilities: { add: ['NET_RAW'], drop: ['ALL'] } })).toEqual(['NET_RAW']);
    const { capabilities } =
      InstanceSpec.parse({ ...base, security: { capabilities: { drop: ['CHOWN'] } } }).security ?? {};
    expect(capabilitiesOf({ capabilities })).toEqual(defaultCapabilities.filter((c) => c !== 'CHOWN').sort());
  });

  it('is every capability of its own, and of the others none, each with a reason', () => {
    const given = new Set<string>([...defaultCapabilities, ...addableCapabilities]);
    expect(ContainerCapability.options).toHaveLength(41);
    for (const name of ContainerCapability.options) {
      const said = refusals({ capabilities: { add: [name] } });
      if (given.has(name)) expect(said, name).toEqual([]);
      else
        expect(said, name).toEqual([
          expect.stringMatching(
            /^security\.capabilities\.add\.0: .+ is not given to containers: .{20,}; leave it out$/,
          ),
        ]);
    }
    expect(refusals({ capabilities: { add: ['CAP_CHOWN'] } })).toHaveLength(1);
  });

  it.each([
    [{ capabilities: { add: ['NET_RAW'], drop: ['NET_RAW'] } }, 'security.capabilities.add.0'],
    [{ tmpfs: [{ path: '/proc/x', sizeMiB: 1 }] }, 'security.tmpfs.0.path'],
    [{ tmpfs: [{ path: '/dev', sizeMiB: 1 }] }, 'security.tmpfs.0.path'],
    [{ tmpfs: [{ path: '/', sizeMiB: 1 }] }, 'security.tmpfs.0.path'],
    [{ tmpfs: [{ path: '/a/../proc', sizeMiB: 1 }] }, 'security.tmpfs.0.path'],
    [{ tmpfs: [{ path: '/a,size=1g', sizeMiB: 1 }] }, 'security.tmpfs.0.path'],
    [{ tmpfs: [{ path: '/a', sizeMiB: 1, mode: '0999' }] }, 'security.tmpfs.0.mode'],
    [
      {
        tmpfs: [
          { path: '/a', sizeMiB: 1 },
          { path: '/a', sizeMiB: 2 },
        ],
      },
      'security.tmpfs.1.path',
    ],
    [{ rlimits: { nofile: { soft: 2, hard: 1 } } }, 'security.rlimits.nofile.soft'],
    [{ rlimits: { files: { soft: 1, hard: 1 } } }, 'security.rlimits'],
    [{ sysctls: { 'kernel.core_pattern': '1' } }, 'security.sysctls'],
    [{ sysctls: { 'net.core.somaxconn': '|/bin/sh' } }, 'security.sysctls'],
    [{ seccomp: 'unconfined' }, 'security.seccomp'],
  ])('is refused where it would reach beyond: %j', (security, path) => {
    expect(refusals(security).map((said) => said.slice(0, path.length))).toEqual([path]);
  });

  it('is no matter of a machine, which has a kernel of its own', () => {
    for (const isolation of ['vm', 'microvm'])
      expect(refusals({ readOnlyRoot: true }, { isolation, memoryMiB: 128 })).toEqual([
        expect.stringMatching(/^security: only for isolation container/),
      ]);
  });
});

describe('what of its host a container asks for', () => {
  const asks = (change: object): string[] => refusals(undefined, change);
  it('is named, and is no path', () => {
    expect(asks({ devices: ['fuse', 'net-tun'] })).toEqual([]);
    for (const bad of ['/dev/fuse', '../fuse', 'net/tun', '', 'Fuse'])
      expect(asks({ devices: [bad] }).join(), bad).toContain('devices.0');
    expect(asks({ devices: ['fuse', 'fuse'] })).toEqual(['devices.1: is in the list already']);
  });
  it('is only for containers, and names only for OCI images', () => {
    const vm = { isolation: 'vm', rootDisk: { sizeMiB: 1024 } };
    expect(asks({ ...vm, devices: ['kvm'] })[0]).toMatch(/^devices: only for isolation container/);
    expect(asks({ ...vm, dns: { servers: ['9.9.9.9'] } })[0]).toMatch(/^dns: only for OCI images/);
    expect(asks({ isolation: 'microvm', memoryMiB: 128, dns: { search: ['lan'] } })).toEqual([]);
  });
  it.each([
    [{ servers: ['dns.example.net'] }, 'dns.servers.0: must be an IPv4 or IPv6 address'],
    [{ servers: ['fe80::1%eth0'] }, 'dns.servers.0: must be an IPv4 or IPv6 address'],
    [{ search: ['a b'] }, 'dns.search.0: must be a domain name'],
    [{ search: ['-a.example'] }, 'dns.search.0: must be a domain name'],
    [{ search: Array.from({ length: 5 }, () => `${'a'.repeat(60)}.net`) }, 'dns.search: at most 256'],
    [{ options: ['ndots:2\nnameserver 6.6.6.6'] }, 'dns.options.0: must be an option'],
    [{ hosts: [{ address: '10.1.1.1', names: ['db#'] }] }, 'dns.hosts.0.names.0: must be a domain name'],
  ])('%j is refused', (dns, said) => {
    expect(asks({ dns })).toEqual([expect.stringContaining(said)]);
  });
  it('holds no containers of its own under strict seccomp', () => {
    expect(refusals({ nesting: true, seccomp: 'strict' })).toEqual([
      expect.stringMatching(/^security\.nesting/),
    ]);
    expect(refusals({ nesting: true })).toEqual([]);
  });
});

describe('a system container', () => {
  const system = (change: object): string[] => refusals(undefined, { system: true, ...change });
  it('is a container, whose init is root and may write', () => {
    expect(system({})).toEqual([]);
    expect(system({ process: { command: ['/lib/systemd/systemd'], stopSignal: 'RTMIN+3' } })).toEqual([]);
    expect(system({ isolation: 'microvm', memoryMiB: 128 })[0]).toMatch(
      /^system: only for isolation container/,
    );
    expect(system({ process: { user: 'web' } })[0]).toMatch(/^process\.user: cannot go with system/);
    expect(system({ process: { init: true } })[0]).toMatch(/^process\.init: cannot go with system/);
    expect(refusals({ seccomp: 'strict' }, { system: true })[0]).toMatch(/^security\.seccomp: /);
    expect(refusals({ readOnlyRoot: true }, { system: true })[0]).toMatch(/^security\.readOnlyRoot: /);
  });
  it('has the time of grace of a machine', () => {
    expect(stopGraceOf(InstanceSpec.parse({ ...base, system: true }))).toBe(30);
    expect(stopGraceOf(InstanceSpec.parse(base))).toBe(10);
  });
});

import { describe, expect, it } from 'vitest';
import {
  addableCapabilities,
  capabilitiesOf,
  ContainerCapability,
  defaultCapabilities,
} from './container-security.js';
import { InstanceSpec } from './instance.js';

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

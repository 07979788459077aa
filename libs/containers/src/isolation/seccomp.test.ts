import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { OciSeccomp } from '../bundle/oci-types.js';
import { capabilitiesOf } from '@berth/model';
import { type SeccompProfile, SECCOMP_PROFILE, seccompProfileRead, seccompRender } from './seccomp.js';

const CONTAINER_CAPABILITIES = capabilitiesOf().map((name) => `CAP_${name}`);
const allowed = (filter: OciSeccomp, name: string) =>
  filter.syscalls.filter((rule) => rule.action === 'SCMP_ACT_ALLOW' && rule.names.includes(name));

describe("Debian's seccomp profile as rendered for a container", () => {
  it('allows ordinary calls and refuses what needs a capability that the container has not', async () => {
    const filter = seccompRender(await seccompProfileRead(SECCOMP_PROFILE), 'x86_64', CONTAINER_CAPABILITIES);
    expect(filter.defaultAction).toBe('SCMP_ACT_ERRNO');
    expect(filter.architectures[0]).toBe('SCMP_ARCH_X86_64');
    for (const name of ['read', 'openat', 'execve', 'epoll_wait', 'chroot', 'arch_prctl'])
      expect(allowed(filter, name), name).not.toEqual([]);
    for (const name of [
      'bpf',
      'mount',
      'unshare',
      'setns',
      'init_module',
      'perf_event_open',
      'keyctl',
      'clone3',
    ])
      expect(allowed(filter, name), name).toEqual([]);
  });

  it('lets a process fork, but not into a new namespace', async () => {
    const filter = seccompRender(await seccompProfileRead(SECCOMP_PROFILE), 'x86_64', CONTAINER_CAPABILITIES);
    const [rule, ...more] = allowed(filter, 'clone');
    expect(more).toEqual([]);
    const [arg] = rule?.args ?? [];
    const passes = (flags: number) =>
      (BigInt(flags) & BigInt(arg?.value ?? 0)) === BigInt(arg?.valueTwo ?? 0);
    expect(arg?.op).toBe('SCMP_CMP_MASKED_EQ');
    expect(passes(0x0120_0011)).toBe(true); // fork: SIGCHLD, CHILD_SETTID, CHILD_CLEARTID
    for (const bit of [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000])
      expect(passes(0x11 | bit), bit.toString(16)).toBe(false);
  });

  it('opens sockets of the families that a network namespace parts, and of no other', async () => {
    const filter = seccompRender(await seccompProfileRead(SECCOMP_PROFILE), 'x86_64', CONTAINER_CAPABILITIES);
    const opens = (family: number) =>
      allowed(filter, 'socket').some((rule) =>
        rule.args?.every(({ index, value, op }) => index === 0 && op === 'SCMP_CMP_EQ' && family === value),
      );
    const families = Array.from({ length: 64 }, (_, family) => family);
    expect(families.filter((family) => opens(family))).toEqual([1, 2, 10, 16]); // unix, inet, inet6, netlink
    expect(filter.syscalls.filter((rule) => rule.names.includes('socketcall'))).toEqual([
      { names: ['socketcall'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 },
    ]);
  });

  it('keeps another architecture’s calls out', async () => {
    const profile = await seccompProfileRead(SECCOMP_PROFILE);
    expect(allowed(seccompRender(profile, 'aarch64', CONTAINER_CAPABILITIES), 'arch_prctl')).toEqual([]);
  });
});

describe('rendering any profile', () => {
  const cap = fc.constantFrom('CAP_A', 'CAP_B', 'CAP_SYS_ADMIN');
  const rule = fc.record({
    names: fc.array(fc.constantFrom('read', 'mount', 'clone', 'clone3', 'other'), {
      minLength: 1,
      maxLength: 4,
    }),
    action: fc.constantFrom('SCMP_ACT_ALLOW', 'SCMP_ACT_ERRNO'),
    includes: fc.record({ caps: fc.array(cap, { maxLength: 2 }) }),
    excludes: fc.record({ caps: fc.array(cap, { maxLength: 2 }) }),
  });

  it('never allows a call by a rule whose capabilities are not held, nor mount without CAP_SYS_ADMIN', () => {
    fc.assert(
      fc.property(fc.array(rule), fc.uniqueArray(cap), (syscalls, held) => {
        const profile: SeccompProfile = { defaultAction: 'SCMP_ACT_ERRNO', syscalls };
        const filter = seccompRender(profile, 'x86_64', held);
        const fits = syscalls.filter(
          (r) =>
            r.includes.caps.every((c) => held.includes(c)) && !r.excludes.caps.some((c) => held.includes(c)),
        );
        const may = fits.some((r) => r.action === 'SCMP_ACT_ALLOW' && r.names.includes('other'));
        expect(allowed(filter, 'other').length > 0).toBe(may);
        if (!held.includes('CAP_SYS_ADMIN')) expect(allowed(filter, 'mount')).toEqual([]);
      }),
    );
  });
});

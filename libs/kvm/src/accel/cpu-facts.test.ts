import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseCpuInfo, parseNested } from './cpu-facts.js';
import { accelFacts } from './host-facts.js';

/** Lines as kernels write them, cut to what matters. */
const intel = `processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz
flags\t\t: fpu vme de pse tsc msr vmx est tm2 ssse3 ept vpid
vmx flags\t: vnmi preemption_timer invvpid ept_x_only ept ept_ad ept_1gb

processor\t: 1
flags\t\t: fpu
`;
const intelNewKernel = intel.replace(' ept vpid', '');
const amd = `processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC 7763 64-Core Processor
flags\t\t: fpu vme de svm npt lbrv nrip_save
`;
const guest = `processor\t: 0
vendor_id\t: AuthenticAMD
model name\t: AMD EPYC
flags\t\t: fpu vme hypervisor
`;

describe('facts from /proc/cpuinfo', () => {
  it.each([
    ['Intel with VT-x and EPT', intel, 'GenuineIntel', 'vmx', 'ept'],
    ['Intel on a kernel that lists VMX abilities apart', intelNewKernel, 'GenuineIntel', 'vmx', 'ept'],
    ['Intel without EPT', intelNewKernel.replace(/vmx flags.*/, ''), 'GenuineIntel', 'vmx', 'none'],
    ['AMD with AMD-V and NPT', amd, 'AuthenticAMD', 'svm', 'npt'],
    ['a guest without virtualisation', guest, 'AuthenticAMD', 'none', 'none'],
    ['nothing', '', 'unknown', 'none', 'none'],
  ])('%s', (_name, text, vendor, virtualisation, secondLevelPaging) => {
    expect(parseCpuInfo(text)).toMatchObject({ vendor, virtualisation, secondLevelPaging });
  });

  it('reads any text', () => {
    fc.assert(fc.property(fc.string(), (text) => void parseCpuInfo(text)));
  });

  it('knows both spellings of the nested parameter', () => {
    expect(['Y\n', '1\n', 'N\n', '0\n', null].map(parseNested)).toEqual([true, true, false, false, false]);
  });
});

describe('facts of a host', () => {
  it('gives no verdict on a device that opens before it was measured, and says why one is absent', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'berth-accel-'));
    writeFileSync(join(dir, 'cpuinfo'), amd);
    writeFileSync(join(dir, 'kvm'), '');
    const paths = { cpuinfo: join(dir, 'cpuinfo'), modules: dir, kvmDevice: join(dir, 'kvm') };
    expect(await accelFacts(paths)).toMatchObject({
      cpu: { kvmDevice: true, virtualisation: 'svm', nested: false },
      kvm: { verdict: 'unmeasured', reason: 'measured: not yet' },
    });
    const absent = await accelFacts({ ...paths, kvmDevice: join(dir, 'none') });
    expect(absent.kvm.verdict).toBe('absent');
    expect(absent.kvm.reason).toContain('ENOENT');
    rmSync(dir, { recursive: true });
  });
});

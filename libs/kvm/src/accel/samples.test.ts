import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { AccelVerdict, Capabilities } from '@berth/model';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { accelVerdict } from './accel-verdict.js';
import { parseCpuInfo, parseNested } from './cpu-facts.js';
import { isTenantBoundary } from './host-facts.js';

const { cpu } = Capabilities.shape;
const Sample = z.strictObject({
  outcome: z.enum(['finished', 'late', 'failed']),
  ticks: z.array(z.number()),
  message: z.string().nullable(),
});
/** One host: what its kernel says, what the probe measured, and what is to be made of it. */
const HostRecord = z.strictObject({
  about: z.string(),
  /** Where it is from: `recorded on …`, or `composed from …` where no such host was at hand. */
  origin: z.string().regex(/^(recorded on|composed from) /),
  cpuinfo: z.string(),
  nested: z.string().nullable(),
  samples: z.strictObject({
    device: z.string().nullable(),
    tcg: Sample.nullable(),
    kvm: Sample.nullable(),
    kvmPlain: Sample.nullable(),
  }),
  expect: z.strictObject({
    virtualisation: cpu.shape.virtualisation,
    secondLevelPaging: cpu.shape.secondLevelPaging,
    nested: z.boolean(),
    verdict: AccelVerdict.shape.verdict,
    /** Part of the reason people are told. */
    reason: z.string(),
  }),
});

const dir = join(import.meta.dirname, 'samples');
const hosts = readdirSync(dir).map((name) => {
  const record = HostRecord.parse(JSON.parse(readFileSync(join(dir, name), 'utf8')));
  return [name.replace('.json', ''), record] as const;
});

describe('a host as it was recorded', () => {
  it.each(hosts)('%s', (_name, record) => {
    const facts = { ...parseCpuInfo(record.cpuinfo), nested: parseNested(record.nested) };
    const kvm = accelVerdict(record.samples);
    const { reason, ...wanted } = record.expect;
    expect({ ...facts, ...kvm }).toMatchObject(wanted);
    expect(kvm.reason).toContain(reason);
    // Flags promise nothing: only what was measured to work separates tenants.
    expect(isTenantBoundary(kvm)).toBe(wanted.verdict === 'usable');
    if (wanted.verdict === 'usable') expect(kvm.factor).toBeLessThan(1);
  });

  it('covers what hosts are known to be', () => {
    const seen = new Set(
      hosts.map(([, { expect: e }]) => `${e.virtualisation} ${e.secondLevelPaging} ${e.verdict}`),
    );
    for (const kind of [
      'vmx ept usable',
      'svm npt usable',
      'vmx none unusable',
      'none none usable',
      'vmx ept absent',
    ])
      expect(seen).toContain(kind);
    expect(hosts.filter(([, { origin }]) => origin.startsWith('recorded')).length).toBeGreaterThanOrEqual(4);
  });
});

import { join } from 'node:path';
import type { WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { measureHost } from '../../libs/kvm/src/accel/accel-probe.js';
import { accelVerdict } from '../../libs/kvm/src/accel/accel-verdict.js';
import { AccelProbe } from '../../libs/kvm/src/index.js';
import {
  eventually,
  qemuArguments,
  QemuHost,
  serialText,
  step,
  TestHost,
} from '../../libs/kvm/src/testing/host.js';

/* Only for hosts with VT-x or AMD-V: `./berth test --kvm`. */
it('KVM is usable here: faster than emulation in the same run, with the host processor', async () => {
  const samples = await measureHost(AbortSignal.timeout(60_000));
  // What a new kind of host is recorded from: libs/kvm/src/accel/samples.
  process.stdout.write(`${JSON.stringify(samples)}\n`);
  const verdict = accelVerdict(samples);
  expect(verdict).toMatchObject({ verdict: 'usable' });
  expect(verdict.factor).toBeLessThan(1);
});

describe.each(['libvirt', 'qemu'] as const)('a machine under KVM with %s', (driver) => {
  let host: TestHost | QemuHost;
  let runtime: ReturnType<(TestHost | QemuHost)['runtime']>;
  beforeAll(async () => {
    host = driver === 'qemu' ? new QemuHost() : await TestHost.start();
    runtime = host.runtime({ accel: new AccelProbe(join(host.dir, 'accel.json')) });
  });
  afterAll(async () => {
    runtime.close();
    await host.stop();
  });

  it('is a boundary between tenants, boots, and QEMU says that it is KVM', async () => {
    const early = await runtime.probe();
    const { facts } = (await early.later) ?? early;
    expect(facts).toMatchObject({ tenantBoundary: true, accel: { kvm: { verdict: 'usable' } } });
    for (const accel of ['kvm', 'any'] as const) {
      const spec: WorkloadSpec = host.spec('steady', { accel });
      await runtime.prepare(spec, step());
      await runtime.start(spec, step());
      await eventually('the guest speaks', async () =>
        (await serialText(runtime, spec)).includes('boots=1') ? true : undefined,
      );
      const monitor = await runtime.monitor(spec);
      expect(await monitor.execute('query-kvm')).toEqual({ enabled: true, present: true });
      const pid = (await runtime.recover()).find((o) => o.instanceId === spec.instanceId)?.pid ?? 0;
      expect(qemuArguments(pid).join(' ')).toMatch(/accel=kvm|-accel kvm/);
      await runtime.stop(spec, 0, step());
      await runtime.remove(spec, step());
    }
  });
});

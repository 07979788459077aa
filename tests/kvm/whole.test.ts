import { afterAll, beforeAll, expect, it } from 'vitest';
import { Berth, until } from '../e2e/berth.js';
import { qemuCommands, samples } from '../e2e/machine.js';

/* Only for hosts with VT-x or AMD-V: a kernel and a user's way through REST, with both drivers. */
let berth: Berth;
beforeAll(async () => {
  const { disk } = await samples();
  berth = await Berth.up(1);
  await berth.image('tiny', 'disk', disk);
}, 300_000);
afterAll(() => berth?.down(), 120_000);

it('the host says that KVM is usable and a boundary between tenants', async () => {
  const capabilities = await until('the measurement', 60_000, async () => {
    const said = (await berth.hosts())[0]?.capabilities;
    return said?.accel.kvm.verdict === 'unmeasured' ? undefined : said;
  });
  expect(capabilities).toMatchObject({ tenantBoundary: true, accel: { kvm: { verdict: 'usable' } } });
  expect(capabilities?.cpu.virtualisation).not.toBe('none');
});

it.each(['libvirt', 'qemu'])('a kernel comes up under KVM with %s', async (driver) => {
  const machine = { isolation: 'vm', image: 'tiny', vcpus: 2, memoryMiB: 128, rootDisk: { sizeMiB: 64 } };
  await berth.create(driver, { ...machine, placement: { accel: 'kvm', driver } });
  const { uuid, status } = await berth.state(driver, 'running');
  expect(status.driver).toBe(driver);
  expect(qemuCommands(uuid)).toEqual([expect.stringMatching(/accel=kvm|-accel kvm/)]);
  await until('its ready line', 60_000, async () =>
    (await berth.logs(driver)).includes(`berth-ready hostname=${driver}`) ? true : undefined,
  );
  await berth.delete(driver);
});

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run } from '@berth/linux';
import type { Observation, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, serialText, step, TestHost } from '../testing/host.js';

/* Both drivers over the same volumes, each with its own records, as on a host. */
let host: TestHost;
let drivers: ReturnType<TestHost['drivers']>;
beforeAll(async () => {
  host = await TestHost.start();
  drivers = host.drivers();
});
afterAll(async () => {
  await drivers.qemu.close();
  await host.stop();
});

async function started(name: keyof typeof drivers, spec: WorkloadSpec): Promise<void> {
  await drivers[name].prepare(spec, step());
  await drivers[name].start(spec, step());
}
const says = (name: keyof typeof drivers, spec: WorkloadSpec, line: string): Promise<true> =>
  eventually(line, async () => ((await serialText(drivers[name], spec)).includes(line) ? true : undefined));
const seen = async (name: keyof typeof drivers, spec: WorkloadSpec): Promise<Observation | undefined> =>
  (await drivers[name].recover()).find((o) => o.instanceId === spec.instanceId);
async function gone(name: keyof typeof drivers, spec: WorkloadSpec): Promise<void> {
  await drivers[name].stop(spec, 0, step());
  await drivers[name].remove(spec, step());
}

const machineType = (spec: WorkloadSpec): string =>
  join(host.dir, 'volumes', spec.rootVolume.id, 'machine-type');

describe('a machine', () => {
  it('that was stopped under one driver starts under the other with its disk and UUID, and back', async () => {
    const spec = host.spec('steady', { cpuModel: 'Nehalem' });
    for (const [name, epoch] of [
      ['libvirt', 1],
      ['qemu', 2],
      ['libvirt', 3],
    ] as const) {
      const now = { ...spec, epoch };
      await started(name, now);
      await says(name, now, `boots=${epoch}\n`);
      const qmp = await drivers[name].monitor(now);
      expect(await qmp.execute('query-uuid')).toEqual({ UUID: spec.uuid });
      const cpu = async (): Promise<unknown> => {
        const monitor = await drivers[name].monitor(now);
        const [first] = await monitor.execute('query-cpus-fast');
        return monitor.execute('qom-get', { path: first?.['qom-path'] ?? '', property: 'type' });
      };
      expect(await cpu()).toBe('Nehalem-x86_64-cpu');
      // What goes on has the processor that it had.
      await drivers[name].suspend(now, step());
      await drivers[name].start({ ...now, cpuModel: 'max' }, step());
      expect(await cpu()).toBe('Nehalem-x86_64-cpu');
      // As an older QEMU would have made it: from then on it is that machine, also for this QEMU.
      const type = String(
        await (await drivers[name].monitor(now)).execute('qom-get', { path: '/machine', property: 'type' }),
      );
      if (epoch === 1) {
        expect(type).toBe(`${readFileSync(machineType(spec), 'utf8').trim()}-machine`);
        writeFileSync(machineType(spec), 'pc-q35-6.2\n');
      } else expect(type).toBe('pc-q35-6.2-machine');
      await gone(name, now);
      expect(await host.leftovers(now)).toEqual([]);
    }
    await drivers.qemu.removeVolume(spec.rootVolume.id, step());
  });

  it.each([
    ['libvirt', 'qemu'],
    ['qemu', 'libvirt'],
  ] as const)('that runs under %s cannot be started by %s: QEMU locks its disk', async (first, second) => {
    const spec = host.spec('steady');
    await started(first, spec);
    await says(first, spec, 'boots=1\n');
    const again = { ...spec, epoch: 2 };
    await drivers[second].prepare(again, step());
    await expect(drivers[second].start(again, step())).rejects.toMatchObject({
      code: 'hostFault',
      message: expect.stringMatching(/lock/) as string,
    });
    expect(await seen(second, again)).toMatchObject({ phase: 'ended', exit: { reason: 'startFailed' } });
    expect(await seen(first, spec)).toMatchObject({ phase: 'running', power: 'running' });
    await drivers[second].remove(again, step());
    // Nor may the other one delete what is in use.
    await expect(drivers[second].removeVolume(spec.rootVolume.id, step())).rejects.toMatchObject({
      message: expect.stringContaining('in use') as string,
    });
    await gone(first, spec);
    await run('qemu-img', ['check', '-f', 'qcow2', await host.volumePath(spec)]);
    await started(second, { ...spec, epoch: 3 });
    await says(second, { ...spec, epoch: 3 }, 'boots=2\n');
    await gone(second, { ...spec, epoch: 3 });
    await drivers[second].removeVolume(spec.rootVolume.id, step());
    expect(await host.leftovers(spec)).toEqual([]);
  });
});

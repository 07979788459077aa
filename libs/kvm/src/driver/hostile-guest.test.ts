import { mkdirSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspectDisk } from '@berth/images';
import { run } from '@berth/linux';
import type { Observation, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createQemuRuntime, type LibvirtRuntime, type QemuRuntime } from '../index.js';
import { bootDisk } from '../testing/boot-sector.js';
import { eventually, serialText, step, TestHost } from '../testing/host.js';

/* A guest writes the header of a qcow2 image over the start of its own disk. Whoever probed would follow what it names. */
let host: TestHost;
let drivers: { libvirt: LibvirtRuntime; qemu: QemuRuntime };
let secret: string;
beforeAll(async () => {
  host = await TestHost.start();
  const own = join(host.dir, 'qemu');
  for (const dir of ['', 'state', 'run', 'log']) mkdirSync(join(own, dir), { mode: 0o711 });
  const [stateDir, runDir, logDir] = [join(own, 'state'), join(own, 'run'), join(own, 'log')];
  drivers = {
    libvirt: host.runtime(),
    qemu: createQemuRuntime({ ...host.parts(), stateDir, runDir, logDir }),
  };
  // Readable for every account: only what QEMU does not do keeps it from the guest.
  secret = join(host.dir, 'secret');
  writeFileSync(secret, Buffer.alloc(1024 * 1024, 'secret '), { mode: 0o666 });
});
afterAll(async () => {
  await drivers.qemu.close();
  await host.stop();
});

/** The first sector of an image that stands on the secret, or keeps its data in it. */
async function header(names: 'backing file' | 'data file'): Promise<Buffer> {
  const path = join(host.dir, `header-${names === 'data file' ? 'data' : 'backing'}`);
  const external = join(host.dir, 'external');
  const how =
    names === 'data file' ? ['-o', `data_file=${external},data_file_raw=on`] : ['-b', secret, '-F', 'raw'];
  await run('qemu-img', ['create', '-q', '-f', 'qcow2', ...how, path, '8M']);
  const whole = readFileSync(path);
  if (names === 'data file') {
    const at = whole.indexOf(external);
    Buffer.from(secret.padEnd(external.length)).copy(whole, at);
  }
  return whole.subarray(0, 512);
}

const seen = async (name: keyof typeof drivers, spec: WorkloadSpec): Promise<Observation | undefined> =>
  (await drivers[name].recover()).find((o) => o.instanceId === spec.instanceId);

async function started(name: keyof typeof drivers, spec: WorkloadSpec): Promise<void> {
  await drivers[name].prepare(spec, step());
  await drivers[name].start(spec, step());
}
async function gone(name: keyof typeof drivers, spec: WorkloadSpec): Promise<void> {
  await drivers[name].stop(spec, 0, step());
  await drivers[name].remove(spec, step());
}

/** It has the disk it always had: the overlay on its image, of the size it had, and no other file. */
async function expectOwnDisk(name: keyof typeof drivers, spec: WorkloadSpec): Promise<void> {
  const monitor = await drivers[name].monitor(spec);
  const nodes = await monitor.execute('query-named-block-nodes');
  const disk = await host.volumePath(spec);
  const base = host.blobPath(spec.image.digest);
  expect(nodes.map((node) => node.file)).not.toContain(secret);
  const formats = nodes.filter((node) => node.drv !== 'file').map((node) => [node.file, node.drv]);
  expect(formats).toContainEqual([disk, 'qcow2']);
  expect(formats).toContainEqual([base, 'raw']);
  expect(formats.filter(([, format]) => format === 'qcow2')).toHaveLength(1);
  const root = nodes.find((node) => node.file === disk && node.drv === 'qcow2');
  expect(root?.image['virtual-size']).toBe(8 * 2 ** 20);
  const fds = `/proc/${(await seen(name, spec))?.pid ?? 0}/fd`;
  const open = readdirSync(fds).map((fd) => readlinkSync(join(fds, fd)));
  expect(open).toContain(disk);
  expect(open).not.toContain(secret);
}

describe.each(['backing file', 'data file'] as const)(
  'a guest that names a %s at the start of its disk',
  (names) => {
    it.each([
      ['libvirt', 'qemu'],
      ['qemu', 'libvirt'],
    ] as const)(
      'gains nothing under %s, nor when it starts under %s, nor as an image',
      async (first, second) => {
        const written = await header(names);
        const spec = host.specOf(bootDisk('overwriter', written));
        await started(first, spec);
        await eventually('it wrote', async () =>
          (await serialText(drivers[first], spec)).split('boots=1').length === 3 ? true : undefined,
        );
        await gone(first, spec);
        const raw = join(host.dir, `${spec.instanceId}.raw`);
        const disk = await host.volumePath(spec);
        await run('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', disk, raw]);
        const exported = readFileSync(raw);
        expect(exported.subarray(0, 512).equals(written), 'the guest did write it').toBe(true);

        for (const [name, epoch] of [
          [first, 2],
          [second, 3],
        ] as const) {
          await started(name, { ...spec, epoch });
          await expectOwnDisk(name, { ...spec, epoch });
          await gone(name, { ...spec, epoch });
        }
        await drivers[second].removeVolume(spec.rootVolume.id, step());

        const refusal = expect.stringMatching(
          names === 'data file' ? /another file/ : /backing file/,
        ) as string;
        await expect(inspectDisk(raw)).rejects.toMatchObject({ code: 'unsupported', message: refusal });
        // Should it have come past the import, as either format: no driver takes it.
        for (const name of [first, second])
          for (const format of ['raw', 'qcow2'] as const) {
            const taken = host.specOf(exported);
            const image = { ...taken.image, format } as typeof taken.image;
            await expect(drivers[name].prepare({ ...taken, image }, step())).rejects.toMatchObject({
              code: 'badImage',
              message: refusal,
            });
            await drivers[name].remove(taken, step());
            expect(await host.volumes()).not.toContain(taken.rootVolume.id);
          }
      },
    );
  },
);

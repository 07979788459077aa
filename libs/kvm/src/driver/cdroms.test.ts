import type { CdromSeen, IsoContent } from '@berth/model';
import type { Runtime, WorkloadCdrom, WorkloadHas, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootDisk } from '../testing/boot-sector.js';
import { eventually, qemuArguments, serialText, step, TestHost } from '../testing/host.js';
import { sampleDisk, serialSays, shellSays } from '../testing/sample-guest.js';

/*
 * CD-ROM drives under both drivers: firmware that boots from one, and the sample guest, Debian's cloud kernel, which reads, locks and
 * ejects. One boot of it for each driver.
 */

let host: TestHost;
let drivers: ReturnType<TestHost['drivers']>;
let disk: Buffer;
beforeAll(async () => {
  disk = await sampleDisk();
  host = await TestHost.start();
  drivers = host.drivers();
}, 300_000);
afterAll(async () => {
  await drivers.qemu.close();
  await host.stop();
});

const drive = (image: IsoContent | null, changes: Partial<WorkloadCdrom> = {}): WorkloadCdrom => ({
  image,
  bus: 'sata',
  bootFirst: false,
  force: false,
  ...changes,
});

describe.each(['qemu', 'libvirt'] as const)('CD-ROM drives under %s', (name) => {
  async function started(spec: WorkloadSpec): Promise<void> {
    await drivers[name].prepare(spec, step(60_000));
    await drivers[name].start(spec, step(60_000));
  }
  async function gone(spec: WorkloadSpec): Promise<void> {
    await drivers[name].stop(spec, 0, step(60_000));
    await drivers[name].remove(spec, step(60_000));
    await drivers[name].removeVolume(spec.rootVolume.id, step(60_000));
  }
  const update = (spec: WorkloadSpec): Promise<WorkloadHas> => drivers[name].update(spec, step(60_000));
  const pidOf = async (spec: WorkloadSpec): Promise<number> => {
    const seen = (await drivers[name].recover()).find((o) => o.instanceId === spec.instanceId);
    if (seen?.pid === null || seen?.pid === undefined) throw new Error('it does not run');
    return seen.pid;
  };
  /** What the first sector says that was booted: of the disk a digit that counts, of a medium, which cannot be written, always one. */
  const says = (spec: WorkloadSpec, text: string): Promise<true> =>
    eventually(text, async () => ((await serialText(drivers[name], spec)).includes(text) ? true : undefined));

  it('an empty disk is passed over for a medium, which the disk comes before once it can be booted from', async () => {
    const installer = await host.iso({ label: 'INSTALL', boot: bootDisk('steady').subarray(0, 2048) });
    const empty = host.specOf(Buffer.alloc(1024 * 1024), { cdroms: [drive(null), drive(installer)] });
    await started(empty);
    await says(empty, 'boots=');
    expect(qemuArguments(await pidOf(empty)).join(' ')).not.toMatch(/if=|probe/);
    await gone(empty);
    const both = host.spec('steady', { cdroms: [drive(installer)] });
    await started(both);
    await says(both, 'boots=1');
    await drivers[name].stop(both, 0, step(60_000));
    await drivers[name].start(both, step(60_000));
    await says(both, 'boots=2');
    await drivers[name].stop(both, 0, step(60_000));
    const rescue = await host.iso({ label: 'RESCUE', boot: bootDisk('panic').subarray(0, 2048) });
    const rescued = { ...both, epoch: 2, cdroms: [drive(rescue, { bootFirst: true })] };
    await drivers[name].remove(both, step(60_000));
    await started(rescued);
    await eventually('its guest, booted from the medium, panics', async () => {
      const seen = (await drivers[name].recover()).find((o) => o.instanceId === both.instanceId);
      return seen?.exit?.reason === 'guestCrash' ? true : undefined;
    });
    await gone(rescued);
  }, 240_000);

  it('a guest reads what is put in, keeps what it has locked unless by force, and ejects what it likes', async () => {
    const first = await host.iso({ label: 'FIRST' });
    const second = await host.iso({ label: 'SECOND' });
    const scsi = (image: IsoContent | null, force = false): WorkloadCdrom =>
      drive(image, { bus: 'scsi', force });
    const spec = host.specOf(disk, { memoryMiB: 128, rootVolume: host.spec('steady', {}).rootVolume });
    const sized = { ...spec, rootVolume: { ...spec.rootVolume, sizeMiB: 64 } };
    const holding = (...cdroms: WorkloadCdrom[]): WorkloadSpec => ({ ...sized, cdroms });
    const runtime: Runtime & (typeof drivers)[typeof name] = drivers[name];
    const shell = (command: string, form: string): Promise<string> =>
      shellSays(runtime, sized, command, form);
    const label = (): Promise<string> => shell('mount -o ro /dev/sr0 /srv && cat /srv/label.txt', '[A-Z]+');
    await started(holding(scsi(first)));
    await serialSays(runtime, sized, /ready/);
    await shell(
      'for m in $(cat /lib/seed.list); do insmod /lib/$m; done 2>/dev/null; sleep 1; ls /dev/sr0',
      '/dev/sr0',
    );
    expect(await label()).toBe('FIRST');

    // Mounted, so its kernel has locked the tray.
    const refused = await update(holding(scsi(second)));
    expect(refused.unsettled).toEqual([{ field: 'cdroms', why: 'the guest has locked the tray of drive 0' }]);
    expect(refused.cdroms).toEqual([{ digest: first.digest, trayOpen: false, locked: true }]);
    expect(await shell('cat /srv/label.txt', '[A-Z]+')).toBe('FIRST');

    await shell('umount /srv; echo done', 'done');
    const taken = await update(holding(scsi(second)));
    expect(taken.unsettled).toEqual([]);
    expect(taken.cdroms).toMatchObject([{ digest: second.digest, trayOpen: false }]);
    expect(await label()).toBe('SECOND');

    const forced = await update(holding(scsi(first, true)));
    expect(forced).toMatchObject({ unsettled: [], cdroms: [{ digest: first.digest }] });
    await shell('umount /srv; echo done', 'done');
    expect(await label()).toBe('FIRST');
    await shell('umount /srv; echo done', 'done');

    // Its guest opens the tray: that is observed without anybody asking, and no change of the spec closes it.
    const signal = AbortSignal.timeout(120_000);
    const opened = (async (): Promise<readonly CdromSeen[] | undefined> => {
      for await (const seen of runtime.observe(signal))
        if (seen.instanceId === spec.instanceId && seen.cdroms?.[0]?.trayOpen === true) return seen.cdroms;
      return undefined;
    })();
    await shell(
      'echo 1 >/proc/sys/dev/cdrom/autoeject; mount -o ro /dev/sr0 /srv && umount /srv; echo done',
      'done',
    );
    expect(await opened).toEqual([{ digest: first.digest, trayOpen: true, locked: false }]);
    expect((await update(holding(scsi(first)))).cdroms).toMatchObject([{ trayOpen: true }]);
    expect((await update(holding(scsi(null)))).cdroms).toMatchObject([{ digest: null }]);
    await gone(sized);
  }, 240_000);
});

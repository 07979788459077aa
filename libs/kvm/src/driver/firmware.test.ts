import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { run } from '@berth/linux';
import { firmwareFacet, isTpmLost, type FirmwareSpec, type SnapshotId, type VolumeId } from '@berth/model';
import type { Observation, SnapshotOf, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, qemuArguments, serialText, step, TestHost, tpmsOf } from '../testing/host.js';
import { uefiDisk } from '../testing/uefi-disk.js';
import { domainName } from '../machine/metadata.js';
import { isVmUid } from '../qemu/vm-uids.js';
import { firmwareKinds, machineFirmware } from './firmware.js';

/* Both drivers over the same volumes. The guest counts its boots in the firmware's variables, not on its disk. */
const BOOT_MS = 120_000;
let host: TestHost;
let drivers: ReturnType<TestHost['drivers']>;
let disk: Buffer;
beforeAll(async () => {
  disk = await uefiDisk();
  host = await TestHost.start();
  drivers = host.drivers();
});
afterAll(async () => {
  await drivers.qemu.close();
  await host.stop();
});

type Name = keyof typeof drivers;
const machine = (firmware: Partial<FirmwareSpec>, changes: Partial<WorkloadSpec> = {}): WorkloadSpec =>
  host.specOf(disk, {
    memoryMiB: 96,
    firmware: { type: 'uefi', secureBoot: false, ...firmware },
    ...changes,
  });
async function started(name: Name, spec: WorkloadSpec): Promise<void> {
  await drivers[name].prepare(spec, step(60_000));
  await drivers[name].start(spec, step(60_000));
}
const says = (name: Name, spec: WorkloadSpec, words: string): Promise<true> =>
  eventually(
    words,
    async () => ((await serialText(drivers[name], spec)).includes(words) ? true : undefined),
    BOOT_MS,
  );
async function ended(name: Name, spec: WorkloadSpec): Promise<void> {
  await drivers[name].stop(spec, 0, step());
  await drivers[name].remove(spec, step());
}
const pidOf = async (name: Name, spec: WorkloadSpec): Promise<number> =>
  (await drivers[name].recover()).find((o) => o.instanceId === spec.instanceId)?.pid ?? 0;
const groupsOf = (pid: number): string => readFileSync(`/proc/${pid}/cgroup`, 'utf8');
function tpmOf(name: Name, spec: WorkloadSpec): { uid: number; status: string; groups: string } {
  const [pid = 0, ...more] = tpmsOf(spec);
  expect([name, more]).toEqual([name, []]);
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return { uid: Number(/^Uid:\t(\d+)/m.exec(status)?.[1]), status, groups: groupsOf(pid) };
}
const seen = (name: Name, spec: WorkloadSpec, wanted: (o: Observation) => boolean): Promise<Observation> =>
  eventually('what is wanted of it', async () =>
    (await drivers[name].recover()).find((o) => o.instanceId === spec.instanceId && wanted(o)),
  );
/** Not by toEqual, which takes seconds for half a million bytes. */
const isSame = (path: string, bytes: Buffer): boolean => readFileSync(path).equals(bytes);
const inVolume = (id: VolumeId, ...path: string[]): string => join(host.dir, 'volumes', id, ...path);

describe('UEFI', () => {
  it('and a TPM keep what they hold through stops, drivers, snapshots and suspension, and it goes with the disk', async () => {
    for (const name of ['libvirt', 'qemu'] as const)
      expect((await drivers[name].probe()).facets).toEqual(
        expect.arrayContaining(['uefi', 'secureBoot', 'tpm']),
      );
    const first = machine({}, { tpm: true });
    const root = first.rootVolume.id;
    const variables = inVolume(root, 'firmware', 'uefi.fd');
    await started('qemu', first);
    await says('qemu', first, 'boots=1\n');
    await says('qemu', first, 'resets=1\n');
    const tpm = tpmOf('qemu', first);
    expect(tpm.status).toMatch(/^CapEff:\t0+$/m);
    expect(tpm.status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(tpm.groups).toEqual(groupsOf(await pidOf('qemu', first)));
    const { uid, mode } = statSync(variables);
    expect([isVmUid(uid), mode & 0o777, tpm.uid]).toEqual([true, 0o600, uid]);
    const { instanceId } = first;
    const of: SnapshotOf = { instanceId, epoch: 1, snapshotId: randomUUID() as SnapshotId, volumes: [root] };
    // The flash is no disk: a machine that runs is taken with its one disk, and so it is resized.
    await drivers.qemu.snapshots.take(of, step(60_000));
    await drivers.qemu.update({ ...first, rootVolume: { id: root, sizeMiB: 12 } }, step());
    const taken = readFileSync(variables);
    const kept = inVolume(root, 'snapshots', `${of.snapshotId}.firmware`, 'uefi.fd');
    expect(isSame(kept, taken)).toBe(true);
    await ended('qemu', first);

    const second = { ...first, epoch: 2, rootVolume: { id: root, sizeMiB: 12 } };
    await started('libvirt', second);
    await says('libvirt', second, 'boots=2\n');
    await says('libvirt', second, 'resets=2\n');
    expect(tpmOf('libvirt', second).uid).toBe(statSync(variables).uid);
    await drivers.libvirt.suspend(second, step(60_000));
    // What it goes on with is what it was suspended with, whatever is wanted by now.
    expect(tpmsOf(second)).toEqual([]);
    await drivers.libvirt.start({ ...second, firmware: undefined, tpm: undefined }, step(60_000));
    const args = qemuArguments(await pidOf('libvirt', second));
    expect(args.join(' ')).toContain(`/firmware/uefi.fd`);
    expect(tpmsOf(second)).toHaveLength(1);
    expect(isSame(variables, taken)).toBe(false);
    // QEMU resets no machine whose TPM is gone, whoever asks: its end tells why.
    for (const pid of tpmsOf(second)) process.kill(pid, 'SIGKILL');
    await seen('libvirt', second, ({ conditions = [] }) => isTpmLost(conditions));
    const reset = ['-c', host.uri, 'reset', domainName('test-host', instanceId)];
    await run('virsh', reset).catch(() => undefined);
    const { exit } = await seen('libvirt', second, ({ phase }) => phase === 'ended');
    expect(exit).toMatchObject({
      reason: 'hypervisorCrash',
      message: expect.stringContaining('its TPM had ended') as string,
    });
    await ended('libvirt', second);

    expect(tpmsOf(second)).toEqual([]);
    expect(readdirSync(inVolume(root, 'tpm'))).toContain('tpm2-00.permall');
    const copy = machine(
      {},
      {
        rootVolume: {
          id: randomUUID() as VolumeId,
          sizeMiB: 12,
          source: { volumeId: root, snapshotId: of.snapshotId },
        },
      },
    );
    await drivers.qemu.prepare(copy, step(60_000));
    await drivers.libvirt.snapshots.revert({ ...of, epoch: 2 }, step());
    for (const id of [root, copy.rootVolume.id])
      expect(isSame(inVolume(id, 'firmware', 'uefi.fd'), taken), id).toBe(true);
    // A TPM says who a machine is: no two are the same.
    expect(readdirSync(inVolume(copy.rootVolume.id))).not.toContain('tpm');
    await drivers.qemu.remove(copy, step());

    await drivers.libvirt.snapshots.remove({ ...of, epoch: 2 }, step());
    expect(readdirSync(inVolume(root, 'snapshots'))).toEqual([]);
    for (const id of [root, copy.rootVolume.id]) await drivers.qemu.removeVolume(id, step());
    expect(await host.volumes()).toEqual([]);
    expect(await host.leftovers(first)).toEqual([]);
  }, 240_000);

  it('with secure boot starts nothing that is not signed, under both drivers', async () => {
    const specs = {
      libvirt: machine({ secureBoot: true }),
      qemu: machine({ secureBoot: true }, { tpm: true }),
    };
    const names = ['libvirt', 'qemu'] as const;
    await Promise.all(names.map((name) => started(name, specs[name])));
    await Promise.all(names.map((name) => says(name, specs[name], 'Access Denied')));
    for (const name of names) expect(await serialText(drivers[name], specs[name])).not.toContain('boots=');
    await drivers.qemu.suspend(specs.qemu, step(60_000));
    await drivers.qemu.start(specs.qemu, step(60_000));
    expect(tpmsOf(specs.qemu)).toHaveLength(1);
    expect(qemuArguments(await pidOf('qemu', specs.qemu)).join(' ')).toContain('property=secure,value=on');
    for (const name of names) {
      await ended(name, specs[name]);
      await drivers[name].removeVolume(specs[name].rootVolume.id, step());
    }
  }, 240_000);

  it('is offered where its files are, each kind by itself; what lacks them is refused with what to install', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'berth-ovmf-'));
    const pool = { variablesFile: () => Promise.reject(new Error('not asked')) };
    const ready = (kind: 'uefi' | 'bios') => machineFirmware(kind, randomUUID() as VolumeId, pool, dir);
    expect(await firmwareKinds(dir)).toEqual([]);
    for (const name of ['OVMF_CODE_4M.fd', 'OVMF_VARS_4M.fd', 'OVMF_CODE_4M.secboot.fd'])
      writeFileSync(join(dir, name), '');
    expect(await firmwareKinds(dir)).toEqual(['uefi']);
    rmSync(join(dir, 'OVMF_CODE_4M.fd'));
    await expect(ready('uefi')).rejects.toMatchObject({
      code: 'hostFault',
      remedy: 'install the package ovmf',
    });
    expect(await ready('bios')).toBeNull();
    expect(firmwareFacet('bios')).toBeNull();
    rmSync(dir, { recursive: true });
  });
});

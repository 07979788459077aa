import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Instance } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootDisk } from '../../libs/kvm/src/testing/boot-sector.js';
import { Berth, patience, until } from './berth.js';
import { qemuPids } from './machine.js';

/* How a real machine's run ends or does not end: what its guest does, what an operator does, what happens to its QEMU. */
let berth: Berth;
let dir: string;

beforeAll(async () => {
  berth = await Berth.up(1);
  dir = mkdtempSync(join(tmpdir(), 'berth-ends-'));
  for (const guest of ['unattended', 'rebooter', 'brief'] as const) {
    const disk = join(dir, `${guest}.raw`);
    writeFileSync(disk, bootDisk(guest));
    await berth.image(guest, 'disk', disk);
  }
}, 300_000);
afterAll(async () => {
  await berth?.down();
  rmSync(dir, { recursive: true, force: true });
}, 120_000);

describe.each(['qemu', 'libvirt'] as const)('a machine under %s', (driver) => {
  const name = `vm-${driver}`;
  const booted = (times: number): Promise<true> =>
    until(`${name} has booted ${times} times`, patience(90_000), async () =>
      (await berth.logs(name)).includes(`boots=${times}`) ? true : undefined,
    );
  const status = async (): Promise<Instance['status']> => (await berth.get(name)).status;

  it('is turned off or paused by its watchdog, when its guest tends it no more', async () => {
    const dog = `dog-${driver}`;
    const spec = {
      isolation: 'vm',
      image: 'unattended',
      vcpus: 1,
      memoryMiB: 64,
      rootDisk: { sizeMiB: 8 },
      placement: { driver },
    };
    await berth.create(`${dog}-off`, {
      ...spec,
      watchdog: { action: 'poweroff' },
      restart: { policy: 'onFailure' },
    });
    await berth.create(`${dog}-held`, { ...spec, watchdog: { action: 'pause' } });
    const again = await until('it runs again', patience(60_000), async () => {
      const { status } = await berth.get(`${dog}-off`);
      return status.run === 2 && status.state === 'running' ? status : undefined;
    });
    expect(again).toMatchObject({ epoch: 1, lastExit: { reason: 'watchdog' } });
    const held = await berth.state(`${dog}-held`, 'paused', patience(60_000));
    expect(held.status.conditions).toMatchObject([{ type: 'WatchdogExpired', reason: 'Paused' }]);
    expect(held.status.reason).toContain('watchdog');
    expect(await berth.run(['resume', `${dog}-held`])).toContain('resume succeeded');
    const on = await berth.state(`${dog}-held`, 'running', patience(30_000));
    expect(on.status).toMatchObject({ run: 1, conditions: [] });
    for (const end of ['off', 'held']) await berth.delete(`${dog}-${end}`);
  }, 300_000);

  it('reboots and is reset within its run, is run again when QEMU is killed, and stays off when it turns itself off', async () => {
    const guest = (image: string): object => ({
      ...{ isolation: 'vm', image, vcpus: 1, memoryMiB: 64, rootDisk: { sizeMiB: 8 } },
      placement: { driver },
      restart: { policy: 'onFailure' },
    });
    await berth.create(name, guest('rebooter'));
    const { uuid } = await berth.state(name, 'running');
    // It reboots by itself, once.
    await booted(2);
    expect(await berth.logs(name)).toContain('boots=1');
    const [pid] = qemuPids(uuid);
    expect(pid).toBeDefined();
    expect(await berth.run(['reset', name])).toContain(`${name}: reset succeeded`);
    await booted(3);
    expect(qemuPids(uuid)).toEqual([pid]);
    expect(await status()).toMatchObject({ state: 'running', epoch: 1, run: 1, lastExit: null });

    process.kill(pid ?? 0, 'SIGKILL');
    await booted(4);
    const again = await berth.state(name, 'running', patience(30_000));
    // libvirt does not tell by what its QEMU ended.
    const told =
      driver === 'qemu' ? { reason: 'signalled', signal: 'SIGKILL' } : { reason: 'hypervisorCrash' };
    expect(again.status).toMatchObject({ epoch: 1, run: 2, lastExit: told });

    await berth.delete(name);
    await berth.create('brief', guest('brief'));
    const off = await berth.state('brief', 'stopped', patience(90_000));
    expect(off.status).toMatchObject({ run: 1, lastExit: { reason: 'guestShutdown' } });
    const refused = await berth.call<{ code: string }>('POST', `${berth.instances}/brief/actions/reset`);
    expect(refused).toMatchObject({ status: 409, body: { code: 'stateConflict' } });
    await berth.delete('brief');
  }, 480_000);
});

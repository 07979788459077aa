import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Instance } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bootDisk } from '../../libs/kvm/src/testing/boot-sector.js';
import { Berth, patience, until } from './berth.js';
import { qemuPids, samples } from './machine.js';

/* How a real machine's run ends or does not end: what its guest does, what an operator does, what happens to its QEMU. */
let berth: Berth;
let dir: string;

beforeAll(async () => {
  const images = await samples();
  berth = await Berth.up(1);
  await berth.image('tiny', 'disk', images.disk);
  dir = mkdtempSync(join(tmpdir(), 'berth-ends-'));
  writeFileSync(join(dir, 'unattended.raw'), bootDisk('unattended'));
  await berth.image('unattended', 'disk', join(dir, 'unattended.raw'));
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
  const types = (line: string): Promise<unknown> =>
    berth.ok('POST', `${berth.instances}/${name}/keys`, { presses: [...line, 'ret'].map((key) => [key]) });
  /**
   * Types at the shell that is on its screen, once that heeds its keyboard: the guest says that it is up before it has a shell there.
   * `ready` says so again, however often it is typed.
   */
  const typesAtShell = async (line: string): Promise<void> => {
    const said = async (): Promise<number> => (await berth.logs(name)).split('berth-ready').length;
    const before = await said();
    const again = async (): Promise<true | undefined> => ((await said()) > before ? true : undefined);
    await until('its shell heeds the keyboard', patience(90_000), async () => {
      await types('ready').catch(() => undefined);
      return until('it is heard', 2000, again).catch(() => undefined);
    });
    await types(line);
  };
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
    await berth.create(name, {
      isolation: 'vm',
      image: 'tiny',
      vcpus: 1,
      memoryMiB: 128,
      rootDisk: { sizeMiB: 64 },
      placement: { driver },
      restart: { policy: 'onFailure' },
    });
    const { uuid } = await berth.state(name, 'running');
    await booted(1);
    const [pid] = qemuPids(uuid);
    expect(pid).toBeDefined();
    await typesAtShell('reboot');
    await booted(2);
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

    await typesAtShell('poweroff');
    const off = await berth.state(name, 'stopped', patience(90_000));
    expect(off.status).toMatchObject({ run: 2, lastExit: { reason: 'guestShutdown' } });
    const refused = await berth.call<{ code: string }>('POST', `${berth.instances}/${name}/actions/reset`);
    expect(refused).toMatchObject({ status: 409, body: { code: 'stateConflict' } });
    await berth.delete(name);
  }, 480_000);
});

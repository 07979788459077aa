import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { VmDriver } from '@berth/model';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestTerminal } from '../http/test-terminal.js';
import { killed, processes, procText } from '../kills/processes.js';
import { Berth, output, patience, until } from './berth.js';
import { qemuCommands, samples } from './machine.js';

/* Machines that are suspended by each driver, while everything on their host is killed and what a boot empties is emptied. */
const drivers = ['libvirt', 'qemu'] as const;
const bootIdFile = '/proc/sys/kernel/random/boot_id';
let berth: Berth;
let bootIdReplaced = false;

beforeAll(async () => {
  const { disk } = await samples();
  berth = await Berth.up(1);
  await berth.image('tiny', 'disk', disk);
}, 300_000);
afterAll(async () => {
  await berth?.down();
  if (bootIdReplaced) await output('umount', bootIdFile);
}, 120_000);

const machine = (driver: VmDriver): object => ({
  isolation: 'vm',
  image: 'tiny',
  vcpus: 1,
  memoryMiB: 128,
  rootDisk: { sizeMiB: 64 },
  placement: { driver },
});

/** What the guest's shell answers to a line. */
async function typed(name: string, line: string, answer: RegExp): Promise<string> {
  const { secret } = await berth.ok<{ secret: string }>('POST', `${berth.instances}/${name}/console`, {});
  const terminal = await TestTerminal.open(`${berth.base.replace('http', 'ws')}/v1/console?ticket=${secret}`);
  await terminal.notice('opened');
  const found = await until(`${line} is answered`, patience(60_000), () => {
    const seen = answer.exec(terminal.output.toString())?.[0];
    if (seen === undefined) terminal.type(Buffer.from(`${line}\r`));
    return Promise.resolve(seen);
  });
  terminal.close();
  return found;
}

const ours = (): { pid: number }[] =>
  processes().filter(({ pid }) =>
    ['cmdline', 'environ'].some((file) => procText(pid, file as 'cmdline').includes(berth.root)),
  );

/** Everything of this Berth is killed, and what a boot takes away is away: processes, /run, links, rules, the boot id. */
async function powerCut(): Promise<void> {
  await until('nothing of it runs', 30_000, () => {
    for (const { pid } of ours()) killed(pid);
    return Promise.resolve(ours().length === 0 ? true : undefined);
  });
  rmSync(join(berth.root, 'run'), { recursive: true, force: true });
  const links = JSON.parse(await output('ip', '-j', 'link')) as { ifname: string }[];
  for (const { ifname } of links) if (/^b[btv]/.test(ifname)) await output('ip', 'link', 'del', ifname);
  await output('nft', 'flush', 'ruleset');
  const file = join(berth.root, 'boot-id');
  writeFileSync(file, '11111111-2222-3333-4444-555555555555\n');
  await output('mount', '--bind', file, bootIdFile);
  bootIdReplaced = true;
}

describe('a suspended machine', () => {
  it('of each driver has no process, and is there with its memory after its host was booted', async () => {
    for (const driver of drivers) await berth.create(driver, machine(driver));
    for (const driver of drivers) {
      await berth.state(driver, 'running');
      // Kept in the guest's memory alone.
      await typed(driver, `kept=${driver}-$((6 * 7)); echo now=$kept`, new RegExp(`now=${driver}-42`));
    }
    for (const driver of drivers) {
      const { operation } = await berth.act(driver, 'suspend');
      expect(operation.state).toBe('succeeded');
      const { uuid, status } = await berth.get(driver);
      expect(status).toMatchObject({ state: 'suspended', power: 'suspended', driver });
      expect(qemuCommands(uuid)).toEqual([]);
      expect((await berth.call('POST', `${berth.instances}/${driver}/console`, {})).status).toBe(409);
    }
    await powerCut();
    await berth.run(['up']);
    for (const driver of drivers) {
      expect((await berth.state(driver, 'suspended')).status.lastExit).toBeNull();
      expect((await berth.act(driver, 'resume')).operation.state).toBe('succeeded');
      const { status } = await berth.state(driver, 'running');
      expect(status).toMatchObject({ epoch: 1, run: 1, driver });
      await typed(driver, 'echo still=$kept', new RegExp(`still=${driver}-42`));
      // It reaches its network again, by the address it had.
      await typed(
        driver,
        'ping -c 1 -w 5 $(ip route | sed -n "s/.*via \\([0-9.]*\\).*/\\1/p")',
        / 0% packet loss/,
      );
      expect((await berth.logs(driver)).split('boots=').length, `${driver} booted once`).toBe(2);
    }
  }, 400_000);

  it('has a snapshot with its memory, and goes on from there with its disk, its address and all it knew', async () => {
    for (const driver of drivers) {
      const { status: before } = await berth.get(driver);
      await typed(driver, 'n=7; echo then-$((n * 6))', /then-42/);
      await berth.run(['snapshot', 'create', driver, 'then', '--memory']);
      expect(await berth.run(['snapshot', 'ls', driver])).toMatch(/then +ready +exact/);
      await typed(driver, 'n=8; echo later-$((n * 6))', /later-48/);
      await berth.run(['stop', driver]);
      await berth.run(['update', driver, '--set', 'spec.vcpus=2']);
      const other = await berth.try(['snapshot', 'revert', driver, 'then']);
      expect(other.err).toMatch(/vcpus/);
      await berth.run(['update', driver, '--set', 'spec.vcpus=1']);
      await berth.run(['snapshot', 'revert', driver, 'then']);
      const { status } = await berth.state(driver, 'running');
      expect(status.epoch).toBeGreaterThan(before.epoch ?? 0);
      await typed(driver, 'echo back-$((n * 6))-$kept', /back-42-/);
      await typed(
        driver,
        'ping -c 1 -w 5 $(ip route | sed -n "s/.*via \\([0-9.]*\\).*/\\1/p")',
        / 0% packet loss/,
      );
      expect(await berth.logs(driver), `${driver} did not boot again`).not.toContain('boots=');
      await berth.run(['snapshot', 'rm', driver, 'then']);
    }
  }, 400_000);

  it('is discarded by a stop, and boots then', async () => {
    await berth.run(['suspend', 'qemu']);
    await berth.run(['stop', 'qemu']);
    await berth.run(['start', 'qemu']);
    await until('its second boot', patience(60_000), async () =>
      (await berth.logs('qemu')).includes('boots=2') ? true : undefined,
    );
  }, 120_000);
});

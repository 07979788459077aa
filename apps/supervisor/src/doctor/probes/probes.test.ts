import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mounts } from '@berth/linux';
import { expect, it } from 'vitest';
import { pathsFor } from '../../paths.js';
import { forwardingFindings } from './forwarding.js';
import { kernelFindings } from './kernel.js';
import { machineFindings } from './machine.js';
import { microvmFindings } from './microvm.js';
import { softwareFindings } from './software.js';

it('the probes of this machine see what the tests need, and leave nothing behind', async () => {
  const root = mkdtempSync(join(tmpdir(), 'berth-doctor-test-'));
  try {
    const paths = pathsFor(root);
    mkdirSync(paths.state, { recursive: true });
    const kernel = await kernelFindings(paths);
    for (const key of [
      'overlayfs',
      'idmappedMounts',
      'userNamespaces',
      'links',
      'tun',
      'masquerade',
    ] as const)
      expect(kernel[key], key).toBeNull();
    expect(kernel.controllers).toEqual(expect.arrayContaining(['cpu', 'memory', 'pids']));
    expect(kernel.seccompActions).toContain('errno');
    const { disks, clock } = await machineFindings(paths);
    expect(disks.flatMap((disk) => disk.holds).sort()).toEqual(['logs', 'state', 'temporary files']);
    expect(disks.every((disk) => disk.freeMiB > 0)).toBe(true);
    expect(clock.now).toBeGreaterThan(clock.built);
    expect((await softwareFindings()).versions).toMatchObject({
      runc: expect.stringMatching(/^\d/) as string,
    });
    expect((await forwardingFindings()).bridgePrefix).toBe('bb');
    expect(readdirSync(paths.state)).toEqual([]);
    expect(mounts().filter((m) => m.target.startsWith(root))).toEqual([]);
  } finally {
    rmSync(root, { recursive: true });
  }
});

it('what microVMs boot from is missing, older than its sources, packed or ready', async () => {
  const home = mkdtempSync(join(tmpdir(), 'berth-doctor-test-'));
  try {
    const dir = join(home, 'out');
    for (const folder of ['out', 'tools/microvm', 'libs/kvm/guest-init'])
      mkdirSync(join(home, folder), { recursive: true });
    const write = (name: string, text: string): void => writeFileSync(join(home, name), text);
    const boot = async (): Promise<string> => (await microvmFindings(dir, home)).boot;
    const age = (names: string[], seconds: number): void =>
      names.forEach((name) => utimesSync(join(home, name), seconds, seconds));
    const source = 'libs/kvm/guest-init/init.c';
    write(source, 'int main');
    age(['tools/microvm', 'libs/kvm/guest-init', source], 1000);
    expect(await boot()).toBe('missing');
    for (const name of ['kernel', 'initrd', 'root.ext4', 'key']) write(`out/${name}`, 'MZ of a bzImage');
    expect(await boot()).toBe('packed');
    write('out/kernel', '\x7fELF and more');
    expect(await boot()).toBe('ready');
    age(['out/key'], 999);
    expect(await boot()).toBe('stale');
    write('out/initrd', '');
    expect(await boot()).toBe('missing');
  } finally {
    rmSync(home, { recursive: true });
  }
});

import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mounts } from '@berth/linux';
import { expect, it } from 'vitest';
import { pathsFor } from '../../paths.js';
import { forwardingFindings } from './forwarding.js';
import { kernelFindings } from './kernel.js';
import { machineFindings } from './machine.js';
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

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { VolumeId } from '@berth/model';
import { afterAll, describe, expect, it } from 'vitest';
import { isVmUid, VmUids } from './vm-uids.js';

const dir = mkdtempSync(join(tmpdir(), 'berth-uids-'));
afterAll(() => rmSync(dir, { recursive: true }));

describe('the uid of a root disk', () => {
  it('is its own, stays over restarts, and is free again after the disk', async () => {
    const uids = new VmUids(join(dir, 'a', 'vm-uids.json'));
    const names = Array.from({ length: 20 }, (_, i) => `volume-${i}` as VolumeId);
    const given = await Promise.all(names.map((name) => uids.ensure(name)));
    expect(new Set(given).size).toBe(20);
    expect(given.every(isVmUid)).toBe(true);
    const again = new VmUids(join(dir, 'a', 'vm-uids.json'));
    expect(await again.ensure(names[7] as VolumeId)).toBe(given[7]);
    await again.release(names[7] as VolumeId);
    await again.release('never was' as VolumeId);
    expect(await again.ensure(names[7] as VolumeId)).toBe(given[7]);
  });

  it('moves on from one that is taken', async () => {
    const path = join(dir, 'taken.json');
    const wanted = await new VmUids(join(dir, 'other.json')).ensure('v' as VolumeId);
    writeFileSync(path, JSON.stringify({ version: 1, uids: { other: wanted } }));
    expect(await new VmUids(path).ensure('v' as VolumeId)).toBe(wanted + 1);
  });

  it('is never given from a damaged record', async () => {
    const path = join(dir, 'damaged.json');
    writeFileSync(path, '{"version":1,"uids":{"v":0}}');
    await expect(new VmUids(path).ensure('v' as VolumeId)).rejects.toThrow(/cannot be read/);
  });
});

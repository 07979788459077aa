import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { disksHolding, ioBring, type IoGroup, type IoLimits, ioWeigh } from './cgroup-io.js';

const V1 = ['read_bps', 'write_bps', 'read_iops', 'write_iops'].map(
  (name) => `blkio.throttle.${name}_device`,
);
const none: IoLimits = { readBytes: null, writeBytes: null, readOperations: null, writeOperations: null };

/** The files of a group as the kernel's documents describe them: a line for each disk that has a bound. */
class KernelGroup implements IoGroup {
  readonly files = new Map<string, Map<string, string>>();
  weight: string | null = '100';
  constructor(readonly version: 1 | 2) {
    for (const file of version === 1 ? V1 : ['io.max']) this.files.set(file, new Map());
  }
  read(file: string): Promise<string | null> {
    if (file.endsWith('bfq.weight')) return Promise.resolve(this.weight);
    const lines = this.files.get(file);
    if (lines === undefined) return Promise.resolve(null);
    return Promise.resolve([...lines].map(([disk, rest]) => `${disk} ${rest}\n`).join(''));
  }
  write(file: string, line: string): Promise<void> {
    if (file.endsWith('bfq.weight')) {
      this.weight = line;
      return Promise.resolve();
    }
    const [disk = '', ...words] = line.split(' ');
    const rest = words.join(' ');
    const gone = this.version === 1 ? rest === '0' : words.every((word) => word.endsWith('=max'));
    if (gone) this.files.get(file)?.delete(disk);
    else this.files.get(file)?.set(disk, rest);
    return Promise.resolve();
  }
  get held(): Record<string, Record<string, string>> {
    return Object.fromEntries([...this.files].map(([file, lines]) => [file, Object.fromEntries(lines)]));
  }
}

const bound = fc.option(fc.integer({ min: 1, max: 1e9 }), { nil: null });
const asked = fc.record({
  disks: fc.uniqueArray(fc.record({ major: fc.nat(9), minor: fc.nat(9) }), {
    maxLength: 3,
    selector: ({ major, minor }) => `${major}:${minor}`,
  }),
  limits: fc.record({ readBytes: bound, writeBytes: bound, readOperations: bound, writeOperations: bound }),
});

test('after any changes a group is bounded by the last of them, and at its disks alone', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(1 as const, 2 as const),
      fc.array(asked, { minLength: 1, maxLength: 4 }),
      async (version, changes) => {
        const [group, fresh] = [new KernelGroup(version), new KernelGroup(version)];
        for (const { disks, limits } of changes) await ioBring(group, disks, limits);
        const last = changes.at(-1);
        if (last !== undefined) await ioBring(fresh, last.disks, last.limits);
        expect(group.held).toEqual(fresh.held);
        await ioBring(group, last?.disks ?? [], none);
        expect(Object.values(group.held).flatMap((lines) => Object.keys(lines))).toEqual([]);
      },
    ),
  );
});

test('bounds are written as each version of cgroups wants them', async () => {
  const [v1, v2] = [new KernelGroup(1), new KernelGroup(2)];
  const limits = { ...none, readBytes: 1_048_576, writeOperations: 50 };
  for (const group of [v1, v2]) {
    await ioBring(group, [{ major: 7, minor: 3 }], limits);
    await ioWeigh(group, 500);
    expect(group.weight).toBe('500');
    await ioWeigh(group, null);
    expect(group.weight).toBe('100');
    group.weight = null;
    await ioWeigh(group, null);
    await expect(ioWeigh(group, 500)).rejects.toMatchObject({ code: 'EOPNOTSUPP' });
  }
  expect(v1.held).toEqual({
    [V1[0]!]: { '7:3': '1048576' },
    [V1[1]!]: {},
    [V1[2]!]: {},
    [V1[3]!]: { '7:3': '50' },
  });
  expect(v2.held).toEqual({ 'io.max': { '7:3': 'rbps=1048576 wbps=max riops=max wiops=50' } });
});

test('a file is held by one whole disk, and what is in memory by none', () => {
  const directory = mkdtempSync(join(tmpdir(), 'berth-disks-'));
  try {
    writeFileSync(join(directory, 'file'), '');
    const disks = disksHolding([directory, join(directory, 'file'), '/proc']);
    const onDisk = (statSync(directory).dev >> 8) % 4096 !== 0;
    expect(disks).toHaveLength(onDisk ? 1 : 0);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

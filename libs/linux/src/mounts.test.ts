import { chownSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bindMount, idmappedClone, mount, mountinfoParse, mounts, MS, umount, umountAll } from './index.js';

let dir: string;
const at = (name: string) => join(dir, name);

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-test-mounts-'));
  mkdirSync(at('target'));
  mkdirSync(at('source'));
});

afterEach(() => {
  for (const m of mounts().filter((e) => e.target.startsWith(`${dir}/`))) umountAll(m.target);
  rmSync(dir, { recursive: true });
});

test('what is mounted is listed with its options, and gone after umount', () => {
  mount('tmpfs', at('target'), 'tmpfs', MS.NOSUID | MS.NODEV, 'size=64k,mode=0711');
  const entry = mounts().find((m) => m.target === at('target'));
  expect(entry).toMatchObject({ type: 'tmpfs', source: 'tmpfs', root: '/' });
  expect(entry?.options).toEqual(expect.arrayContaining(['nosuid', 'nodev']));
  expect(entry?.superOptions).toContain('size=64k');
  umount(at('target'));
  expect(mounts().some((m) => m.target === at('target'))).toBe(false);
  expect(() => umount(at('target'))).toThrow(expect.objectContaining({ code: 'EINVAL', syscall: 'umount2' }));
});

test('a path with blanks, tabs, newlines and backslashes is read back as it is', () => {
  const odd = at('a b\tc\nd\\e#f');
  mkdirSync(odd);
  mount('tmpfs', odd, 'tmpfs');
  mount('tmpfs', odd, 'tmpfs');
  expect(mounts().filter((m) => m.target === odd)).toHaveLength(2);
  expect(umountAll(odd)).toBe(2);
  expect(umountAll(odd)).toBe(0);
});

test('a read-only bind mount refuses writes', () => {
  bindMount(at('source'), at('target'), { readOnly: true });
  expect(() => writeFileSync(at('target/x'), '')).toThrow(expect.objectContaining({ code: 'EROFS' }));
  writeFileSync(at('source/x'), '');
  expect(statSync(at('target/x')).isFile()).toBe(true);
});

test('an idmapped clone shows shifted owners and leaves the source as it was', async () => {
  mount('tmpfs', at('source'), 'tmpfs');
  writeFileSync(at('source/root'), '');
  writeFileSync(at('source/user'), '');
  chownSync(at('source/user'), 1000, 1001);
  const map = [{ inside: 0, outside: 200_000, count: 65_536 }];
  await idmappedClone(at('source'), at('target'), map, map, { readOnly: true });
  const owners = (path: string) => [statSync(path).uid, statSync(path).gid];
  expect(owners(at('target/root'))).toEqual([200_000, 200_000]);
  expect(owners(at('target/user'))).toEqual([201_000, 201_001]);
  expect(owners(at('source/user'))).toEqual([1000, 1001]);
  expect(() => writeFileSync(at('target/x'), '')).toThrow(expect.objectContaining({ code: 'EROFS' }));
});

const octal = (text: string) =>
  text.replace(/[ \t\n\\#]/g, (ch) => `\\${ch.charCodeAt(0).toString(8).padStart(3, '0')}`);

test('every path the kernel can escape comes back whole', () => {
  const path = fc
    .string({ unit: fc.constantFrom('a', ' ', '\t', '\n', '\\', '#', '1', '-', 'é') })
    .map((p) => `/${p}`);
  const tags = fc.array(fc.constantFrom('shared:1', 'master:2', 'propagate_from:3', 'unbindable'), {
    maxLength: 3,
  });
  fc.assert(
    fc.property(path, path, tags, path, (root, target, propagation, source) => {
      const optional = propagation.map((tag) => `${tag} `).join('');
      const line = `36 35 98:0 ${octal(root)} ${octal(target)} rw,noatime ${optional}- ext3 ${octal(source)} rw,errors=continue\n`;
      expect(mountinfoParse(line + line)).toHaveLength(2);
      expect(mountinfoParse(line)[0]).toEqual({
        id: 36,
        parentId: 35,
        device: '98:0',
        root,
        target,
        options: ['rw', 'noatime'],
        propagation,
        type: 'ext3',
        source,
        superOptions: ['rw', 'errors=continue'],
      });
    }),
  );
});

test('a line that is no mountinfo is refused and not skipped', () => {
  fc.assert(
    fc.property(fc.string({ minLength: 1 }), (text) => {
      fc.pre(!text.includes('\n') && !/( \S+){5} .*- \S+ \S+ \S+/.test(text));
      expect(() => mountinfoParse(text)).toThrow('not a mountinfo line');
    }),
  );
});

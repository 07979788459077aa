import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { HostPathUse } from '@berth/model';
import { mount, MS, mounts, umountAll } from '@berth/linux';
import type { Runtime, WorkloadSpec } from '@berth/runtime';
import type { HostPath } from '../ports.js';
import { ContainerLab, context } from '../testing/container-lab.js';
import { logUntil, up } from '../testing/workload-steps.js';

/* Directories of the host in real containers, and every way out of them that we know of. */

const lab = new ContainerLab();
/** Beside the lab's own, on a disk whose owners the kernel can shift. */
const srv = mkdtempSync(join(dirname(lab.root), 'berth-srv-'));
const at = (...parts: string[]): string => join(srv, ...parts);
const offers: Record<string, HostPath> = {
  data: { path: at('data'), mode: 'ro' },
  spool: { path: at('spool'), mode: 'rw' },
  setuid: { path: at('setuid'), mode: 'rw' },
  theirs: { path: at('data'), mode: 'ro', projects: ['bank', 'shop'] },
  link: { path: at('link'), mode: 'ro' },
  behind: { path: at('link', 'sub'), mode: 'ro' },
  file: { path: at('data', 'file'), mode: 'ro' },
  gone: { path: at('gone'), mode: 'ro' },
  state: { path: join(lab.root, 'state'), mode: 'ro' },
  above: { path: dirname(lab.root), mode: 'ro' },
  below: { path: join(lab.root, 'run', 'oci', 'bundles'), mode: 'ro' },
  disguised: { path: at('disguised'), mode: 'ro' },
  crowded: { path: at('crowded'), mode: 'ro' },
  proc: { path: '/proc/self', mode: 'ro' },
  kernel: { path: '/sys/kernel', mode: 'ro' },
};
const told: string[] = [];
const runtime: Runtime = lab.runtime({ hostPaths: offers, tell: (message) => void told.push(message) });
let made: WorkloadSpec[] = [];

beforeAll(async () => {
  await lab.open();
  for (const name of ['data/sub/deep', 'spool', 'setuid', 'disguised', 'crowded/in'])
    mkdirSync(at(name), { recursive: true });
  writeFileSync(at('data/file'), 'of the host\n');
  chmodSync(at('data/file'), 0o600);
  writeFileSync(at('data/sub/deep/file'), 'deep\n');
  symlinkSync(at('data'), at('link'));
  symlinkSync('/etc', at('data/out'));
  symlinkSync('sub', at('data/inside'));
  for (const [from, to] of [
    [at('spool'), at('spool')],
    [join(lab.root, 'state'), at('disguised')],
    [at('data'), at('crowded/in')],
  ] as const)
    mount(from, to, null, MS.BIND);
  mount('none', at('spool'), null, MS.REMOUNT | MS.BIND | MS.NOSUID);
});
afterEach(async () => {
  for (const spec of made) await runtime.remove(spec, context());
  made = [];
});
afterAll(async () => {
  for (const name of ['spool', 'disguised', 'crowded/in']) umountAll(at(name));
  rmSync(srv, { recursive: true });
  await lab.close();
});

const use = (name: string, more: Partial<HostPathUse> = {}): HostPathUse => ({
  ...{ name, path: '/mnt/it', readOnly: true },
  ...more,
});
function asking(script: string, hostPaths: HostPathUse[], change: Partial<WorkloadSpec> = {}): WorkloadSpec {
  const spec = lab.spec(`{ ${script}; } 2>&1; echo end; sleep 600`, { hostPaths, ...change });
  made.push(spec);
  return spec;
}
async function says(script: string, ...hostPaths: HostPathUse[]): Promise<[string, WorkloadSpec]> {
  const spec = asking(script, hostPaths);
  await up(runtime, spec);
  return [await logUntil(runtime, spec, 'end\n'), spec];
}
const refused = (why: string, ...hostPaths: HostPathUse[]) =>
  expect(up(runtime, asking('true', hostPaths))).rejects.toMatchObject({
    code: 'unsupported',
    message: expect.stringContaining(why) as string,
    remedy: expect.stringMatching(/./) as string,
  });

describe('directories of the host', () => {
  it('are offered where they can be lent, and the operator is told why the others are not', async () => {
    // A probe that was killed left one mounted: it is taken away, and nothing in it.
    const scratch = join(lab.root, 'run', 'oci', 'host-paths', '.probe', '0');
    mkdirSync(scratch, { recursive: true });
    mount(at('data'), scratch, null, MS.BIND);
    const { facts } = await runtime.probe();
    expect(existsSync(scratch)).toBe(false);
    expect(existsSync(at('data/sub/deep/file'))).toBe(true);
    expect(facts.hostPaths).toEqual([
      { name: 'data', readOnly: true },
      { name: 'spool', readOnly: false },
      { name: 'theirs', readOnly: true, projects: ['bank', 'shop'] },
    ]);
    const all = told.join('\n');
    for (const name of [
      'above',
      'behind',
      'below',
      'crowded',
      'disguised',
      'file',
      'gone',
      'kernel',
      'link',
      'proc',
      'setuid',
      'state',
    ])
      expect(all).toContain(`host path ${name} `);
  });

  it('are read-only unless it is asked, with the owners that the host has, and no way to make more of them', async () => {
    const look =
      'cat /mnt/it/file /mnt/it/sub/deep/file; stat -c "%u %a" /mnt/it/file; echo x > /mnt/it/new; grep " /mnt/it " /proc/mounts; mount -o remount,rw,bind /mnt/it; ls -l /mnt/it/out/ | head -n 3; cat /mnt/it/out/hostname';
    const [said, spec] = await says(look, use('data'));
    expect(said).toMatch(
      /^of the host\ndeep\n0 600\n.*Read-only file system\n.* \/mnt\/it \S+ ro,nosuid,nodev/,
    );
    expect(said).toMatch(/mount: .*(denied|not permitted)/);
    // A link in it leads where it leads in the container.
    expect(said).toContain(`${spec.name}\nend`);
    expect(existsSync(at('data/new'))).toBe(false);
    await runtime.remove(spec, context());
    expect(lab.leftovers(spec)).toEqual([]);
    expect(readFileSync(at('data/file'), 'utf8')).toBe('of the host\n');
  });

  it('are written where that is offered and asked, as whom the container writes, and a program left there has no rights', async () => {
    const write =
      'echo new > /mnt/it/new && chown 7:8 /mnt/it/new && chmod 4755 /mnt/it/id; mknod /mnt/it/null c 1 3; grep " /mnt/it " /proc/mounts';
    // Root's, for whom a set-user-id program would speak.
    copyFileSync('/usr/bin/id', at('spool/id'));
    const [said, spec] = await says(write, use('spool', { readOnly: false }));
    expect(said).toMatch(/mknod: .*not permitted\n.* \/mnt\/it \S+ rw,nosuid,nodev/);
    const { uid, gid } = lstatSync(at('spool/new'));
    expect([uid, gid]).toEqual([7, 8]);
    // The mount that made it fit to be offered gives the host's own users nothing either.
    const asNobody = execFileSync('setpriv', [
      ...['--reuid=65534', '--regid=65534', '--clear-groups', at('spool/id'), '-u'],
    ]);
    expect(lstatSync(at('spool/id')).mode & 0o7777).toBe(0o4755);
    expect(asNobody.toString().trim()).toBe('65534');
    // Its next run has it again, and the host's file system is let go of when it has stopped.
    await runtime.stop(spec, 0, context());
    expect(
      mounts().filter(({ target }) => target.includes(spec.instanceId) && target.includes('host-paths')),
    ).toEqual([]);
    await runtime.start(spec, context());
    await logUntil(runtime, spec, 'end\n');
    await refused('where set-user-id programs run', use('setuid', { readOnly: false }));
    await refused('to write', use('data', { readOnly: false }));
  });

  it('are no more than was asked for below them', async () => {
    expect((await says('ls /mnt/it; ls /mnt/it/..', use('data', { subPath: 'sub/deep' })))[0]).toMatch(
      /^file\nit\nend/,
    );
    for (const [subPath, why] of [
      ['out', 'link'],
      ['inside/deep', 'link'],
      ['..', 'outside'],
      ['sub/../../spool', 'outside'],
      ['none', 'not there'],
      ['file', 'no directory'],
    ] as const)
      await refused(why, use('data', { subPath }));
  });

  it.each([
    ['other', 'offers its project no host path other'],
    ['constructor', 'offers its project no host path constructor'],
    ['theirs', 'offers its project no host path theirs'],
    ['link', 'behind a link'],
    ['behind', 'behind a link'],
    ['file', 'no directory'],
    ['gone', 'not there'],
    ['state', 'Berth’s own'],
    ['above', 'Berth’s own'],
    ['below', 'Berth’s own'],
    ['disguised', 'Berth’s own'],
    ['crowded', 'another mount below it'],
    ['proc', 'link'],
    ['kernel', 'host path kernel'],
  ])('%s is none: %s', async (name, why) => {
    await refused(why, use(name));
  });

  it('that is given to its projects is theirs', async () => {
    const spec = asking('cat /mnt/it/file', [use('theirs')], { project: 'shop' });
    await up(runtime, spec);
    expect(await logUntil(runtime, spec, 'end\n')).toContain('of the host');
  });

  it('stay what they are when somebody swaps them for a link, before a start or under it', async () => {
    mkdirSync(at('swap/dir'), { recursive: true });
    writeFileSync(at('swap/dir/file'), 'mine\n');
    const swapping = lab.runtime({ hostPaths: { swap: { path: at('swap'), mode: 'ro' } } });
    const spec = asking('cat /mnt/it/file', [use('swap', { subPath: 'dir' })]);
    try {
      await up(swapping, spec);
      renameSync(at('swap/dir'), at('swap/was'));
      symlinkSync('/etc', at('swap/dir'));
      expect(await logUntil(swapping, spec, 'end\n')).toContain('mine');
      await swapping.stop(spec, 0, context());
      await expect(swapping.start(spec, context())).rejects.toMatchObject({ code: 'unsupported' });
    } finally {
      rmSync(at('swap'), { recursive: true });
    }
  });

  it('get nothing of ours made in them, wherever a link of the image leads', async () => {
    const image = await lab.imageMake({ layer: [{ name: 'mnt/it', type: 'symlink', linkname: '/etc' }] });
    writeFileSync(at('spool/mark'), '');
    const spec = asking('ls /etc', [use('spool', { readOnly: false })], {
      image,
      process: { command: ['/bin/sh', '-c', 'ls /etc; echo end; sleep 600'] },
    });
    await up(runtime, spec);
    expect(await logUntil(runtime, spec, 'end\n')).toContain('mark');
    for (const name of ['hosts', 'hostname', 'resolv.conf'])
      expect(existsSync(at('spool', name))).toBe(false);
  });
});

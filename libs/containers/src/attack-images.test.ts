import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { OciContent } from '@berth/images';
import { RuntimeError, type WorkloadSpec } from '@berth/runtime';
import type { LayerEntry } from './testing/busybox-image.js';
import { ContainerLab, context } from './testing/container-lab.js';
import { HostWatch } from './testing/host-watch.js';
import { LOADER, hostileLoader } from './testing/hostile-image.js';
import { logText, untilEnded, up } from './testing/workload-steps.js';

/**
 * Images that mean harm. Each may run in its own file system or be refused as a bad image; none may read or write the
 * host, and all are gone without a trace afterwards.
 */
const lab = new ContainerLab();
const runtime = lab.runtime();
const watch = new HostWatch();
let before: Record<string, string>;
beforeAll(async () => {
  await lab.open();
  before = watch.state();
});
afterAll(async () => {
  await lab.close();
  watch.close();
});

/** Reads and writes at every place where a mount may have gone astray. */
const script = `
  for f in /etc/hosts /etc/hostname /etc/resolv.conf /etc/passwd /proc/secret /sys/secret /dev/secret /dev/null/secret \\
    /dev/shm/secret /dev/pts/secret /sys/fs/cgroup/secret ./secret ../secret ../../../../../../..${watch.file} \\
    /proc/self/cwd/../../../../../..${watch.file} /proc/1/root${watch.file} /proc/self/fd/*${watch.file} ${watch.file}
  do cat $f; echo attacked > $f; done 2>&1
  for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /sys/kernel/uevent_helper; do echo attacked > $f; done 2>&1
  echo kcore=$(busybox head -c 1 /proc/kcore 2>/dev/null | busybox wc -c)
  echo end`;

/** Runs the image to its end. The log, or `refused: ` and the reason. */
async function outcome(image: OciContent, change: Partial<WorkloadSpec> = {}): Promise<string> {
  const process = { ...image.process, cmd: [script] };
  const spec = lab.spec('', { image: { ...image, process }, ...change });
  try {
    await up(runtime, spec);
    await untilEnded(runtime, spec);
    return await logText(runtime, spec);
  } catch (error) {
    if (!(error instanceof RuntimeError) || error.code !== 'badImage') throw error;
    return `refused: ${error.message}`;
  } finally {
    await runtime.remove(spec, context());
    await runtime.removeVolume(spec.rootVolume.id, context());
    expect(lab.leftovers(spec)).toEqual([]);
  }
}

function harmless(log: string): void {
  expect(log).not.toContain(watch.secret);
  expect(watch.state()).toEqual(before);
  if (log.startsWith('refused: ')) return;
  expect(log).toContain('kcore=0');
  expect(log).toMatch(/end\n$/);
}

const link = (name: string, linkname: string): LayerEntry => ({ name, type: 'symlink', linkname });
const dir = (name: string): LayerEntry => ({ name, type: 'directory', mode: 0o777 });
const deep = `${'../'.repeat(20)}${watch.dir.slice(1)}`;

const identity = ['etc/hosts', 'etc/hostname', 'etc/resolv.conf'];
const accounts = ['etc/passwd', 'etc/group'];
const kernel = ['proc', 'sys', 'dev'].flatMap(
  (name): (readonly [string, readonly LayerEntry[], string])[] => [
    [`/${name} links to a directory of the host`, [link(name, watch.dir)], 'symbolic link'],
    [`/${name} links up and out`, [link(name, deep)], 'symbolic link'],
    [`/${name} is a file`, [{ name, content: 'file' }], 'no directory'],
  ],
);
/** What the image does, its layer, and why it is refused; an empty reason: it runs, and stays inside. */
const table: (readonly [string, readonly LayerEntry[], string])[] = [
  ...kernel,
  ['/proc links to /proc/1/cwd', [link('proc', '/proc/1/cwd')], 'symbolic link'],
  ['/sys links to itself', [link('sys', '/sys')], 'symbolic link'],
  ['/proc, /sys and /dev are not there', ['proc', 'sys', 'dev'].map((n) => ({ name: `.wh.${n}` })), ''],
  ['/etc links to a directory of the host', [link('etc', watch.dir)], ''],
  ['/etc links up and out', [link('etc', deep)], ''],
  ['/etc links through /proc to the root', [link('etc', `/proc/1/root${watch.dir}`)], 'links into /proc'],
  ['/etc links to a descriptor', [link('etc', '/proc/self/fd/7')], 'links into /proc'],
  ['/etc links to itself', [link('etc', '/etc')], 'too many symbolic links'],
  ['/etc is a file', [{ name: 'etc', content: 'file' }], 'below a file'],
  ['names link to files of the host', [...identity, ...accounts].map((n) => link(n, watch.file)), ''],
  ['names link up and out', [...identity, ...accounts].map((n) => link(n, `${deep}/secret`)), ''],
  ['names link through /proc', identity.map((n) => link(n, `/proc/1/root${watch.file}`)), 'links into /proc'],
  ['accounts link through /proc', accounts.map((n) => link(n, `/proc/1/root${watch.file}`)), ''],
  ['names are directories', identity.map(dir), 'is a directory'],
  ['names are fifos', identity.map((name) => ({ name, type: 'fifo' })), ''],
  ['accounts are fifos', accounts.map((name) => ({ name, type: 'fifo' })), 'no regular file'],
  ['/dev/null links to a file of the host (CVE-2025-31133)', [link('dev/null', `${watch.dir}/null`)], ''],
  ['/dev/null links to core_pattern', [link('dev/null', '/proc/sys/kernel/core_pattern')], ''],
  [
    '/dev/console and /dev/pts link out (CVE-2025-52565)',
    [link('dev/console', watch.file), link('dev/pts', deep)],
    '',
  ],
  ['/dev/shm and /dev/mqueue link out', [link('dev/shm', watch.dir), link('dev/mqueue', deep)], ''],
  [
    '/proc holds links where the runtime writes (CVE-2025-52881)',
    [link('proc/self', watch.dir), link('proc/sysrq-trigger', watch.file), link('proc/kcore', watch.file)],
    '',
  ],
  ['/sys/fs links out', [dir('sys'), link('sys/fs', watch.dir)], ''],
  ['/sys/fs/cgroup links out', [dir('sys/fs'), link('sys/fs/cgroup', deep)], ''],
  ['links go through links', [link('a', deep), link('b', '/a'), link('etc', 'b/..')], ''],
  [
    '/dev holds a disk of the host',
    [{ name: 'dev/vda', type: 'block-device', devmajor: 254, devminor: 0, mode: 0o666 }],
    '',
  ],
];

it.each(table)('an image in which %s reaches nothing of the host', async (_, layer, reason) => {
  const log = await outcome(await lab.imageMake({ layer }));
  harmless(log);
  expect(log).toContain(reason === '' ? 'end\n' : reason);
});

describe('a working directory that means harm (CVE-2024-21626)', () => {
  const descriptors = Array.from({ length: 18 }, (_, n) => n + 3);
  const process = { command: ['/bin/sh', '-c', script] };
  let image: OciContent;
  beforeAll(async () => {
    const links = descriptors.map((fd) => link(`cwd${fd}`, `/proc/self/fd/${fd}`));
    const layer = [
      ...links,
      link('self', '/proc/self'),
      link('up', '/self/fd/7/../..'),
      link('out', deep),
      link('tmp-of-host', `${'../'.repeat(20)}tmp`),
    ];
    image = await lab.imageMake({ layer, config: { WorkingDir: '/proc/self/fd/7' } });
  });

  it('is refused where the image asks for a descriptor', async () => {
    expect(await outcome(image)).toContain('refused: the working directory "/proc/self/fd/7"');
  });

  it.each(descriptors)('is refused at descriptor %i, named by the user or by a link', async (fd) => {
    for (const workdir of [`/tmp/..//proc/./self/fd/${fd}`, `/cwd${fd}`])
      expect(await outcome(image, { process: { ...process, workdir } })).toMatch(/^refused: .*\/proc/);
    expect(watch.state()).toEqual(before);
  });

  it.each(['/proc/self/fd/7', '//proc/self/fd/7', '/self/fd/7', '/up'])(
    'is refused as %s',
    async (workdir) => {
      expect(await outcome(image, { process: { ...process, workdir } })).toMatch(/^refused: .*\/proc/);
    },
  );

  it('is refused or stays inside where a link leads out', async () => {
    const out = await outcome(image, { process: { ...process, workdir: '/out' } });
    expect(out).toMatch(/^refused: .* links to .*, which is not there$/);
    const log = await outcome(image, { process: { ...process, workdir: '/tmp-of-host' } });
    harmless(log);
    expect(log).toMatch(/end\n$/);
  });
});

it.skipIf(process.arch !== 'x64').each([
  [
    'as the interpreter of the entrypoint',
    [{ name: 'entry', mode: 0o755, content: '#!/proc/self/exe\n' }],
    '/entry',
  ],
  ['as the entrypoint', [], '/proc/self/exe'],
  ['behind a link', [link('entry', '/proc/self/exe')], '/entry'],
] as const)(
  'the OCI runtime, executed %s, is not written to by a hostile loader (CVE-2019-5736)',
  async (_, entries, entry) => {
    const attack = `echo loader ran; ls -l /proc/self/fd/3
    n=0; while test $n -lt 200; do n=$((n + 1)); echo attacked > /proc/self/fd/3 && echo WROTE; done 2>/dev/null
    echo end`;
    const layer = [
      ...entries,
      dir('lib64'),
      { name: LOADER, mode: 0o755, content: hostileLoader() },
      { name: 'attack.sh', content: attack },
    ];
    const image = await lab.imageMake({ layer });
    const log = await outcome(image, { process: { command: [entry] } });
    expect(log).toContain('loader ran');
    expect(log).toMatch(/ -> (\/memfd:runc_cloned:\/proc\/self\/exe|\/usr\/sbin\/runc|\/)/);
    expect(log).not.toContain('WROTE');
    expect(watch.state()).toEqual(before);
  },
);

it('the runtime still serves after all of them', async () => {
  expect(await outcome(await lab.imageMake({}))).toMatch(/end\n$/);
  expect((await runtime.probe()).reason).toBeNull();
});

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import type { Runtime, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ContainerLab, context } from '../testing/container-lab.js';
import { logUntil, up } from '../testing/workload-steps.js';

/* Files of containers whose programs do what they can against it. The container's own eyes say what came of a copy. */
const hostile = (host: string): string =>
  [
    'umask 0',
    `mkdir -p /srv/deep ${host}`,
    `echo inside >${host}/secret`,
    'ln -s / /escape; ln -s ../../../../../../../../etc/passwd /up; ln -s /srv/target /srv/link; echo kept >/srv/target',
    'ln -s /proc/1/root/etc/passwd /magic; ln -s /loop /loop; mkfifo /srv/pipe; echo memory >/dev/shm/file',
    'echo a >/srv/owned; chown 1000:1000 /srv/owned; chmod 0600 /srv/owned',
    "trap 'exit 0' TERM; echo ready; while :; do sleep 60 & wait $!; done",
  ].join('\n');

describe('files of a container', () => {
  const lab = new ContainerLab();
  const runtime = lab.runtime();
  let spec: WorkloadSpec;
  /** A directory of the host; the container has one of the same name. */
  let host: string;
  beforeAll(async () => {
    await lab.open();
    host = join(lab.root, 'outside');
    spec = lab.spec(hostile(host), { cpuMillis: null });
    await up(runtime, spec);
    await logUntil(runtime, spec, 'ready');
  });
  afterAll(() => lab.close());

  const signal = (): AbortSignal => AbortSignal.timeout(20_000);
  const files = (by: Runtime = runtime) => by.files as NonNullable<Runtime['files']>;
  const read = async (path: string): Promise<string> => {
    const { bytes } = await files().readFile(spec, path, signal());
    return Buffer.concat(await Readable.from(bytes).toArray()).toString();
  };
  const write = (path: string, text = 'new', mode = '0640'): Promise<number> =>
    files().writeFile(spec, { path, mode }, Readable.from([Buffer.from(text)]), signal());
  /** What a program in it says. */
  const inside = async (script: string): Promise<string> => {
    const terminal = await runtime.exec?.(spec, { command: ['/bin/sh', '-c', script], tty: false }, signal());
    let said = '';
    for await (const { bytes } of terminal?.output ?? []) said += Buffer.from(bytes).toString();
    return said.trim();
  };

  it('links lead where they lead inside, never to the host', async () => {
    const passwd = await inside('cat /etc/passwd');
    for (const path of ['/etc/passwd', '/up', '/escape/escape/etc/passwd', '/srv/../../../etc/passwd'])
      expect((await read(path)).trim(), path).toBe(passwd);
    expect(readFileSync('/etc/passwd', 'utf8').trim()).not.toBe(passwd);
    expect(await read(`${host}/secret`)).toBe('inside\n');
    expect(await read('/srv/link')).toBe('kept\n');
    await expect(read('/loop')).rejects.toMatchObject({ code: 'fileRefused' });
    // The kernel's own links lead anywhere.
    for (const path of ['/magic', '/proc/self/root/etc/passwd', '/proc/1/cwd/etc/passwd'])
      await expect(read(path), path).rejects.toMatchObject({
        code: expect.stringMatching(/fileRefused|noSuchFile/),
      });
  });

  it('what is no file on a disk is neither read nor replaced, though we are root', async () => {
    for (const path of [
      '/proc/1/environ',
      '/proc/kmsg',
      '/dev/null',
      '/srv/pipe',
      '/srv',
      '/sys/kernel/uevent_helper',
    ])
      await expect(read(path), path).rejects.toMatchObject({
        code: expect.stringMatching(/fileRefused|noSuchFile/),
      });
    for (const path of [
      '/proc/sysrq-trigger',
      '/proc/sys/kernel/core_pattern',
      '/dev/null',
      '/srv/pipe',
      '/srv',
      '/etc/hosts',
    ])
      await expect(write(path), path).rejects.toMatchObject({ code: 'fileRefused' });
    for (const path of ['/nothing', '/srv/nothing/x', '/etc/passwd/x'])
      await expect(read(path), path).rejects.toMatchObject({ code: 'noSuchFile' });
    await expect(write('/srv/nothing/x')).rejects.toMatchObject({ code: 'noSuchFile' });
    await expect(write('/srv/..')).rejects.toMatchObject({ code: 'fileRefused' });
    expect(await inside('ls -A /srv /etc / | grep part')).toBe('');
  });

  it('what is written is its root’s, of the mode that was asked for, and takes the place of a link', async () => {
    expect(await write('/srv/deep/new', 'hello', '0751')).toBe(5);
    expect(await inside("stat -c '%u:%g %a %F' /srv/deep/new; cat /srv/deep/new")).toBe(
      '0:0 751 regular file\nhello',
    );
    await write('/srv/link', 'mine');
    expect(await inside('cat /srv/target; test -L /srv/link || cat /srv/link')).toBe('kept\nmine');
    await write(`${host}/secret`, 'changed');
    expect(await inside(`cat ${host}/secret`)).toBe('changed');
    expect(await read('/srv/owned')).toBe('a\n');
    expect(await read('/dev/shm/file')).toBe('memory\n');
    await write('/dev/shm/put', 'too');
    expect(await inside("stat -c '%u %a' /dev/shm/put; cat /dev/shm/put")).toBe('0 640\ntoo');
    expect(await read('/srv/deep/new')).toBe('hello');
  });

  it('a copy that breaks off leaves what was there, and nothing else', async () => {
    const broken = async function* (): AsyncGenerator<Uint8Array> {
      yield Buffer.alloc(100_000);
      await Promise.resolve();
      throw new Error('the client went away');
    };
    const target = { path: '/srv/target', mode: '0644' };
    await expect(files().writeFile(spec, target, broken(), signal())).rejects.toThrow('went away');
    const leave = new AbortController();
    const waiting = files().writeFile(spec, target, endless(), leave.signal);
    leave.abort(new Error('nobody waits'));
    await expect(waiting).rejects.toThrow('nobody waits');
    expect(await inside('cat /srv/target; ls -A /srv | grep part')).toBe('kept');
  });

  it('copies under way hold up no stop, and end with it', async () => {
    const file = await files().readFile(spec, '/etc/passwd', signal());
    const writing = files().writeFile(spec, { path: '/srv/slow', mode: '0600' }, endless(), signal());
    writing.catch(() => undefined);
    await runtime.stop(spec, 5, context());
    await expect(writing).rejects.toMatchObject({ code: 'notPrepared' });
    await expect(Readable.from(file.bytes).toArray()).rejects.toThrow();
    await expect(read('/etc/passwd')).rejects.toMatchObject({ code: 'notPrepared' });
  });
});

/** One piece, and never the next. */
async function* endless(): AsyncGenerator<Uint8Array> {
  yield Buffer.alloc(1000);
  await new Promise(() => undefined);
}

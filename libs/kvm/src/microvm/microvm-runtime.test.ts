import { randomUUID } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { mounts } from '@berth/linux';
import { HostSecret, type ExecOpen, type ProcessSpec } from '@berth/model';
import type { Terminal, WorkloadSecret, WorkloadSpec } from '@berth/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, serialText, step } from '../testing/host.js';
import { microvmBoot, MicrovmHost } from '../testing/microvm-host.js';
import type { MicrovmRuntime } from './microvm-runtime.js';

/* What a guest makes of what it is told. One machine runs for most of it. */

let host: MicrovmHost;
let runtime: MicrovmRuntime;
let running: WorkloadSpec;

const secret = (use: object, value: string): WorkloadSecret => ({
  ...HostSecret.parse({ id: randomUUID(), version: 1, ...use }),
  value: Buffer.from(value),
});
const token = secret({ name: 'token', uid: 7, gid: 8, mode: '0440' }, 'value-of-token\0\n');
const key = secret({ name: 'key', path: '/etc/deep/app.key', uid: 1000 }, 'value-of-key');
const password = secret({ name: 'password', env: 'PASSWORD' }, 'value-of-password');

const hostile = `a "b" 'c' $(id) \\ , = %s\n\tü`;

beforeAll(async () => {
  host = MicrovmHost.linux(await microvmBoot());
  runtime = host.runtime();
  running = host.running(
    `id; pwd; echo "$FROM|$HOME|$(hostname)|$$"; echo oops >&2; echo "[$ODD]"; trap '' TERM; trap 'exit 3' USR1; while :; do sleep 60 & wait $!; done`,
    {
      process: { user: 'web', workdir: '/srv/web/new', stopSignal: 'SIGUSR1', env: { ODD: hostile } },
      secrets: [token, key, password],
    },
  );
  await started(running);
}, 300_000);
afterAll(async () => {
  await host.stop();
});

async function started(spec: WorkloadSpec): Promise<void> {
  await runtime.prepare(spec, step(60_000));
  await runtime.start(spec, step(60_000));
}

const printed = (spec: WorkloadSpec, wanted: RegExp): Promise<string> =>
  eventually(
    `${wanted} in the log`,
    async () => {
      const text = await serialText(runtime, spec);
      return wanted.test(text) ? text : undefined;
    },
    60_000,
  );

const exitOf = (spec: WorkloadSpec) =>
  eventually(
    'the end of the run',
    async () => (await runtime.recover()).find((o) => o.instanceId === spec.instanceId)?.exit ?? undefined,
    60_000,
  );

const execOf = (open: Partial<ExecOpen> & Pick<ExecOpen, 'command'>): Promise<Terminal> =>
  runtime.exec(running, { tty: false, ...open }, AbortSignal.timeout(60_000));

async function outputOf(terminal: Terminal): Promise<string> {
  const parts: Uint8Array[] = [];
  for await (const { bytes } of terminal.output) parts.push(bytes);
  return Buffer.concat(parts).toString('utf8');
}

describe('an entry point', () => {
  it('has the user, groups, directory and environment of the spec and the image, and is pid 1', async () => {
    await printed(running, /oops\n/); // by a pipe of its own
    const log = await printed(running, /\[.*\]\n/s);
    expect(log).toContain('uid=1000(web) gid=100(users) groups=200(log)');
    expect(log).toContain('/srv/web/new\n');
    expect(log).toContain('image|/srv/web|w|1\n');
    expect(log).toContain('oops\n');
    expect(log).toContain(`[${hostile}]\n`);
  });

  it('that cannot be begun is told of in words', async () => {
    for (const [process, words] of [
      [{ user: 'nobody-here' }, /passwd has no user "nobody-here"/],
      [{ command: ['/bin/absent'], init: true }, /cannot run \/bin\/absent: No such file/],
    ] satisfies [ProcessSpec, RegExp][]) {
      const spec = host.running('exit 0', { process });
      await started(spec);
      expect(await exitOf(spec)).toMatchObject({
        reason: 'startFailed',
        message: expect.stringMatching(words),
      });
      await runtime.remove(spec, step());
    }
  }, 120_000);
});

it('may have a first process beside it, which reaps what it left and tells how it ended', async () => {
  const script = '(sleep 0.1 &); sleep 0.3; ps -o stat,pid,args; kill -SEGV $$';
  const spec = host.running('', { process: { command: ['sh', '-c', script], init: true } });
  await started(spec);
  expect(await exitOf(spec)).toMatchObject({ reason: 'signalled', signal: 'SIGSEGV' });
  const log = await serialText(runtime, spec);
  expect(log).toMatch(/^S\S* +2 sh -c/m);
  expect(log).not.toMatch(/^Z/m);
  await runtime.remove(spec, step());
}, 120_000);

describe('a program beside it', () => {
  it('has its rights unless it is given others, and tells its outputs apart', async () => {
    const own = await execOf({
      command: ['sh', '-c', 'id -u; echo none >/dev/null || echo kept; echo bad >&2; exit 5'],
    });
    const seen: string[] = [];
    for await (const { channel, bytes } of own.output)
      seen.push(`${channel}:${Buffer.from(bytes).toString()}`);
    expect(seen.sort()).toEqual(['errorOutput:bad\n', 'output:1000\n']);
    expect(await own.ended).toEqual({ reason: 'exited', code: 5 });
    const other = await execOf({
      command: ['sh', '-c', 'id -g; pwd; echo $A'],
      user: '0:200',
      workdir: '/tmp',
      env: { A: hostile },
    });
    // Unquoted, so the shell splits it into words.
    expect(await outputOf(other)).toBe(`200\n/tmp\n${hostile.trim().split(/\s+/).join(' ')}\n`);
  }, 60_000);

  it('is killed with what it started when its terminal is closed', async () => {
    const shell = await execOf({ command: ['sh', '-c', 'sleep 7777 & echo begun; wait'] });
    for await (const { bytes } of shell.output) if (Buffer.from(bytes).toString() === 'begun\n') break;
    shell.close();
    await eventually(
      'no sleep is left',
      async () =>
        (await outputOf(await execOf({ command: ['ps'] }))).includes('sleep 7777') ? undefined : true,
      30_000,
    );
  }, 60_000);

  it('that prints more than anybody reads holds up no other', async () => {
    const flood = await execOf({ command: ['cat', '/dev/zero'] });
    const other = await execOf({ command: ['echo', 'through'] });
    expect(await outputOf(other)).toBe('through\n');
    flood.close();
  }, 60_000);

  it('gets all of its input, and its end', async () => {
    const count = await execOf({ command: ['wc', '-c'] });
    for (let i = 0; i < 8; i++) await count.write(Buffer.alloc(40_000, 'x'));
    count.endInput();
    expect((await outputOf(count)).trim()).toBe('320000');
  }, 60_000);

  it('is listed with all that runs there, and the guest’s first process is not', async () => {
    const cat = await execOf({ command: ['cat'] });
    const { items } = await runtime.processes(running, AbortSignal.timeout(30_000));
    expect(items[0]).toMatchObject({ pid: 1, parent: 0, uid: 1000, user: 'web' });
    expect(items[0]?.command).toMatch(/^\/bin\/sh -c id; pwd/);
    expect(items).toContainEqual(expect.objectContaining({ command: 'cat', user: 'web', threads: 1 }));
    expect(items.some(({ command }) => command.includes('/init'))).toBe(false);
    cat.close();
  }, 60_000);

  it('that does not exist fails with the reason', async () => {
    expect(await (await execOf({ command: ['absent'] })).ended).toMatchObject({
      reason: 'failed',
      message: expect.stringContaining('No such file'),
    });
  }, 60_000);
});

describe('secrets', () => {
  const says = async (script: string, user = '0'): Promise<string> =>
    outputOf(await execOf({ command: ['sh', '-c', `(${script}) 2>&1`], user }));

  /** Files of its host that hold a text, but for those in memory. */
  function onDisk(text: string): string[] {
    const memory = mounts().filter((m) => m.type === 'tmpfs' && m.target.startsWith(`${host.dir}/`));
    expect(memory).toHaveLength(1);
    const below = (dir: string): string[] =>
      readdirSync(dir, { withFileTypes: true }).flatMap((one) => {
        const path = join(dir, one.name);
        if (one.isDirectory()) return memory.some((m) => m.target === path) ? [] : below(path);
        return one.isFile() && lstatSync(path).size > 0 ? [path] : [];
      });
    return below(host.dir).filter((path) => readFileSync(path).includes(text));
  }

  it('are files of their owners and variables, which nobody in it can change, and on no disk', async () => {
    const said = await says(
      'ls -ln /run/secrets/token /etc/deep/app.key; cat /run/secrets/token; echo x > /run/secrets/token; echo x > /run/secrets/more; rm /etc/deep/app.key',
    );
    expect(said).toMatch(/^-r--r----- .* 7 +8 +16 .*token$/m);
    expect(said).toMatch(/^-r-------- .* 1000 +0 +12 .*app\.key$/m);
    expect(said).toContain('value-of-token\0\n');
    expect(said.match(/Read-only file system/g)).toHaveLength(2);
    expect(await says('cat /etc/deep/app.key; echo "[$PASSWORD]"; cat /run/secrets/token', '1000')).toMatch(
      /^value-of-key\[value-of-password\]\n.*Permission denied/,
    );
    for (const value of ['value-of-token', 'value-of-key', 'value-of-password'])
      for (const text of [value, Buffer.from(value).toString('hex')]) expect(onDisk(text), text).toEqual([]);
  }, 60_000);

  it('follow a new value while it runs, and are there for the run after a crash, with nobody to tell them', async () => {
    const second = { ...token, version: 2, value: Buffer.from('second') };
    const other = { ...password, version: 2, value: Buffer.from('second-password') };
    running = { ...running, secrets: [second, key, other] };
    await runtime.update(running, step(60_000));
    expect(await says('cat /run/secrets/token; echo " $PASSWORD"; ls -a /run/secrets')).toBe(
      'second value-of-password\n.\n..\ntoken\n',
    );
    // As after a restart of the agent, with the API away.
    runtime = host.runtime();
    running = { ...running, secrets: [second, key, other].map(({ value: _, ...rest }) => rest) };
    await runtime.update(running, step(60_000));
    await says('kill -USR1 1');
    expect(await exitOf(running)).toMatchObject({ reason: 'exited', code: 3 });
    await runtime.start(running, step(60_000));
    expect(await says('cat /run/secrets/token; echo " $PASSWORD"')).toBe('second second-password\n');
    const unheard = { ...running, secrets: [{ ...token, version: 3, value: undefined }] };
    await expect(runtime.update(unheard, step())).rejects.toMatchObject({ code: 'secretMissing' });
  }, 180_000);
});

it('ends with its own code when it is asked, also while it was paused, and all beside it with it', async () => {
  await runtime.pause(running, step());
  await expect(execOf({ command: ['true'] })).rejects.toMatchObject({ code: 'notPrepared' });
  await runtime.resume(running, step());
  // Memory to be freed keeps the entry point's end waiting, while the others are over already.
  const large = ['dd', 'if=/dev/zero', 'of=/dev/null', 'bs=24M'];
  const beside = await Promise.all([['cat'], ['cat'], ['cat'], large].map((command) => execOf({ command })));
  await runtime.pause(running, step());
  await runtime.stop(running, 30, step(60_000));
  const exit = { reason: 'stopped', code: 3 };
  expect(await exitOf(running)).toMatchObject(exit);
  for (const { ended } of beside) expect(await ended).toMatchObject({ reason: 'workloadEnded', exit });
  // With its secrets, also of its host's memory.
  expect(mounts().filter((m) => m.type === 'tmpfs' && m.target.startsWith(`${host.dir}/`))).toEqual([]);
}, 90_000);

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import {
  bootId,
  CommandError,
  isAlive,
  parseStat,
  processIdentity,
  run,
  signalProcess,
  withCapabilities,
  writeFileAtomic,
} from './index.js';

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), 'berth-test-process-'))));
afterEach(() => rmSync(dir, { recursive: true }));

test('a process is known by pid, start time and boot, and is gone when it ended, even as a zombie', async () => {
  // The shell starts a child, tells its pid and becomes a program that never reaps it.
  const parent = spawn('sh', ['-c', 'sleep 300 & echo $!; exec sleep 300'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  try {
    const pid = Number(String(((await once(parent.stdout, 'data')) as [Buffer])[0]));
    // As a shell it may reap what ends.
    await vi.waitUntil(() => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n');
    const identity = processIdentity(pid);
    if (identity === null) throw new Error('not seen');
    expect(identity.bootId).toBe(bootId());
    expect(isAlive(identity)).toBe(true);
    expect(isAlive({ ...identity, startTime: identity.startTime + 1 })).toBe(false);
    expect(isAlive({ ...identity, bootId: 'another boot' })).toBe(false);
    expect(signalProcess({ ...identity, startTime: identity.startTime + 1 }, 'SIGKILL')).toBe(false);
    expect(isAlive(identity)).toBe(true);
    expect(signalProcess(identity, 'SIGKILL')).toBe(true);
    await vi.waitUntil(() => processIdentity(pid) === null);
    expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toContain(') Z ');
    expect(isAlive(identity)).toBe(false);
    expect(signalProcess(identity, 'SIGKILL')).toBe(false);
  } finally {
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  }
});

test('no pid that cannot be one is looked up', () => {
  for (const pid of [0, -1, 1.5, NaN, 2 ** 40]) expect(processIdentity(pid)).toBeNull();
});

test('a stat line is read whatever the command calls itself', () => {
  fc.assert(
    fc.property(
      fc.string({ maxLength: 15 }),
      fc.constantFrom('R', 'S', 'Z', 'X'),
      fc.nat(),
      (name, state, start) => {
        const line = `1 (${name}) ${state} ${'7 '.repeat(18)}${start} 7 7\n`;
        expect(parseStat(line)).toEqual({
          dead: 'ZX'.includes(state),
          startTime: start,
          parent: 7,
          session: 7,
        });
      },
    ),
  );
});

test('a command gets its arguments untouched and its input whole', async () => {
  const odd = '$(id) "a" \'b\' ; *';
  expect((await run('printf', ['%s', odd])).stdout).toBe(odd);
  const input = 'x'.repeat(1_000_000);
  expect((await run('cat', [], { input })).stdout).toBe(input);
  expect((await run('cat', ['/dev/stdin'], { input: 'opened by name' })).stdout).toBe('opened by name');
  expect((await run('cat', [])).stdout).toBe('');
});

test('a command that fails, is unknown, too slow, too loud or aborted says which', async () => {
  const reason = (promise: Promise<unknown>) =>
    promise.then(
      () => null,
      (e: unknown) => e as CommandError,
    );
  expect(await reason(run('sh', ['-c', 'echo why >&2; exit 3']))).toMatchObject({
    reason: 'exit',
    exitCode: 3,
    stderr: 'why\n',
  });
  expect(await reason(run('berth-no-such-program', []))).toMatchObject({ reason: 'spawn' });
  expect(await reason(run('sh', ['-c', 'kill -9 $$']))).toMatchObject({ reason: 'signal' });
  // The grandchild holds the pipe: the call must end all the same, and the grandchild with it (the leak check looks).
  expect(await reason(run('sh', ['-c', 'sleep 2 & sleep 300'], { timeoutMs: 50 }))).toMatchObject({
    reason: 'timeout',
  });
  expect(await reason(run('cat', ['/dev/zero'], { maxOutputBytes: 1000 }))).toMatchObject({
    reason: 'tooMuchOutput',
  });
  const abort = new AbortController();
  const aborted = reason(run('sleep', ['300'], { signal: abort.signal }));
  abort.abort();
  expect(await aborted).toMatchObject({ reason: 'aborted' });
  expect(await reason(run('sleep', ['300'], { signal: abort.signal }))).toMatchObject({ reason: 'aborted' });
});

test('a file is replaced whole with its mode, and a failure leaves the old one and no rubbish', async () => {
  const path = join(dir, 'file');
  writeFileSync(path, 'old', { mode: 0o644 });
  await writeFileAtomic(path, 'new', { mode: 0o640 });
  expect(readFileSync(path, 'utf8')).toBe('new');
  expect(statSync(path).mode & 0o777).toBe(0o640);
  await expect(writeFileAtomic(dir, 'over a folder')).rejects.toThrow();
  await expect(writeFileAtomic(join(dir, 'none', 'x'), '')).rejects.toThrow(/ENOENT/);
  expect(readdirSync(dir)).toEqual(['file']);
  await Promise.all(Array.from({ length: 20 }, (_, i) => writeFileAtomic(path, `${i}`.repeat(1000))));
  expect(new Set(readFileSync(path, 'utf8')).size).toBeLessThanOrEqual(2);
  expect(readdirSync(dir)).toEqual(['file']);
});

test('a program started as another user with few capabilities has them in every thread and cannot gain more', async () => {
  const { command, args } = withCapabilities(['chown', 'sys_chroot'], 251_658_233, process.execPath, [
    '-e',
    "const fs=require('fs');for(const t of fs.readdirSync('/proc/self/task'))console.log(fs.readFileSync(`/proc/self/task/${t}/status`,'utf8'))",
  ]);
  const { stdout } = await run(command, args);
  const values = (key: string) =>
    [...stdout.matchAll(new RegExp(`^${key}:\\s*(\\S+)`, 'gm'))].map((m) => m[1]);
  expect(values('CapEff').length).toBeGreaterThan(1);
  expect(new Set([...values('CapEff'), ...values('CapBnd')])).toEqual(new Set(['0000000000040001']));
  expect(new Set(values('NoNewPrivs'))).toEqual(new Set(['1']));
  expect(new Set([...values('Uid'), ...values('Gid')])).toEqual(new Set(['251658233']));
});

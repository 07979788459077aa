import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  readFileSync,
  readlinkSync,
  statSync,
  truncateSync,
  writeFileSync,
  mkdtempSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { confined, confinedId } from './confine.js';

let dir: string;
beforeAll(() => (dir = mkdtempSync(join(tmpdir(), 'berth-confine-'))));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const bounds = { addressBytes: 2 ** 30, fileBytes: 2 ** 20, cpuSeconds: 1, openFiles: 32 };
const runConfined = (command: string, ...args: string[]) => {
  const program = confined([], bounds, command, args, confinedId());
  return spawnSync(program.command, program.args, { encoding: 'utf8', timeout: 20_000 });
};

it('is a user of its own without a capability or a way to gain one, in name spaces of its own', () => {
  const status = runConfined('cat', '/proc/self/status').stdout;
  const [, uid] = /^Uid:\s+(\d+)/m.exec(status) ?? [];
  expect(Number(uid) >> 16).toBe(0x0eff);
  expect(status).toMatch(new RegExp(`^Uid:(\\s+${uid}){4}$`, 'm'));
  expect(status).toMatch(new RegExp(`^Gid:(\\s+${uid}){4}$`, 'm'));
  expect(status).toMatch(/^Groups:\s*$/m);
  for (const set of ['CapPrm', 'CapEff', 'CapInh', 'CapBnd', 'CapAmb'])
    expect(status).toMatch(new RegExp(`^${set}:\\s+0{16}$`, 'm'));
  expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
  for (const space of ['net', 'ipc', 'pid']) {
    const inside = runConfined('readlink', `/proc/thread-self/ns/${space}`).stdout.trim();
    expect(inside).toMatch(new RegExp(`^${space}:\\[`));
    expect(inside).not.toBe(readlinkSync(`/proc/self/ns/${space}`));
  }
});

it('sees no interface but a loopback that is down', () => {
  const { stdout } = runConfined('ip', '-json', 'link');
  expect((JSON.parse(stdout) as { ifname: string; operstate: string }[]).map((l) => l.ifname)).toEqual([
    'lo',
  ]);
});

it('ends a program that writes too much, computes too long or asks for too much memory', () => {
  chmodSync(dir, 0o777);
  const out = join(dir, 'big');
  expect(runConfined('dd', 'if=/dev/zero', `of=${out}`, 'bs=64k', 'count=64').status).not.toBe(0);
  expect(statSync(out).size).toBe(2 ** 20);
  truncateSync(out, 0);
  expect(runConfined('sha256sum', '/dev/zero').status).not.toBe(0);
  expect(runConfined('dd', 'if=/dev/zero', 'of=/dev/null', 'bs=2G', 'count=1').status).not.toBe(0);
});

it('cannot read what is for root alone, not even as the owner of its files', () => {
  const secret = join(dir, 'secret');
  writeFileSync(secret, 'SECRET', { mode: 0o600 });
  expect(runConfined('cat', secret)).toMatchObject({ status: 1, stdout: '' });
});

it('can neither signal nor change a process of root outside', () => {
  expect(runConfined('kill', '-0', String(process.pid)).status).not.toBe(0);
  expect(runConfined('chown', '1', dir).status).not.toBe(0);
});

it('ends whole when the process that was started ends', async () => {
  const program = confined([], bounds, 'sleep', ['300'], confinedId());
  const child = spawn(program.command, program.args, { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = once(child.stdout, 'close');
  const below = () => readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim();
  // From its first instruction on it ends with us; in the instant before, it has not asked the kernel for that yet.
  const runs = () => below() !== '' && readFileSync(`/proc/${below()}/comm`, 'utf8').trim() === 'sleep';
  await expect.poll(runs, { timeout: 10_000, interval: 20 }).toBe(true);
  child.kill('SIGKILL');
  // The pipe closes only when nobody holds its other end.
  await ended;
});

import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cgroupCreate, cgroupKill, cgroupProcs, cgroupRemove } from '@berth/linux';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { hasTpms, startTpm } from './swtpm.js';

/* The paths have commas and equals signs, which its options give a meaning. */
const account = { uid: 4_000_123, gid: 4_000_123 };
let dir: string;
let group: string;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth,tpm=-'));
  for (const name of ['run', 'state']) mkdirSync(join(dir, name), { mode: 0o711 });
  group = `berth-tpm-test.${process.pid}`;
  await cgroupCreate(group);
});
afterEach(async () => {
  await cgroupKill(group);
  await cgroupRemove(group);
  rmSync(dir, { recursive: true });
});
const tpm = () => ({ socket: join(dir, 'run', 'tpm'), state: join(dir, 'state', 'tpm') });
/** As startTpm is called: only its own account may enter. */
async function started(): Promise<number> {
  for (const path of [dir, join(dir, 'state')]) chmodSync(path, 0o711);
  chownSync(join(dir, 'run'), account.uid, account.gid);
  await startTpm(tpm(), account, group);
  const [pid = 0, ...more] = await cgroupProcs(group);
  expect(more).toEqual([]);
  return pid;
}

it('runs as the account that it is told, weak, in its cgroup, listens on a socket and nowhere else, and is nobody’s child', async () => {
  expect([await hasTpms(), await hasTpms(['/usr/bin/swtpm', '/nowhere/swtpm_setup'])]).toEqual([true, false]);
  const pid = await started();
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  expect(status).toMatch(/^Uid:\t4000123\t4000123\t4000123\t4000123$/m);
  expect(status).toMatch(/^CapBnd:\t0+$/m);
  expect(status).toMatch(/^Seccomp:\t2$/m);
  expect(status).not.toMatch(new RegExp(`^PPid:\\t${process.pid}$`, 'm'));
  expect([statSync(tpm().socket).uid, statSync(tpm().state).mode & 0o777]).toEqual([account.uid, 0o700]);
  expect(readFileSync(`/proc/${pid}/net/unix`, 'utf8')).toContain(' tpm\n');
});

it('to which nobody came ends with its cgroup, and another begins with what it kept', async () => {
  const first = await started();
  await cgroupKill(group);
  rmSync(tpm().socket, { force: true });
  chownSync(tpm().state, 0, 0);
  expect(await started()).not.toBe(first);
  expect(statSync(tpm().state).uid).toBe(account.uid);
});

it('does not start on a state that leads elsewhere, and leaves that alone', async () => {
  const before = statSync('/etc/hosts').uid;
  mkdirSync(tpm().state);
  symlinkSync('/etc/hosts', join(tpm().state, 'tpm2-00.permall'));
  await expect(started()).rejects.toMatchObject({
    code: 'hostFault',
    message: expect.stringContaining('no state of a TPM') as string,
  });
  expect([statSync('/etc/hosts').uid, await cgroupProcs(group)]).toEqual([before, []]);
});

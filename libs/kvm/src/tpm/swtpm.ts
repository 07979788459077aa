import { spawn } from 'node:child_process';
import { access, chmod, constants, lchown, lstat, mkdir, readdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cgroupAdd, hasCode } from '@berth/linux';
import { RuntimeError } from '@berth/runtime';
import type { Account } from '../driver/qemu-account.js';
import type { MachineTpm } from '../machine/machine-spec.js';

/*
 * A TPM 2.0 in software, one process for each machine that has one, whichever driver starts the machine. It is a child of
 * nobody, like the machine's QEMU, which reaches it by a unix socket: when QEMU's end of that closes, however QEMU ended, it ends
 * by itself. Until QEMU has come, and should it ever hang, its cgroup tells where it is.
 */

const PROGRAM = '/usr/bin/swtpm';
/** libvirt uses none of the others for a TPM of ours, and yet takes no machine with one where they are missing. */
const PROGRAMS = [PROGRAM, '/usr/bin/swtpm_setup', '/usr/bin/swtpm_ioctl'];
const MAX_WORDS = 4096;

/** Whether this host can give machines a TPM, under either driver. */
export function hasTpms(programs: readonly string[] = PROGRAMS): Promise<boolean> {
  return Promise.all(programs.map((program) => access(program, constants.X_OK))).then(
    () => true,
    () => false,
  );
}

/**
 * Starts the TPM of a machine of which nothing runs, in this cgroup; resolves when it listens. It can read and write its own
 * state and nothing else of this host. @throws RuntimeError hostFault
 */
export async function startTpm(tpm: MachineTpm, account: Account, group: string): Promise<void> {
  if (!(await hasTpms([PROGRAM])))
    throw new RuntimeError('hostFault', 'there is no TPM emulator on this host', {
      remedy: 'install the package swtpm',
    });
  await ownState(tpm.state, account);
  const who = [`--reuid=${account.uid}`, `--regid=${account.gid}`, '--clear-groups'];
  const weak = ['--no-new-privs', '--inh-caps=-all', '--ambient-caps=-all', '--bounding-set=-all'];
  const child = spawn('sh', [...WHEN_TOLD, 'setpriv', ...who, ...weak, '--', PROGRAM, ...ARGUMENTS], {
    detached: true,
    cwd: dirname(tpm.socket),
    env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TPM_PATH: tpm.state },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  let words = '';
  child.stderr.on('data', (chunk: Buffer) => (words = (words + chunk.toString('utf8')).slice(-MAX_WORDS)));
  child.stderr.on('error', () => undefined);
  const left = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    // Not `close`: the one that stays has the pipe as well.
    child.once('exit', resolve);
  });
  left.catch(() => undefined);
  child.stdin.on('error', () => undefined);
  try {
    if (child.pid !== undefined) await cgroupAdd(group, child.pid);
    child.stdin.end('\n');
  } catch (error) {
    child.stdin.destroy();
    throw error;
  }
  const code = await left.finally(() => child.stderr.destroy());
  if (code !== 0) throw new RuntimeError('hostFault', `the TPM did not start: ${words.trim() || code}`);
}

/** Runs a program once a line comes in, so that all its children are where it was put by then; without one it ends. */
const WHEN_TOLD = ['-c', 'read -r _ && exec "$@" </dev/null', 'sh'];

/** Its options have no way to write a comma, so it stands where its socket is, and is told of the state by its environment. */
const ARGUMENTS = [
  'socket',
  '--tpm2',
  '--daemon',
  '--terminate',
  ...['--ctrl', 'type=unixio,path=tpm,mode=0600'],
  ...['--seccomp', 'action=kill'],
];

/** Hands the state, which another account may have had, to this one. */
async function ownState(directory: string, { uid, gid }: Account): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
  for (const name of await readdir(directory)) {
    const path = join(directory, name);
    const file = await lstat(path);
    // What its former owner, who may have been taken over, put here in the place of a file would lead elsewhere.
    if (!file.isFile() || file.nlink !== 1)
      throw new RuntimeError('hostFault', `${path} is no state of a TPM`, {
        remedy: 'look at it, and remove it',
      });
    await lchown(path, uid, gid).catch((error: unknown) => {
      if (!hasCode(error, 'ENOENT')) throw error;
    });
  }
  await lchown(directory, uid, gid);
}

import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { RuntimeError } from '@berth/runtime';

export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** The account QEMU runs as. @throws RuntimeError hostFault when there is none. */
export async function qemuAccount(name: string): Promise<Account> {
  for (const line of (await readFile('/etc/passwd', 'utf8')).split('\n')) {
    const fields = line.split(':');
    if (fields[0] === name) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new RuntimeError('hostFault', `there is no account "${name}" for QEMU`, {
    remedy: 'install the package libvirt-daemon-system',
  });
}

const OTHERS_PASS = 0o001;

/** QEMU is not root: every folder above its files must let it pass. @throws RuntimeError hostFault */
export async function checkReachable(path: string): Promise<void> {
  for (let dir = dirname(path); ; dir = dirname(dir)) {
    if (((await stat(dir)).mode & OTHERS_PASS) === 0)
      throw new RuntimeError('hostFault', `QEMU cannot reach ${path}: ${dir} lets nobody pass`, {
        remedy: `chmod o+x ${dir}`,
      });
    if (dir === dirname(dir)) return;
  }
}

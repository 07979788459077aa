import { createHash, randomUUID } from 'node:crypto';
import { lstatSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { mounts } from '@berth/linux';
import { programFind } from '../launch/programs.js';

/** Files of the host that attacks are after. */
const FILES = [
  '/etc/hosts',
  '/etc/hostname',
  '/etc/resolv.conf',
  '/etc/passwd',
  '/proc/sys/kernel/core_pattern',
  ...['runc', 'crun', 'conmon'].map(programFind).filter((path) => path !== null),
];

/**
 * A directory of the host with a secret that every user may read, and the state of what must stay as it is: that
 * directory, the mounts below it, accounts and names, the programs that start containers.
 */
export class HostWatch {
  readonly dir = mkdtempSync(join(tmpdir(), 'berth-watched-'));
  readonly secret = `SECRET-${randomUUID()}`;
  readonly file = join(this.dir, 'secret');

  constructor() {
    for (const name of ['secret', 'passwd', 'hosts', 'null'])
      writeFileSync(join(this.dir, name), this.secret, { mode: 0o666 });
  }

  /** Equal as long as nobody wrote. */
  state(): Record<string, string> {
    const own = readdirSync(this.dir, { recursive: true, encoding: 'utf8' }).map((name) =>
      join(this.dir, name),
    );
    const paths = [this.dir, ...own, ...FILES];
    const below = mounts().filter((m) => m.target.startsWith(this.dir));
    return {
      ...Object.fromEntries(paths.map((path) => [path, fingerprint(path)])),
      mounts: below.map((m) => m.target).join(' '),
    };
  }

  close(): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

function fingerprint(path: string): string {
  const { mode, uid, mtimeNs, size } = lstatSync(path, { bigint: true });
  const content = (mode & 0o170000n) === 0o100000n ? readFileSync(path) : '';
  // The kernel's files have no time of their own.
  const time = path.startsWith('/proc/') ? 0 : mtimeNs;
  return `${mode.toString(8)} ${uid} ${time} ${size} ${createHash('sha256').update(content).digest('hex')}`;
}

import { statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { NetworkError } from './network-error.js';

/** dnsmasq reads its files as an unprivileged user: every folder above them must let others pass. @throws NetworkError. */
export function runDirCheck(path: string): void {
  for (let dir = resolve(path); ; dir = dirname(dir)) {
    if ((statSync(dir).mode & 0o001) === 0) {
      throw new NetworkError(
        'runDirPrivate',
        `the DNS server's user cannot pass ${dir}, which is above ${path}`,
        `chmod o+x ${dir}, or choose another run directory`,
      );
    }
    if (dir === dirname(dir)) return;
  }
}

import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { hasCode, isMounted, memoryForget, memoryMount, valuesKeep } from '@berth/linux';
import { secretIsLive, secretPath } from '@berth/model';
import {
  secretKey,
  secretsFound,
  secretVariables,
  type WorkloadKey,
  type WorkloadSecret,
} from '@berth/runtime';
import type { GuestField } from '../guest/guest-fields.js';

/*
 * Secrets of one microVM on its host (ADR 65). All of it is in memory, in a directory of its own that goes when its run ends for good:
 *
 *   values/<id>.<version>   each value: a run that is started again after a crash needs nobody for it
 *   config                  the configuration disk, by which the guest gets them at its start
 *   placed.json             versions of those that its guest has in /run/secrets, where they are replaced while it runs
 *
 * In the guest its first process puts them into memory too (libs/kvm/guest-init/secrets.c).
 */

/** Most bytes of it: the values, and as hexadecimal in the configuration. */
const SIZE = '64m';
const PLACED = 'placed.json';

type Placed = Readonly<Record<string, number>>;

export class MicrovmSecrets {
  constructor(private readonly dir: string) {}

  /** Of a run that is about to start: what its guest is told, and where that may be written. @throws RuntimeError secretMissing */
  lay(key: WorkloadKey, secrets: readonly WorkloadSecret[]): { fields: GuestField[]; config: string } {
    const at = this.at(key);
    mkdirSync(dirname(at), { recursive: true, mode: 0o711 });
    memoryMount(at, SIZE, '0711'); // QEMU's user passes
    const values = valuesOf(at, secrets);
    this.placed(at, placedOf(secrets));
    const files = secrets.flatMap((use): GuestField[] => {
      const path = secretPath(use);
      const value = values.get(secretKey(use));
      if (path === null || value === undefined) return [];
      return [
        ['secret', `${use.mode} ${use.uid} ${use.gid} ${path}`],
        ['secretvalue', Buffer.from(value).toString('hex')],
      ];
    });
    const variables = secretVariables(secrets, values).map((entry): GuestField => ['env', entry]);
    return { fields: [...variables, ...files], config: join(at, 'config') };
  }

  /**
   * Keeps the newest values for the next run, and hands those to `write` that its guest is to have in the place of older ones.
   * @throws RuntimeError secretMissing, and what `write` throws: the repeat goes on there
   */
  async bring(
    key: WorkloadKey,
    secrets: readonly WorkloadSecret[],
    write: (request: readonly GuestField[], path: string, value: Uint8Array) => Promise<unknown>,
  ): Promise<void> {
    const at = this.at(key);
    if (secrets.length === 0 || !isMounted(at)) return; // it was started without any
    const values = valuesOf(at, secrets);
    for (const use of secrets) {
      const path = secretPath(use);
      const value = values.get(secretKey(use));
      const has = placedRead(at);
      if (path === null || value === undefined || !secretIsLive(use)) continue;
      if (has[path] === undefined || has[path] === use.version) continue;
      await write(replaceRequest(use, path), path, value);
      this.placed(at, { ...has, [path]: use.version });
    }
  }

  /** Nothing of it runs any more, or is to be started again. Repeating it is no error. */
  forget(key: WorkloadKey): void {
    memoryForget(this.at(key));
  }

  private at({ instanceId, epoch }: WorkloadKey): string {
    return join(this.dir, `${instanceId}.${epoch}`);
  }

  private placed(at: string, placed: Placed): void {
    writeFileSync(join(at, PLACED), JSON.stringify(placed), { mode: 0o600 });
    chmodSync(join(at, PLACED), 0o600);
  }
}

const placedOf = (secrets: readonly WorkloadSecret[]): Placed =>
  Object.fromEntries(
    secrets.filter(secretIsLive).map((use) => [secretPath(use) ?? '', use.version] as const),
  );

function placedRead(at: string): Placed {
  try {
    return JSON.parse(readFileSync(join(at, PLACED), 'utf8')) as Placed;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return {};
    throw error;
  }
}

/** From now on these are kept, and no others. @throws RuntimeError secretMissing */
function valuesOf(at: string, secrets: readonly WorkloadSecret[]): ReadonlyMap<string, Uint8Array> {
  const wanted = secrets.map((secret) => ({ name: secretKey(secret), value: secret.value }));
  return secretsFound(secrets, valuesKeep(join(at, 'values'), wanted));
}

/** Asks for a file of `/run/secrets` to be replaced, which nothing else in the guest can do. */
const replaceRequest = ({ mode, uid, gid }: WorkloadSecret, path: string): GuestField[] => [
  ['put', `./${basename(path)}`],
  ['secret', `${uid} ${gid}`],
  ['mode', mode],
  ['user', '0'],
  ['cwd', '/'],
];

import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from '@berth/linux';
import { stringify } from 'yaml';

/** What cloud-init's NoCloud source is told. */
export interface SeedContent {
  /** cloud-init runs its once-per-instance work again when this changes. */
  readonly instanceId: string;
  readonly hostname: string;
  /** Taken as it is: `#cloud-config`, a script, or MIME parts. Null for none. */
  readonly userData: string | null;
  /** Every nic gets its address by DHCP. */
  readonly macs: readonly string[];
}

/** The files of the seed by name. Pure. */
export function seedFiles(content: SeedContent): Readonly<Record<string, string>> {
  return {
    'meta-data': yaml({ 'instance-id': content.instanceId, 'local-hostname': content.hostname }),
    'user-data': content.userData ?? '#cloud-config\n{}\n',
    'network-config': yaml({
      version: 2,
      ethernets: Object.fromEntries(
        content.macs.map((macaddress, i) => [`nic${i}`, { match: { macaddress }, dhcp4: true }]),
      ),
    }),
  };
}

/** cloud-init reads YAML 1.1, in which a host called `no` is false, and `12:30` a number: such words are quoted. */
const yaml = (value: unknown): string =>
  stringify(value, { version: '1.1', blockQuote: false, lineWidth: 0 });

/**
 * Writes the ISO image, volume id `cidata`, which is what NoCloud looks for. It becomes visible whole or not at all.
 * @throws CommandError when genisoimage fails.
 */
export async function writeSeedIso(path: string, content: SeedContent, signal?: AbortSignal): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const work = await mkdtemp(`${path}.`);
  try {
    const files = Object.entries(seedFiles(content));
    for (const [name, text] of files) await writeFile(join(work, name), text, { mode: 0o600 });
    const iso = join(work, 'seed.iso');
    const names = files.map(([name]) => join(work, name));
    const args = ['-quiet', '-output', iso, '-volid', 'cidata', '-joliet', '-rock', ...names];
    await run('genisoimage', args, signal === undefined ? {} : { signal });
    await rename(iso, path);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

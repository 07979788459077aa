import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { run } from '@berth/linux';
import type { CloudInitSeed, CloudInitSpec } from '@berth/model';
import { guestData } from './login.js';
import { yaml } from './yaml.js';

/** A nic as the guest is to set it up. */
export interface SeedNic {
  readonly mac: string;
  /** Address with its prefix, as `10.0.0.2/24`. */
  readonly address: string;
  /** Router and name server of its network. */
  readonly gateway: string;
  /** The same of IPv6, where its network has that. */
  readonly ipv6?: { readonly address: string; readonly gateway: string };
}

/** What cloud-init's NoCloud source is told. */
export interface SeedContent {
  /** cloud-init runs its once-per-instance work again when this changes. */
  readonly instanceId: string;
  readonly hostname: string;
  /** `#cloud-config`, a script, or MIME parts. Null for none. */
  readonly userData: string | null;
  /** Who may sign in; see {@link guestData}. */
  readonly login: CloudInitSpec | undefined;
  readonly nics: readonly SeedNic[];
}

/** The seed as texts. Pure. @throws CloudConfigError */
export function seedOf(content: SeedContent): CloudInitSeed {
  return {
    metaData: yaml({ 'instance-id': content.instanceId, 'local-hostname': content.hostname }),
    ...guestData(content.userData, content.login),
    networkConfig: yaml({
      version: 2,
      ethernets: Object.fromEntries(content.nics.map((nic, i) => [`eth${i}`, ethernet(nic, i)])),
    }),
  };
}

/**
 * IPAM gave each nic its addresses for life, so they are stated, and routers are not listened to: their advertisements are for all
 * on a link, and would make of each network a way out. The name is given too: of the programs that set networks up
 * only netplan goes by MAC alone. The first nic has the way out and the names.
 */
function ethernet({ mac, address, gateway, ipv6 }: SeedNic, index: number): object {
  const routes = [
    { to: '0.0.0.0/0', via: gateway },
    ...(ipv6 === undefined ? [] : [{ to: '::/0', via: ipv6.gateway }]),
  ];
  return {
    match: { macaddress: mac },
    'set-name': `eth${index}`,
    addresses: [address, ...(ipv6 === undefined ? [] : [ipv6.address])],
    ...(ipv6 === undefined ? {} : { 'accept-ra': false }),
    ...(index === 0 ? { routes, nameservers: { addresses: [gateway] } } : {}),
  };
}

const fileNames: Readonly<Record<keyof CloudInitSeed, string>> = {
  metaData: 'meta-data',
  userData: 'user-data',
  vendorData: 'vendor-data',
  networkConfig: 'network-config',
};

/**
 * Writes the ISO image, volume id `cidata`, which is what NoCloud looks for. It becomes visible whole or not at all.
 * @throws CommandError when genisoimage fails.
 */
export async function writeSeedIso(path: string, seed: CloudInitSeed, signal?: AbortSignal): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const work = await mkdtemp(`${path}.`);
  try {
    const files = Object.entries(fileNames).flatMap(([key, name]) => {
      const text = seed[key as keyof CloudInitSeed];
      return text === null ? [] : [[name, text] as const];
    });
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

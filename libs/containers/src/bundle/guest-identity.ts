import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { OciMount } from './oci-types.js';

/** What is mounted over an image's own files. */
export const IDENTITY_FILES = ['/etc/hostname', '/etc/hosts', '/etc/resolv.conf'] as const;

export interface GuestIdentity {
  readonly hostname: string;
  /** Addresses of its nics. */
  readonly addresses: readonly string[];
  readonly resolver: { readonly nameserver: string; readonly search: string } | null;
}

/**
 * Writes the files that tell a guest who it is, and returns the mounts that put them over the image's own. They are
 * read-only: they lie on the host's run directory, which a guest must not fill.
 */
export function guestIdentityWrite(directory: string, identity: GuestIdentity): OciMount[] {
  const files: Record<(typeof IDENTITY_FILES)[number], string> = {
    '/etc/hostname': `${identity.hostname}\n`,
    '/etc/hosts': [
      '127.0.0.1\tlocalhost',
      '::1\tlocalhost ip6-localhost ip6-loopback',
      ...identity.addresses.map((address) => `${address}\t${identity.hostname}`),
      '',
    ].join('\n'),
    '/etc/resolv.conf': resolvConf(identity.resolver),
  };
  return Object.entries(files).map(([destination, text]) => {
    const source = join(directory, basename(destination));
    writeFileSync(source, text, { mode: 0o644 });
    return {
      destination,
      type: 'bind',
      source,
      options: ['bind', 'ro', 'nosuid', 'nodev', 'noexec', 'rprivate'],
    };
  });
}

function resolvConf(resolver: GuestIdentity['resolver']): string {
  if (resolver === null) return '';
  const search = resolver.search === '' ? '' : `search ${resolver.search}\n`;
  return `${search}nameserver ${resolver.nameserver}\n`;
}

/** Who a guest of an OCI image is on its network. */
export interface GuestIdentity {
  readonly hostname: string;
  /** Addresses of its nics. */
  readonly addresses: readonly string[];
  readonly resolver: { readonly nameserver: string; readonly search: string } | null;
}

/** The files that tell a guest who it is, by their path in it. They stand over the image's own. */
export type IdentityFiles = Readonly<Record<'/etc/hostname' | '/etc/hosts' | '/etc/resolv.conf', string>>;

/** Pure. */
export function identityFiles({ hostname, addresses, resolver }: GuestIdentity): IdentityFiles {
  return {
    '/etc/hostname': `${hostname}\n`,
    '/etc/hosts': [
      '127.0.0.1\tlocalhost',
      '::1\tlocalhost ip6-localhost ip6-loopback',
      ...addresses.map((address) => `${address}\t${hostname}`),
      '',
    ].join('\n'),
    '/etc/resolv.conf': resolvConf(resolver),
  };
}

function resolvConf(resolver: GuestIdentity['resolver']): string {
  if (resolver === null) return '';
  const search = resolver.search === '' ? '' : `search ${resolver.search}\n`;
  return `${search}nameserver ${resolver.nameserver}\n`;
}

import type { GuestDns, IdentityPath } from '@berth/model';

/** Who a guest of an OCI image is on its network. */
export interface GuestIdentity {
  readonly hostname: string;
  /** Addresses of its nics. */
  readonly addresses: readonly string[];
  readonly resolver: { readonly nameserver: string; readonly search: string } | null;
  /** What its spec says in the place of that. */
  readonly dns?: GuestDns | undefined;
}

/** The files that tell a guest who it is, by their path in it. They stand over the image's own. */
export type IdentityFiles = Readonly<Record<IdentityPath, string>>;

/** Pure. */
export function identityFiles({ hostname, addresses, resolver, dns = {} }: GuestIdentity): IdentityFiles {
  return {
    '/etc/hostname': `${hostname}\n`,
    '/etc/hosts': [
      '127.0.0.1\tlocalhost',
      '::1\tlocalhost ip6-localhost ip6-loopback',
      ...addresses.map((address) => `${address}\t${hostname}`),
      ...(dns.hosts ?? []).map(({ address, names }) => `${address}\t${names.join(' ')}`),
      '',
    ].join('\n'),
    '/etc/resolv.conf': resolvConf(resolver, dns),
  };
}

/** resolv.conf(5). */
function resolvConf(resolver: GuestIdentity['resolver'], dns: GuestDns): string {
  const own = resolver === null || resolver.search === '' ? [] : [resolver.search];
  const { servers = resolver === null ? [] : [resolver.nameserver], search = own, options = [] } = dns;
  return [
    ...(search.length === 0 ? [] : [`search ${search.join(' ')}\n`]),
    ...servers.map((server) => `nameserver ${server}\n`),
    ...(options.length === 0 ? [] : [`options ${options.join(' ')}\n`]),
  ].join('');
}

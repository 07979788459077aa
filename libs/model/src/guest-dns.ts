import { z } from 'zod';

/*
 * How names are found inside a container or a microVM. Without any of it a guest asks the DNS server of its first network, which
 * knows the names of the project's instances; what is said here stands in the place of that, field by field.
 */

/** Labels of RFC 1123, the last one too, and at most 253 characters in all; `_` as services have it. */
const DomainName = z
  .string()
  .max(253)
  .regex(
    /^[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?)*$/,
    'must be a domain name as db.example.net, without a dot at its end',
  );

const Address = z.union([z.ipv4(), z.ipv6()], 'must be an IPv4 or IPv6 address');

/** What all search domains may have together (resolv.conf(5)). */
const SEARCH_BYTES = 256;

export const GuestDns = z
  .strictObject({
    /** Who is asked, in this order, instead of the network's own server: then names of other instances are not found. */
    servers: z.array(Address).min(1).max(3).optional(),
    /** What is tried behind a short name, instead of the network's own domain; an empty list: nothing. */
    search: z
      .array(DomainName)
      .max(32)
      .refine((all) => all.join(' ').length <= SEARCH_BYTES, `at most ${SEARCH_BYTES} characters in all`)
      .optional(),
    /** As resolv.conf(5) has them: `ndots:2`, `timeout:1`, `rotate`. */
    options: z
      .array(
        z
          .string()
          .max(32)
          .regex(/^[a-z][a-z0-9-]*(:[0-9]{1,5})?$/, 'must be an option of resolv.conf(5), as ndots:2'),
      )
      .max(16)
      .optional(),
    /** Further lines of `/etc/hosts`. */
    hosts: z
      .array(z.strictObject({ address: Address, names: z.array(DomainName).min(1).max(16) }))
      .max(64)
      .optional(),
  })
  .meta({ id: 'GuestDns', sentAs: 'GuestDnsInput' });
export type GuestDns = z.infer<typeof GuestDns>;

/** Facet of hosts whose guests take `dns`. */
export const guestDnsFacet = 'guestDns';

interface Asking {
  readonly isolation: string;
  readonly dns?: GuestDns | undefined;
}

/** Tells of a `dns` that nobody reads. */
export function checkGuestDns(
  { isolation, dns }: Asking,
  refuse: (path: readonly (string | number)[], message: string) => void,
): void {
  if (dns !== undefined && isolation === 'vm')
    refuse(['dns'], 'only for OCI images: a vm gets its server by DHCP; use userData for more');
}

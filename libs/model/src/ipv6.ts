import { z } from 'zod';

/** An IPv6 address (or that of a network in CIDR notation) as a number. The text must be valid: see {@link Ipv6Cidr}. */
export function ipv6Number(text: string): bigint {
  const [address = ''] = text.split('/');
  // The last 32 bits may be written as IPv4 (RFC 4291, 2.2).
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...part: string[]) => {
    const [a, b, c, d] = part.slice(0, 4).map(Number) as [number, number, number, number];
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [head = '', tail] = plain.split('::');
  const groups = (half: string | undefined): string[] =>
    half === undefined || half === '' ? [] : half.split(':');
  const before = groups(head);
  const after = groups(tail);
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array<string>(zeros).fill('0'), ...after].reduce(
    (sum, group) => sum * 65_536n + BigInt(`0x${group}`),
    0n,
  );
}

/** The canonical text of an address (RFC 5952). */
export function ipv6Text(number: bigint): string {
  const groups = Array.from({ length: 8 }, (_, i) => (number >> BigInt(16 * (7 - i))) & 0xffffn);
  const words = groups.map((group) => group.toString(16));
  let longest = { at: 0, length: 0 };
  for (let at = 0; at < 8; at += 1) {
    const end = groups.findIndex((group, i) => i >= at && group !== 0n);
    const length = (end < 0 ? 8 : end) - at;
    if (length > longest.length) longest = { at, length };
  }
  if (longest.length < 2) return words.join(':');
  const { at, length } = longest;
  return `${words.slice(0, at).join(':')}::${words.slice(at + length).join(':')}`;
}

/** How many bits of a network in CIDR notation are its own. */
const prefixOf = (cidr: string): number => Number(cidr.split('/')[1]);

const isNetwork6 = (text: string): boolean =>
  z.cidrv6().safeParse(text).success && ipv6Number(text) % 2n ** BigInt(128 - prefixOf(text)) === 0n;

/** `fd00:1::/64`; no bits beside the prefix. */
export const Ipv6Cidr = z
  .string()
  .refine(isNetwork6, 'must be a network in CIDR notation, with no bits beside the prefix: fd00:1::/64');

/** The addresses that guests of a network may have: all but its own (every router's, RFC 4291, 2.6.1) and the gateway's, the first. */
export function guestAddresses6(cidr: string): { readonly first: string; readonly last: string } {
  const number = ipv6Number(cidr);
  const size = 2n ** BigInt(128 - prefixOf(cidr));
  return { first: ipv6Text(number + 2n), last: ipv6Text(number + size - 1n) };
}

/** Unique local addresses (RFC 4193), and those that are routed in the world (RFC 4291). */
const ranges = ['fc00::/7', '2000::/3'] as const;

/** Why a text is no IPv6 prefix of a network: unique local or global, and of a size that a host can carry; null where it is one. */
function prefixFault(text: string): string | null {
  if (!isNetwork6(text))
    return 'must be a network in CIDR notation, with no bits beside the prefix: fd00:1::/64';
  const prefix = prefixOf(text);
  if (prefix < 64 || prefix > 112) return 'must have a prefix of 64 to 112 bits: fd00:1::/64';
  return ranges.some((range) => cidrHolds6(range, text))
    ? null
    : 'must be unique local (fc00::/7) or global (2000::/3)';
}

/** The IPv6 prefix of a network. */
export const NetworkCidr6 = z.string().superRefine((text, ctx) => {
  const fault = prefixFault(text);
  if (fault !== null) ctx.addIssue({ code: 'custom', message: fault });
});

/** The same, or `auto` for a free one. No union: of one nobody hears what is wrong. */
export const NetworkCidr6OrAuto = z.string().superRefine((text, ctx) => {
  const fault = text === 'auto' ? null : prefixFault(text);
  if (fault !== null) ctx.addIssue({ code: 'custom', message: `${fault}; or be auto` });
});

/** Whether an address, or a network that is no larger, is within a network. */
export function cidrHolds6(cidr: string, inner: string): boolean {
  const shift = BigInt(128 - prefixOf(cidr));
  return ipv6Number(cidr) >> shift === ipv6Number(inner) >> shift;
}

/**
 * The link-local address that a nic has by its MAC (RFC 4291, appendix A): the only one that its guest may use. @param mac six
 * pairs of hexadecimal digits with colons.
 */
export function linkLocalOf(mac: string): string {
  const [a, b, c, d, e, f] = mac.split(':').map((pair) => BigInt(`0x${pair}`)) as [
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
    bigint,
  ];
  const bytes = [a ^ 2n, b, c, 0xffn, 0xfen, d, e, f];
  return ipv6Text((0xfe80n << 112n) + bytes.reduce((sum, byte) => sum * 256n + byte, 0n));
}

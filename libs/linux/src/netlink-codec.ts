import { isIPv6, SocketAddress } from 'node:net';

/** Messages of NETLINK_ROUTE (netlink(7), rtnetlink(7)) as bytes. Pure; all numbers are in host order (little endian). */

export const NLMSG = { NOOP: 1, ERROR: 2, DONE: 3 } as const;
export const NLM_F = {
  REQUEST: 1,
  MULTI: 2,
  ACK: 4,
  DUMP_INTR: 0x10,
  CAPPED: 0x100,
  ACK_TLVS: 0x200,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
  DUMP: 0x300,
} as const;
export const RTM = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  SETLINK: 19,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
} as const;

const HEADER = 16;
const align = (n: number) => (n + 3) & ~3;

/** An attribute to be written: its type and its payload, or nested attributes. */
export interface Attribute {
  readonly type: number;
  readonly value: Uint8Array;
}

export const attr = {
  bytes: (type: number, value: Uint8Array): Attribute => ({ type, value }),
  u8: (type: number, value: number): Attribute => ({ type, value: Uint8Array.of(value) }),
  u32(type: number, value: number): Attribute {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return { type, value: bytes };
  },
  /** Zero-terminated. A zero byte inside would cut the name: refused. */
  text(type: number, value: string): Attribute {
    if (value.includes('\0')) throw new RangeError('a netlink string holds no zero byte');
    return { type, value: Buffer.from(`${value}\0`, 'utf8') };
  },
  nested: (
    type: number,
    attributes: readonly Attribute[],
    head: Uint8Array = new Uint8Array(),
  ): Attribute => ({
    type,
    value: Buffer.concat([head, attributesEncode(attributes)]),
  }),
};

/** Each attribute: length and type as u16, payload, padding to four bytes. */
export function attributesEncode(attributes: readonly Attribute[]): Buffer {
  return Buffer.concat(
    attributes.map(({ type, value }) => {
      const size = 4 + value.length;
      if (size > 0xffff) throw new RangeError(`netlink attribute ${type} of ${size} bytes`);
      const bytes = Buffer.alloc(align(size));
      bytes.writeUInt16LE(size, 0);
      bytes.writeUInt16LE(type, 2);
      bytes.set(value, 4);
      return bytes;
    }),
  );
}

/** Attributes by type (flags for nesting and byte order taken off); the last of a type wins. @throws RangeError. */
export function attributesDecode(bytes: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  let at = 0;
  while (at + 4 <= bytes.length) {
    const size = bytes.readUInt16LE(at);
    if (size < 4 || at + size > bytes.length)
      throw new RangeError(`netlink attribute of ${size} bytes at ${at}`);
    found.set(bytes.readUInt16LE(at + 2) & 0x3fff, bytes.subarray(at + 4, at + size));
    at += align(size);
  }
  return found;
}

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly payload: Buffer;
}

export function messageEncode(message: {
  type: number;
  flags: number;
  seq: number;
  head: Uint8Array;
  attributes: readonly Attribute[];
}): Buffer {
  const body = Buffer.concat([message.head, attributesEncode(message.attributes)]);
  const bytes = Buffer.alloc(HEADER + body.length);
  bytes.writeUInt32LE(bytes.length, 0);
  bytes.writeUInt16LE(message.type, 4);
  bytes.writeUInt16LE(message.flags, 6);
  bytes.writeUInt32LE(message.seq, 8);
  bytes.set(body, HEADER);
  return bytes;
}

/** The messages of one datagram. @throws RangeError on lengths that do not fit. */
export function messagesDecode(bytes: Buffer): Message[] {
  const messages: Message[] = [];
  let at = 0;
  while (at + HEADER <= bytes.length) {
    const size = bytes.readUInt32LE(at);
    if (size < HEADER || at + size > bytes.length)
      throw new RangeError(`netlink message of ${size} bytes at ${at}`);
    messages.push({
      type: bytes.readUInt16LE(at + 4),
      flags: bytes.readUInt16LE(at + 6),
      seq: bytes.readUInt32LE(at + 8),
      payload: bytes.subarray(at + HEADER, at + size),
    });
    at += align(size);
  }
  return messages;
}

/** errno and, where the kernel explains itself, its words (NLMSGERR_ATTR_MSG) out of an NLMSG_ERROR. */
export function errorDecode(message: Message): { errno: number; detail: string | null } {
  const errno = -message.payload.readInt32LE(0);
  if (errno === 0 || (message.flags & NLM_F.ACK_TLVS) === 0) return { errno, detail: null };
  const echoed = (message.flags & NLM_F.CAPPED) === 0 ? message.payload.readUInt32LE(4) : HEADER;
  const words = attributesDecode(message.payload.subarray(4 + align(echoed))).get(1);
  return { errno, detail: words === undefined ? null : textOf(words) };
}

/** A zero-terminated string attribute. */
export function textOf(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
}

/** struct ifinfomsg. */
export function linkHead(index = 0, flags = 0, change = 0): Buffer {
  const head = Buffer.alloc(16);
  head.writeInt32LE(index, 4);
  head.writeUInt32LE(flags, 8);
  head.writeUInt32LE(change, 12);
  return head;
}

/** `02:00:00:00:00:01` → six bytes. @throws RangeError. */
export function macEncode(mac: string): Buffer {
  if (!/^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$/.test(mac))
    throw new RangeError(`not a MAC address: ${JSON.stringify(mac)}`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export function macDecode(bytes: Buffer): string {
  return (bytes.toString('hex').match(/../g) ?? []).join(':');
}

/** `10.0.0.1` → four bytes. @throws RangeError. */
export function ipv4Encode(address: string): Buffer {
  const parts = address.split('.');
  if (parts.length !== 4 || !parts.every((p) => /^(0|[1-9][0-9]{0,2})$/.test(p) && Number(p) < 256)) {
    throw new RangeError(`not an IPv4 address: ${JSON.stringify(address)}`);
  }
  return Buffer.from(parts.map(Number));
}

/** `fd00:1::2` → sixteen bytes. @throws RangeError. */
export function ipv6Encode(address: string): Buffer {
  if (!isIPv6(address) || address.includes('%'))
    throw new RangeError(`not an IPv6 address: ${JSON.stringify(address)}`);
  // An IPv4 tail is two groups (RFC 4291, 2.2).
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (tail) => {
    const hex = ipv4Encode(tail).toString('hex');
    return `${hex.slice(0, 4)}:${hex.slice(4)}`;
  });
  const [head = '', tail] = plain.split('::');
  const bytes = (half: string) =>
    Buffer.from(
      half
        .split(':')
        .map((group) => (group === '' ? '' : group.padStart(4, '0')))
        .join(''),
      'hex',
    );
  const [before, after] = [bytes(head), bytes(tail ?? '')];
  return Buffer.concat([before, Buffer.alloc(16 - before.length - after.length), after]);
}

/** Sixteen bytes → text as of RFC 5952. */
export function ipv6Decode(bytes: Uint8Array): string {
  const groups = Buffer.from(bytes).toString('hex').match(/.{4}/g) ?? [];
  return new SocketAddress({ family: 'ipv6', address: groups.join(':') }).address;
}

export type IpVersion = 4 | 6;

/** `10.0.0.1/24` or `fd00:1::2/64`, as its bytes and the prefix length. @throws RangeError. */
export function anyCidrEncode(cidr: string): { version: IpVersion; address: Buffer; prefix: number } {
  if (!cidr.includes(':')) return { version: 4, ...cidrEncode(cidr) };
  const [address = '', prefix = '', rest] = cidr.split('/');
  if (rest !== undefined || !/^(0|[1-9][0-9]{0,2})$/.test(prefix) || Number(prefix) > 128)
    throw new RangeError(`not an IPv6 address with prefix: ${JSON.stringify(cidr)}`);
  return { version: 6, address: ipv6Encode(address), prefix: Number(prefix) };
}

/** AF_INET, AF_INET6 (socket.h). */
export const FAMILY: Readonly<Record<IpVersion, number>> = { 4: 2, 6: 10 };

/** `10.0.0.1/24` → four bytes and the prefix length. @throws RangeError. */
export function cidrEncode(cidr: string): { address: Buffer; prefix: number } {
  const [address = '', prefix = '', rest] = cidr.split('/');
  if (rest !== undefined || !/^([0-9]|[12][0-9]|3[0-2])$/.test(prefix)) {
    throw new RangeError(`not an IPv4 address with prefix: ${JSON.stringify(cidr)}`);
  }
  return { address: ipv4Encode(address), prefix: Number(prefix) };
}

/** An interface name the kernel and every configuration file take: 1 to 15 of letters, digits and `.`, `_`, `-`. */
export function ifnameCheck(name: string): string {
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(name) || name === '.' || name === '..') {
    throw new RangeError(`not an interface name: ${JSON.stringify(name)}`);
  }
  return name;
}

/** A tar written byte by byte, for what no honest packer writes. */
export interface RawEntry {
  readonly name?: string | Buffer;
  /** Type flag. Default '0'. */
  readonly flag?: string;
  readonly link?: string;
  readonly body?: string | Buffer;
  /** The size field as it stands in the header, where it is not that of the body. */
  readonly size?: string | Buffer;
  readonly mode?: string;
  readonly uid?: string | Buffer;
  readonly magic?: string;
  readonly prefix?: string;
  readonly badChecksum?: boolean;
}

export function rawEntry(entry: RawEntry): Buffer {
  const body = Buffer.from(entry.body ?? '');
  const head = Buffer.alloc(512);
  const put = (at: number, length: number, value: string | Buffer): void =>
    void Buffer.from(value).copy(head, at, 0, length);
  put(0, 100, entry.name ?? 'entry');
  put(100, 8, entry.mode ?? '0000644\0');
  put(108, 8, entry.uid ?? '0000000\0');
  put(116, 8, '0000000\0');
  put(124, 12, entry.size ?? `${body.length.toString(8).padStart(11, '0')}\0`);
  put(136, 12, '07346545000\0');
  put(156, 1, entry.flag ?? '0');
  put(157, 100, entry.link ?? '');
  put(257, 8, entry.magic ?? 'ustar\x0000');
  put(345, 155, entry.prefix ?? '');
  head.fill(' ', 148, 156);
  const sum = head.reduce((total, byte) => total + byte, 0) + (entry.badChecksum === true ? 1 : 0);
  put(148, 8, `${sum.toString(8).padStart(6, '0')}\0 `);
  return Buffer.concat([head, body, Buffer.alloc((512 - (body.length % 512)) % 512)]);
}

export const END = Buffer.alloc(1024);

export function rawTar(...entries: (RawEntry | Buffer)[]): Buffer {
  return Buffer.concat([...entries.map((e) => (Buffer.isBuffer(e) ? e : rawEntry(e))), END]);
}

/** A pax header with these records, right or wrong. */
export function pax(records: Record<string, string>, flag = 'x'): RawEntry {
  const body = Object.entries(records).map(([key, value]) => paxRecord(key, value));
  return { name: 'pax', flag, body: body.join('') };
}

function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const bytes = Buffer.byteLength(rest);
  let length = bytes + String(bytes).length;
  if (bytes + String(length).length !== length) length = bytes + String(length).length;
  return `${length}${rest}`;
}

/** A size or owner in base-256 (GNU); negative ones in two's complement. */
export function base256(value: bigint, length = 12): Buffer {
  const bits = BigInt.asUintN(length * 8 - 1, value) | (1n << BigInt(length * 8 - 1));
  return Buffer.from(bits.toString(16).padStart(length * 2, '0'), 'hex');
}

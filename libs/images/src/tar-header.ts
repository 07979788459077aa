/** What an entry is. Others (sparse files, volume labels, multi-volume parts, vendors' own) are refused by the reader. */
export type TarType =
  'file' | 'link' | 'symlink' | 'character-device' | 'block-device' | 'directory' | 'fifo';

export interface TarHeader {
  readonly name: string;
  readonly type: TarType;
  /** Target of a link, or ''. */
  readonly linkname: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content; 0 for all but files. */
  readonly size: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  /** Extended attributes by their names (`SCHILY.xattr.`, as the OCI image-spec and Go have them). */
  readonly attributes: ReadonlyMap<string, Buffer>;
}

/** One header block before the records that stand before it are applied. `flag` is the type flag as a character. */
export interface HeaderBlock extends Omit<TarHeader, 'type' | 'attributes'> {
  readonly flag: string;
}

/** Records of a pax header (POSIX.1-2001) that change what is unpacked; the others are checked and dropped. */
export interface PaxRecords {
  readonly name?: string;
  readonly linkname?: string;
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: bigint;
  readonly attributes?: ReadonlyMap<string, Buffer>;
}

/** A file that does not follow the format; the reader turns it into its own error. */
export class TarFault extends Error {}

const TYPES: Readonly<Record<string, TarType>> = {
  '\0': 'file',
  '0': 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'character-device',
  '4': 'block-device',
  '5': 'directory',
  '6': 'fifo',
  '7': 'file',
};
const MAX_SECONDS = 2n ** 40n;
const NANOS = 1_000_000_000n;
const ATTRIBUTE = 'SCHILY.xattr.';
const none: ReadonlyMap<string, Buffer> = new Map();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Decodes one block of 512 bytes (ustar or GNU). @throws TarFault */
export function headerBlock(block: Buffer): HeaderBlock {
  let sum = 8 * 32;
  for (let i = 0; i < 512; i++) if (i < 148 || i >= 156) sum += block[i] ?? 0;
  if (numeric(block, 148, 8) !== sum) throw new TarFault('a header has a wrong checksum');
  const magic = block.toString('latin1', 257, 265);
  const isGnu = magic === 'ustar  \0';
  if (!isGnu && !magic.startsWith('ustar\0')) throw new TarFault('a header is neither ustar nor GNU');
  const prefix = isGnu ? '' : cString(block.subarray(345, 500));
  const name = cString(block.subarray(0, 100));
  return {
    name: prefix === '' ? name : `${prefix}/${name}`,
    flag: String.fromCharCode(block[156] ?? 0),
    linkname: cString(block.subarray(157, 257)),
    mode: numeric(block, 100, 8),
    uid: numeric(block, 108, 8),
    gid: numeric(block, 116, 8),
    size: numeric(block, 124, 12),
    mtime: timeOf(BigInt(numeric(block, 136, 12, true)), 0n),
  };
}

/** The entry that a block describes together with the records before it. @throws TarFault */
export function headerOf({ flag, ...block }: HeaderBlock, records: PaxRecords): TarHeader {
  const found = TYPES[flag];
  const header = { attributes: none, ...block, ...records };
  if (found === undefined)
    throw new TarFault(`entry ${shown(header.name)} has the type ${shown(flag)}, which is not taken`);
  const type = found === 'file' && header.name.endsWith('/') ? 'directory' : found;
  // What follows such an entry would be content to one program and the next header to another.
  if (type !== 'file' && header.size !== 0)
    throw new TarFault(`entry ${shown(header.name)} is a ${type} and states content`);
  return { ...header, type };
}

/** Records of a pax header's content: `<length> <key>=<value>\n`, the length counting all of it. @throws TarFault */
export function paxRecords(content: Buffer): PaxRecords {
  const records: { -readonly [K in keyof PaxRecords]: PaxRecords[K] } = {};
  for (let at = 0; at < content.length;) {
    const [digits] = /^[1-9][0-9]{0,6} /.exec(content.toString('latin1', at, at + 8)) ?? [];
    const end = at + Number(digits ?? 0);
    const equals = content.indexOf('=', at);
    const start = at + (digits?.length ?? 0);
    if (digits === undefined || end > content.length || content[end - 1] !== 0x0a)
      throw new TarFault('a pax record has a wrong length');
    if (equals <= start || equals >= end) throw new TarFault('a pax record has no key');
    const key = utf8(content.subarray(start, equals));
    paxRecord(records, key, content.subarray(equals + 1, end - 1));
    at = end;
  }
  return records;
}

function paxRecord(
  records: { -readonly [K in keyof PaxRecords]: PaxRecords[K] },
  key: string,
  bytes: Buffer,
): void {
  if (key.startsWith('GNU.sparse.')) throw new TarFault('sparse files are not taken');
  if (key === 'path') records.name = pathText(bytes);
  else if (key === 'linkpath') records.linkname = pathText(bytes);
  else if (key === 'size' || key === 'uid' || key === 'gid') records[key] = decimal(key, bytes);
  else if (key === 'mtime') {
    const parts = /^(-?)([0-9]{1,15})(?:\.([0-9]{0,32}))?$/.exec(bytes.toString('latin1'));
    if (parts === null) throw new TarFault('a pax mtime is no number');
    const [, sign, seconds = '', fraction = ''] = parts;
    const of = sign === '-' ? -1n : 1n;
    records.mtime = timeOf(of * BigInt(seconds), of * BigInt(fraction.slice(0, 9).padEnd(9, '0')));
  } else if (key.startsWith(ATTRIBUTE)) {
    const name = key.slice(ATTRIBUTE.length);
    if (name === '' || name.includes('\0')) throw new TarFault('a pax attribute has no name');
    const attributes = new Map(records.attributes);
    // An empty value takes a record back (POSIX.1-2001, "pax Extended Header").
    if (bytes.length === 0) attributes.delete(name);
    else attributes.set(name, Buffer.from(bytes));
    records.attributes = attributes;
  }
}

function decimal(key: string, bytes: Buffer): number {
  const text = bytes.toString('latin1');
  if (!/^[0-9]{1,16}$/.test(text) || !Number.isSafeInteger(Number(text)))
    throw new TarFault(`a pax ${key} is no number`);
  return Number(text);
}

function pathText(bytes: Buffer): string {
  if (bytes.length === 0) throw new TarFault('a pax record takes a name away');
  if (bytes.includes(0)) throw new TarFault('a pax record has a NUL in a name');
  return utf8(bytes);
}

/** Content of a GNU long name or link: a name, then nothing but NULs. @throws TarFault */
export function gnuName(content: Buffer): string {
  const end = content.indexOf(0);
  const name = end < 0 ? content : content.subarray(0, end);
  if (content.subarray(name.length).some((byte) => byte !== 0))
    throw new TarFault('a GNU long name has a NUL in it');
  return utf8(name);
}

/** An octal field, or a base-256 one (GNU). @throws TarFault */
function numeric(block: Buffer, at: number, length: number, mayBeNegative = false): number {
  const field = block.subarray(at, at + length);
  const first = field[0] ?? 0;
  let value: bigint;
  if ((first & 0x80) === 0) {
    const text = field.toString('latin1').replace(/^[ \0]+|[ \0]+$/g, '');
    if (!/^[0-7]*$/.test(text)) throw new TarFault('a header has a field that is no number');
    value = text === '' ? 0n : BigInt(`0o${text}`);
  } else {
    const bits = BigInt(length * 8 - 1);
    const raw = BigInt(`0x${field.toString('hex')}`) & ((1n << bits) - 1n);
    value = raw >> (bits - 1n) === 1n ? raw - (1n << bits) : raw;
  }
  if (value < 0n && !mayBeNegative) throw new TarFault('a header has a negative field');
  const number = Number(value);
  if (!Number.isSafeInteger(number)) throw new TarFault('a header has a field that is too large');
  return number;
}

/** File systems keep no time beyond some thousand years: what claims to be older or newer is the epoch. */
function timeOf(seconds: bigint, nanos: bigint): bigint {
  return -MAX_SECONDS < seconds && seconds < MAX_SECONDS ? seconds * NANOS + nanos : 0n;
}

function cString(field: Buffer): string {
  const end = field.indexOf(0);
  return utf8(end < 0 ? field : field.subarray(0, end));
}

/** Two names that differ only in broken bytes would become one: refused. */
function utf8(bytes: Buffer): string {
  try {
    return strict.decode(bytes);
  } catch {
    throw new TarFault('a name is not UTF-8');
  }
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 200));
}

import type { TarType } from './tar-header.js';

/** An entry to be written. Its content, `size` bytes, and {@link tarPadding} follow the header. */
export interface TarEntryHead {
  /** Relative, without a slash at its end; a directory's is added. */
  readonly name: string;
  readonly type: TarType;
  readonly linkname?: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of a file's content; 0 for all else. */
  readonly size: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
  readonly device?: { readonly major: number; readonly minor: number };
  readonly attributes?: ReadonlyMap<string, Buffer>;
}

const BLOCK = 512;
const FLAGS: Readonly<Record<TarType, string>> = {
  file: '0',
  link: '1',
  symlink: '2',
  'character-device': '3',
  'block-device': '4',
  directory: '5',
  fifo: '6',
};
const NANOS = 1_000_000_000n;
/** What an octal field of 12 characters holds. */
const OCTAL_MOST = 8 ** 11 - 1;
const ID_MOST = 8 ** 7 - 1;

/** The mark at the end of an archive. */
export const TAR_END = Buffer.alloc(2 * BLOCK);

/** Zeros after so many bytes of content. */
export const tarPadding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

/**
 * Header of one entry: ustar, and before it a pax header (POSIX.1-2001) for what does not fit there: long and foreign names,
 * large numbers, fractions of a second, extended attributes (`SCHILY.xattr.`, as the OCI image-spec and Go have them).
 */
export function tarHeader(entry: TarEntryHead): Buffer {
  const name = entry.type === 'directory' ? `${entry.name}/` : entry.name;
  const { linkname = '', size, uid, gid, mtime } = entry;
  const seconds = floorSeconds(mtime);
  const records: Buffer[] = [];
  if (!plain(name, 100)) records.push(record('path', name));
  if (!plain(linkname, 100)) records.push(record('linkpath', linkname));
  if (size > OCTAL_MOST) records.push(record('size', String(size)));
  if (uid > ID_MOST) records.push(record('uid', String(uid)));
  if (gid > ID_MOST) records.push(record('gid', String(gid)));
  if (mtime !== seconds * NANOS || seconds < 0n || seconds > BigInt(OCTAL_MOST))
    records.push(record('mtime', timeText(mtime)));
  for (const [key, value] of entry.attributes ?? []) records.push(record(`SCHILY.xattr.${key}`, value));
  const clamped = seconds < 0n || seconds > BigInt(OCTAL_MOST) ? 0 : Number(seconds);
  const own = block({
    ...entry,
    name: shortened(name),
    linkname: shortened(linkname),
    flag: FLAGS[entry.type],
    size: size > OCTAL_MOST ? 0 : size,
    uid: Math.min(uid, ID_MOST),
    gid: Math.min(gid, ID_MOST),
    seconds: clamped,
  });
  if (records.length === 0) return own;
  const body = Buffer.concat(records);
  const head = block({
    ...{ name: `PaxHeaders/${shortened(name)}`.slice(0, 99).replace(/[^\x20-\x7e]/g, '_'), flag: 'x' },
    ...{ linkname: '', mode: 0o644, uid: 0, gid: 0, size: body.length, seconds: 0 },
  });
  return Buffer.concat([head, body, tarPadding(body.length), own]);
}

interface Block {
  readonly name: string;
  readonly linkname: string;
  readonly flag: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly seconds: number;
  readonly device?: { readonly major: number; readonly minor: number };
}

function block(o: Block): Buffer {
  const head = Buffer.alloc(BLOCK);
  const octal = (value: number, length: number): string => `${value.toString(8).padStart(length - 1, '0')}\0`;
  head.write(o.name, 0, 100, 'utf8');
  head.write(octal(o.mode & 0o7777, 8), 100, 'latin1');
  head.write(octal(o.uid, 8), 108, 'latin1');
  head.write(octal(o.gid, 8), 116, 'latin1');
  head.write(octal(o.size, 12), 124, 'latin1');
  head.write(octal(o.seconds, 12), 136, 'latin1');
  head.write(o.flag, 156, 'latin1');
  head.write(o.linkname, 157, 100, 'utf8');
  head.write('ustar\x0000', 257, 'latin1');
  if (o.device !== undefined) {
    head.write(octal(o.device.major, 8), 329, 'latin1');
    head.write(octal(o.device.minor, 8), 337, 'latin1');
  }
  head.fill(' ', 148, 156);
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return head;
}

/** Whether every reader takes it from the header as it is. */
const plain = (text: string, most: number): boolean => text.length <= most && /^[\x20-\x7e]*$/.test(text);

/** For readers without pax: never more than its field, and no half of a character. */
const shortened = (text: string): string =>
  plain(text, 100) ? text : text.slice(0, 90).replace(/[^\x20-\x7e]/g, '_');

const floorSeconds = (nanos: bigint): bigint => nanos / NANOS - (nanos % NANOS < 0n ? 1n : 0n);

function timeText(nanos: bigint): string {
  const sign = nanos < 0n ? '-' : '';
  const most = nanos < 0n ? -nanos : nanos;
  const fraction = (most % NANOS).toString().padStart(9, '0').replace(/0+$/, '');
  return `${sign}${most / NANOS}${fraction === '' ? '' : `.${fraction}`}`;
}

/** `<length> <key>=<value>\n`, the length counting itself. */
function record(key: string, value: string | Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), Buffer.from(value), Buffer.from('\n')]);
  let length = rest.length;
  for (let digits = 0; digits !== String(length).length;) {
    digits = String(length).length;
    length = rest.length + digits;
  }
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

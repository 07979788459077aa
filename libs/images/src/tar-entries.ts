import { Readable } from 'node:stream';
import type { Gunzip } from 'node:zlib';
import { createGunzip } from 'node:zlib';
import { ImageError } from './image-error.js';
import type { PaxRecords, TarHeader } from './tar-header.js';
import { gnuName, headerBlock, headerOf, paxRecords, TarFault } from './tar-header.js';

/** One entry. Its content may be read once, before the next entry is asked for; what is left of it is skipped. */
export interface TarEntry {
  readonly header: TarHeader;
  readonly content: AsyncIterable<Buffer>;
}

const BLOCK = 512;
/** Bytes of one pax header or long name, which is held in memory. Go's reader, and so Docker's, has the same bound. */
const LONG_BYTES = 2 ** 20;
/** Headers about the next header: honest writers need three. */
const LONG_HEADERS = 8;

/**
 * Entries of a tar stream (ustar, pax, GNU long names), in order. Our own reader, strict where readers differ from each
 * other: what one tool would take as content and another as a header is refused. It holds one chunk of the source and at
 * most {@link LONG_BYTES} of names. After the end mark the source is read to its end and dropped, as others do.
 * @throws ImageError badArchive, tooLarge (more than `maxBytes` of tar)
 */
export async function* tarEntries(source: Readable, maxBytes: number): AsyncGenerator<TarEntry> {
  const bytes = new TarBytes(source, maxBytes);
  try {
    yield* entriesOf(bytes);
  } catch (e) {
    throw readFault(e);
  } finally {
    source.destroy();
  }
}

async function* entriesOf(bytes: TarBytes): AsyncGenerator<TarEntry> {
  let globals: PaxRecords = {};
  let records: PaxRecords = {};
  let longHeaders = 0;
  for (let block; (block = await bytes.header()) !== null;) {
    const found = headerBlock(block);
    const { flag } = found;
    if (!['x', 'g', 'L', 'K'].includes(flag)) {
      const header = headerOf(found, { ...globals, ...records });
      records = {};
      longHeaders = 0;
      const content = bytes.content(header.size);
      yield { header, content };
      await bytes.skip(header.size);
      continue;
    }
    if (++longHeaders > LONG_HEADERS) throw new TarFault('too many headers stand before one entry');
    if (found.size > LONG_BYTES)
      throw new ImageError('tooLarge', `a header has more than ${LONG_BYTES} bytes`, '');
    const content = await bytes.whole(found.size);
    if (flag === 'L') records = { ...records, name: gnuName(content) };
    else if (flag === 'K') records = { ...records, linkname: gnuName(content) };
    else if (flag === 'x') records = { ...records, ...paxRecords(content) };
    else globals = globalsOf(paxRecords(content));
  }
  if (longHeaders > 0) throw new TarFault('it ends before the entry that a header announced');
}

/** Git writes global headers with a comment. One name or size for many files is no honest wish. */
function globalsOf(records: PaxRecords): PaxRecords {
  if (records.name !== undefined || records.linkname !== undefined || records.size !== undefined)
    throw new TarFault('a global header names every file alike');
  return records;
}

/** The source in pieces as they are asked for, counted. */
class TarBytes {
  private readonly chunks: AsyncIterator<Buffer>;
  private chunk: Buffer = Buffer.alloc(0);
  private total = 0;
  /** Of the entry at hand: bytes not yet read. */
  private left = 0;

  constructor(
    source: Readable,
    private readonly maxBytes: number,
  ) {
    this.chunks = source[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  /** The next header, or null at the end (two blocks of zeros, or the end of the stream). */
  async header(): Promise<Buffer | null> {
    const block = await this.exactly(BLOCK, true);
    if (block === null) return null;
    if (!isZero(block)) return block;
    const second = await this.exactly(BLOCK, true);
    if (second !== null && !isZero(second)) throw new TarFault('a block of zeros stands between entries');
    while ((await this.some(Infinity)) !== null);
    return null;
  }

  /** Content and padding of a long header. */
  async whole(size: number): Promise<Buffer> {
    const content = Buffer.from((await this.exactly(size, false)) ?? []);
    await this.exactly(padding(size), false);
    return content;
  }

  /** Content of the next entry. */
  content(size: number): AsyncGenerator<Buffer> {
    this.left = size;
    return this.pieces();
  }

  private async *pieces(): AsyncGenerator<Buffer> {
    while (this.left > 0) {
      const piece = await this.some(this.left);
      if (piece === null) throw cut();
      this.left -= piece.length;
      yield piece;
    }
  }

  /** What is left of the entry at hand, and its padding. */
  async skip(size: number): Promise<void> {
    for (let rest = this.left; rest > 0;) {
      const piece = await this.some(rest);
      if (piece === null) throw cut();
      rest -= piece.length;
    }
    this.left = 0;
    await this.exactly(padding(size), false);
  }

  /** Exactly so many bytes; null when the source is at its end and `mayEnd`. */
  private async exactly(length: number, mayEnd: boolean): Promise<Buffer | null> {
    const parts: Buffer[] = [];
    for (let rest = length; rest > 0;) {
      const piece = await this.some(rest);
      if (piece === null && mayEnd && rest === length) return null;
      if (piece === null) throw cut();
      parts.push(piece);
      rest -= piece.length;
    }
    return parts.length === 1 ? (parts[0] ?? null) : Buffer.concat(parts);
  }

  private async some(most: number): Promise<Buffer | null> {
    while (this.chunk.length === 0) {
      const next = await this.chunks.next().catch((e: unknown) => {
        throw readFault(e);
      });
      if (next.done === true) return null;
      this.chunk = next.value;
      this.total += this.chunk.length;
      if (this.total > this.maxBytes) throw tooMuch(this.maxBytes);
    }
    const piece = this.chunk.subarray(0, most);
    this.chunk = this.chunk.subarray(piece.length);
    return piece;
  }
}

function padding(size: number): number {
  return (BLOCK - (size % BLOCK)) % BLOCK;
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

/** Also thrown into whoever reads an entry's content, so it is no {@link TarFault}. */
function cut(): ImageError {
  return readFault(new TarFault('it is cut off'));
}

const GZIP = [0x1f, 0x8b];
const OTHERS: readonly (readonly [string, readonly number[]])[] = [
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ['bzip2', [0x42, 0x5a, 0x68]],
];

/** Uncompressed bytes for each compressed one. Zeros reach 1000; images of programs 2 to 5. */
export const MAX_RATIO = 200;
/** Uncompressed bytes that are taken whatever their ratio. */
const RATIO_FREE_BYTES = 64 * 2 ** 20;

/** Uncompressed bytes to take from so many compressed ones. */
export function ratioBytes(compressedBytes: number, ratio = MAX_RATIO): number {
  return RATIO_FREE_BYTES + compressedBytes * ratio;
}

/**
 * The stream itself, or what a gzip stream holds; that fails as `tooLarge` when it holds more than {@link ratioBytes}.
 * @throws ImageError unsupported for other compressions.
 */
export async function gunzipped(source: Readable, ratio = MAX_RATIO): Promise<Readable> {
  const chunks = source[Symbol.asyncIterator]() as AsyncIterableIterator<Buffer>;
  let head = Buffer.alloc(0);
  while (head.length < 6) {
    const next = await chunks.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const startsWith = (magic: readonly number[]): boolean => magic.every((byte, i) => head[i] === byte);
  for (const [name, magic] of OTHERS)
    if (startsWith(magic)) {
      source.destroy();
      throw new ImageError(
        'unsupported',
        `the archive is compressed with ${name}`,
        'Decompress it, or compress it with gzip.',
      );
    }
  const whole = Readable.from(rejoin(head, chunks), { objectMode: false });
  if (!startsWith(GZIP)) return whole;
  const gunzip = createGunzip();
  whole.on('error', (e) => gunzip.destroy(e));
  gunzip.on('close', () => whole.destroy());
  whole.pipe(gunzip);
  return Readable.from(boundRatio(gunzip, ratio), { objectMode: false });
}

async function* boundRatio(gunzip: Gunzip, ratio: number): AsyncGenerator<Buffer> {
  let bytes = 0;
  try {
    for await (const chunk of gunzip as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > ratioBytes(gunzip.bytesWritten, ratio))
        throw new ImageError(
          'tooLarge',
          `the archive unpacks to more than ${ratio} times its size`,
          'Build the image again; if it is meant so, upload it uncompressed.',
        );
      yield chunk;
    }
  } finally {
    gunzip.destroy();
  }
}

async function* rejoin(head: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* rest;
}

/** Linux takes 4095; the target directory stands before it. */
const PATH_BYTES = 3072;

/**
 * Components of a relative path inside an archive; `.` and empty ones are dropped.
 * @throws ImageError `code` for an absolute path, `..`, NUL, or too many or too long components.
 */
export function archivePath(name: string, maxDepth: number, code: 'badArchive' | 'badLayer'): string[] {
  const refuse = (why: string): never => {
    throw new ImageError(
      code,
      `entry ${JSON.stringify(name.slice(0, 200))} ${why}`,
      'Build the image again.',
    );
  };
  if (name.startsWith('/')) refuse('has an absolute path');
  if (name.includes('\0')) refuse('has a NUL in its name');
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) refuse('leads out of the archive by ".."');
  if (parts.length > maxDepth) refuse(`is deeper than ${maxDepth} directories`);
  if (parts.some((part) => Buffer.byteLength(part) > 255)) refuse('has a name longer than 255 bytes');
  if (Buffer.byteLength(name) > PATH_BYTES) refuse(`has a path longer than ${PATH_BYTES} bytes`);
  return parts;
}

/** Answers of the kernel that only a strange name, or too many links to one file, can bring about. */
const ARCHIVE_FAULTS = new Set(['ENAMETOOLONG', 'EMLINK', 'ELOOP', 'ENOTDIR', 'EEXIST', 'EINVAL', 'EILSEQ']);

/** What a fault while reading an archive means: the host's (it names a system call), or the archive's. */
export function readFault(e: unknown): ImageError {
  if (e instanceof ImageError) return e;
  const { message, syscall, code } = e as NodeJS.ErrnoException;
  if (syscall !== undefined && !ARCHIVE_FAULTS.has(code ?? ''))
    return new ImageError('hostFault', message, 'Look at the free space and health of the disk.', {
      cause: e,
    });
  const remedy = 'The file was cut off or damaged: fetch or build it again.';
  return new ImageError('badArchive', `the archive cannot be read: ${message}`, remedy, { cause: e });
}

function tooMuch(maxBytes: number): ImageError {
  return new ImageError(
    'tooLarge',
    `the tar is larger than ${maxBytes} bytes after decompression`,
    'Use a smaller image, or raise the limit.',
  );
}

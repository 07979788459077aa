import { Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import type { Entry } from 'tar-stream';
import { extract } from 'tar-stream';
import { ImageError } from './image-error.js';

/**
 * Entries of a tar stream (POSIX.1-1988 ustar, pax, GNU long names), in order; each must be read to its end before the
 * next is asked for. Ends the source when the consumer stops early.
 * @throws ImageError badArchive, tooLarge (more than `maxBytes` of tar)
 */
export async function* tarEntries(source: Readable, maxBytes: number): AsyncGenerator<Entry> {
  const parser = extract();
  const fed = feed(source, parser, maxBytes);
  try {
    for await (const entry of parser) yield entry;
  } catch (e) {
    throw readFault(e);
  } finally {
    parser.destroy();
    source.destroy();
    await fed;
  }
}

/** Writes the source into the parser; a fault of either ends the other. Never rejects: the parser carries the error. */
async function feed(source: Readable, parser: ReturnType<typeof extract>, maxBytes: number): Promise<void> {
  let bytes = 0;
  let wake: (() => void) | null = null;
  const turn = (): void => wake?.();
  parser.on('drain', turn).on('close', turn).on('error', turn);
  try {
    for await (const chunk of source) {
      bytes += (chunk as Buffer).length;
      if (bytes > maxBytes) throw tooMuch(maxBytes);
      if (parser.destroyed) return;
      const drained = new Promise<void>((resolve) => (wake = resolve));
      if (!parser.write(chunk)) await drained;
    }
    parser.end();
  } catch (e) {
    parser.destroy(e as Error);
  }
}

const GZIP = [0x1f, 0x8b];
const OTHERS: readonly (readonly [string, readonly number[]])[] = [
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a]],
  ['bzip2', [0x42, 0x5a, 0x68]],
];

/** The stream itself, or what a gzip stream holds. @throws ImageError unsupported for other compressions. */
export async function gunzipped(source: Readable): Promise<Readable> {
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
  return whole.pipe(gunzip);
}

async function* rejoin(head: Buffer, rest: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  yield* rest;
}

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
  return parts;
}

/** What a fault while reading an archive means: the host's (it names a system call), or the archive's. */
export function readFault(e: unknown): ImageError {
  if (e instanceof ImageError) return e;
  const { message, syscall } = e as NodeJS.ErrnoException;
  if (syscall !== undefined)
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

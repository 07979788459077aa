import { fileMaxBytes } from '@berth/model';
import { piecesUntil, RuntimeError, type GuestFile, type Terminal } from '@berth/runtime';
import type { GuestField } from '../guest/guest-fields.js';

/*
 * Files of a microVM, by its first process: libs/kvm/guest-init/file.c is the other end and tells the form. The machine belongs to its
 * owner, so what comes is bounded and nothing depends on it.
 */

/** Of the guest's words, bytes. */
const WORDS_BYTES = 500;
const SIZE_BYTES = 8;

/** What asks for a file, with the rights of the machine's root. */
export const fileRequest = (verb: 'get' | 'put', path: string): GuestField[] => [
  [verb, path],
  ['user', '0'],
  ['cwd', '/'],
];

/** @throws RuntimeError noSuchFile, fileRefused, notPrepared, unsupported */
export async function microvmFileRead(
  exec: Pick<Terminal, 'output' | 'ended'>,
  path: string,
  signal: AbortSignal,
): Promise<GuestFile> {
  const pieces = contents(exec, path, signal);
  let head = Buffer.alloc(0);
  while (head.length < SIZE_BYTES) {
    const next = await pieces.next();
    if (next.done === true) throw new RuntimeError('fileRefused', `the guest told no size of ${path}`);
    head = Buffer.concat([head, next.value]);
  }
  const size = head.readBigUInt64LE();
  if (size > BigInt(fileMaxBytes))
    throw new RuntimeError('fileRefused', `${path} has more than ${fileMaxBytes} bytes`);
  // What is made while it is read, as in /proc, says that it has no bytes.
  return { sizeBytes: size === 0n ? null : Number(size), bytes: after(head.subarray(SIZE_BYTES), pieces) };
}

async function* after(first: Buffer, rest: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (first.length > 0) yield first;
  yield* rest;
}

/** Its output, and its end as an error where it is none. */
async function* contents(
  { output, ended }: Pick<Terminal, 'output' | 'ended'>,
  path: string,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const words: Uint8Array[] = [];
  let total = 0;
  for await (const { channel, bytes } of output) {
    if (channel === 'errorOutput') words.push(bytes.subarray(0, WORDS_BYTES));
    else {
      total += bytes.length;
      if (total > fileMaxBytes + SIZE_BYTES)
        throw new RuntimeError('fileRefused', `${path} has more than ${fileMaxBytes} bytes`);
      yield bytes;
    }
  }
  signal.throwIfAborted();
  settled(await ended, path, words);
}

/** @returns how many bytes @throws RuntimeError noSuchFile, fileRefused, noSpace, notPrepared, unsupported; then what was there is as it was */
export async function microvmFileWrite(
  exec: Terminal,
  path: string,
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<number> {
  const words: Uint8Array[] = [];
  const said = (async () => {
    for await (const { bytes } of exec.output)
      if (words.length < 8) words.push(bytes.subarray(0, WORDS_BYTES));
  })();
  const early = new AbortController();
  void exec.ended.then(() => early.abort(new Error('it ended')));
  try {
    const total = await sent(
      exec,
      path,
      piecesUntil(source, AbortSignal.any([signal, early.signal])),
      early.signal,
    );
    const end = await exec.ended;
    await said;
    signal.throwIfAborted();
    settled(end, path, words);
    return total;
  } finally {
    exec.close();
  }
}

async function sent(
  exec: Terminal,
  path: string,
  pieces: AsyncIterable<Uint8Array>,
  early: AbortSignal,
): Promise<number> {
  let total = 0;
  try {
    for await (const bytes of pieces) {
      if (bytes.length === 0) continue; // which would say that it is whole
      total += bytes.length;
      if (total > fileMaxBytes)
        throw new RuntimeError('fileRefused', `${path} has more than ${fileMaxBytes} bytes`);
      await exec.write(sized(bytes.length));
      await exec.write(bytes);
    }
    await exec.write(sized(0));
    exec.endInput();
  } catch (error) {
    // How it ended tells more.
    if (!early.aborted) throw error;
  }
  return total;
}

function sized(length: number): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32LE(length);
  return size;
}

function settled(end: Awaited<Terminal['ended']>, path: string, words: readonly Uint8Array[]): void {
  if (end?.reason === 'exited' && end.code === 0) return;
  if (end === null || end.reason === 'workloadEnded')
    throw new RuntimeError('notPrepared', 'it ended meanwhile');
  const said =
    end.reason === 'failed' ? end.message : Buffer.concat(words).toString('utf8').slice(0, WORDS_BYTES);
  if (said.includes('makes no sense'))
    throw new RuntimeError('unsupported', 'it was started by an earlier version, which copies no files', {
      remedy: 'restart it, or copy by a program in it: berth exec',
    });
  if (/no such file or directory|not a directory/i.test(said))
    throw new RuntimeError('noSuchFile', `the machine has no ${path}`);
  if (/no space left/i.test(said)) throw new RuntimeError('noSpace', `there is no room for ${path} in it`);
  throw new RuntimeError('fileRefused', `${path} is not copied: ${said}`);
}

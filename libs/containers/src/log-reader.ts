import { watch } from 'node:fs';
import { open, stat, type FileHandle } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { hasCode } from '@berth/linux';

const CHUNK = 64 * 1024;

/**
 * Takes the framing off a conmon log: each line is `<time> <stdout|stderr> <F|P> <text>` (the CRI log format). `F` ends
 * a line of the guest's, `P` is a part of one. Both streams come out in the order in which they were written. A line
 * in another form is passed on as it is. Feed it chunks; it keeps an unfinished line.
 */
export class LogDecoder {
  private rest: Buffer = Buffer.alloc(0);

  feed(chunk: Uint8Array): Buffer {
    const data = Buffer.concat([this.rest, chunk]);
    const out: Buffer[] = [];
    let at = 0;
    for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10, at)) {
      out.push(unframe(data.subarray(at, end)));
      at = end + 1;
    }
    this.rest = Buffer.from(data.subarray(at));
    return Buffer.concat(out);
  }
}

const NEWLINE = Buffer.from('\n');
const FRAME = /^\S+ (?:stdout|stderr) ([FP]) /;

function unframe(line: Buffer): Buffer {
  const head = line.subarray(0, 64).toString('latin1');
  const match = FRAME.exec(head);
  if (match === null) return Buffer.concat([line, NEWLINE]);
  const text = line.subarray(match[0].length);
  return match[1] === 'F' ? Buffer.concat([text, NEWLINE]) : Buffer.from(text);
}

/**
 * The guest's output as kept in a log file; nothing when there is no file. With `follow` it waits for more until the
 * signal fires, also over the file's replacement when conmon starts it anew at its size limit.
 */
export async function* logRead(
  path: string,
  options: { readonly tailBytes?: number; readonly follow: boolean },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const changes = options.follow ? changesOf(path, signal) : null;
  let file = await openOrNull(path);
  let decoder = new LogDecoder();
  try {
    if (options.tailBytes === undefined) {
      if (file !== null) yield* readAll(file, decoder);
    } else if (file !== null) {
      const tail = await readTail(file, decoder, options.tailBytes);
      if (tail.length > 0) yield tail;
    }
    while (changes !== null && !signal.aborted) {
      await changes.next();
      if (file !== null) yield* readAll(file, decoder);
      if (await sameFile(file, path)) continue;
      await file?.close();
      file = await openOrNull(path);
      decoder = new LogDecoder();
      if (file !== null) yield* readAll(file, decoder);
    }
  } finally {
    await file?.close();
    changes?.close();
  }
}

async function* readAll(file: FileHandle, decoder: LogDecoder): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(CHUNK), 0, CHUNK);
    if (bytesRead === 0) return;
    const text = decoder.feed(buffer.subarray(0, bytesRead));
    if (text.length > 0) yield text;
  }
}

async function readTail(file: FileHandle, decoder: LogDecoder, bytes: number): Promise<Buffer> {
  let tail: Buffer = Buffer.alloc(0);
  for await (const text of readAll(file, decoder)) {
    tail = Buffer.concat([tail, text]);
    if (tail.length > bytes) tail = tail.subarray(tail.length - bytes);
  }
  return bytes === 0 ? Buffer.alloc(0) : tail;
}

/** A latch that opens at each change of the file's directory, once a second at the latest, and for good at the signal. */
function changesOf(path: string, signal: AbortSignal): { next(): Promise<void>; close(): void } {
  let changed = true;
  let wake: () => void = () => undefined;
  const ring = (): void => {
    changed = true;
    wake();
  };
  const watcher = watch(dirname(path), (_, name) => {
    if (name === null || name === basename(path)) ring();
  });
  watcher.on('error', ring);
  const timer = setInterval(ring, 1000);
  signal.addEventListener('abort', ring, { once: true });
  return {
    next: async () => {
      while (!changed && !signal.aborted) await new Promise<void>((resolve) => (wake = resolve));
      changed = false;
    },
    close: () => {
      watcher.close();
      clearInterval(timer);
      signal.removeEventListener('abort', ring);
    },
  };
}

async function sameFile(file: FileHandle | null, path: string): Promise<boolean> {
  const there = await stat(path).catch(() => null);
  if (file === null || there === null) return file === null && there === null;
  const { ino, size } = await file.stat();
  return there.ino === ino && size > 0;
}

async function openOrNull(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r');
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return null;
    throw error;
  }
}

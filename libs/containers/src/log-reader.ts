import { closeSync, fstatSync, openSync, read, statSync, watch } from 'node:fs';
import { basename, dirname } from 'node:path';
import { promisify } from 'node:util';
import { hasCode } from '@berth/linux';
import { asWritten, LogFrames, LogRenderer } from '@berth/model';
import type { LogOptions } from '@berth/runtime';

const CHUNK = 64 * 1024;
/** A change may be missed by the watch; look again at least this often, ms. */
const LOOK_AGAIN_MS = 1000;
/** Files that are held for a slow reader after they were replaced: what is older than these is lost to it. */
const HELD = 8;

/** What is read of frames (model, log-lines.ts): what the guest wrote, in the order in which it did, or the frames. */
interface Decoder {
  feed(chunk: Uint8Array): Uint8Array;
}

/** Takes the framing off. Feed it chunks; it keeps an unfinished line. */
export class LogDecoder implements Decoder {
  private readonly frames = new LogFrames();
  private readonly shown = new LogRenderer(asWritten);

  feed(chunk: Uint8Array): Buffer {
    return Buffer.concat(this.frames.feed(chunk).map((frame) => this.shown.show(frame)));
  }
}

const decoderOf = (framed: boolean): Decoder => (framed ? { feed: (chunk) => chunk } : new LogDecoder());

/**
 * The guest's output as kept in a log file; nothing when there is no file. With `follow` it waits for more until the
 * signal fires, also over the file's replacement when conmon starts it anew at its size limit.
 */
export async function* logRead(
  path: string,
  options: LogOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { follow, tailBytes, framed = false } = options;
  const files = new LogFiles(path, follow, signal);
  let decoder = decoderOf(framed);
  try {
    if (tailBytes !== undefined) yield* readTail(files, decoder, tailBytes);
    for (;;) {
      yield* readAll(files, decoder);
      if (files.replaced) {
        yield* readAll(files, decoder); // what was written after that read, and before nobody wrote there any more
        files.forward();
        decoder = decoderOf(framed);
      } else if (!follow || signal.aborted) return;
      else await files.changed();
    }
  } finally {
    files.close();
  }
}

/** From where the reading of the present file stands to its end. */
async function* readAll(files: LogFiles, decoder: Decoder): AsyncGenerator<Uint8Array> {
  for (let chunk = await files.read(); chunk.length > 0; chunk = await files.read()) {
    const text = decoder.feed(chunk);
    if (text.length > 0) yield text;
  }
}

async function* readTail(files: LogFiles, decoder: Decoder, bytes: number): AsyncGenerator<Uint8Array> {
  let tail: Buffer = Buffer.alloc(0);
  for await (const text of readAll(files, decoder)) {
    tail = Buffer.concat([tail, text]);
    if (tail.length > bytes) tail = tail.subarray(tail.length - bytes);
  }
  if (bytes > 0 && tail.length > 0) yield tail;
}

/**
 * The files that a path leads to, one after the other. Each is opened as soon as it stands there, however slow the reader is:
 * once it is replaced, only who has it open can read it.
 */
class LogFiles {
  /** Open descriptors, oldest first; the last one is written now. */
  private readonly open: number[] = [];
  private at = 0;
  private stirred = false;
  private wake: () => void = () => undefined;
  private readonly stop: () => void;

  constructor(
    private readonly path: string,
    follow: boolean,
    private readonly signal: AbortSignal,
  ) {
    this.stop = follow ? this.watch() : () => undefined;
    this.look();
  }

  get replaced(): boolean {
    return this.open.length > 1;
  }

  /** Goes on to the file that replaced this one. */
  forward(): void {
    const over = this.open.shift();
    if (over !== undefined) closeSync(over);
    this.at = 0;
  }

  /** The next bytes of the present file; none at its end. */
  async read(): Promise<Uint8Array> {
    const [fd] = this.open;
    if (fd === undefined) return Buffer.alloc(0);
    if (fstatSync(fd).size < this.at) this.at = 0;
    const { bytesRead, buffer } = await readSome(fd, Buffer.alloc(CHUNK), 0, CHUNK, this.at);
    this.at += bytesRead;
    return buffer.subarray(0, bytesRead);
  }

  /** Resolves at a change since the last call, after a second at the latest, and at once when the signal has fired. */
  async changed(): Promise<void> {
    while (!this.stirred && !this.signal.aborted) await new Promise<void>((resolve) => (this.wake = resolve));
    this.stirred = false;
  }

  close(): void {
    this.stop();
    for (const fd of this.open.splice(0)) closeSync(fd);
  }

  private look(): void {
    const newest = this.open.at(-1);
    try {
      if (newest !== undefined && statSync(this.path).ino === fstatSync(newest).ino) return;
      this.open.push(openSync(this.path, 'r'));
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw error;
    }
    // The present one is being read; the one after it is the oldest that can go.
    if (this.open.length > HELD) closeSync(this.open.splice(1, 1)[0] as number);
  }

  private watch(): () => void {
    const ring = (moved: boolean): void => {
      if (moved) this.look();
      this.stirred = true;
      this.wake();
    };
    const watcher = watch(dirname(this.path), (event, name) => {
      if (name === null || name === basename(this.path)) ring(event === 'rename');
    });
    watcher.on('error', () => ring(true));
    const timer = setInterval(() => ring(true), LOOK_AGAIN_MS);
    const end = (): void => ring(false);
    this.signal.addEventListener('abort', end, { once: true });
    return () => {
      watcher.close();
      clearInterval(timer);
      this.signal.removeEventListener('abort', end);
    };
  }
}

const readSome = promisify(read);

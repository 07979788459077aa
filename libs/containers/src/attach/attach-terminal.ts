import { closeSync, constants, openSync, writeSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { hasCode, packetSend, packetSenderOpen } from '@berth/linux';
import { type AttachOpen, type ExitInfo, LogFrames, type TerminalEnd, type TerminalSize } from '@berth/model';
import { RuntimeError, type Terminal, type TerminalOutput, TerminalPipe } from '@berth/runtime';
import type { AttachPlaces, LaunchInput } from '../launch/launcher.js';
import { logRead } from '../log-reader.js';

/** From one look at a run to the next, ms. */
const LOOK_MS = 100;
/** An input without room is tried again after this, ms. */
const ROOM_MS = 5;
/** conmon reads 32 KiB of a message and drops what is more. */
const MESSAGE_BYTES = 4096;

/** A run that is attached to. */
export interface AttachedRun {
  readonly log: string;
  readonly places: AttachPlaces;
  readonly input: LaunchInput;
  readonly alive: () => boolean;
  /** How it ended, once it has. */
  readonly end: () => Promise<ExitInfo | null>;
}

/**
 * Somebody at the first process of a container. What is shown is its log, from as far back as was asked for: so nobody who does not
 * read holds it up, and all see the same. What is typed goes to its monitor (conmon's attach socket, of which nothing is read), which
 * has its input open for as long as it runs, whoever comes and goes.
 */
export class AttachTerminal implements Terminal {
  readonly ended: Promise<TerminalEnd | null>;
  private readonly pipe = new TerminalPipe();
  /** Fires when the log is to be read to its end and no further. */
  private readonly over = new AbortController();
  private closed = false;
  private typing: Promise<void> = Promise.resolve();

  private constructor(
    private readonly run: AttachedRun,
    /** Null where nothing may be typed. */
    private readonly input: number | null,
    scrollbackBytes: number,
    signal: AbortSignal,
  ) {
    const close = (): void => this.close();
    signal.addEventListener('abort', close, { once: true });
    this.ended = this.shown(scrollbackBytes).finally(() => signal.removeEventListener('abort', close));
    if (signal.aborted) close();
  }

  /** @throws RuntimeError hostFault */
  static async open(run: AttachedRun, open: AttachOpen, signal: AbortSignal): Promise<AttachTerminal> {
    const input = open.readOnly || run.input === 'none' ? null : await inputOpen(run, signal);
    const terminal = new AttachTerminal(run, input, open.scrollbackBytes, signal);
    if (open.size !== undefined) terminal.resize(open.size);
    return terminal;
  }

  get output(): AsyncIterable<TerminalOutput> {
    return this.pipe;
  }

  write(bytes: Uint8Array): Promise<void> {
    const { input } = this;
    if (input === null) return Promise.resolve();
    // One after the other: a message that waits for room must not be passed by the next.
    this.typing = this.typing.then(() => this.type(input, bytes));
    return this.typing;
  }

  /** Its input is of whoever comes next, too. */
  endInput(): void {}

  /** Told to the monitor on its control pipe, which knows `1 rows columns` as the size of the terminal (conmon, ctrl.c). */
  resize({ columns, rows }: TerminalSize): void {
    if (this.run.input !== 'terminal' || this.over.signal.aborted) return;
    try {
      const fd = openSync(this.run.places.control, constants.O_WRONLY | constants.O_NONBLOCK);
      try {
        writeSync(fd, `1 ${rows} ${columns}\n`);
      } finally {
        closeSync(fd);
      }
    } catch (error) {
      // It ends; or is behind, and the next size counts.
      if (!hasCode(error, 'ENXIO', 'ENOENT', 'EAGAIN', 'EPIPE')) throw error;
    }
  }

  close(): void {
    this.closed = true;
    this.pipe.cut();
    this.over.abort();
  }

  /** Everything that is shown, and how it ended. Never rejects. */
  private async shown(scrollbackBytes: number): Promise<TerminalEnd | null> {
    const watched = this.watch();
    try {
      await this.copy(scrollbackBytes);
      await watched;
      if (this.closed) return null;
      return { reason: 'workloadEnded', exit: await this.run.end() };
    } catch (error) {
      return this.closed
        ? null
        : { reason: 'failed', message: error instanceof Error ? error.message : String(error) };
    } finally {
      this.over.abort();
      this.pipe.end();
      if (this.input !== null) void this.typing.then(() => closeSync(this.input as number));
    }
  }

  /** Until its run is over: then all of its log is there. */
  private async watch(): Promise<void> {
    const { signal } = this.over;
    while (this.run.alive() && !signal.aborted)
      await wait(LOOK_MS, undefined, { signal }).catch(() => undefined);
    if (!signal.aborted) await this.run.end().catch(() => null);
    this.over.abort();
  }

  private async copy(scrollbackBytes: number): Promise<void> {
    const options = { follow: true, framed: true, tailBytes: scrollbackBytes };
    const frames = new LogFrames();
    let first = true;
    for await (const chunk of logRead(this.run.log, options, this.over.signal)) {
      const whole = first ? fromFrame(chunk) : chunk;
      first = false;
      for (const { stream, bytes, whole: ends } of frames.feed(whole))
        await this.pipe.push({
          channel: stream === 'stderr' ? 'errorOutput' : 'output',
          bytes: ends ? Buffer.concat([bytes, LINE_END]) : bytes,
        });
      if (this.closed) return;
    }
  }

  private async type(input: number, bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.over.signal.aborted;) {
      const message = bytes.subarray(at, at + MESSAGE_BYTES);
      try {
        if (packetSend(input, message)) at += message.length;
        else await wait(ROOM_MS);
      } catch (error) {
        if (hasCode(error, 'EPIPE', 'ECONNRESET')) return; // its monitor ends
        throw error;
      }
    }
  }
}

const LINE_END = Buffer.from('\n');
const FRAME = /^\d{4}-\d\d-\d\dT\S+ (stdout|stderr) [FP] /;

/** The end of a log may begin within a line of it, which is left out. */
function fromFrame(tail: Uint8Array): Uint8Array {
  if (FRAME.test(Buffer.from(tail.subarray(0, 64)).toString('latin1'))) return tail;
  const end = tail.indexOf(10);
  return end < 0 ? new Uint8Array() : tail.subarray(end + 1);
}

async function inputOpen({ places, alive }: AttachedRun, signal: AbortSignal): Promise<number> {
  for (;;) {
    signal.throwIfAborted();
    try {
      const fd = packetSenderOpen(places.input);
      if (fd !== null) return fd;
    } catch (cause) {
      if (!alive()) throw new RuntimeError('notPrepared', 'it ends', { cause });
      throw new RuntimeError('hostFault', 'its monitor cannot be reached', { cause });
    }
    await wait(ROOM_MS, undefined, { signal });
  }
}

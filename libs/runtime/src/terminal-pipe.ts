import type { Writable } from 'node:stream';
import type { TerminalOutput } from './runtime.js';

const roomBytes = 256 * 1024;

/** Output of several sources on its way to one reader. Whoever pushes waits while more is held than there is room for. */
export class TerminalPipe implements AsyncIterable<TerminalOutput> {
  #pieces: TerminalOutput[] = [];
  #held = 0;
  #over = false;
  #reader: (() => void) | null = null;
  #writers: (() => void)[] = [];

  /** Resolves once there is room again, or nobody reads any more. */
  async push(piece: TerminalOutput): Promise<void> {
    if (this.#over) return;
    this.#pieces.push(piece);
    this.#held += piece.bytes.length;
    this.#reader?.();
    while (this.#held > roomBytes && !this.#over) await new Promise<void>((wake) => this.#writers.push(wake));
  }

  /** Nothing more comes; the reader gets what is held. */
  end(): void {
    this.#over = true;
    this.#reader?.();
    for (const wake of this.#writers.splice(0)) wake();
  }

  /** The reader ends at once. */
  cut(): void {
    this.#pieces = [];
    this.#held = 0;
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TerminalOutput> {
    try {
      for (;;) {
        const piece = this.#pieces.shift();
        if (piece !== undefined) {
          this.#held -= piece.bytes.length;
          for (const wake of this.#writers.splice(0)) wake();
          yield piece;
        } else if (this.#over) return;
        else await new Promise<void>((wake) => (this.#reader = wake));
      }
    } finally {
      this.cut();
    }
  }
}

/** Writes; resolves when there is room for more, the stream is closed, or the signal fires. */
export async function writeWithRoom(
  stream: Writable,
  bytes: Uint8Array,
  signal?: AbortSignal,
): Promise<void> {
  if (stream.write(bytes)) return;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      stream.off('drain', done).off('close', done);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    stream.once('drain', done).once('close', done);
    signal?.addEventListener('abort', done, { once: true });
  });
}

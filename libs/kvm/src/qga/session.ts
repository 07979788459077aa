import { randomInt } from 'node:crypto';
import type { Duplex } from 'node:stream';
import {
  DEFAULT_TIMEOUT_MS,
  MAX_LINE,
  QgaError,
  QgaTransportError,
  type QgaOptions,
  type QgaTransport,
} from './transport.js';

/** In front of a command it makes the agent forget half a message; in front of its answer it says where that begins. */
const SENTINEL = 0xff;
const NEWLINE = 10;

/**
 * A conversation with a guest's agent on a byte stream (QEMU Guest Agent protocol reference, guest-sync-delimited). The
 * stream may begin with the rest of an earlier conversation:
 *
 *   syncing (all is dropped up to a sentinel and our number) -> idle <-> waits for one answer -> over
 *
 * The agent has no ids: after a command without an answer the conversation is over, since a late answer would be taken for
 * the next one. Whatever a guest sends, no more than one line of it is held.
 */
export class QgaSession implements QgaTransport {
  #parts: Buffer[] = [];
  #held = 0;
  /** Dropping what comes, until a sentinel. */
  #dropping = true;
  #over: QgaTransportError | null = null;
  /** Takes a line, or says that it was not the one. Null while nothing was asked. */
  #take: ((line: Buffer) => boolean) | null = null;
  #fail: ((error: QgaTransportError) => void) | null = null;

  private constructor(
    private readonly stream: Duplex,
    private readonly maxLineBytes: number,
  ) {
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', (cause) => this.#end('closed', `the guest agent's channel failed: ${cause.message}`));
    stream.on('close', () => this.#end('closed', "the guest agent's channel was closed"));
    stream.on('end', () => this.#end('closed', "the guest agent's channel ended"));
  }

  /** Begins a conversation; the stream is this one's from now on. @throws QgaTransportError */
  static async open(
    stream: Duplex,
    options: QgaOptions = {},
    maxLineBytes: number = MAX_LINE,
  ): Promise<QgaSession> {
    const session = new QgaSession(stream, maxLineBytes);
    try {
      await session.#sync(options);
      return session;
    } catch (error) {
      session.close();
      throw error;
    }
  }

  async send(command: string, args?: object, options: QgaOptions = {}): Promise<unknown> {
    const line = await this.#ask(message(command, args), command, options, () => true);
    const answer = parsed(line);
    if (answer === null) throw this.#end('protocol', 'the guest agent sent a line that is no JSON object');
    if ('return' in answer) return answer['return'];
    const error = answer['error'] as { desc?: unknown } | null | undefined;
    if (typeof error === 'object' && error !== null) throw new QgaError(String(error.desc));
    throw this.#end('protocol', 'the guest agent sent a message of no known kind');
  }

  close(): void {
    this.#end('closed', 'the conversation with the guest agent was ended by us');
  }

  async #sync(options: QgaOptions): Promise<void> {
    const id = randomInt(2 ** 31);
    const request = Buffer.concat([Buffer.of(SENTINEL), message('guest-sync-delimited', { id })]);
    // Another number is the answer to somebody before us.
    await this.#ask(request, 'guest-sync-delimited', options, (line) => parsed(line)?.['return'] === id);
  }

  /** Sends, and waits for the line that is the one. */
  #ask(
    bytes: Buffer,
    what: string,
    { timeoutMs = DEFAULT_TIMEOUT_MS, signal }: QgaOptions,
    isIt: (line: Buffer) => boolean,
  ): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#over !== null) return reject(this.#over);
      const late = (): void =>
        void this.#end('timeout', `the guest agent did not answer ${what} in ${timeoutMs} ms`);
      const timer = setTimeout(late, timeoutMs);
      const abort = (): void => void this.#end('aborted', `${what} was aborted`);
      const done = (): void => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', abort);
        this.#take = null;
        this.#fail = null;
      };
      this.#fail = (error) => {
        done();
        reject(error);
      };
      this.#take = (line) => {
        if (!isIt(line)) return false;
        done();
        resolve(line);
        return true;
      };
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted === true) abort();
      else this.stream.write(bytes);
    });
  }

  /** A line that nobody asked for is dropped. */
  #receive(chunk: Buffer): void {
    let rest = chunk;
    while (this.#over === null) {
      if (this.#dropping) {
        const at = rest.indexOf(SENTINEL);
        if (at < 0) return;
        this.#dropping = false;
        rest = rest.subarray(at + 1);
      }
      const at = rest.indexOf(NEWLINE);
      this.#hold(at < 0 ? rest : rest.subarray(0, at));
      if (at < 0) return;
      rest = rest.subarray(at + 1);
      const line = Buffer.concat(this.#parts);
      this.#parts = [];
      this.#held = 0;
      if (this.#take?.(line) === false) this.#dropping = true;
    }
  }

  #hold(part: Buffer): void {
    this.#held += part.length;
    if (this.#held > this.maxLineBytes)
      this.#end('protocol', `the guest agent sent a line above ${this.maxLineBytes} bytes`);
    else if (part.length > 0) this.#parts.push(part);
  }

  #end(fault: QgaTransportError['fault'], words: string): QgaTransportError {
    if (this.#over !== null) return this.#over;
    const error = new QgaTransportError(fault, words);
    this.#over = error;
    this.#parts = [];
    this.stream.destroy();
    this.#fail?.(error);
    return error;
  }
}

const message = (execute: string, args?: object): Buffer =>
  Buffer.from(`${JSON.stringify({ execute, arguments: args })}\n`);

function parsed(line: Buffer): Record<string, unknown> | null {
  try {
    const value = JSON.parse(line.toString('utf8')) as unknown;
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}

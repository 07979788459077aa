import { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { sendDescriptor } from '@berth/linux';
import { QmpTransportError, type ExecuteOptions, type QmpCall, type QmpExecutor } from './commands.js';
import { LineDecoder, parseMessage, type QmpEvent, type QmpMessage } from './messages.js';
import type { QmpCommands } from './schema.gen.js';

interface QmpClientEvents {
  event: [QmpEvent];
  close: [QmpTransportError];
}

const DEFAULT_TIMEOUT_MS = 10_000;
const MAX_LINE = 16 * 1024 * 1024;

/**
 * A QMP session on any byte stream. Replies are matched by id, so that one command's lateness is never another's
 * answer; after a time-out the session stays usable.
 */
export class QmpClient extends EventEmitter<QmpClientEvents> implements QmpExecutor {
  readonly #pending = new Map<string, (result: unknown) => void>();
  readonly #decoder: LineDecoder;
  #greeted: ((version: string | Error) => void) | null = null;
  #next = 1;
  #closed: QmpTransportError | null = null;
  #version = 'unknown';

  private constructor(
    private readonly stream: Duplex,
    private readonly timeoutMs: number,
    maxLineBytes: number,
  ) {
    super();
    this.#decoder = new LineDecoder(maxLineBytes);
    stream.on('data', (chunk: Buffer) => this.#receive(chunk));
    stream.on('error', (cause) =>
      this.#fail(new QmpTransportError('closed', `QMP stream failed: ${cause.message}`, { cause })),
    );
    stream.on('close', () => this.#fail(new QmpTransportError('closed', 'QEMU closed the QMP stream')));
    stream.on('end', () => this.#fail(new QmpTransportError('closed', 'QEMU ended the QMP stream')));
  }

  /** Waits for the greeting and leaves negotiation mode. @throws QmpTransportError, QmpError */
  static async open(
    stream: Duplex,
    options: { timeoutMs?: number; maxLineBytes?: number } = {},
  ): Promise<QmpClient> {
    const client = new QmpClient(
      stream,
      options.timeoutMs ?? DEFAULT_TIMEOUT_MS,
      options.maxLineBytes ?? MAX_LINE,
    );
    try {
      client.#version = await client.#greeting();
      await client.raw('qmp_capabilities');
      return client;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  /** QEMU's version as its greeting said. */
  get version(): string {
    return this.#version;
  }

  execute<C extends keyof QmpCommands>(
    command: C,
    ...[args, options]: QmpCall<C>
  ): Promise<QmpCommands[C]['result']> {
    return this.raw(command, args, options) as Promise<QmpCommands[C]['result']>;
  }

  /**
   * A command that comes with a copy of a descriptor, over a Unix socket. @throws QmpTransportError where what was said
   * before is still on its way
   */
  async hand<C extends keyof QmpCommands>(
    command: C,
    args: QmpCommands[C]['args'],
    descriptor: number,
    options: ExecuteOptions = {},
  ): Promise<QmpCommands[C]['result']> {
    return (await this.raw(command, args as object, options, descriptor)) as QmpCommands[C]['result'];
  }

  /** A command by name; prefer {@link execute}. */
  raw(
    command: string,
    args?: object,
    options: ExecuteOptions = {},
    descriptor: number | null = null,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#closed !== null) {
        reject(this.#closed);
        return;
      }
      const id = `berth-${this.#next++}`;
      const timeoutMs = options.timeoutMs ?? this.timeoutMs;
      const settle = (result: unknown): void => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', abort);
        this.#pending.delete(id);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const abort = (): void => settle(new QmpTransportError('aborted', `${command} was aborted`));
      const timer = setTimeout(
        () => settle(new QmpTransportError('timeout', `${command}: no answer in ${timeoutMs} ms`)),
        timeoutMs,
      );
      this.#pending.set(id, settle);
      if (options.signal?.aborted) {
        abort();
        return;
      }
      options.signal?.addEventListener('abort', abort, { once: true });
      const line = `${JSON.stringify({ execute: command, arguments: args, id })}\n`;
      if (descriptor === null) this.stream.write(line);
      else this.#sendWith(descriptor, Buffer.from(line), settle);
    });
  }

  #sendWith(descriptor: number, line: Buffer, settle: (result: Error) => void): void {
    const { _handle: handle } = this.stream as { readonly _handle?: { readonly fd?: number } | null };
    const socket = handle?.fd ?? -1;
    try {
      if (socket < 0 || this.stream.writableLength > 0)
        throw new Error('the QMP stream takes no descriptor now');
      sendDescriptor(socket, line, descriptor);
    } catch (cause) {
      const message = `QMP: ${(cause as Error).message}`;
      settle(new QmpTransportError('protocol', message, { cause }));
    }
  }

  close(): void {
    this.#fail(new QmpTransportError('closed', 'the QMP session was closed by us'));
  }

  #greeting(): Promise<string> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => this.#greeted?.(new QmpTransportError('timeout', 'QEMU sent no QMP greeting')),
        this.timeoutMs,
      );
      this.#greeted = (version) => {
        clearTimeout(timer);
        this.#greeted = null;
        if (version instanceof Error) reject(version);
        else resolve(version);
      };
      if (this.#closed !== null) this.#greeted(this.#closed);
    });
  }

  #receive(chunk: Buffer): void {
    try {
      for (const line of this.#decoder.push(chunk)) this.#dispatch(parseMessage(line));
    } catch (error) {
      this.#fail(error as QmpTransportError);
    }
  }

  #dispatch(message: QmpMessage): void {
    if (message.kind === 'event') this.emit('event', message.event);
    else if (message.kind === 'untypedEvent') return;
    else if (message.kind === 'greeting') this.#greeted?.(message.version);
    // A reply whose caller gave up has no taker any more.
    else if (message.id !== null)
      this.#pending.get(message.id)?.(message.kind === 'return' ? message.value : message.error);
    else if (message.kind === 'error')
      throw new QmpTransportError('protocol', `QEMU: ${message.error.message}`);
  }

  #fail(error: QmpTransportError): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    this.stream.destroy();
    this.#greeted?.(error);
    for (const settle of [...this.#pending.values()]) settle(error);
    this.emit('close', error);
  }
}

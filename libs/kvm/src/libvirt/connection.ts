import { connect as connectSocket, type Socket } from 'node:net';
import { LibvirtConnectionError, LibvirtError } from './errors.js';
import {
  encodeMessage,
  FrameDecoder,
  Keepalive,
  MessageType,
  PROGRAM_KEEPALIVE,
  PROGRAM_VERSION,
  readError,
  Status,
  type Message,
} from './protocol.js';
import { XdrReader } from './xdr.js';

export interface CallOptions {
  /** Milliseconds until the caller gives up; the daemon may go on. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

export interface ConnectionOptions {
  readonly socketPath: string;
  readonly connectTimeoutMs?: number;
  readonly callTimeoutMs?: number;
  /** Calls in flight; further ones wait their turn in order. */
  readonly maxPending?: number;
  /** Milliseconds of silence after which a ping is sent; two unanswered ones close the connection. */
  readonly keepaliveMs?: number;
  readonly onEvent?: (message: Message) => void;
  readonly onClose?: (error: LibvirtConnectionError) => void;
}

interface Pending {
  readonly program: number;
  readonly procedure: number;
  readonly settle: (result: Buffer | Error) => void;
}

const DEFAULT_CALL_MS = 30_000;
const DEFAULT_KEEPALIVE_MS = 5_000;
const MISSED_PINGS = 2;

/** One socket to the daemon: calls matched by serial, pushes to `onEvent`, keepalive both ways. */
export class RpcConnection {
  readonly #socket: Socket;
  readonly #decoder = new FrameDecoder();
  readonly #pending = new Map<number, Pending>();
  readonly #waiting: (() => void)[] = [];
  #serial = 0;
  #inFlight = 0;
  #unanswered = 0;
  #heard = true;
  #keepalive: NodeJS.Timeout | null = null;
  #closed: LibvirtConnectionError | null = null;

  private constructor(
    socket: Socket,
    private readonly options: ConnectionOptions,
  ) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', (cause) =>
      this.#fail(
        new LibvirtConnectionError('closed', `libvirt connection failed: ${cause.message}`, { cause }),
      ),
    );
    socket.on('close', () =>
      this.#fail(new LibvirtConnectionError('closed', 'libvirtd closed the connection')),
    );
  }

  /** @throws LibvirtConnectionError `unreachable` when nothing answers at the path. */
  static open(options: ConnectionOptions): Promise<RpcConnection> {
    return new Promise((resolve, reject) => {
      const socket = connectSocket(options.socketPath);
      const refuse = (cause: Error): void => {
        socket.destroy();
        const text = `cannot reach libvirtd at ${options.socketPath}: ${cause.message}`;
        reject(new LibvirtConnectionError('unreachable', text, { cause }));
      };
      const timer = setTimeout(() => refuse(new Error('timed out')), options.connectTimeoutMs ?? 5_000);
      socket.once('error', refuse);
      socket.once('connect', () => {
        clearTimeout(timer);
        socket.off('error', refuse);
        resolve(new RpcConnection(socket, options));
      });
      socket.once('error', () => clearTimeout(timer));
    });
  }

  get isClosed(): boolean {
    return this.#closed !== null;
  }

  /** Starts pinging. The daemon must have said that it knows keepalive. */
  startKeepalive(): void {
    this.#keepalive ??= setInterval(() => this.#beat(), this.options.keepaliveMs ?? DEFAULT_KEEPALIVE_MS);
    this.#keepalive.unref();
  }

  /** @throws LibvirtError from the daemon, LibvirtConnectionError when no answer came. */
  async call(
    program: number,
    procedure: number,
    payload: Uint8Array,
    options: CallOptions = {},
  ): Promise<XdrReader> {
    await this.#turn(options.signal);
    try {
      return new XdrReader(await this.#exchange(program, procedure, payload, options));
    } finally {
      this.#inFlight -= 1;
      this.#waiting.shift()?.();
    }
  }

  /** Ends the connection; pending calls fail with `closed`. */
  close(): void {
    this.#fail(new LibvirtConnectionError('closed', 'the libvirt connection was closed by us'));
  }

  async #turn(signal: AbortSignal | undefined): Promise<void> {
    while (this.#inFlight >= (this.options.maxPending ?? Infinity) && this.#closed === null) {
      if (signal?.aborted) break;
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          signal?.removeEventListener('abort', giveUp);
          resolve();
        };
        const giveUp = (): void => {
          const at = this.#waiting.indexOf(wake);
          if (at >= 0) this.#waiting.splice(at, 1);
          resolve();
        };
        this.#waiting.push(wake);
        signal?.addEventListener('abort', giveUp, { once: true });
      });
    }
    if (this.#closed !== null) throw this.#closed;
    if (signal?.aborted) {
      // The wake-up may have been meant for the next in line.
      if (this.#inFlight < (this.options.maxPending ?? Infinity)) this.#waiting.shift()?.();
      throw new LibvirtConnectionError('aborted', 'the call was aborted before it was sent');
    }
    this.#inFlight += 1;
  }

  #exchange(program: number, procedure: number, payload: Uint8Array, options: CallOptions): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const serial = (this.#serial = (this.#serial + 1) >>> 0);
      const timeoutMs = options.timeoutMs ?? this.options.callTimeoutMs ?? DEFAULT_CALL_MS;
      const settle = (result: Buffer | Error): void => {
        clearTimeout(timer);
        options.signal?.removeEventListener('abort', abort);
        this.#pending.delete(serial);
        if (result instanceof Error) reject(result);
        else resolve(result);
      };
      const abort = (): void =>
        settle(new LibvirtConnectionError('aborted', `procedure ${procedure} was aborted`));
      const timer = setTimeout(
        () =>
          settle(
            new LibvirtConnectionError('timeout', `procedure ${procedure}: no answer in ${timeoutMs} ms`),
          ),
        timeoutMs,
      );
      this.#pending.set(serial, { program, procedure, settle });
      options.signal?.addEventListener('abort', abort, { once: true });
      this.#send({ program, procedure, type: MessageType.call, serial }, payload);
    });
  }

  #send(
    head: { program: number; procedure: number; type: number; serial: number },
    payload: Uint8Array = Buffer.alloc(0),
  ): void {
    this.#socket.write(encodeMessage({ ...head, version: PROGRAM_VERSION, status: Status.ok }, payload));
  }

  #receive(chunk: Buffer): void {
    this.#heard = true;
    try {
      for (const message of this.#decoder.push(chunk)) this.#dispatch(message);
    } catch (cause) {
      const text = `libvirtd broke the protocol: ${(cause as Error).message}`;
      this.#fail(new LibvirtConnectionError('protocol', text, { cause }));
    }
  }

  #dispatch(message: Message): void {
    if (message.program === PROGRAM_KEEPALIVE) {
      if (message.procedure === Keepalive.ping) this.#keepaliveSend(Keepalive.pong);
      return;
    }
    if (message.type === MessageType.event) {
      this.options.onEvent?.(message);
      return;
    }
    if (message.type !== MessageType.reply) return;
    const pending = this.#pending.get(message.serial);
    // An answer that comes after its caller gave up.
    if (pending === undefined) return;
    if (pending.program !== message.program || pending.procedure !== message.procedure)
      throw new Error(
        `answer ${message.serial} is for procedure ${message.procedure}, not ${pending.procedure}`,
      );
    if (message.status === Status.ok) pending.settle(message.payload);
    else pending.settle(new LibvirtError(readError(new XdrReader(message.payload))));
  }

  #beat(): void {
    if (this.#heard) this.#unanswered = 0;
    else if (this.#unanswered >= MISSED_PINGS) {
      this.#fail(new LibvirtConnectionError('timeout', 'libvirtd does not answer keepalive pings'));
      return;
    }
    this.#heard = false;
    this.#unanswered += 1;
    this.#keepaliveSend(Keepalive.ping);
  }

  #keepaliveSend(procedure: number): void {
    this.#send({ program: PROGRAM_KEEPALIVE, procedure, type: MessageType.event, serial: 0 });
  }

  #fail(error: LibvirtConnectionError): void {
    if (this.#closed !== null) return;
    this.#closed = error;
    if (this.#keepalive !== null) clearInterval(this.#keepalive);
    this.#socket.destroy();
    for (const pending of [...this.#pending.values()]) pending.settle(error);
    for (const wake of this.#waiting.splice(0)) wake();
    this.options.onClose?.(error);
  }
}

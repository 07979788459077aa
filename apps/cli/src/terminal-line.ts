import type { IncomingMessage } from 'node:http';
import type { Writable } from 'node:stream';
import {
  errorOf,
  inputMessages,
  orderMessage,
  ProblemError,
  terminalMessage,
  UnreachableError,
} from '@berth/client';
import type { TerminalEnd, TerminalNotice, TerminalOrder } from '@berth/model';
import type { WebSocket } from 'ws';

/** The API says something at least every 20 seconds; after this long without a word it is away, milliseconds. */
const silenceMs = 65_000;
/** How long the API has to agree to an end, milliseconds. */
const leaveMs = 1000;

export interface TerminalPorts {
  readonly output: Writable;
  readonly errorOutput: Writable;
  /** The host has opened it. */
  readonly opened?: (line: TerminalLine) => void;
  /** Sees output before it is written. */
  readonly see?: (bytes: Uint8Array) => void;
}

/**
 * The client's end of one terminal of the API. What is not taken here is not read from the API, which holds its host up.
 *
 *   connect -> (bytes both ways) -> ended, or left
 */
export class TerminalLine {
  private last: TerminalNotice | null = null;
  private leaving = false;
  private silence: NodeJS.Timeout | undefined;
  /**
   * How it ended by itself; null when this side left. @throws ProblemError what the API says of it, UnreachableError when
   * the connection broke
   */
  readonly ended: Promise<TerminalEnd | null>;

  private constructor(
    private readonly socket: WebSocket,
    private readonly ports: TerminalPorts,
  ) {
    socket.on('message', (data: Buffer, binary) => this.heard(binary ? data : data.toString('utf8')));
    socket.on('ping', () => this.listen());
    socket.on('error', () => undefined);
    this.ended = new Promise((resolve, reject) => {
      socket.once('close', () => {
        clearTimeout(this.silence);
        const { last } = this;
        if (last?.type === 'exit') resolve(last.end);
        else if (this.leaving) resolve(null);
        else if (last?.type === 'problem') reject(new ProblemError(last.problem));
        else reject(new UnreachableError('the connection to the API broke', false));
      });
    });
  }

  /** @throws ProblemError where the ticket is refused, UnreachableError */
  static async connect(url: URL, ports: TerminalPorts): Promise<TerminalLine> {
    const { WebSocket } = await import('ws');
    const socket = new WebSocket(url, { perMessageDeflate: false });
    const line = new TerminalLine(socket, ports);
    line.ended.catch(() => undefined);
    return new Promise((resolve, reject) => {
      socket.once('open', () => {
        line.listen();
        resolve(line);
      });
      socket.once('error', (cause) =>
        reject(new UnreachableError(`the API does not answer: ${cause.message}`, false, { cause })),
      );
      socket.once(
        'unexpected-response',
        (_request, answer: IncomingMessage) => void refusal(answer).then(reject),
      );
    });
  }

  /** Resolves when the bytes have left for the API: whoever pipes waits for it. */
  async type(bytes: Uint8Array): Promise<void> {
    for (const message of inputMessages(bytes)) await this.send(message);
  }

  async order(order: TerminalOrder): Promise<void> {
    await this.send(orderMessage(order));
  }

  /** Ends it from this side, and with it the program of an exec. */
  leave(): void {
    this.leaving = true;
    this.socket.close();
    // An API that does not answer holds nobody up.
    setTimeout(() => this.socket.terminate(), leaveMs).unref();
  }

  private send(message: Uint8Array | string): Promise<void> {
    return new Promise((resolve) => {
      // An error is the end of the connection, which `ended` tells.
      if (this.socket.readyState === this.socket.OPEN) this.socket.send(message, () => resolve());
      else resolve();
    });
  }

  private heard(data: Buffer | string): void {
    this.listen();
    const message = terminalMessage(data);
    if (message.type === 'opened') this.ports.opened?.(this);
    else if (message.type !== 'bytes') this.last = message;
    else {
      this.ports.see?.(message.bytes);
      const stream = message.channel === 'output' ? this.ports.output : this.ports.errorOutput;
      if (stream.write(message.bytes)) return;
      // Nothing is heard meanwhile, so silence means nothing.
      clearTimeout(this.silence);
      this.socket.pause();
      stream.once('drain', () => {
        this.listen();
        this.socket.resume();
      });
    }
  }

  private listen(): void {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.socket.terminate(), silenceMs);
  }
}

/** The problem document with which an upgrade was refused. */
export async function refusal(answer: IncomingMessage): Promise<Error> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  return errorOf(new Response(Buffer.concat(chunks), { status: answer.statusCode ?? 500 }));
}

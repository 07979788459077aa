import { inputMessages, orderMessage, terminalMessage, type TerminalMessage } from '@berth/client';
import { overOf, type TerminalState } from './state.js';

/** What is used of a browser's WebSocket. */
export type Socket = Pick<WebSocket, 'send' | 'close' | 'binaryType' | 'readyState' | 'addEventListener'>;

export interface TerminalListener {
  /** Output as it comes; `taken` is called when it is drawn. */
  output(bytes: Uint8Array, taken: () => void): void;
  state(state: TerminalState): void;
}

/** `WebSocket.OPEN` */
const openState = 1;

/** Output that waits to be drawn: with more than the first the API is held, below the second it goes on. Bytes. */
const heldAbove = 1024 * 1024;
const goesOnBelow = 128 * 1024;

/** One terminal of the API in a page. */
export class TerminalConnection {
  private last: TerminalMessage | null = null;
  private opened = false;
  private closed = false;
  private undrawn = 0;
  private holding = false;

  constructor(
    private readonly socket: Socket,
    private readonly listener: TerminalListener,
  ) {
    socket.binaryType = 'arraybuffer';
    socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) =>
      this.heard(terminalMessage(typeof data === 'string' ? data : new Uint8Array(data))),
    );
    socket.addEventListener('close', () => {
      if (!this.closed) listener.state(overOf(this.last, this.opened));
    });
  }

  type(bytes: Uint8Array): void {
    for (const message of inputMessages(bytes)) this.send(message);
  }

  resize(columns: number, rows: number): void {
    this.send(orderMessage({ type: 'resize', columns, rows }));
  }

  /** Ends it; nothing is told any more. */
  close(): void {
    this.closed = true;
    this.socket.close();
  }

  private heard(message: TerminalMessage): void {
    if (this.closed) return;
    if (message.type === 'bytes') return this.draw(message.bytes);
    if (message.type !== 'opened') return void (this.last = message);
    this.opened = true;
    this.listener.state({ at: 'open' });
  }

  /** A program may print faster than a page can draw. */
  private draw(bytes: Uint8Array): void {
    this.undrawn += bytes.length;
    this.hold();
    this.listener.output(bytes, () => {
      this.undrawn -= bytes.length;
      this.hold();
    });
  }

  private hold(): void {
    const holding = this.holding ? this.undrawn >= goesOnBelow : this.undrawn > heldAbove;
    if (holding === this.holding) return;
    this.holding = holding;
    this.send(orderMessage({ type: holding ? 'hold' : 'goOn' }));
  }

  private send(message: string | Uint8Array<ArrayBuffer>): void {
    if (this.socket.readyState === openState) this.socket.send(message);
  }
}

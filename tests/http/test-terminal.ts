import { TerminalNotice, terminalChannels, type TerminalFlow, type TerminalOrder } from '@berth/model';
import { WebSocket } from 'ws';

/** Asks until the answer is good; fails when the deadline passes. */
export async function until<T>(
  ask: () => T | Promise<T>,
  what: string,
  good: (answer: T) => boolean = Boolean,
): Promise<T> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const answer = await ask();
    if (good(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`waited in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** A client of one terminal that keeps all it is told. */
export class TestTerminal {
  readonly notices: TerminalNotice[] = [];
  private readonly pieces: { channel: number; bytes: Buffer }[] = [];
  /** Code of the close. */
  readonly closed: Promise<number>;

  private constructor(readonly socket: WebSocket) {
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => undefined);
    socket.on('message', (data: Buffer, binary) => {
      if (binary) this.pieces.push({ channel: data[0] as number, bytes: data.subarray(1) });
      else this.notices.push(TerminalNotice.parse(JSON.parse(data.toString())));
    });
  }

  /** @throws Error with status and body where the upgrade is refused */
  static open(url: string, headers: Record<string, string> = {}): Promise<TestTerminal> {
    const socket = new WebSocket(url, { headers });
    const terminal = new TestTerminal(socket);
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve(terminal));
      socket.once('error', reject);
      socket.once('unexpected-response', (_request, response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => reject(new Error(`${response.statusCode}: ${text}`)));
      });
    });
  }

  get output(): Buffer {
    return this.channel(terminalChannels.output);
  }
  /** Length of the output, for where there is much of it. */
  get outputBytes(): number {
    return this.pieces.reduce(
      (sum, p) => sum + (p.channel === terminalChannels.output ? p.bytes.length : 0),
      0,
    );
  }
  get errorOutput(): Buffer {
    return this.channel(terminalChannels.errorOutput);
  }

  notice(type: TerminalNotice['type']): Promise<TerminalNotice | undefined> {
    return until(() => this.notices.find((n) => n.type === type), `the notice ${type}`);
  }

  type(bytes: Uint8Array): void {
    this.socket.send(Buffer.concat([Buffer.from([terminalChannels.input]), bytes]));
  }

  order(order: TerminalOrder | TerminalFlow): void {
    this.socket.send(JSON.stringify(order));
  }

  close(): void {
    this.socket.close();
  }
  terminate(): void {
    this.socket.terminate();
  }

  private channel(channel: number): Buffer {
    return Buffer.concat(this.pieces.filter((p) => p.channel === channel).map((p) => p.bytes));
  }
}

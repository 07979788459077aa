import type { ExecOpen, ExitInfo, TerminalEnd, TerminalSize } from '@berth/model';
import { TerminalPipe, type Terminal, type TerminalOutput } from '@berth/runtime';
import { PAYLOAD_BYTES, WINDOW_BYTES, type Frame } from './frames.js';
import { fieldsEncode, type GuestField } from './guest-fields.js';
import type { GuestSession } from './guest-session.js';

const usualSize: TerminalSize = { columns: 80, rows: 24 };

/**
 * A program that a guest's first process runs beside the entry point, with its rights, environment and pid namespace:
 *
 *   asked for -> runs -> over (its output is all here, and how it ended) ; closed at any time -> over
 */
export class GuestExec implements Terminal {
  readonly ended: Promise<TerminalEnd | null>;
  readonly #pipe = new TerminalPipe();
  readonly #id: number;
  /** Output on its way to the reader, in order. */
  #passing: Promise<void> = Promise.resolve();
  /** Bytes of input that the guest has room for, and who waits for more. */
  #room = WINDOW_BYTES;
  #waiting: (() => void)[] = [];
  #writing: Promise<void> = Promise.resolve();
  #over = false;
  #settle: (end: TerminalEnd | null) => void = () => undefined;

  constructor(
    private readonly session: GuestSession,
    /** What is asked of the guest: its fields. */
    asked: readonly GuestField[],
    /** How the machine's run ended, once it has. */
    workloadEnd: Promise<ExitInfo | null>,
    signal: AbortSignal,
  ) {
    this.ended = new Promise((resolve) => (this.#settle = resolve));
    this.#id = session.begin((frame) => this.#receive(frame));
    const request = fieldsEncode(asked);
    for (let at = 0; at < request.length; at += PAYLOAD_BYTES)
      session.send('x', this.#id, request.subarray(at, at + PAYLOAD_BYTES));
    session.send('X', this.#id);
    void workloadEnd.then((exit) => this.#finish({ reason: 'workloadEnded', exit }));
    signal.addEventListener('abort', () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  get output(): AsyncIterable<TerminalOutput> {
    return this.#pipe;
  }

  write(bytes: Uint8Array): Promise<void> {
    this.#writing = this.#writing.then(() => this.#write(bytes));
    return this.#writing;
  }

  endInput(): void {
    void this.#writing.then(() => this.session.send('E', this.#id));
  }

  resize({ columns, rows }: TerminalSize): void {
    const size = Buffer.alloc(4);
    size.writeUInt16LE(columns, 0);
    size.writeUInt16LE(rows, 2);
    this.session.send('R', this.#id, size);
  }

  close(): void {
    if (this.#over) return;
    this.session.send('K', this.#id);
    this.#pipe.cut();
    this.#end(null);
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.#over;) {
      if (this.#room === 0) {
        await new Promise<void>((wake) => this.#waiting.push(wake));
        continue;
      }
      const part = bytes.subarray(at, at + Math.min(this.#room, PAYLOAD_BYTES));
      this.#room -= part.length;
      at += part.length;
      this.session.send('I', this.#id, part);
    }
  }

  #receive(frame: Frame | null): void {
    if (frame === null) return this.#lost();
    const { kind, payload } = frame;
    if (kind === 'O') this.#pass('output', payload);
    else if (kind === 'F') this.#pass('errorOutput', payload);
    else if (kind === 'C' && payload.length === 4) {
      this.#room = Math.min(WINDOW_BYTES, this.#room + payload.readUInt32LE(0));
      this.#wake();
    } else if (kind === 'Z') this.#finish(endOf(payload.toString('utf8')));
  }

  #pass(channel: TerminalOutput['channel'], bytes: Buffer): void {
    this.#passing = this.#passing.then(async () => {
      await this.#pipe.push({ channel, bytes });
      const count = Buffer.alloc(4);
      count.writeUInt32LE(bytes.length);
      this.session.send('C', this.#id, count);
    });
  }

  /** The conversation is over: the machine ended, which is told in a moment, or the guest fails. */
  #lost(): void {
    const late = setTimeout(
      () => this.#finish({ reason: 'failed', message: 'the way into the guest was lost' }),
      2_000,
    );
    void this.ended.then(() => clearTimeout(late));
  }

  /** After the last byte of its output. */
  #finish(end: TerminalEnd): void {
    void this.#passing.then(() => {
      if (this.#over) return;
      this.#pipe.end();
      this.#end(end);
    });
  }

  #end(end: TerminalEnd | null): void {
    this.#over = true;
    this.session.forget(this.#id);
    this.#settle(end);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake();
  }
}

/** What asks for a program. */
export function execRequest({ command, tty, size = usualSize, env, user, workdir }: ExecOpen): GuestField[] {
  return [
    ...command.map((arg) => ['arg', arg] as const),
    ...(tty
      ? ([
          ['tty', `${size.columns}x${size.rows}`],
          ['env', 'TERM=xterm-256color'],
        ] as const)
      : []),
    ...Object.entries(env ?? {}).map(([name, value]) => ['env', `${name}=${value}`] as const),
    ...(user === undefined ? [] : [['user', user] as const]),
    ...(workdir === undefined ? [] : [['cwd', workdir] as const]),
  ];
}

function endOf(words: string): TerminalEnd {
  const [, how, rest = ''] = /^(exited|signalled|failed) ([^]*)$/.exec(words) ?? [];
  if (how === 'failed') return { reason: 'failed', message: rest.slice(0, 500) };
  const number = /^\d{1,3}$/.test(rest) ? Number(rest) : 255;
  return { reason: 'exited', code: how === 'signalled' ? 128 + number : number };
}

import type { ConsoleOpen, ExecOpen, ExitInfo, TerminalEnd, TerminalSize } from '@berth/model';
import type { Terminal, TerminalOutput } from './runtime.js';
import { TerminalPipe } from './terminal-pipe.js';

/** What simulated terminals have in common: an end that comes once. */
export abstract class SimulatedTerminal implements Terminal {
  readonly ended: Promise<TerminalEnd | null>;
  protected readonly pipe = new TerminalPipe();
  private settle: (end: TerminalEnd | null) => void = () => undefined;
  protected readonly over = new AbortController();

  constructor(workloadEnd: Promise<ExitInfo | null>, signal: AbortSignal) {
    this.ended = new Promise((resolve) => (this.settle = resolve));
    void workloadEnd.then((exit) => this.end({ reason: 'workloadEnded', exit }));
    signal.addEventListener('abort', () => this.close(), { once: true });
  }

  get output(): AsyncIterable<TerminalOutput> {
    return this.pipe;
  }

  abstract write(bytes: Uint8Array): Promise<void>;
  endInput(): void {}
  resize(_size: TerminalSize): void {}

  protected end(how: TerminalEnd): void {
    this.settle(how);
    this.pipe.end();
    this.over.abort();
  }

  close(): void {
    this.settle(null);
    this.pipe.cut();
    this.over.abort();
  }

  protected say(text: string, channel: TerminalOutput['channel'] = 'output'): Promise<void> {
    return this.pipe.push({ channel, bytes: Buffer.from(text) });
  }
}

interface Guest {
  readonly type: (text: string) => void;
  readonly follow: (tailBytes: number, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  readonly ended: Promise<ExitInfo | null>;
}

/** Serial console of a guest that says back what is typed. */
export class SimulatedConsole extends SimulatedTerminal {
  constructor(
    open: ConsoleOpen,
    private readonly guest: Guest,
    signal: AbortSignal,
  ) {
    super(guest.ended, signal);
    void this.copy(open.scrollbackBytes);
  }

  write(bytes: Uint8Array): Promise<void> {
    this.guest.type(Buffer.from(bytes).toString());
    return Promise.resolve();
  }

  private async copy(tailBytes: number): Promise<void> {
    for await (const bytes of this.guest.follow(tailBytes, this.over.signal))
      await this.pipe.push({ channel: 'output', bytes });
  }
}

/** A process of a container that has five programs; `sleep` ends with its terminal only. */
export class SimulatedProcess extends SimulatedTerminal {
  constructor(
    private readonly open: ExecOpen,
    workloadEnd: Promise<ExitInfo | null>,
    signal: AbortSignal,
  ) {
    super(workloadEnd, signal);
    void this.begin();
  }

  private async begin(): Promise<void> {
    const [program = '', ...args] = this.open.command;
    if (program === 'exit') return this.end({ reason: 'exited', code: Number(args[0]) });
    if (program === 'cat' || program === 'sleep') return;
    if (program === 'size') return this.resize(this.open.size ?? { columns: 80, rows: 24 });
    if (program !== 'echo') return this.end({ reason: 'failed', message: `${program}: not found` });
    await this.say(`${args.join(' ')}\n`);
    await this.say('echoed\n', this.open.tty ? 'output' : 'errorOutput');
    this.end({ reason: 'exited', code: 0 });
  }

  write(bytes: Uint8Array): Promise<void> {
    if (this.open.command[0] !== 'cat') return Promise.resolve();
    return this.pipe.push({ channel: 'output', bytes });
  }

  override endInput(): void {
    if (this.open.command[0] !== 'sleep') this.end({ reason: 'exited', code: 0 });
  }

  override resize(size: TerminalSize): void {
    if (this.open.command[0] === 'size') void this.say(`${size.columns}x${size.rows}\n`);
  }
}

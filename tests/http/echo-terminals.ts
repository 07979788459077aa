import {
  BerthError,
  type Instance,
  type SendKeys,
  type TerminalOpen,
  type TerminalOrder,
} from '@berth/model';
import { pngOf } from '@berth/runtime';
import type { OpenTerminal, Terminals } from '../../apps/api/src/http/deps.js';
import type { TerminalSaying } from '../../apps/api/src/dispatch/host-terminal.js';

/** A terminal that says back what is typed, tells of orders, and ends when told to. */
export class EchoTerminal implements OpenTerminal {
  readonly typed: Buffer[] = [];
  readonly orders: TerminalOrder[] = [];
  closed = false;
  /** While false, nobody takes what is typed. */
  reading = true;
  private readonly queue: TerminalSaying[] = [];
  private wake: () => void = () => undefined;

  constructor(
    readonly instance: Instance,
    readonly open: TerminalOpen,
    signal: AbortSignal,
  ) {
    signal.addEventListener('abort', () => this.close(), { once: true });
  }

  async *sayings(): AsyncGenerator<TerminalSaying> {
    while (!this.closed) {
      const next = this.queue.shift();
      if (next !== undefined) {
        yield next;
        if ('end' in next) return;
      } else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }

  /** What nobody has taken yet. */
  get unsaid(): number {
    return this.queue.length;
  }

  say(saying: TerminalSaying): void {
    this.queue.push(saying);
    this.wake();
  }

  async type(bytes: Uint8Array): Promise<void> {
    this.typed.push(Buffer.from(bytes));
    this.say({ channel: 'output', bytes: Buffer.from(bytes) });
    if (!this.reading) await new Promise(() => undefined);
  }

  order(order: TerminalOrder): Promise<void> {
    this.orders.push(order);
    return Promise.resolve();
  }

  close(): void {
    this.closed = true;
    this.wake();
  }
}

/** What stands for the hosts behind the HTTP application. */
export class EchoTerminals implements Terminals {
  readonly opened: EchoTerminal[] = [];
  /** Thrown at the next opening. */
  refusal: BerthError | null = null;
  away = false;
  /** What was sent to keyboards, in order. */
  readonly keys: SendKeys[] = [];

  refuseAway(instance: Instance): void {
    if (this.away)
      throw new BerthError('unavailable', `the host of ${instance.name} is not connected to this API`);
  }

  open(instance: Instance, open: TerminalOpen, signal: AbortSignal): Promise<EchoTerminal> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    const terminal = new EchoTerminal(instance, open, signal);
    this.opened.push(terminal);
    return Promise.resolve(terminal);
  }

  /** Screens of two pixels, the first; the second has four, and so on. */
  screenshot(_instance: Instance, head: number): Promise<Uint8Array> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    const rgb = Buffer.alloc(6 * (head + 1), Buffer.from([255, 0, 0, 0, 0, 255]));
    return pngOf({ width: 2 * (head + 1), height: 1, rgb });
  }

  sendKeys(_instance: Instance, keys: SendKeys): Promise<void> {
    if (this.refusal !== null) return Promise.reject(this.refusal);
    this.keys.push(keys);
    return Promise.resolve();
  }
}

import type { ExitInfo, Instance, TerminalOpen } from '@berth/model';
import { SimulatedDisplay, simulatedScreen } from '../../libs/runtime/src/simulated-display.js';
import { Guests } from '../cli/guests.js';
import { EchoTerminal } from '../http/echo-terminals.js';

/** The guests of the command line's tests, and machines with a screen that shows what is typed. */
export class ScreenGuests extends Guests {
  override open(instance: Instance, open: TerminalOpen, signal: AbortSignal): ReturnType<Guests['open']> {
    if (open.kind !== 'display' || this.refusal !== null) return super.open(instance, open, signal);
    const guest = new ScreenGuest(instance, open, signal);
    this.opened.push(guest);
    return Promise.resolve(guest as unknown as Awaited<ReturnType<Guests['open']>>);
  }
}

/** An RFB server for one viewer. */
export class ScreenGuest extends EchoTerminal {
  /** What was typed, as far as it is Latin-1. */
  text = 'What the firmware wrote. ';
  private readonly display: SimulatedDisplay;
  private changed: () => void = () => undefined;

  constructor(instance: Instance, open: TerminalOpen, signal: AbortSignal) {
    super(instance, open, signal);
    const guest = {
      type: (text: string) => {
        this.text += text;
        this.changed();
      },
      follow: (until: AbortSignal) => this.changes(until),
      screen: () => simulatedScreen(this.text),
      ended: new Promise<ExitInfo | null>(() => undefined),
    };
    this.display = new SimulatedDisplay(guest, signal);
    void this.carry();
  }

  override type(bytes: Uint8Array): Promise<void> {
    return this.display.write(bytes);
  }
  override close(): void {
    super.close();
    this.display?.close();
  }

  private async carry(): Promise<void> {
    for await (const { bytes } of this.display.output)
      this.say({ channel: 'output', bytes: Buffer.from(bytes) });
  }
  private async *changes(until: AbortSignal): AsyncGenerator<Uint8Array> {
    while (!until.aborted) {
      await new Promise<void>((resolve) => {
        this.changed = resolve;
        until.addEventListener('abort', () => resolve(), { once: true });
      });
      yield Buffer.alloc(0);
    }
  }
}

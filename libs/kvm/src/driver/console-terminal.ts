import type { ExitInfo, TerminalEnd } from '@berth/model';
import type { Terminal, TerminalOutput } from '@berth/runtime';
import type { SerialLine } from './serial-line.js';

export interface ConsoleParts {
  /** The log from its last bytes on. Once `finish` fires it ends where the log ends then. */
  readonly bytes: (finish: AbortSignal, signal: AbortSignal) => AsyncIterable<Uint8Array>;
  /** Entered already; null for one that only reads. */
  readonly line: SerialLine | null;
  /** How the machine's run ended, when it does. */
  readonly machineEnd: (signal: AbortSignal) => Promise<ExitInfo | null>;
}

/** The serial console of a machine: its log as it grows, and a line in. Readers at their own pace hold nobody up. */
export class ConsoleTerminal implements Terminal {
  readonly ended: Promise<TerminalEnd | null>;
  readonly output: AsyncIterable<TerminalOutput>;
  readonly #over = new AbortController();
  readonly #finish = new AbortController();

  constructor(
    private readonly parts: ConsoleParts,
    signal: AbortSignal,
  ) {
    this.output = this.#output();
    const closed = new Promise<null>((resolve) =>
      this.#over.signal.addEventListener('abort', () => resolve(null), { once: true }),
    );
    this.ended = Promise.race([closed, this.#end()]);
    void this.ended.then(() => this.parts.line?.leave());
    signal.addEventListener('abort', () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  /** What cannot be handed over any more is dropped: the machine has ended, or ends. */
  async write(bytes: Uint8Array): Promise<void> {
    if (this.#over.signal.aborted) return;
    await this.parts.line?.write(bytes, this.#over.signal).catch(() => undefined);
  }

  endInput(): void {}
  resize(): void {}

  close(): void {
    if (this.#over.signal.aborted) return;
    this.#over.abort();
  }

  async *#output(): AsyncGenerator<TerminalOutput> {
    for await (const bytes of this.parts.bytes(this.#finish.signal, this.#over.signal))
      yield { channel: 'output', bytes };
  }

  async #end(): Promise<TerminalEnd> {
    const exit = await this.parts.machineEnd(this.#over.signal);
    this.#finish.abort();
    return { reason: 'workloadEnded', exit };
  }
}

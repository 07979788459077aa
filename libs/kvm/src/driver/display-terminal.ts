import type { ExitInfo, TerminalEnd } from '@berth/model';
import { writeWithRoom, type Terminal, type TerminalOutput } from '@berth/runtime';
import type { Socket } from 'node:net';

/** One viewer of a machine's display: what QEMU's VNC server says and is told, as it is. */
export class DisplayTerminal implements Terminal {
  readonly ended: Promise<TerminalEnd | null>;
  readonly output: AsyncIterable<TerminalOutput>;
  readonly #over = new AbortController();

  constructor(
    private readonly socket: Socket,
    /** How the machine's run ended, when it does. */
    machineEnd: (signal: AbortSignal) => Promise<ExitInfo | null>,
    signal: AbortSignal,
  ) {
    this.output = this.#output();
    const closed = new Promise<null>((resolve) =>
      this.#over.signal.addEventListener('abort', () => resolve(null), { once: true }),
    );
    const machine = machineEnd(this.#over.signal).then(
      (exit) => ({ reason: 'workloadEnded', exit }) as const,
    );
    this.ended = Promise.race([closed, machine]);
    void this.ended.then(() => this.socket.destroy());
    signal.addEventListener('abort', () => this.close(), { once: true });
    if (signal.aborted) this.close();
  }

  /** What cannot be handed over any more is dropped: the machine has ended, or ends. */
  async write(bytes: Uint8Array): Promise<void> {
    if (!this.socket.destroyed) await writeWithRoom(this.socket, bytes, this.#over.signal);
  }

  endInput(): void {}
  resize(): void {}

  close(): void {
    this.#over.abort();
  }

  /** A viewer that does not read holds only itself up: QEMU leaves out what it has no room for. */
  async *#output(): AsyncGenerator<TerminalOutput> {
    try {
      for await (const bytes of this.socket as AsyncIterable<Buffer>) yield { channel: 'output', bytes };
    } catch (error) {
      // Destroyed from this side, or reset: how it ended, `ended` tells.
      if (!this.socket.destroyed) throw error;
    }
  }
}

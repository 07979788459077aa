import type { Socket } from 'node:net';
import { keyText, type WorkloadKey } from '@berth/runtime';
import { SerialLine } from './serial-line.js';

/** Lines in of the machines at which somebody types: all who type at one share its line. */
export class SerialLines {
  readonly #lines = new Map<string, SerialLine>();

  constructor(private readonly connect: (key: WorkloadKey) => Promise<Socket>) {}

  /** The machine's line, entered. @throws what `connect` throws */
  async enter(key: WorkloadKey): Promise<SerialLine> {
    const text = keyText(key);
    const line = this.#lines.get(text) ?? new SerialLine(() => this.connect(key));
    this.#lines.set(text, line);
    await line.enter();
    return line;
  }

  /** The machine has ended, or goes on as another process. */
  forget(key: WorkloadKey): void {
    this.#lines.delete(keyText(key));
  }

  close(): void {
    for (const line of this.#lines.values()) line.close();
  }
}

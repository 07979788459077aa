import { closeSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { hasCode, ptyEndLines, ptyMasterOf, ptyRest } from '@berth/linux';
import { LineEnds } from './line-ends.js';

/** From one look at the relay to the next, ms. */
const LOOK_MS = 2;
/** More than a terminal holds, bytes. */
const REST_BYTES = 128 * 1024;
/** What was written before the terminal was set right is through the relay after this, ms. */
const ON_ITS_WAY_MS = 100;

/** The relay as far as its terminal goes. */
export interface RelayView {
  /** Null once it is gone. */
  readonly pid: () => number | null;
  /** The process runs: from then on the OCI runtime leaves the terminal as it is (runc writes the pid file afterwards). */
  readonly running: () => boolean;
  /** Descriptor of the terminal that it was given. */
  readonly outer: number;
}

/**
 * The terminal of a process in a container. The OCI runtime, which relays it, holds its master and has two habits that
 * are made good here by a copy of that master:
 *
 * - runc turns ONLCR off, for the terminal it is called from to end the lines, and does so an instant after the process
 *   began to write. Which lines come with which end is chance, and a program that asks for bare line feeds gets others.
 *   It is turned on again; what was written before that gets its line ends here.
 * - It ends with its process, and what it, or we of it, have not read by then would be lost.
 */
export class InnerTerminal {
  private master: number | null = null;
  private readonly ends = new LineEnds();
  /** When the terminal was set right, in ms of the monotonic clock. */
  private rightSince = Infinity;

  constructor(private readonly relay: RelayView) {}

  /** Until it is set right, or the relay is gone. Where it may not be taken, line ends are put here for as long as it lives. */
  async setRight(): Promise<void> {
    await this.taken().catch((error: unknown) => {
      if (!hasCode(error, 'EPERM', 'ENOSYS')) throw error;
    });
  }

  /** Output that came by the relay, as the terminal is to show it. */
  shown(bytes: Uint8Array): Uint8Array {
    return performance.now() > this.rightSince + ON_ITS_WAY_MS ? bytes : this.ends.whole(bytes);
  }

  /** What is left once the relay is gone: of what it wrote, and of what it did not read. */
  *rest(): Generator<Uint8Array> {
    // A stream takes the end of the relay for the end of what it wrote (libuv, after a short read).
    for (const bytes of ptyRest(this.relay.outer, REST_BYTES)) yield this.shown(bytes);
    // Who still has this terminal may write on: no more than it holds.
    if (this.master !== null) for (const bytes of ptyRest(this.master, REST_BYTES)) yield this.shown(bytes);
  }

  /** Whoever still has the terminal loses it. */
  close(): void {
    if (this.master !== null) closeSync(this.master);
    this.master = null;
  }

  private async taken(): Promise<void> {
    for (let pid = this.relay.pid(); pid !== null; pid = this.relay.pid()) {
      const running = this.relay.running();
      this.master ??= ptyMasterOf(pid, this.relay.outer);
      // At once, before the program sets anything itself; once it runs, what is not wrong stays right.
      if (this.master !== null && (ptyEndLines(this.master) || running)) {
        this.rightSince = performance.now();
        return;
      }
      await wait(LOOK_MS);
    }
  }
}

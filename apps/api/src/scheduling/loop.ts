/** Where a failed pass is told; the next wake tries again. */
export interface LoopLog {
  error(context: object, message: string): void;
}

/**
 * Runs one pass at a time. A wake during a pass asks for another one after it, however many come: no wake is lost and
 * none queues up.
 */
export class CoalescedLoop {
  private running: Promise<void> | null = null;
  private again = false;
  private closed = false;

  constructor(
    private readonly name: string,
    private readonly pass: () => Promise<unknown>,
    private readonly log: LoopLog,
  ) {}

  wake(): void {
    if (this.closed) return;
    if (this.running !== null) {
      this.again = true;
      return;
    }
    this.running = this.run().finally(() => {
      this.running = null;
      if (this.again) this.wake();
    });
  }

  private async run(): Promise<void> {
    this.again = false;
    try {
      await this.pass();
    } catch (error) {
      this.log.error({ err: error, loop: this.name }, 'a pass failed; the next wake tries again');
    }
  }

  /** Resolves when no pass is under way or asked for. */
  async idle(): Promise<void> {
    while (this.running !== null) await this.running;
  }

  /** Takes no more wakes and waits for the pass under way. */
  async close(): Promise<void> {
    this.closed = true;
    this.again = false;
    await this.idle();
  }
}

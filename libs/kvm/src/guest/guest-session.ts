import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { RuntimeError } from '@berth/runtime';
import { frameEncode, FrameReader, type Frame } from './frames.js';

/** A guest answers once its first process runs; one that boots under emulation takes seconds. */
const HELLO_MS = 60_000;
/** A greeting may be lost with the end of the conversation before it. */
const AGAIN_MS = 2_000;
const STOP_MS = 10_000;
const NONCE_BYTES = 8;

/**
 * A conversation with our first process in a guest, on QEMU's unix socket:
 *
 *   connected -(hello, its answer; all before it is dropped)-> open -> over (closed by us, or the machine is gone)
 *
 * The guest ends all execs of an earlier conversation when one begins, and when one ends. QEMU serves one at a time.
 */
export class GuestSession {
  readonly over: Promise<void>;
  readonly #reader = new FrameReader();
  readonly #execs = new Map<number, (frame: Frame | null) => void>();
  #next = 1;
  #greeted: ((frame: Frame) => void) | null = null;
  #stopped: (() => void)[] = [];
  #closed = false;

  private constructor(private readonly socket: Socket) {
    this.over = new Promise((resolve) => socket.once('close', () => resolve()));
    socket.on('data', (chunk: Buffer) => this.#receive(chunk));
    socket.on('error', () => undefined); // its close follows
    void this.over.then(() => {
      this.#closed = true;
      for (const take of this.#execs.values()) take(null);
      this.#execs.clear();
    });
  }

  /** @throws RuntimeError agentAway when the guest does not answer */
  static async open(path: string): Promise<GuestSession> {
    const session = new GuestSession(await connected(path));
    const nonce = randomBytes(NONCE_BYTES);
    const again = setInterval(() => session.send('H', 0, nonce), AGAIN_MS);
    try {
      await session.#within(HELLO_MS, (done) => {
        session.#greeted = (frame) => {
          if (frame.kind === 'H' && frame.payload.equals(nonce)) done();
        };
        session.send('H', 0, nonce);
      });
      session.#greeted = null;
      return session;
    } catch (error) {
      session.close();
      throw error;
    } finally {
      clearInterval(again);
    }
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Asks the entry point to end; a repeat asks nothing. Resolves when the guest has heard it. @throws RuntimeError agentAway */
  async stop(): Promise<void> {
    await this.#within(STOP_MS, (done) => {
      this.#stopped.push(done);
      this.send('S', 0);
    });
  }

  /** A number for an exec. `take` gets its frames, and null when the conversation is over. */
  begin(take: (frame: Frame | null) => void): number {
    const id = this.#next++;
    if (this.#closed) take(null);
    else this.#execs.set(id, take);
    return id;
  }

  /** Nothing more of it is heard. */
  forget(id: number): void {
    this.#execs.delete(id);
  }

  send(kind: string, id: number, payload?: Uint8Array): void {
    if (!this.#closed) this.socket.write(frameEncode(kind, id, payload));
  }

  close(): void {
    this.#closed = true;
    this.socket.destroy();
  }

  #receive(chunk: Buffer): void {
    for (const frame of this.#reader.feed(chunk)) {
      if (this.#greeted !== null) this.#greeted(frame);
      else if (frame.kind === 'S') for (const heard of this.#stopped.splice(0)) heard();
      else this.#execs.get(frame.id)?.(frame);
    }
  }

  async #within(ms: number, ask: (done: () => void) => void): Promise<void> {
    const away = (words: string) => new RuntimeError('agentAway', `the guest's first process ${words}`);
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(away(`did not answer in ${ms} ms`)), ms);
      const done = (): void => {
        clearTimeout(timer);
        resolve();
      };
      void this.over.then(() => {
        clearTimeout(timer);
        reject(away('is gone'));
      });
      ask(done);
    });
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', (cause) =>
      reject(new RuntimeError('agentAway', `the way into the guest: ${cause.message}`, { cause })),
    );
    socket.once('connect', () => resolve(socket));
  });
}

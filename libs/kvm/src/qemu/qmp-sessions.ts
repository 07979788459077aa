import { connect, type Socket } from 'node:net';
import { setTimeout as wait } from 'node:timers/promises';
import { isAlive, type ProcessIdentity } from '@berth/linux';
import { keyText, type WorkloadKey } from '@berth/runtime';
import { QmpClient } from '../qmp/client.js';
import { QmpTransportError } from '../qmp/commands.js';
import type { QmpEvent } from '../qmp/messages.js';

const CONNECT_MS = 5_000;
const CALL_MS = 10_000;

interface SessionEvents {
  /** QEMU said something. */
  event(key: WorkloadKey, event: QmpEvent): void;
  /** The session ended, and the process with it or not. */
  closed(key: WorkloadKey): void;
}

/** One QMP session per machine, opened at the first use. QEMU serves one at a time: a second one waits in vain. */
export class QmpSessions {
  readonly #open = new Map<string, Promise<QmpClient>>();
  #ended = false;

  constructor(private readonly events: SessionEvents) {}

  /** The machine's session. @throws QmpTransportError, QmpError when QEMU does not answer. */
  get(key: WorkloadKey, socketPath: string): Promise<QmpClient> {
    const id = keyText(key);
    const known = this.#open.get(id);
    if (known !== undefined) return known;
    if (this.#ended) return Promise.reject(new QmpTransportError('closed', 'the driver was closed'));
    const opening = this.#connect(key, id, socketPath);
    this.#open.set(id, opening);
    opening.catch(() => this.#forget(id, opening));
    return opening;
  }

  /**
   * Waits for a QEMU that was just started.
   * @returns null when the process ended first @throws QmpTransportError `timeout`, `aborted`
   */
  async first(
    key: WorkloadKey,
    socketPath: string,
    identity: ProcessIdentity,
    bounds: { readonly signal: AbortSignal; readonly timeoutMs: number },
  ): Promise<QmpClient | null> {
    const end = performance.now() + bounds.timeoutMs;
    for (;;) {
      try {
        return await this.get(key, socketPath);
      } catch (error) {
        if (!isAlive(identity)) return null;
        if (bounds.signal.aborted) throw new QmpTransportError('aborted', 'the start was given up');
        if (performance.now() > end) throw error;
      }
      await wait(5);
    }
  }

  close(): void {
    this.#ended = true;
    for (const session of this.#open.values())
      void session.then((client) => client.close()).catch(() => undefined);
    this.#open.clear();
  }

  async #connect(key: WorkloadKey, id: string, socketPath: string): Promise<QmpClient> {
    const client = await QmpClient.open(await connected(socketPath), { timeoutMs: CALL_MS });
    client.on('event', (event) => this.events.event(key, event));
    client.on('close', () => {
      this.#open.delete(id);
      if (!this.#ended) this.events.closed(key);
    });
    if (this.#ended) client.close();
    return client;
  }

  #forget(id: string, opening: Promise<QmpClient>): void {
    if (this.#open.get(id) === opening) this.#open.delete(id);
  }
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const fail = (cause: Error): void => {
      socket.destroy();
      reject(new QmpTransportError('closed', `QMP socket: ${cause.message}`, { cause }));
    };
    socket.setTimeout(CONNECT_MS, () => fail(new Error('no answer')));
    socket.once('error', fail);
    socket.once('connect', () => {
      socket.setTimeout(0);
      socket.off('error', fail);
      // Machines must not keep this process alive.
      socket.unref();
      resolve(socket);
    });
  });
}

import { writeWithRoom } from '@berth/runtime';
import type { Socket } from 'node:net';

/** From the last user's leave to the end of the connection, ms: a guest may be slow to take what was typed. */
const LINGER_MS = 2_000;

/** One machine's line in, shared by all who type. It is connected while somebody uses it. */
export class SerialLine {
  #users = 0;
  #socket: Promise<Socket> | null = null;

  constructor(private readonly connect: () => Promise<Socket>) {}

  /** @throws what `connect` throws; the line is then not entered */
  async enter(): Promise<void> {
    this.#users += 1;
    try {
      await this.#connected();
    } catch (error) {
      this.#users -= 1;
      throw error;
    }
  }

  /** What was typed still goes to the guest, as far as it takes it soon. */
  leave(): void {
    this.#users -= 1;
    if (this.#users > 0) return;
    void this.#socket?.then(finish, ignore);
    this.#socket = null;
  }

  /** Ends the connection, whoever uses it. */
  close(): void {
    void this.#socket?.then((socket) => socket.destroy(), ignore);
  }

  /** Resolves when there is room for more, or the signal fires. What a machine that ended was sent is lost. */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const socket = await this.#connected();
    if (!signal.aborted) await writeWithRoom(socket, bytes, signal);
  }

  /** Anew after a machine ended and was started again. */
  #connected(): Promise<Socket> {
    if (this.#socket !== null) return this.#socket;
    const connecting = this.connect();
    this.#socket = connecting;
    const forget = (): void => {
      if (this.#socket === connecting) this.#socket = null;
    };
    connecting.then((socket) => socket.on('error', ignore).once('close', forget), forget);
    return connecting;
  }
}

function finish(socket: Socket): void {
  const end = (): void => void socket.destroy();
  if (socket.writableLength === 0) return end();
  const timer = setTimeout(end, LINGER_MS);
  socket.once('drain', end).once('close', () => clearTimeout(timer));
}

const ignore = (): void => undefined;

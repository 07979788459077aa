/** Bounds of one command. */
export interface QgaOptions {
  /** Milliseconds until the caller gives up. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Anything that carries commands to the agent in a guest: our own socket, or libvirt. One at a time. */
export interface QgaTransport {
  /**
   * The answer as JSON that nobody has checked: it comes from the guest.
   * @throws QgaError when the agent refuses; QgaTransportError when no answer came
   */
  send(command: string, args?: object, options?: QgaOptions): Promise<unknown>;
}

/** The agent refused or failed the command. Its words are the guest's. */
export class QgaError extends Error {
  constructor(message: string) {
    super(message.slice(0, MAX_WORDS));
    this.name = 'QgaError';
  }
}

/** No answer: nobody there, too slow, aborted, or nothing that an agent says. */
export class QgaTransportError extends Error {
  constructor(
    readonly fault: 'closed' | 'timeout' | 'aborted' | 'protocol',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'QgaTransportError';
  }
}

const MAX_WORDS = 500;

/** Longest line that is taken from a guest, bytes: what libvirt's RPC can carry as a string. */
export const MAX_LINE = 4 * 1024 * 1024;

export const DEFAULT_TIMEOUT_MS = 5_000;

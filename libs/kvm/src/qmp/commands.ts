import type { QmpCommands } from './schema.gen.js';

export interface ExecuteOptions {
  /** Milliseconds until the caller gives up. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Anything that carries QMP commands: our own socket, or libvirt's monitor program. */
export interface QmpExecutor {
  /** @throws QmpError when QEMU refuses; QmpTransportError when no answer came. */
  execute<C extends keyof QmpCommands>(command: C, ...call: QmpCall<C>): Promise<QmpCommands[C]['result']>;
}

/** What follows a command: its arguments, which may be left out where it needs none, and the bounds of the call. */
export type QmpCall<C extends keyof QmpCommands> = undefined extends QmpCommands[C]['args']
  ? [args?: QmpCommands[C]['args'], options?: ExecuteOptions]
  : [args: QmpCommands[C]['args'], options?: ExecuteOptions];

/** QEMU refused the command. */
export class QmpError extends Error {
  constructor(
    /** Error class of the reply, mostly `GenericError`. */
    readonly errorClass: string,
    message: string,
  ) {
    super(message);
    this.name = 'QmpError';
  }
}

/** No answer: closed, too slow, aborted, or not QMP. */
export class QmpTransportError extends Error {
  constructor(
    readonly fault: 'closed' | 'timeout' | 'aborted' | 'protocol',
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'QmpTransportError';
  }
}

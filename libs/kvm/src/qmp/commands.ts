/** Commands this project sends, typed by hand from the QEMU QMP reference (7.2). Sizes in bytes, times in nanoseconds. */
export interface QmpCommands {
  'query-status': {
    args: undefined;
    result: { running: boolean; status: RunState };
  };
  'query-kvm': { args: undefined; result: { enabled: boolean; present: boolean } };
  stop: { args: undefined; result: Record<string, never> };
  cont: { args: undefined; result: Record<string, never> };
  /** Presses the power button. */
  system_powerdown: { args: undefined; result: Record<string, never> };
  'query-uuid': { args: undefined; result: { UUID: string } };
  'query-name': { args: undefined; result: { name?: string } };
  'query-memory-size-summary': {
    args: undefined;
    result: { 'base-memory': number; 'plugged-memory'?: number };
  };
  /** Gives a character device another file; what it wrote before stays in the old one. */
  'chardev-change': {
    args: { id: string; backend: { type: 'file'; data: { out: string; append: boolean } } };
    result: { pty?: string };
  };
  'query-block': {
    args: undefined;
    result: { device: string; qdev?: string; 'io-status'?: 'ok' | 'failed' | 'nospace' }[];
  };
  'query-blockstats': {
    args: { 'query-nodes'?: boolean } | undefined;
    result: BlockStats[];
  };
}

export type RunState =
  | 'debug'
  | 'finish-migrate'
  | 'guest-panicked'
  | 'inmigrate'
  | 'internal-error'
  | 'io-error'
  | 'paused'
  | 'postmigrate'
  | 'prelaunch'
  | 'restore-vm'
  | 'running'
  | 'save-vm'
  | 'shutdown'
  | 'suspended'
  | 'watchdog'
  | 'colo';

export interface BlockStats {
  readonly device?: string;
  readonly qdev?: string;
  readonly 'node-name'?: string;
  readonly stats: {
    readonly rd_bytes: number;
    readonly wr_bytes: number;
    readonly rd_operations: number;
    readonly wr_operations: number;
    readonly flush_operations: number;
    readonly rd_total_time_ns: number;
    readonly wr_total_time_ns: number;
    readonly wr_highest_offset: number;
  };
}

export interface ExecuteOptions {
  /** Milliseconds until the caller gives up. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Anything that carries QMP commands: our own socket, or libvirt's monitor program. */
export interface QmpExecutor {
  /** @throws QmpError when QEMU refuses; QmpTransportError when no answer came. */
  execute<C extends keyof QmpCommands>(
    command: C,
    args?: QmpCommands[C]['args'],
    options?: ExecuteOptions,
  ): Promise<QmpCommands[C]['result']>;
}

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

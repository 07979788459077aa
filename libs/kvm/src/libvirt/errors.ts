import type { WireError } from './protocol.js';
import { ErrorCode } from './protocol.js';

/** The daemon refused or failed a call. */
export class LibvirtError extends Error {
  /** libvirt's error number (`virErrorNumber`). */
  readonly code: number;
  /** Which part of libvirt failed (`virErrorDomain`). */
  readonly domain: number;
  /** 1 warning, 2 error. */
  readonly level: number;

  constructor(wire: Pick<WireError, 'code' | 'domain' | 'level' | 'message'>) {
    super(wire.message ?? `libvirt error ${wire.code}`);
    this.name = 'LibvirtError';
    this.code = wire.code;
    this.domain = wire.domain;
    this.level = wire.level;
  }

  get isNoDomain(): boolean {
    return this.code === ErrorCode.noDomain;
  }

  /** Something that was begun was not over in the time that the daemon gives it; it may still come. */
  get isTimeout(): boolean {
    return this.code === ErrorCode.operationTimeout;
  }

  /** The domain is in a state in which the call makes no sense, for example not running. */
  get isInvalidOperation(): boolean {
    return this.code === ErrorCode.operationInvalid;
  }
}

export type ConnectionFault = 'closed' | 'timeout' | 'aborted' | 'protocol' | 'unreachable';

/** No answer: whether the daemon did the work is unknown, except for `unreachable`. */
export class LibvirtConnectionError extends Error {
  constructor(
    readonly fault: ConnectionFault,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.name = 'LibvirtConnectionError';
  }
}

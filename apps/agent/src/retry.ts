import type { Condition } from '@berth/model';
import { RuntimeError } from '@berth/runtime';
import { backoffMs } from './clock.js';
import type { Clock } from './clock.js';
import type { Action } from './step.js';

/** What keeps one placement from where it is wanted, and when it is tried again. */
export class Retry {
  /** No attempt before this time, milliseconds since the epoch; null when the last one worked. */
  at: number | null = null;
  /** A failure that no repeat can mend. */
  fatal: string | null = null;
  fault: Condition | null = null;
  private attempts = 0;

  constructor(private readonly clock: Clock) {}

  /** Something changed: do not wait any longer. */
  now(): void {
    this.at = null;
  }

  succeeded(kind: Action['kind']): void {
    this.at = null;
    // Only a start shows that what was prepared is good.
    if (kind !== 'prepare' && kind !== 'fetchImage') this.attempts = 0;
    if (kind !== 'beginRun') this.fault = null;
  }

  failed(kind: Action['kind'], error: unknown): void {
    const { code, message, remedy } = failureOf(error);
    const upward = ['prepare', 'start', 'fetchImage'].includes(kind);
    if (upward && (code === 'badImage' || code === 'unsupported' || code === 'lowerEpoch'))
      this.fatal = message;
    this.at = this.clock.now().getTime() + backoffMs(this.clock, this.attempts++, 500, 60_000);
    this.fault = this.condition('Retrying', code, `${kind}: ${message}`, remedy);
  }

  /** The runtime is not there, and why; null: it is. */
  absent(reason: string | null): void {
    if (reason !== null) this.fault = this.condition('RuntimeAbsent', 'runtimeAbsent', reason, null);
    else if (this.fault?.type === 'RuntimeAbsent') this.fault = null;
  }

  private condition(type: string, reason: string, message: string, remedy: string | null): Condition {
    const same = this.fault?.type === type && this.fault.reason === reason ? this.fault.since : null;
    return {
      type,
      reason,
      message: message.slice(0, 2000),
      since: same ?? this.clock.now().toISOString(),
      ...(remedy === null ? {} : { remedy }),
    };
  }
}

/**
 * An error of a step in words; what is no error of a runtime is the host's fault. The remedy may be known only to the
 * room beneath that failed first, so the causes are asked too.
 */
export function failureOf(error: unknown): { code: string; message: string; remedy: string | null } {
  return {
    code: error instanceof RuntimeError ? error.code : 'hostFault',
    message: error instanceof Error ? error.message : String(error),
    remedy: remedyOf(error),
  };
}

/** The same as the report on an order says it, cut to what such a report may hold. */
export function troubleOf(error: unknown): {
  readonly code: string;
  readonly message: string;
  readonly remedy?: string;
} {
  const { code, message, remedy } = failureOf(error);
  return {
    code,
    message: message.slice(0, 2000),
    ...(remedy === null ? {} : { remedy: remedy.slice(0, 2000) }),
  };
}

function remedyOf(error: unknown, depth = 0): string | null {
  if (!(error instanceof Error) || depth > 8) return null;
  const { remedy } = error as { remedy?: unknown };
  return typeof remedy === 'string' && remedy !== '' ? remedy : remedyOf(error.cause, depth + 1);
}

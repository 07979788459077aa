import type { Readable } from 'node:stream';
import type { SecretValues, UsageAnswer } from '@berth/link';
import type { Digest, HostId, SecretId } from '@berth/model';

/** Whom dispatch wakes; each returns at once. */
export interface DispatchHooks {
  /** Events were committed: the ledger numbers them and wakes its readers. */
  readonly ledger: () => void;
  /** Capacity came free, or a host came (back): what waits may fit now. */
  readonly scheduler: () => void;
  /** A PING on a link was answered after so many milliseconds. */
  readonly roundTrip?: (ms: number) => void;
}

/** The API's upload store, as dispatch reads it. */
export interface BlobSource {
  /** @throws when the blob is not there */
  open(digest: Digest): Promise<{ readonly stream: Readable; readonly sizeBytes: number }>;
}

/** What a host is asked for of a log. */
export interface HostLogOptions {
  readonly follow: boolean;
  readonly tailBytes?: number;
  /** In frames that say when each line was written (model, log-lines.ts). */
  readonly framed?: boolean;
}

/** Values of secrets, as dispatch has them opened. */
export interface SecretSource {
  /** Those that are there; one whose envelope does not open is left out, and logged. */
  open(ids: readonly SecretId[]): Promise<SecretValues['values']>;
}

/** Where what hosts measured goes. */
export interface UsageSink {
  /** Time of a host's newest sample there, by the host's clock, milliseconds; 0 when there is none. */
  cursor(hostId: HostId): number;
  take(hostId: HostId, answer: UsageAnswer): void;
}

/** Where it is noted how long things take. */
export interface TraceSink {
  mark(instanceId: string, part: string, last?: boolean): void;
  host(instanceId: string, spans: readonly { readonly name: string; readonly ms: number }[]): void;
}

export interface DispatchLog {
  debug(context: object, message: string): void;
  info(context: object, message: string): void;
  warn(context: object, message: string): void;
  error(context: object, message: string): void;
}

/** Waiting, injected: the core itself never sets a timer. Resolves early when the signal fires. */
export interface Pause {
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

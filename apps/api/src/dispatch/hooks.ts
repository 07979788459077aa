import type { Readable } from 'node:stream';
import type { Digest } from '@berth/model';

/** Whom dispatch wakes; each returns at once. */
export interface DispatchHooks {
  /** Events were committed: the ledger numbers them and wakes its readers. */
  readonly ledger: () => void;
  /** Capacity came free, or a host came (back): what waits may fit now. */
  readonly scheduler: () => void;
}

/** The API's upload store, as dispatch reads it. */
export interface BlobSource {
  /** @throws when the blob is not there */
  open(digest: Digest): Promise<{ readonly stream: Readable; readonly sizeBytes: number }>;
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

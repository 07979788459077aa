/** Wall time as the cores see it; injected so that tests and the simulation own it. */
export interface Clock {
  now(): Date;
}

/** Source of fresh lower-case UUIDs (version 4 in production). */
export interface IdSource {
  uuid(): string;
}

/** Who asks, and under which trace. Goes into operations and events. */
export interface RequestContext {
  /** `token:<name>`, `host:<name>` or `system:<loop>`. */
  readonly actor: string;
  readonly traceId: string;
  /**
   * Set when the request carries an Idempotency-Key begun with `idempotencyBegin`: the operation's id is written to
   * the key's row in the same transaction, so that a crash between commit and answer still replays one object.
   */
  readonly idempotency?: { readonly scope: string; readonly key: string };
}

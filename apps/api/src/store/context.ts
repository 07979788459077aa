/** Wall time as the cores see it; injected so that tests and the simulation own it. */
export interface Clock {
  now(): Date;
}

/** Source of fresh lower-case UUIDs (version 4 in production). */
export interface IdSource {
  uuid(): string;
}

/** What is kept of an answer: never a secret. */
export interface KeptAnswer {
  readonly status: number;
  readonly answer: unknown;
  readonly headers: Readonly<Record<string, string>>;
}

/** Who asks, and under which trace. Goes into operations and events. */
export interface RequestContext {
  /** `token:<name>`, `host:<name>` or `system:<loop>`. */
  readonly actor: string;
  readonly traceId: string;
  /**
   * Set when the request carries an Idempotency-Key begun with `idempotencyBegin`: the operation's id, or the answer made of
   * what was written, goes to the key's row in the same transaction, so that a crash between commit and answer still
   * gives one object and one answer.
   */
  readonly idempotency?: {
    readonly scope: string;
    readonly key: string;
    /** The answer to what the store's writer returns; absent where an operation is the answer. */
    readonly answerOf?: (made: unknown) => KeptAnswer;
  };
}

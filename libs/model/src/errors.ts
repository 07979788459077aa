import { z } from 'zod';

/** Every error code a client can meet, with its HTTP status. Codes are stable; texts are not. */
export const errorCodes = {
  invalid: 400,
  malformed: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  methodNotAllowed: 405,
  conflict: 409,
  nameTaken: 409,
  inUse: 409,
  stateConflict: 409,
  operationInProgress: 409,
  gone: 410,
  preconditionFailed: 412,
  tooLarge: 413,
  unsupportedMediaType: 415,
  idempotencyMismatch: 422,
  idempotencyInProgress: 409,
  unsupported: 422,
  badImage: 422,
  rateLimited: 429,
  internal: 500,
  unavailable: 503,
} as const satisfies Record<string, number>;
export type ErrorCode = keyof typeof errorCodes;

/** One bad field of a request. */
export const FieldError = z.strictObject({
  /** JSON pointer into the body, or `query/…`, `header/…`, `path/…`. */
  path: z.string(),
  code: z.string(),
  message: z.string(),
  remedy: z.string(),
});
export type FieldError = z.infer<typeof FieldError>;

/** RFC 9457 problem document. */
export const Problem = z
  .strictObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    code: z.enum(Object.keys(errorCodes) as [ErrorCode, ...ErrorCode[]]),
    detail: z.string(),
    remedy: z.string().optional(),
    errors: z.array(FieldError).optional(),
    traceId: z.string().optional(),
  })
  .meta({ id: 'Problem' });
export type Problem = z.infer<typeof Problem>;

/**
 * The one error a control-plane core throws on purpose. `publicMessage` reaches the client, `cause` only the log.
 * Translated to HTTP at the edge and nowhere else.
 */
export class BerthError extends Error {
  constructor(
    readonly code: ErrorCode,
    readonly publicMessage: string,
    readonly options: {
      readonly remedy?: string;
      readonly errors?: readonly FieldError[];
      readonly cause?: unknown;
    } = {},
  ) {
    super(publicMessage, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'BerthError';
  }
}

/** Whether the same request may succeed later without a change. */
export function retryable(code: ErrorCode): boolean {
  return (
    code === 'unavailable' ||
    code === 'rateLimited' ||
    code === 'idempotencyInProgress' ||
    code === 'operationInProgress'
  );
}

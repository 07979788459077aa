import { z } from 'zod';
import { errorCodes, type ErrorCode } from './error-codes.js';

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

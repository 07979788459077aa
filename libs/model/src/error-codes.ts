/** Every error code a client can meet, with its HTTP status. Codes are stable; texts are not. */
export const errorCodes = {
  invalid: 400,
  malformed: 400,
  unauthenticated: 401,
  forbidden: 403,
  notFound: 404,
  noSuchFile: 404,
  methodNotAllowed: 405,
  conflict: 409,
  nameTaken: 409,
  inUse: 409,
  /** The host that it must be on has no room for it. */
  noRoom: 409,
  stateConflict: 409,
  fileRefused: 409,
  operationInProgress: 409,
  gone: 410,
  preconditionFailed: 412,
  tooLarge: 413,
  unsupportedMediaType: 415,
  /** A part of a file that lies behind its end. */
  badRange: 416,
  idempotencyMismatch: 422,
  idempotencyInProgress: 409,
  unsupported: 422,
  badImage: 422,
  upgradeRequired: 426,
  rateLimited: 429,
  internal: 500,
  unavailable: 503,
} as const satisfies Record<string, number>;
export type ErrorCode = keyof typeof errorCodes;

/** Whether the same request may succeed later without a change. */
export function retryable(code: ErrorCode): boolean {
  return (
    code === 'unavailable' ||
    code === 'rateLimited' ||
    code === 'idempotencyInProgress' ||
    code === 'operationInProgress'
  );
}

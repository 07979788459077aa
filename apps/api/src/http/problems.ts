import { STATUS_CODES } from 'node:http';
import { BerthError, errorCodes, type ErrorCode, type Problem } from '@berth/model';

const remedies: Partial<Record<ErrorCode, string>> = {
  invalid: 'Correct the fields listed in errors; nothing was changed.',
  malformed: 'Send well-formed JSON (RFC 8259) in UTF-8.',
  notFound: 'Check the address; GET on the collection lists what this token may see.',
  methodNotAllowed: 'Use one of the methods that the Allow header lists.',
  tooLarge: 'Send a smaller body.',
  unsupportedMediaType: 'Send the media type that /v1/openapi.json names for this route.',
  conflict: 'Read the object again and repeat the request on its newest state.',
  stateConflict: 'Read the object again; the request fits another state.',
  preconditionFailed: 'Read the object again, and send its ETag as If-Match.',
  operationInProgress: 'Wait for the operation that is under way, then repeat the request.',
  unavailable: 'Repeat the request in a few seconds.',
  rateLimited: 'Repeat the request later.',
  internal: 'Repeat the request; if it fails again, give the trace id to whoever runs this API.',
};

const byStatus: Readonly<Record<number, ErrorCode>> = {
  400: 'malformed',
  401: 'unauthenticated',
  403: 'forbidden',
  404: 'notFound',
  405: 'methodNotAllowed',
  413: 'tooLarge',
  414: 'malformed',
  415: 'unsupportedMediaType',
  503: 'unavailable',
};

/** An error as the framework throws it: Fastify's own, or Nest's HttpException. */
interface FrameworkError {
  readonly message: string;
  readonly code?: string;
  readonly statusCode?: number;
  readonly getStatus?: () => number;
}

const badAddress = new Set(['FST_ERR_BAD_URL', 'FST_ERR_MAX_PARAM_LENGTH', 'FST_ERR_PARAM_TOO_LONG']);

const isObject = (e: unknown): e is FrameworkError => typeof e === 'object' && e !== null;

/** Any thrown value as a BerthError. What nobody foresaw is `internal`, and its text stays in the log. */
export function asBerthError(thrown: unknown): BerthError {
  if (thrown instanceof BerthError) return thrown;
  if (isObject(thrown)) {
    const status = thrown.statusCode ?? thrown.getStatus?.();
    const code = status === undefined ? undefined : byStatus[status];
    if (code !== undefined) {
      const remedy = badAddress.has(thrown.code ?? '') ? { remedy: 'Send a well-formed address.' } : {};
      return new BerthError(code, thrown.message, { ...remedy, cause: thrown });
    }
  }
  return new BerthError('internal', 'The API met an error it did not foresee.', { cause: thrown });
}

/** RFC 9457 document of an error, with its HTTP status inside. */
export function problemOf(error: BerthError, traceId: string): Problem {
  const status = errorCodes[error.code];
  const remedy = error.options.remedy ?? remedies[error.code];
  return {
    type: `urn:berth:problem:${error.code}`,
    title: STATUS_CODES[status] ?? 'Error',
    status,
    code: error.code,
    detail: sentence(error.publicMessage),
    ...(remedy === undefined ? {} : { remedy }),
    ...(error.options.errors === undefined ? {} : { errors: [...error.options.errors] }),
    traceId,
  };
}

/** Capital and full stop, so that texts of all rooms read alike and "not yours" is byte for byte "not there". */
function sentence(text: string): string {
  // A field's path or an action's name at the beginning stays as it is written: `spec.image`.
  const path = /^[a-zA-Z]+\.[a-z]/.test(text);
  const capital = path ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(text) ? capital : `${capital}.`;
}

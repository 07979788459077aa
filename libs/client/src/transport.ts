import { UnreachableError } from './problem.js';

export interface ClientOptions {
  /** For example `http://127.0.0.1:7070`. */
  readonly baseUrl: string;
  /** Absent in a browser, whose session cookie goes by itself. */
  readonly token?: string;
  /** The CSRF value of a browser's session, sent with mutations. */
  readonly csrf?: () => string | null;
  /** For tests and browsers; the global one by default. */
  readonly fetch?: (request: Request) => Promise<Response>;
  /** Waits between tries, milliseconds; an empty list never repeats. */
  readonly backoffMs?: readonly number[];
  /**
   * Longest wait for the head of an answer, milliseconds; 60,000 by default, twice the longest `wait` of a route. Uploads
   * are answered when they are verified: they have no limit of this kind.
   */
  readonly answerTimeoutMs?: number;
  /** Fresh idempotency keys; random UUIDs by default. */
  readonly newKey?: () => string;
}

const defaultBackoff = [100, 400, 1600];

/**
 * `fetch` that carries the token, gives every POST an Idempotency-Key, and so may repeat GETs and POSTs whose answer was
 * lost, that met a 503, or whose first try is still under way. PUT, PATCH, DELETE and uploads are sent once. @throws UnreachableError
 */
export function transport(options: ClientOptions): (request: Request) => Promise<Response> {
  const send = options.fetch ?? ((request: Request) => fetch(request));
  const timeoutMs = options.answerTimeoutMs ?? 60_000;
  const newKey = options.newKey ?? (() => crypto.randomUUID());
  return async (request) => {
    identify(request, options);
    if (request.method === 'POST' && !request.headers.has('idempotency-key'))
      request.headers.set('idempotency-key', newKey());
    const repeatable = isRepeatable(request);
    const waits = repeatable ? (options.backoffMs ?? defaultBackoff) : [];
    for (const wait of waits) {
      const response = await attempt(send, request.clone(), timeoutMs).catch((error: unknown) => {
        // Who was silent all that time is not asked again.
        if (request.signal.aborted || (error instanceof UnreachableError && error.silent)) throw error;
        return null;
      });
      if (response !== null && !(await isForLater(response))) return response;
      await response?.body?.cancel();
      await pause(wait, request.signal);
    }
    return attempt(send, request, isUpload(request) ? null : timeoutMs);
  };
}

function identify(request: Request, { token, csrf }: ClientOptions): void {
  if (token !== undefined) request.headers.set('authorization', `Bearer ${token}`);
  const value = request.method === 'GET' ? null : (csrf?.() ?? null);
  if (value !== null) request.headers.set('x-berth-csrf', value);
}

/** Whether the same request is answered later: also when the first one under its key has not ended yet. */
async function isForLater(response: Response): Promise<boolean> {
  if (response.status !== 409) return response.status === 503;
  const body = (await response
    .clone()
    .json()
    .catch(() => null)) as { code?: unknown } | null;
  return body?.code === 'idempotencyInProgress';
}

const isUpload = (request: Request): boolean =>
  request.headers.get('content-type') === 'application/octet-stream';

function isRepeatable(request: Request): boolean {
  return request.method === 'GET' || (request.method === 'POST' && !isUpload(request));
}

async function attempt(
  send: (r: Request) => Promise<Response>,
  request: Request,
  timeoutMs: number | null,
): Promise<Response> {
  const stop = new AbortController();
  let timedOut = false;
  const timer =
    timeoutMs === null
      ? undefined
      : setTimeout(() => {
          timedOut = true;
          stop.abort();
        }, timeoutMs);
  // Stays after the head: the caller's signal ends the body too.
  request.signal.addEventListener('abort', () => stop.abort(request.signal.reason), { once: true });
  try {
    request.signal.throwIfAborted();
    return await send(new Request(request, { signal: stop.signal }));
  } catch (cause) {
    if (request.signal.aborted) throw cause;
    const why = timedOut ? `nothing came within ${(timeoutMs ?? 0) / 1000} s` : innermost(cause);
    throw new UnreachableError(
      `the API at ${new URL(request.url).origin} does not answer: ${why}`,
      false,
      { cause },
      timedOut,
    );
  } finally {
    clearTimeout(timer);
  }
}

/** What the system said: `fetch` wraps it, and of several addresses none has a message of its own. */
function innermost(error: unknown): string {
  const { cause, message, code } = error as NodeJS.ErrnoException;
  if (cause instanceof Error) return innermost(cause);
  return message === '' ? (code ?? 'unknown') : message;
}

/** Waits, or rejects with the signal's reason. */
export function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = (): void => {
      clearTimeout(timer);
      reject(signal.reason as Error);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', stop);
      resolve();
    }, ms);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
}

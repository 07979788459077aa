import http2 from 'node:http2';
import type { Duplex, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { readBody } from './body.js';
import { LinkError, linkLimits } from './door.js';

/** One request as the serving side sees it. Its stream has an error handler already. */
export interface LinkRequest {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: http2.IncomingHttpHeaders;
  readonly stream: http2.ServerHttp2Stream;
  /** Fires when the stream is gone, however it went. */
  readonly signal: AbortSignal;
}

export interface LinkAnswer {
  readonly status: number;
  /** JSON when it is an object, bytes as they come when it is iterable. */
  readonly body?: object | AsyncIterable<Uint8Array>;
}

export interface SessionEvents {
  /** Called once when the connection is over, with the reason. */
  readonly onClose: (reason: Error | null) => void;
  /** An error of one stream, which the connection outlives. */
  readonly onStreamError?: (error: Error) => void;
  /** A PING was answered after so many milliseconds. */
  readonly onRoundTrip?: (ms: number) => void;
}

const options = {
  maxSessionMemory: 64,
  settings: { maxConcurrentStreams: linkLimits.streams, initialWindowSize: 1024 * 1024, enablePush: false },
} as const;

const isBytes = (body: object): body is AsyncIterable<Uint8Array> => Symbol.asyncIterator in body;

/**
 * Serves HTTP/2 on a connected socket, whoever dialled it. A handler's failure answers 400, 413 or 500 and never reaches
 * the process. The session ends when the peer stops answering PINGs.
 */
export function serveLink(
  socket: Duplex,
  handle: (request: LinkRequest) => Promise<LinkAnswer>,
  events: SessionEvents,
): http2.ServerHttp2Session {
  const session = http2.performServerHandshake(socket, options as http2.ServerOptions);
  watch(session, socket, events);
  session.on('stream', (stream, headers) => {
    stream.on('error', (e: Error) => events.onStreamError?.(e));
    void answer(stream, headers, handle).catch((e: unknown) => {
      events.onStreamError?.(e instanceof Error ? e : new Error(String(e)));
      if (!stream.destroyed) stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    });
  });
  return session;
}

async function answer(
  stream: http2.ServerHttp2Stream,
  headers: http2.IncomingHttpHeaders,
  handle: (request: LinkRequest) => Promise<LinkAnswer>,
): Promise<void> {
  const abort = new AbortController();
  stream.once('close', () => abort.abort());
  const url = new URL(headers[':path'] ?? '/', 'http://link');
  let reply: LinkAnswer;
  try {
    reply = await handle({
      method: headers[':method'] ?? 'GET',
      path: url.pathname,
      query: url.searchParams,
      headers,
      stream,
      signal: abort.signal,
    });
  } catch (e) {
    reply = failure(e);
  }
  if (stream.destroyed) return;
  const body = reply.body;
  if (body === undefined) return void stream.respond({ ':status': reply.status }, { endStream: true });
  if (!isBytes(body)) {
    stream.respond({ ':status': reply.status, 'content-type': 'application/json' });
    // What the peer still sends of its body is not wanted (RFC 9113 section 8.1).
    return void stream.end(JSON.stringify(body), () => stream.close(http2.constants.NGHTTP2_NO_ERROR));
  }
  stream.respond({ ':status': reply.status, 'content-type': 'application/octet-stream' });
  await pipeline(body, stream).catch((e: unknown) => {
    if (!abort.signal.aborted) throw e;
  });
}

function failure(e: unknown): LinkAnswer {
  if (!(e instanceof LinkError))
    return { status: 500, body: { code: 'internal', message: 'internal error' } };
  const status = { malformed: 400, tooLarge: 413 }[e.code as string] ?? e.options.status ?? 500;
  return { status, body: { code: e.code, message: e.message } };
}

/** HTTP/2 client on a connected socket, whoever dialled it. */
export function clientLink(socket: Duplex, events: SessionEvents): http2.ClientHttp2Session {
  const session = http2.connect('http://link', {
    ...options,
    createConnection: () => socket,
  } as http2.ClientSessionOptions);
  watch(session, socket, events);
  return session;
}

/** How often a session that was destroyed and did not close is looked for, milliseconds. */
const lookMs = 1_000;

/** PINGs after silence; a PING without an answer ends the session. Reports the end once. */
function watch(session: http2.Http2Session, socket: Duplex, events: SessionEvents): void {
  let reason: Error | null = null;
  let asked: NodeJS.Timeout | undefined;
  const over = (): void => {
    clearInterval(pings);
    clearInterval(looks);
    clearTimeout(asked);
    socket.destroy();
    events.onClose(reason);
  };
  const pings = setInterval(() => {
    if (session.destroyed || asked !== undefined) return;
    asked = setTimeout(() => {
      session.destroy(new LinkError('timeout', 'the peer does not answer PINGs'));
    }, linkLimits.pingTimeoutMs);
    asked.unref();
    try {
      session.ping((error, ms) => {
        clearTimeout(asked);
        asked = undefined;
        if (error === null) events.onRoundTrip?.(ms);
      });
    } catch {
      // The session is closing; its own end follows.
    }
  }, linkLimits.pingMs);
  pings.unref();
  // A session whose peer died while a write to it was under way is destroyed, and node never says that it closed.
  let stuck = false;
  const looks = setInterval(() => {
    if (stuck) session.emit('close');
    stuck = session.destroyed;
  }, lookMs);
  looks.unref();
  session.on('error', (e: Error) => (reason ??= e));
  socket.on('error', (e: Error) => (reason ??= e));
  session.once('close', over);
  socket.once('close', () => session.destroy());
}

export interface SendOptions {
  readonly method: string;
  readonly path: string;
  /** JSON when it is an object; bytes are streamed with back-pressure. */
  readonly body?: object | Readable;
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly maxBytes?: number;
}

export interface Received {
  readonly status: number;
  readonly body: Buffer;
}

const isReadable = (b: object): b is Readable => typeof (b as Readable).pipe === 'function';

/** One request with a whole answer. @throws LinkError closed, timeout, tooLarge */
export async function send(session: http2.ClientHttp2Session, options: SendOptions): Promise<Received> {
  const { stream, status } = await open(session, options);
  const timer = deadline(stream, options.timeoutMs ?? linkLimits.requestMs);
  // Listened to from the first moment: a short answer may be over before its status was looked at.
  const body = readBody(stream, options.maxBytes ?? linkLimits.bodyBytes);
  body.catch(() => undefined);
  try {
    return { status: await status, body: await body };
  } catch (cause) {
    stream.close(http2.constants.NGHTTP2_CANCEL);
    throw asLinkError(cause, options);
  } finally {
    clearTimeout(timer);
  }
}

/** One request whose answer is read as it comes. The caller ends it by `signal`. @throws LinkError closed, timeout, status */
export async function sendForStream(
  session: http2.ClientHttp2Session,
  options: SendOptions,
): Promise<http2.ClientHttp2Stream> {
  const { stream, status } = await open(session, options);
  const timer = deadline(stream, options.timeoutMs ?? linkLimits.requestMs);
  try {
    const code = await status;
    if (code >= 300) {
      const body = await readBody(stream, linkLimits.joinBytes);
      throw new LinkError('status', `${options.method} ${options.path}: ${code} ${body.toString('utf8')}`, {
        status: code,
      });
    }
    return stream;
  } catch (cause) {
    stream.close(http2.constants.NGHTTP2_CANCEL);
    throw asLinkError(cause, options);
  } finally {
    clearTimeout(timer);
  }
}

function asLinkError(cause: unknown, options: SendOptions): LinkError {
  if (cause instanceof LinkError) return cause;
  const said = cause instanceof Error ? cause.message : String(cause);
  return new LinkError('closed', `${options.method} ${options.path}: ${said}`, { cause });
}

function deadline(stream: http2.ClientHttp2Stream, ms: number): NodeJS.Timeout {
  return setTimeout(() => stream.destroy(new LinkError('timeout', `no answer within ${ms} ms`)), ms);
}

async function open(
  session: http2.ClientHttp2Session,
  options: SendOptions,
): Promise<{ stream: http2.ClientHttp2Stream; status: Promise<number> }> {
  if (session.closed || session.destroyed) throw new LinkError('closed', 'the link is closed');
  const { body } = options;
  const stream = session.request(
    {
      ':method': options.method,
      ':path': options.path,
      ...(body !== undefined && !isReadable(body) ? { 'content-type': 'application/json' } : {}),
    },
    { endStream: body === undefined, ...(options.signal === undefined ? {} : { signal: options.signal }) },
  );
  const status = new Promise<number>((resolve, reject) => {
    stream.once('response', (headers) => resolve(headers[':status'] ?? 0));
    stream.once('error', reject);
    stream.once('close', () => reject(new LinkError('closed', 'the stream ended without an answer')));
  });
  stream.on('error', () => undefined);
  status.catch(() => undefined);
  if (body === undefined) return { stream, status };
  if (isReadable(body)) pipeline(body, stream).catch(() => stream.close(http2.constants.NGHTTP2_CANCEL));
  else stream.end(JSON.stringify(body));
  return { stream, status };
}

import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { rm } from 'node:fs/promises';
import { fileDigest, PartialFile, type StoredBlob } from '@berth/images';
import { BerthError, type Digest, type ImageSources } from '@berth/model';
import type { Pause } from '../dispatch/hooks.js';
import type { Clock } from '../store/store.js';
import { arriving } from './arriving.js';
import { Interrupted } from './source-get.js';

export interface DownloadLimits {
  readonly maxBytes: number;
  /** Without a byte for this long a connection is given up, milliseconds. */
  readonly stallMs: number;
  /** Tries in a row that bring nothing new. */
  readonly idleTries: number;
  /** Tries in all. */
  readonly tries: number;
  /** Pause after the n-th try in a row that brought nothing new, milliseconds. */
  readonly backoffMs: (idle: number) => number;
  /** Of what is sent, one request takes this much at most, bytes. */
  readonly partBytes: number;
}

/** What is downloaded, and from where. */
export interface DownloadSource {
  /** One GET with these headers. The caller reads the body or destroys it. @throws BerthError for good; Interrupted */
  readonly get: (
    headers: Readonly<Record<string, string>>,
    sources: ImageSources,
    signal: AbortSignal,
  ) => Promise<IncomingMessage>;
  /**
   * Of content that is named by its digest, bytes. Its parts belong together whoever gives them, until the caller compares the
   * digest. Without it the server's word counts.
   */
  readonly sizeBytes?: number;
}

/** What trying again needs. */
export interface TryPorts {
  readonly pause: Pause;
  readonly limits: DownloadLimits;
  /** A try failed and another comes. */
  readonly waits: (why: string) => Promise<void>;
}

export interface DownloadPorts extends TryPorts {
  readonly clock: Clock;
  /** What the project allows now; asked before each try. */
  readonly sources: () => Promise<ImageSources>;
  /** What is on disk by now. */
  readonly progress: (bytes: number, totalBytes: number | null) => Promise<void>;
}

/** Stands for the validator of content that has a digest. */
const byDigest = 'digest';

/** From one checkpoint to the next, milliseconds. */
const checkpointMs = 1000;

/** No server makes an import wait longer than this, milliseconds. */
const afterMost = 120_000;

/**
 * Does what may be interrupted, until it is done or has been tried as often as the limits allow, with growing pauses or those
 * that the server asks for. `brought` says how much there is by now: a try that adds to it counts as none that failed.
 * @throws what `work` throws, other than Interrupted; what `gaveUp` makes of the last of those
 */
export async function tried<T>(
  work: () => Promise<T>,
  { limits, pause, waits }: TryPorts,
  signal: AbortSignal,
  gaveUp: (last: Interrupted, tries: number) => Error,
  brought: () => number = () => 0,
): Promise<T> {
  let best = brought();
  for (let tries = 1, idle = 0; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Interrupted)) throw error;
      idle = brought() > best ? 0 : idle + 1;
      best = Math.max(best, brought());
      if (idle >= limits.idleTries || tries >= limits.tries) throw gaveUp(error, tries);
      await waits(error.message);
      await pause.sleep(Math.max(limits.backoffMs(idle), Math.min(error.afterMs, afterMost)), signal);
      signal.throwIfAborted();
    }
  }
}

/**
 * Downloads a file, over cut connections: goes on where it broke off while the content is the same (it has a digest, or the
 * server says so by a strong ETag or Last-Modified), else from the beginning. `file` is done when this resolves.
 * @throws BerthError badImage, forbidden, notFound, tooLarge, unsupported, unavailable; whatever the signal or a port throws
 */
async function download(
  source: DownloadSource,
  file: PartialFile,
  ports: DownloadPorts,
  signal: AbortSignal,
): Promise<void> {
  if (file.done) return;
  const work = (): Promise<void> => attempt(source, file, ports, signal).finally(() => file.close());
  await tried(
    work,
    ports,
    signal,
    (last, tries) => gaveUp(last, file, tries),
    () => file.bytes,
  );
}

/**
 * Downloads into `dir`, going on with what is there, until it is whole and of the digest that is wanted. One that was put
 * together from parts and is another is downloaded once more, whole. `other` makes the error of one that stays another.
 * @param wanted null: anything is taken, and its digest is not looked at @throws as {@link download}; what `other` makes
 */
export async function downloadTo(
  dir: string,
  source: DownloadSource,
  wanted: Digest | null,
  ports: DownloadPorts,
  signal: AbortSignal,
  other: (found: Digest, wanted: Digest) => Error,
): Promise<{ readonly path: string; readonly known?: StoredBlob }> {
  for (let whole = false; ; whole = true) {
    const file = await PartialFile.open(dir);
    let inParts = file.bytes > 0;
    const waits = (why: string): Promise<void> => {
      inParts = true;
      return ports.waits(why);
    };
    // Whole since an earlier process: of one among several nothing more is heard.
    if (file.done && source.sizeBytes !== undefined) await ports.progress(file.bytes, source.sizeBytes);
    try {
      await download(source, file, { ...ports, waits }, signal);
    } finally {
      await file.close();
    }
    const { path } = file;
    if (wanted === null) return { path };
    const known = await fileDigest(path);
    if (known.digest === wanted) return { path, known };
    await rm(dir, { recursive: true, force: true });
    if (whole || !inParts) throw other(known.digest, wanted);
  }
}

function gaveUp(last: Interrupted, file: PartialFile, tries: number): BerthError {
  const of = file.totalBytes === null ? '' : ` of ${file.totalBytes}`;
  return new BerthError(
    'unavailable',
    `given up after ${tries} tries and ${file.bytes}${of} bytes: ${last.message}`,
    {
      remedy: 'See whether the server gives the whole file to others; import it again, or upload the file.',
      cause: last,
    },
  );
}

async function attempt(
  source: DownloadSource,
  file: PartialFile,
  ports: DownloadPorts,
  signal: AbortSignal,
): Promise<void> {
  const { limits } = ports;
  const from = file.validator === null ? 0 : file.bytes;
  const headers: Record<string, string> =
    from === 0 || file.validator === null
      ? {}
      : {
          range: `bytes=${from}-`,
          ...(source.sizeBytes === undefined ? { 'if-range': file.validator } : {}),
        };
  const response = await source.get(headers, await ports.sources(), signal);
  const chunks = arriving(response);
  try {
    await begin(response, file, from, source.sizeBytes, limits.maxBytes);
    await take(chunks, file, source.sizeBytes, ports);
  } catch (error) {
    // What the machine refuses (disk full) is no fault of the connection.
    throw error instanceof BerthError || isOfMachine(error) ? error : asInterrupted(error);
  } finally {
    response.destroy();
  }
}

/** Reads what the answer is, and has the file stand where it begins. */
async function begin(
  response: IncomingMessage,
  file: PartialFile,
  from: number,
  stated: number | undefined,
  maxBytes: number,
): Promise<void> {
  const status = response.statusCode ?? 0;
  if (status !== 200 && !(status === 206 && from > 0)) {
    // It has become shorter than what is here, or gives parts that nobody asked for.
    if (status === 416 || status === 206) await file.restart(null, null);
    throw refusal(response);
  }
  const encoding = response.headers['content-encoding'];
  if (encoding !== undefined && encoding !== 'identity')
    throw new BerthError('unsupported', `the server sends the file in the encoding ${encoding}`, {
      remedy: 'Offer it without Content-Encoding: its bytes are what counts.',
    });
  const validator = stated === undefined ? validatorOf(response) : byDigest;
  if (status === 206) {
    const range = rangeOf(response);
    const same = range?.from === from && range.of === file.totalBytes;
    if (same && (validator === null || validator === file.validator)) return file.resume();
    await file.restart(null, null);
    throw new Interrupted('the content changed on the server meanwhile; it is begun again');
  }
  const length = response.headers['content-length'];
  const totalBytes = length === undefined ? (stated ?? null) : Number(length);
  if (stated !== undefined && totalBytes !== stated) throw otherSize(totalBytes, stated);
  if (totalBytes !== null && totalBytes > maxBytes) throw tooLarge(maxBytes);
  await file.restart(validator, totalBytes);
}

/** The body to its end. */
async function take(
  chunks: AsyncIterable<Buffer>,
  file: PartialFile,
  stated: number | undefined,
  ports: DownloadPorts,
): Promise<void> {
  const { clock, limits, progress } = ports;
  let kept = clock.now().getTime();
  await progress(file.bytes, file.totalBytes);
  try {
    for await (const chunk of chunks) {
      const bytes = file.bytes + chunk.length;
      if (stated !== undefined && bytes > stated) throw otherSize(bytes, stated);
      if (bytes > limits.maxBytes) throw tooLarge(limits.maxBytes);
      await file.append(chunk);
      if (clock.now().getTime() - kept < checkpointMs) continue;
      await file.checkpoint();
      kept = clock.now().getTime();
      await progress(file.bytes, file.totalBytes);
    }
  } catch (error) {
    await file.checkpoint();
    throw error;
  }
  if (file.totalBytes !== null && file.bytes !== file.totalBytes) {
    await file.checkpoint();
    throw new Interrupted(`the server ended after ${file.bytes} of ${file.totalBytes} bytes`);
  }
  await file.finish();
  await progress(file.bytes, file.totalBytes);
}

/**
 * What If-Range may carry (RFC 9110 section 13.1.5): a strong ETag; else the date of the last change, if it was a second or
 * more before the answer (section 8.8.2.2), so that nothing of the same second goes unseen.
 */
function validatorOf({ headers }: IncomingMessage): string | null {
  const { etag, date } = headers;
  if (etag !== undefined) return /^"[^"]{0,256}"$/.test(etag) ? etag : null;
  const changed = headers['last-modified'];
  if (changed === undefined || changed.length > 64 || date === undefined) return null;
  return Date.parse(date) - Date.parse(changed) >= 1000 ? changed : null;
}

function rangeOf({ headers }: IncomingMessage): { readonly from: number; readonly of: number } | null {
  const parts = /^bytes (\d{1,15})-(\d{1,15})\/(\d{1,15})$/.exec(headers['content-range'] ?? '');
  return parts === null ? null : { from: Number(parts[1]), of: Number(parts[3]) };
}

/** These may be better the next time: RFC 9110 and 6585. */
const passing = new Set([206, 408, 416, 425, 429]);

/** What an answer is taken as that is none of what was asked for: for good, or until the next try. */
export function refusal({
  statusCode: status = 0,
  statusMessage: words = '',
  headers,
}: IncomingMessage): Error {
  const said = `the server answered ${status}${words === '' ? '' : ` ${words.slice(0, 64)}`}`;
  if (status >= 500 || passing.has(status)) return new Interrupted(said, { afterMs: retryAfterMs(headers) });
  const code =
    status === 404 || status === 410
      ? 'notFound'
      : status === 401 || status === 403
        ? 'forbidden'
        : 'unavailable';
  return new BerthError(code, said, {
    remedy: 'Try the address elsewhere, for example with curl; a signature in it may have expired.',
  });
}

/** `Retry-After` (RFC 9110 section 10.2.3), milliseconds; 0 where nothing is said. A date counts from the answer's own. */
function retryAfterMs(headers: IncomingHttpHeaders): number {
  const after = headers['retry-after'] ?? '';
  const ms = /^\d{1,9}$/.test(after)
    ? Number(after) * 1000
    : Date.parse(after) - Date.parse(headers.date ?? '');
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

function otherSize(bytes: number | null, stated: number): BerthError {
  return new BerthError('badImage', `the server gives ${bytes} bytes of content that has ${stated}`, {
    remedy: 'The registry’s copy is damaged: push the image again.',
  });
}

function tooLarge(maxBytes: number): BerthError {
  return new BerthError('tooLarge', `the file is larger than ${maxBytes} bytes`, {
    remedy: 'Use a smaller image, or raise uploadMaxMiB in the configuration of the API.',
  });
}

export const isOfMachine = (error: unknown): boolean =>
  ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EACCES', 'EMFILE'].includes(
    (error as NodeJS.ErrnoException | null)?.code ?? '',
  );

export function asInterrupted(error: unknown): Error {
  if (error instanceof Interrupted) return error;
  const { code, message } = error as NodeJS.ErrnoException;
  // Node's word for a body that ended too early.
  if (code === 'ECONNRESET') return new Interrupted('the connection was cut', { cause: error });
  if (code?.startsWith('HPE_') === true || code?.startsWith('E') === true)
    return new Interrupted(message, { cause: error });
  return error instanceof Error ? error : new Error(String(error));
}

import { lookup as dnsLookup } from 'node:dns';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { LookupFunction } from 'node:net';
import type { Readable } from 'node:stream';
import { BerthError, type ImageSources } from '@berth/model';
import {
  literalAddress,
  mayConnect,
  privateRefused,
  redirectRefused,
  shownAddress,
  urlFault,
} from './image-source.js';

/** It may be better the next time: the connection was cut, the server is busy, the name could not be looked up. */
export class Interrupted extends Error {
  /** The server asks for a pause of this long, milliseconds. */
  readonly afterMs: number;

  constructor(message: string, options: ErrorOptions & { readonly afterMs?: number } = {}) {
    super(message, options);
    this.afterMs = options.afterMs ?? 0;
  }
}

export interface SourceRequest {
  /** GET when absent. */
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PATCH' | 'PUT' | undefined;
  /** Whole, or made anew for each request. */
  readonly body?: Buffer | (() => Readable) | undefined;
  /** Of the body, bytes; absent of one that is whole. */
  readonly length?: number | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** The header of that name. Goes to the origin of the first address and no other. */
  readonly authorization?: string | undefined;
  /** What the project allows. */
  readonly sources: ImageSources;
  /** The operator names the first address, which may be private therefore; those that it redirects to may not. */
  readonly named?: boolean | undefined;
  /** Without a byte for this long the connection is given up, milliseconds. */
  readonly stallMs: number;
  readonly signal: AbortSignal;
}

/** An answer, and the address that gave it at the end of all redirects. */
export interface SourceAnswer {
  readonly response: IncomingMessage;
  readonly url: URL;
}

/** What may be redirected. */
const reading: ReadonlySet<string> = new Set(['GET', 'HEAD']);
const redirectsMost = 5;
const redirects = new Set([301, 302, 303, 307, 308]);

/**
 * GET, over as many redirects as are allowed, or a request with a body, which follows none; each hop's address is looked up here and checked before it is connected to, so
 * that no name can change its mind in between. Knows no proxy. The caller reads the body or destroys it.
 * @throws BerthError forbidden, invalid, unavailable for good; Interrupted
 */
export async function sourceGet(first: URL, request: SourceRequest): Promise<SourceAnswer> {
  let url = first;
  for (let hops = 0; ; hops += 1) {
    const own = url.origin === first.origin;
    const sources =
      own && request.named === true ? { ...request.sources, privateAddresses: true } : request.sources;
    const response = await hop(url, { ...request, sources }, own ? request.authorization : undefined);
    const { location } = response.headers;
    // What is sent is for the address that was named: whoever is redirected to gets nothing of it.
    if (!reading.has(request.method ?? 'GET') && redirects.has(response.statusCode ?? 0)) {
      response.destroy();
      throw new BerthError('unavailable', 'the server redirects what is sent to it', {
        remedy: 'Name the address that takes it itself.',
      });
    }
    if (!redirects.has(response.statusCode ?? 0) || location === undefined) return { response, url };
    response.destroy();
    url = redirectTarget(url, location, request.sources);
    if (hops + 1 >= redirectsMost)
      throw new BerthError('unavailable', `the server redirects more than ${redirectsMost} times`, {
        remedy: 'Name the address of the file itself.',
      });
  }
}

function redirectTarget(from: URL, location: string, sources: ImageSources): URL {
  const to = URL.canParse(location, from.href) ? new URL(location, from) : null;
  if (to === null)
    throw new BerthError('unavailable', 'the server redirects to what is no address', {
      remedy: 'Name the address of the file itself.',
    });
  if (!sources.redirects) throw redirectRefused(to);
  const fault = urlFault(to);
  if (fault !== null)
    throw new BerthError('forbidden', `the address of a redirect ${fault[0]}`, { remedy: fault[1] });
  if (from.protocol === 'https:' && to.protocol === 'http:')
    throw new BerthError('forbidden', `the server redirects from https to ${shownAddress(to)}`, {
      remedy: 'Name an address that is https to its end.',
    });
  return to;
}

function hop(
  url: URL,
  { method = 'GET', body: sent, length, headers, sources, stallMs, signal }: SourceRequest,
  authorization: string | undefined,
): Promise<IncomingMessage> {
  const literal = literalAddress(url);
  if (literal !== null && !mayConnect(literal, sources))
    return Promise.reject(privateRefused(literal, literal));
  const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const request = send(url, {
      method,
      // A connection of its own: none that somebody else's rules opened, and none that a proxy of the environment gets.
      agent: false,
      headers: {
        ...headers,
        ...(lengthOf(sent, length) === null ? {} : { 'content-length': String(lengthOf(sent, length)) }),
        ...(authorization === undefined ? {} : { authorization }),
        'accept-encoding': 'identity',
        'user-agent': 'berth',
      },
      lookup: lookupAllowed(sources),
      timeout: stallMs,
      signal,
    });
    let body: IncomingMessage | null = null;
    request.on('timeout', () => {
      const stalled = new Interrupted(`nothing came for ${Math.round(stallMs / 1000)} s`);
      body?.destroy(stalled);
      request.destroy(stalled);
    });
    request.on('error', (error) => reject(signal.aborted ? error : asFault(error)));
    request.on('response', (response) => {
      body = response;
      const address = response.socket.remoteAddress ?? '';
      // Never so, for what the lookup let through; and nothing is taken from there if it were.
      if (!mayConnect(address, sources)) {
        response.destroy();
        return reject(privateRefused(url.hostname, address));
      }
      resolve(response);
    });
    if (typeof sent !== 'function') return void request.end(sent);
    const source = sent();
    source.on('error', (error) => request.destroy(error));
    request.on('close', () => source.destroy());
    source.pipe(request);
  });
}

const lengthOf = (sent: SourceRequest['body'], stated: number | undefined): number | null =>
  stated ?? (Buffer.isBuffer(sent) ? sent.length : null);

/** The resolver of the system, of whose answers only those that the project allows are connected to. */
function lookupAllowed(sources: ImageSources): LookupFunction {
  return (hostname, options, callback) => {
    dnsLookup(hostname, { ...options, all: true }, (error, found) => {
      if (error !== null) return callback(error, '');
      const allowed = found.filter(({ address }) => mayConnect(address, sources));
      const [first] = allowed;
      if (first === undefined)
        return callback(privateRefused(hostname, found[0]?.address ?? 'no address'), '');
      if (options.all === true) return callback(null, allowed);
      callback(null, first.address, first.family);
    });
  };
}

/** What a certificate lacks does not come with time. */
const forGood = /CERT|TLS|SSL|SIGNATURE|ERR_INVALID/;

function asFault(error: Error & { code?: string }): Error {
  if (error instanceof BerthError || error instanceof Interrupted) return error;
  if (forGood.test(error.code ?? ''))
    return new BerthError('unavailable', `the server is not trusted: ${error.message}`, {
      remedy: 'Offer the image under a certificate that this machine trusts, or upload the file.',
      cause: error,
    });
  return new Interrupted(error.message, { cause: error });
}

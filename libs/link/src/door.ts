/*
 * The agent link. The agent dials the API over TLS 1.3; ALPN tells two doors of one port apart:
 *
 *   berth-join    no client certificate. The agent is an ordinary HTTP/2 client: POST /join, POST /renew.
 *   berth-agent   mutual TLS. The agent *serves* HTTP/2 on the connection it dialled, the API is the client:
 *
 *     GET  /hello                  who the agent is (Hello)
 *     POST /session                the session Postgres issued; a later one makes this connection stale
 *     PUT  /assignments            the whole AssignmentList; 409 with a Refusal when the agent does not act on it
 *     PUT  /secrets                SecretValues: values that the next list names
 *     GET  /reports?session=N      one long NDJSON stream of Report lines
 *     POST /ack                    Ack: everything up to `seq` is committed
 *     PUT  /blobs/<digest>         content the agent asked for by an `imageWanted` report
 *     GET  /blobs/<digest>         content that this host holds, for another host
 *     GET  /usage?after=MS         UsageAnswer: what was measured after that time of the host's clock
 *     GET  /logs/<instanceId>      bytes of the newest epoch; `?follow=1&tailBytes=N&framed=1` (model, log-lines.ts)
 *     GET  /stats/<instanceId>     StatsLine, one after each `?everyMs=N`, until the newest epoch runs no more
 *     GET  /processes/<instanceId> what runs in the newest epoch (model, processes.ts)
 *     POST /terminals/<instanceId> console or exec of the newest epoch, both ways: see terminal.ts
 */

/** ALPN protocol of the door without a client certificate. */
export const joinDoor = 'berth-join';
/** ALPN protocol of the mutual TLS door. */
export const agentDoor = 'berth-agent';
/** DNS name in the API's link certificate; the agent checks this name and no address. */
export const linkServerName = 'berth-api';

/** Bounds on what either side accepts from the other. */
export const linkLimits = {
  /** One NDJSON line of a report stream, bytes. */
  lineBytes: 256 * 1024,
  /** One JSON body (assignment lists are the largest), bytes. */
  bodyBytes: 32 * 1024 * 1024,
  /** A join or renewal request, bytes. */
  joinBytes: 64 * 1024,
  /** TLS handshake and first answer, milliseconds. */
  handshakeMs: 10_000,
  /** Silence before a PING is sent, milliseconds. */
  pingMs: 5_000,
  /** A PING without an answer for this long means the peer is dead, milliseconds. */
  pingTimeoutMs: 10_000,
  /** A request and its answer, milliseconds (streams excepted). */
  requestMs: 15_000,
  /** Concurrent streams on one connection. */
  streams: 256,
} as const;

/** The two ends of the link could not agree, or the peer broke the protocol. */
export class LinkError extends Error {
  constructor(
    readonly code:
      | 'refused'
      | 'malformed'
      | 'tooLarge'
      | 'timeout'
      | 'closed'
      | 'wrongAuthority'
      | 'status'
      | 'unreachable',
    message: string,
    readonly options: { readonly status?: number; readonly cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'LinkError';
  }
}

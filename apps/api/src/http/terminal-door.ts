import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BerthError, terminalMessageBytes, type Instance, type Problem } from '@berth/model';
import { WebSocketServer } from 'ws';
import type { TokenRow } from '../store/store.js';
import type { HttpDeps } from './deps.js';
import { traceIdOf } from './gate.js';
import { asBerthError, problemOf } from './problems.js';
import { TerminalSession } from './terminal-session.js';
import { terminalTicketTake, type TerminalTicketTaken } from './terminal-ticket.js';
import { refuseTerminal } from './terminals.controller.js';

/** Where tickets are spent. */
export const terminalDoorPath = '/v1/console';
/** Terminals of one API process. */
const atOnce = 1000;
/** How long a client may take to read why its terminal ended, when the API does; then its connection is cut. */
const lastWordsMs = 1000;

interface Admitted {
  readonly ticket: TerminalTicketTaken;
  readonly token: TokenRow;
  readonly instance: Instance;
}

/**
 * Takes the server's upgrades: a ticket is looked at, and the connection becomes a WebSocket or gets a problem document.
 * `close` ends every terminal, with a reason, and resolves when they are over.
 */
export class TerminalDoor {
  private readonly sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: terminalMessageBytes,
  });
  private readonly sessions = new Set<TerminalSession>();
  private readonly running = new Set<Promise<void>>();
  /** Connections that asked for an upgrade: the server neither counts nor closes them any more. */
  private readonly connections = new Set<Duplex>();
  private emptied: () => void = () => undefined;
  /** Fires when no terminal is left. */
  private idle: AbortController | null = null;
  private closing = false;

  constructor(
    server: Server,
    private readonly deps: HttpDeps,
  ) {
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => undefined);
      this.connections.add(socket);
      socket.once('close', () => {
        this.connections.delete(socket);
        if (this.connections.size === 0) this.emptied();
      });
      void this.arrived(request, socket, head);
    });
  }

  async close(): Promise<void> {
    this.closing = true;
    for (const session of this.sessions) session.giveUp(ending());
    await Promise.all(this.running);
    await this.lastWords();
    for (const socket of this.connections) socket.destroy();
  }

  /** Resolves when every connection is closed, or had its time for that. */
  private lastWords(): Promise<void> {
    if (this.connections.size === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const stop = this.deps.every(lastWordsMs, () => this.emptied());
      this.emptied = () => {
        stop();
        resolve();
      };
    });
  }

  private async arrived(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const traceId = traceIdOf(request);
    try {
      const admitted = await this.admit(request);
      this.sockets.handleUpgrade(request, socket, head, (ws) => {
        const session = new TerminalSession(ws, { ...admitted, traceId }, this.deps);
        this.begin(session);
        if (this.closing) session.giveUp(ending());
      });
    } catch (thrown) {
      const error = asBerthError(thrown);
      if (error.code === 'internal')
        this.deps.logger.error({ traceId, err: thrown }, 'an upgrade could not be served');
      refuse(socket, problemOf(error, traceId));
    }
  }

  private begin(session: TerminalSession): void {
    this.sessions.add(session);
    const run = session.run().finally(() => {
      this.sessions.delete(session);
      this.running.delete(run);
      if (this.sessions.size > 0) return;
      this.idle?.abort();
      this.idle = null;
    });
    this.running.add(run);
    if (this.idle !== null) return;
    this.idle = new AbortController();
    // What it misses (a database that is away), the pings of each terminal find.
    void this.followTokens(this.idle.signal).catch(() => undefined);
  }

  /** While there are terminals: sign-outs and revocations, of every API process, are told by the ledger. */
  private async followTokens(signal: AbortSignal): Promise<void> {
    const follower = await this.deps.ledger.follow(null, { classes: ['audit'], objectKind: 'token' });
    while (!signal.aborted && !follower.over) {
      const tokens = new Set((await follower.take()).map(({ event }) => event.object.id));
      for (const session of this.sessions) if (tokens.has(session.tokenId)) void session.check();
      await follower.wait(signal);
    }
  }

  /** The ticket is spent whatever comes of it. @throws BerthError */
  private async admit(request: IncomingMessage): Promise<Admitted> {
    const url = new URL(request.url ?? '/', 'http://api');
    if (url.pathname !== terminalDoorPath)
      throw new BerthError('notFound', `there is nothing to upgrade at ${url.pathname}`, {
        remedy: `Tickets are spent at ${terminalDoorPath}.`,
      });
    refuseForeignPage(request);
    if (this.closing) throw ending();
    if (this.sessions.size >= atOnce)
      throw new BerthError('rateLimited', `this API has ${atOnce} terminals open`);
    const secret = url.searchParams.get('ticket') ?? '';
    const ticket = await terminalTicketTake(this.deps, secret);
    const token = ticket === null ? null : await this.deps.store.tokenFindById(ticket.tokenId);
    const instance = ticket === null ? null : await this.deps.store.instanceById(ticket.instanceId);
    if (ticket === null || token === null || instance === null)
      throw new BerthError('unauthenticated', 'The ticket is unknown, spent or expired.', {
        remedy:
          'Ask for a new one and use it at once: POST …/instances/{name}/console, …/display, …/attach or …/exec.',
      });
    refuseTerminal(instance, ticket.opens);
    return { ticket, token, instance };
  }
}

/** Browsers say which page asks; only pages of this API may. Other clients say nothing. @throws BerthError forbidden */
function refuseForeignPage({ headers }: IncomingMessage): void {
  const { origin, host } = headers;
  if (origin === undefined) return;
  if (URL.canParse(origin) && new URL(origin).host === host) return;
  throw new BerthError('forbidden', 'The request comes from a page of another origin.', {
    remedy: 'Open the terminal from a page of this API. A proxy in front must pass the Host header on.',
  });
}

const ending = (): BerthError =>
  new BerthError('unavailable', 'This API process is ending.', {
    remedy: 'Connect again with a new ticket in a few seconds.',
  });

/** A problem document before any upgrade; the connection ends with it. */
function refuse(socket: Duplex, problem: Problem): void {
  const body = JSON.stringify(problem);
  socket.end(
    [
      `HTTP/1.1 ${problem.status} ${problem.title}`,
      'content-type: application/problem+json; charset=utf-8',
      `content-length: ${Buffer.byteLength(body)}`,
      'cache-control: no-store',
      'connection: close',
      '',
      body,
    ].join('\r\n'),
  );
  // Nothing of what still comes is wanted; a client that does not hang up is not waited for.
  socket.once('end', () => socket.destroy()).resume();
  (socket as Socket).setTimeout(5000, () => socket.destroy());
}

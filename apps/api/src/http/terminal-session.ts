import {
  BerthError,
  TerminalFlow,
  TerminalOrder,
  terminalChannels,
  type Instance,
  type TerminalNotice,
} from '@berth/model';
import type { RawData, WebSocket } from 'ws';
import type { RequestContext, TokenRow } from '../store/store.js';
import type { HttpDeps, OpenTerminal } from './deps.js';
import { asBerthError, problemOf } from './problems.js';
import type { TerminalTicketTaken } from './terminal-ticket.js';

/** Input that waits for the host; beyond it the client is not read from, bytes. */
const inputRoom = 256 * 1024;

/** A client that answers none of so many pings is gone. */
const pingsMissed = 2;

/** Most bytes of the reason of a close (RFC 6455 section 5.5). */
const reasonBytes = 123;

/** Status codes of the close (RFC 6455 section 7.4). */
const closeCodes = { done: 1000, goingAway: 1001, refused: 1008, failed: 1011 } as const;

export interface TerminalSubject {
  readonly ticket: TerminalTicketTaken;
  readonly token: TokenRow;
  readonly instance: Instance;
  readonly traceId: string;
}

/**
 * One WebSocket and one terminal of a host. Of a display it carries RFB and nothing else, so that any client of VNC over
 * WebSocket understands it; why it ended, the close tells. Either side that does not read holds the other up; nothing is kept but the
 * piece on its way and {@link inputRoom} of input.
 *
 *   open -> (bytes both ways) -> exit or problem -> closed
 */
export class TerminalSession {
  private readonly over = new AbortController();
  /** Why this side ends it, when it does. */
  private reason: BerthError | null = null;
  private lastByteAt: number;
  private waiting = 0;
  private unanswered = 0;
  private typing: Promise<void> = Promise.resolve();
  /** Resolves when the client takes output. */
  private flowing: Promise<void> = Promise.resolve();
  private goOn: (() => void) | null = null;
  /** Resolves with null when it never opens. Input that comes before waits for it. */
  private readonly opening: Promise<OpenTerminal | null>;
  private opened: (host: OpenTerminal | null) => void = () => undefined;
  private readonly counted = { in: 0, out: 0 };

  constructor(
    private readonly ws: WebSocket,
    private readonly subject: TerminalSubject,
    private readonly deps: HttpDeps,
  ) {
    this.lastByteAt = deps.clock.now().getTime();
    this.opening = new Promise((resolve) => (this.opened = resolve));
    this.over.signal.addEventListener('abort', () => this.flow('goOn'), { once: true });
    ws.on('error', () => this.over.abort());
    ws.on('close', () => this.over.abort());
    ws.on('pong', () => (this.unanswered = 0));
    ws.on('message', (data, binary) => this.heard(data, binary));
  }

  /** Carries bytes until it is over. Never rejects. */
  async run(): Promise<void> {
    const stopWatching = this.deps.every(this.deps.config.terminal.pingMs, () => void this.watch());
    const from = this.deps.clock.now().getTime();
    let ended: object = { how: 'closedByClient' };
    try {
      await this.record('started', { opens: shownInAudit(this.subject.ticket.opens) });
      ended = await this.carry();
    } catch (thrown) {
      const error = this.reason ?? asBerthError(thrown);
      if (this.reason !== null || !this.over.signal.aborted) {
        ended = { how: 'problem', code: error.code };
        this.tell({ type: 'problem', problem: problemOf(error, this.subject.traceId) }, closeCodeOf(error));
        if (error.code === 'internal')
          this.deps.logger.error({ traceId: this.subject.traceId, err: thrown }, 'a terminal failed');
      }
    } finally {
      stopWatching();
      this.over.abort();
      this.opened(null);
      (await this.opening)?.close();
      const seconds = Math.round((this.deps.clock.now().getTime() - from) / 1000);
      const bytes = { bytesIn: this.counted.in, bytesOut: this.counted.out };
      await this.record('ended', { ...ended, ...bytes, seconds }).catch((err: unknown) =>
        this.deps.logger.error(
          { traceId: this.subject.traceId, err },
          'the end of a terminal is not recorded',
        ),
      );
    }
  }

  /** Ends it with a problem. */
  giveUp(error: BerthError): void {
    this.reason ??= error;
    this.over.abort();
  }

  private async carry(): Promise<object> {
    const { ticket, instance } = this.subject;
    const { signal } = this.over;
    const host = await this.deps.terminals.open(instance, ticket.opens, signal);
    // Whoever went away while it opened, or goes later, ends it: its words would be waited for in vain.
    if (signal.aborted) host.close();
    signal.addEventListener('abort', () => host.close(), { once: true });
    this.opened(host);
    this.tell({ type: 'opened' });
    for await (const saying of host.sayings()) {
      if ('end' in saying) {
        this.tell({ type: 'exit', end: saying.end }, closeCodes.done);
        return { how: saying.end.reason, ...('code' in saying.end ? { exitCode: saying.end.code } : {}) };
      }
      this.lastByteAt = this.deps.clock.now().getTime();
      this.counted.out += saying.bytes.length;
      await this.send(saying.channel, saying.bytes);
    }
    if (this.reason !== null) throw this.reason;
    return { how: 'closedByClient' };
  }

  /** Resolves when the bytes have left for the client: a slow one is not run away from. */
  private async send(channel: 'output' | 'errorOutput', bytes: Buffer): Promise<void> {
    await this.flowing;
    const message = this.plain ? bytes : Buffer.concat([Buffer.from([terminalChannels[channel]]), bytes]);
    await new Promise<void>((resolve, reject) => {
      const gone = (): void => reject(new Error('the client has gone'));
      if (this.over.signal.aborted) return gone();
      this.over.signal.addEventListener('abort', gone, { once: true });
      this.ws.send(message, { binary: true }, (error) => {
        this.over.signal.removeEventListener('abort', gone);
        if (error) reject(error);
        else resolve();
      });
    });
  }

  private heard(data: RawData, binary: boolean): void {
    const bytes = data as Buffer;
    this.lastByteAt = this.deps.clock.now().getTime();
    const flow = binary || this.plain ? null : TerminalFlow.safeParse(jsonOf(bytes));
    // Not in the order of the input: a program that waits to be read from may not read before.
    if (flow?.success === true) return this.flow(flow.data.type);
    this.waiting += bytes.length;
    if (this.waiting > inputRoom) {
      this.ws.pause();
      // Nothing is heard now, so no "go on" either.
      this.flow('goOn');
    }
    this.typing = this.typing
      .then(() => (binary ? this.type(bytes) : this.obey(bytes)))
      .catch((error: unknown) => this.giveUp(asBerthError(error)))
      .then(() => {
        this.waiting -= bytes.length;
        if (this.waiting <= inputRoom && this.ws.isPaused) this.ws.resume();
      });
  }

  private flow(to: TerminalFlow['type']): void {
    if (to === 'goOn') {
      this.goOn?.();
      this.goOn = null;
    } else if (this.goOn === null && !this.over.signal.aborted)
      this.flowing = new Promise((resolve) => (this.goOn = resolve));
  }

  /** Whether the messages are the bytes of the terminal alone. */
  private get plain(): boolean {
    return this.subject.ticket.opens.kind === 'display';
  }

  private async type(bytes: Buffer): Promise<void> {
    if (this.plain) {
      this.counted.in += bytes.length;
      return this.whenOpen((host) => host.type(bytes));
    }
    if (bytes[0] !== terminalChannels.input)
      throw refused('A binary message begins with the byte 0, which means input.');
    const { opens } = this.subject.ticket;
    if ((opens.kind === 'console' || opens.kind === 'attach') && opens.readOnly)
      throw refused(`This ${opens.kind === 'attach' ? 'terminal' : 'console'} was opened read-only.`);
    this.counted.in += bytes.length - 1;
    await this.whenOpen((host) => host.type(bytes.subarray(1)));
  }

  private async obey(bytes: Buffer): Promise<void> {
    if (this.plain) throw refused('A display takes binary messages only.');
    const order = TerminalOrder.safeParse(jsonOf(bytes));
    if (!order.success) throw refused('A text message is a JSON order: resize, endInput, hold or goOn.');
    await this.whenOpen((host) => host.order(order.data));
  }

  private async whenOpen(act: (host: OpenTerminal) => Promise<void>): Promise<void> {
    const host = await this.opening;
    if (host !== null && !this.over.signal.aborted) await act(host);
  }

  /** Once per ping: is the client there, may it be, and is anything going on. */
  private async watch(): Promise<void> {
    if (this.over.signal.aborted) return;
    // One that is held up is not read from, and so not heard. If it is gone, the ping meets the end of the connection.
    if (!this.ws.isPaused && this.unanswered >= pingsMissed) return this.ws.terminate();
    this.unanswered += 1;
    this.ws.ping(() => undefined);
    const idleMs = this.deps.clock.now().getTime() - this.lastByteAt;
    if (idleMs > this.deps.config.terminal.idleMs)
      return this.giveUp(
        new BerthError('gone', `The terminal was idle for ${Math.round(idleMs / 1000)} seconds.`, {
          remedy: 'Connect again with a new ticket.',
        }),
      );
    await this.check();
  }

  /** Whose token it speaks for. */
  get tokenId(): string {
    return this.subject.ticket.tokenId;
  }

  /** Ends it when the token, or the browser session, that asked for it is over. A database that is away ends nothing. */
  async check(): Promise<void> {
    const why = await this.revoked().catch(() => null);
    if (why !== null) this.giveUp(new BerthError('unauthenticated', why.detail, { remedy: why.remedy }));
  }

  private async revoked(): Promise<{ detail: string; remedy: string } | null> {
    const { store, config } = this.deps;
    const { sessionId } = this.subject.ticket;
    if ((await store.tokenFindById(this.tokenId)) === null)
      return {
        detail: 'The token of this terminal was revoked or has expired.',
        remedy: 'Connect again with a valid token.',
      };
    if (sessionId === null) return null;
    const session = await store.browserSessionSeeById(sessionId, config.session.idleSeconds);
    return session !== null
      ? null
      : { detail: 'The browser session of this terminal is over.', remedy: 'Sign in again.' };
  }

  private tell(notice: TerminalNotice, close?: number): void {
    if (this.ws.readyState !== this.ws.OPEN) return;
    if (!this.plain) this.ws.send(JSON.stringify(notice));
    if (close !== undefined) this.ws.close(close, this.plain ? reasonOf(notice) : undefined);
  }

  /** Who, what, when and how it ended; never a byte of it. */
  private async record(what: 'started' | 'ended', data: object): Promise<void> {
    const { instance, token, ticket, traceId } = this.subject;
    const project = await this.deps.store.projectGet(instance.project);
    const context: RequestContext = { actor: `token:${token.name}`, traceId };
    await this.deps.store.eventInsert(context, {
      class: 'audit',
      type: `${ticket.opens.kind}.${what}`,
      projectId: project?.id ?? null,
      object: { kind: 'instance', id: instance.id, name: instance.name },
      data: { ...data },
    });
  }
}

/** The command is told; values of variables may be secrets. */
function shownInAudit(opens: TerminalTicketTaken['opens']): object {
  if (opens.kind === 'console' || opens.kind === 'attach') return { readOnly: opens.readOnly };
  if (opens.kind === 'display') return opens.head === undefined ? {} : { head: opens.head };
  const { command, tty, user, workdir, env } = opens;
  return { command, tty, user: user ?? null, workdir: workdir ?? null, env: Object.keys(env ?? {}) };
}

const refused = (message: string): BerthError =>
  new BerthError('malformed', message, { remedy: 'docs/api-streams.md describes the messages.' });

/** Why a display ended, for people, as long as a close may tell. */
function reasonOf(notice: TerminalNotice): string {
  const words = notice.type === 'problem' ? notice.problem.detail : 'The instance does not run any more.';
  let text = words;
  while (Buffer.byteLength(text) > reasonBytes) text = text.slice(0, -1);
  return text;
}

function closeCodeOf({ code }: BerthError): number {
  if (code === 'unavailable') return closeCodes.goingAway;
  return code === 'internal' ? closeCodes.failed : closeCodes.refused;
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}

import type { Duplex } from 'node:stream';
import {
  AssignmentList,
  Ack,
  LinkError,
  PromptAction,
  SecretValues,
  SessionStart,
  linkLimits,
  parseMessage,
  protocol,
  readBody,
  serveLink,
} from '@berth/link';
import type { Hello, LinkAnswer, LinkRequest, Refusal } from '@berth/link';
import { Digest, Head, InstanceId, SendKeys, VolumeId } from '@berth/model';
import type { HostId } from '@berth/model';
import type { Clock } from './clock.js';
import { GuestFiles } from './guest-files.js';
import type { ImageFetch } from './image-fetch.js';
import type { Journal } from './journal.js';
import { LayerReads } from './layer-reads.js';
import { LiveUsage } from './live-usage.js';
import type { AgentLog } from './log.js';
import type { NetworkKeeper } from './networks.js';
import type { Outbox } from './outbox.js';
import type { Placements } from './placements.js';
import { PromptActions } from './prompt-actions.js';
import type { Runtimes } from './runtimes.js';
import type { UsageSampler } from './usage-sampler.js';
import { refusalOf } from './refusal.js';
import { Screens } from './screens.js';
import { Terminals } from './terminals.js';
import { VolumeExports } from './volume-exports.js';

export interface SessionPorts {
  readonly hostId: HostId;
  readonly clock: Clock;
  readonly bootId: string;
  readonly agentVersion: string;
  readonly journal: Journal;
  readonly outbox: Outbox;
  readonly placements: Placements;
  readonly images: ImageFetch;
  readonly runtimes: Pick<Runtimes, 'ready'>;
  readonly usage: Pick<UsageSampler, 'since'>;
  /** What goes through nics here; null where there are no networks. */
  readonly traffic: Pick<NetworkKeeper, 'traffic'> | null;
  readonly log: AgentLog;
  /** A session began: say the host's facts and inventory. */
  readonly began: () => Promise<void>;
}

/** One connection to the API, served until it breaks. Resolves with the reason. */
export function serveSession(
  socket: Duplex,
  ports: SessionPorts,
  signal: AbortSignal,
): Promise<Error | null> {
  const session = new AgentSession(ports);
  return new Promise((resolve) => {
    const h2 = serveLink(socket, (request) => session.handle(request), {
      onClose: (reason) => resolve(reason),
      onStreamError: (err) => ports.log.debug({ err }, 'a stream of the link failed'),
    });
    const end = (): void => h2.destroy();
    signal.addEventListener('abort', end, { once: true });
    h2.once('close', () => signal.removeEventListener('abort', end));
    if (signal.aborted) end();
  });
}

/** The agent's side of one connection: see door.ts of the link for the requests. */
class AgentSession {
  private session: SessionStart | null = null;
  private readonly terminals: Terminals;
  private readonly screens: Screens;
  private readonly files: GuestFiles;
  private readonly actions: PromptActions;
  private readonly exports: VolumeExports;
  private readonly layers: LayerReads;
  private readonly stats: LiveUsage;

  constructor(private readonly ports: SessionPorts) {
    this.terminals = new Terminals(ports.placements, ports.log);
    this.screens = new Screens(ports.placements);
    this.files = new GuestFiles(ports.placements);
    this.layers = new LayerReads(ports.placements);
    this.exports = new VolumeExports(ports.runtimes);
    this.stats = new LiveUsage(ports);
    this.actions = new PromptActions(ports.placements, ports.clock);
  }

  async handle(request: LinkRequest): Promise<LinkAnswer> {
    const [, head, tail] = request.path.split('/');
    switch (`${request.method} ${head ?? ''}`) {
      case 'GET hello':
        return { status: 200, body: this.hello() };
      case 'POST session':
        return this.begin(parseMessage(SessionStart, await readBody(request.stream, linkLimits.joinBytes)));
      case 'PUT assignments':
        return this.assign(await readBody(request.stream, linkLimits.bodyBytes));
      case 'PUT secrets':
        return this.secrets(await readBody(request.stream, linkLimits.bodyBytes));
      case 'GET reports':
        return this.reports(request);
      case 'POST ack':
        return this.acknowledge(parseMessage(Ack, await readBody(request.stream, linkLimits.joinBytes)));
      case 'PUT blobs':
        await this.ports.images.receive(parsePart(Digest, tail), request.stream);
        return { status: 204 };
      case 'GET blobs':
        return this.ports.images.give(parsePart(Digest, tail));
      case 'GET usage':
        return { status: 200, body: this.ports.usage.since(Number(request.query.get('after')) || 0) };
      case 'GET logs':
        return this.logs(request, parsePart(InstanceId, tail));
      case 'GET guest':
        return this.guest(request, parsePart(InstanceId, tail));
      case 'GET stats':
        return this.stats.serve(parsePart(InstanceId, tail), request);
      case 'GET processes':
        return this.processes(request, parsePart(InstanceId, tail));
      case 'GET seed':
        return this.seed(parsePart(InstanceId, tail));
      case 'POST terminals':
        return this.terminals.serve(request, parsePart(InstanceId, tail));
      case 'POST actions':
        return this.actions.act(
          parsePart(InstanceId, tail),
          parseMessage(PromptAction, await readBody(request.stream, linkLimits.joinBytes)),
          request.signal,
        );
      case 'GET files':
        return this.files.read(parsePart(InstanceId, tail), request);
      case 'PUT files':
        return this.files.write(parsePart(InstanceId, tail), request);
      case 'GET changes':
        return this.layers.changes(parsePart(InstanceId, tail), request);
      case 'GET layers':
        return this.layers.pack(parsePart(InstanceId, tail), request);
      case 'GET exports':
        return this.exports.read(parsePart(VolumeId, tail), request);
      case 'GET screenshots':
        return this.screens.screenshot(
          parsePart(InstanceId, tail),
          parsePart({ parse: (text) => Head.parse(Number(text)) }, request.query.get('head') ?? '0'),
          request.signal,
        );
      case 'POST keys':
        return this.screens.sendKeys(
          parsePart(InstanceId, tail),
          parseMessage(SendKeys, await readBody(request.stream, linkLimits.joinBytes)),
          request.signal,
        );
      default:
        return { status: 404, body: { code: 'notFound', message: `${request.method} ${request.path}` } };
    }
  }

  private hello(): Hello {
    const { hostId, bootId, agentVersion, journal } = this.ports;
    return { protocol, hostId, bootId, agentVersion, storeIncarnation: journal.host.storeIncarnation };
  }

  private async begin(start: SessionStart): Promise<LinkAnswer> {
    const { outbox, placements, log, began } = this.ports;
    this.session = start;
    placements.reportAll();
    await began();
    outbox.startSession(start.session);
    log.info({ session: start.session, reportsOnly: this.reportsOnly() }, 'session began');
    return { status: 204 };
  }

  /** The database is not the one this host obeyed until now, and nobody said that this is right. */
  private reportsOnly(): boolean {
    const known = this.ports.journal.host.storeIncarnation;
    return known !== null && known !== this.session?.storeIncarnation && this.session?.adopt !== true;
  }

  private async assign(body: Buffer): Promise<LinkAnswer> {
    const list = parseMessage(AssignmentList, body);
    const refusal = this.check(list) ?? (await this.ports.placements.apply(list));
    if (refusal === null) return { status: 204 };
    this.ports.log.warn({ refusal }, 'a list was refused');
    return { status: 409, body: refusal };
  }

  private secrets(body: Buffer): LinkAnswer {
    // A database that this host does not obey tells it nothing.
    if (!this.reportsOnly()) this.ports.placements.secretsCame(parseMessage(SecretValues, body).values);
    return { status: 204 };
  }

  private check(list: AssignmentList): Refusal | null {
    if (list.hostId !== this.ports.hostId)
      return { code: 'wrongHost', message: `this host is ${this.ports.hostId}` };
    if (this.session === null || list.session !== this.session.session)
      return { code: 'staleSession', message: `session ${list.session} is not the one of this connection` };
    if (list.storeIncarnation !== this.session.storeIncarnation || this.reportsOnly())
      return {
        code: 'otherIncarnation',
        message: `this host obeys store ${this.ports.journal.host.storeIncarnation ?? ''} and only reports to another`,
      };
    return null;
  }

  private reports(request: LinkRequest): LinkAnswer {
    const session = Number(request.query.get('session'));
    if (session !== this.session?.session) throw new LinkError('refused', 'no such session', { status: 409 });
    const reports = this.ports.outbox.stream(session, request.signal);
    return {
      status: 200,
      body: (async function* () {
        for await (const report of reports) yield Buffer.from(`${JSON.stringify(report)}\n`);
      })(),
    };
  }

  private acknowledge(ack: Ack): LinkAnswer {
    this.ports.outbox.acknowledge(ack.session, ack.seq);
    return { status: 204 };
  }

  /** What the guest of an instance's newest epoch says of itself. */
  private async guest(request: LinkRequest, instanceId: InstanceId): Promise<LinkAnswer> {
    const newest = this.ports.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    const { guest, name } = newest.runtime;
    if (guest === undefined)
      return { status: 501, body: { code: 'unsupported', message: `${name} asks no agents in guests` } };
    try {
      return { status: 200, body: await guest.info(newest.key, request.signal) };
    } catch (error) {
      return refusalOf(error);
    }
  }

  /** What runs in an instance's newest epoch. */
  private async processes(request: LinkRequest, instanceId: InstanceId): Promise<LinkAnswer> {
    const newest = this.ports.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    const { runtime, key } = newest;
    if (runtime.processes === undefined)
      return { status: 501, body: { code: 'unsupported', message: `${runtime.name} lists no processes` } };
    try {
      return { status: 200, body: await runtime.processes(key, request.signal) };
    } catch (error) {
      return refusalOf(error);
    }
  }

  /** What the cloud-init of an instance's newest epoch was given. */
  private async seed(instanceId: InstanceId): Promise<LinkAnswer> {
    const newest = this.ports.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    const seed = await newest.runtime.seed?.(newest.key);
    if (seed) return { status: 200, body: seed };
    return { status: 404, body: { code: 'notFound', message: 'no seed of this instance is on this host' } };
  }

  private logs(request: LinkRequest, instanceId: InstanceId): LinkAnswer {
    const newest = this.ports.placements.newest(instanceId);
    if ('refusal' in newest) return newest.refusal;
    if (newest.runtime.logs === undefined)
      return { status: 501, body: { code: 'unsupported', message: 'this runtime keeps no logs' } };
    const tail = request.query.get('tailBytes');
    const options = {
      follow: request.query.get('follow') === '1',
      framed: request.query.get('framed') === '1',
      ...(tail === null ? {} : { tailBytes: Math.max(0, Number(tail) || 0) }),
    };
    return { status: 200, body: newest.runtime.logs(newest.key, options, request.signal) };
  }
}

function parsePart<T>(schema: { parse(value: unknown): T }, text: string | undefined): T {
  try {
    return schema.parse(decodeURIComponent(text ?? ''));
  } catch (cause) {
    throw new LinkError('malformed', `"${text ?? ''}" is not valid here`, { cause });
  }
}

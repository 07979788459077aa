import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import type { Readable } from 'node:stream';
import { faultPoints } from '@berth/faults';
import {
  Hello,
  LinkError,
  Refusal,
  Report,
  lines,
  linkLimits,
  parseMessage,
  protocol,
  readBody,
  send,
  sendForStream,
  StatsLine,
  UsageAnswer,
  fileOfAnswer,
  layerOfAnswer,
} from '@berth/link';
import type { PromptAction } from '@berth/link';
import { BerthError, CloudInitSeed, GuestInfo, InstanceProcesses, LayerChanges } from '@berth/model';
import { z } from 'zod';
import type { Digest, FileTarget, HostId, InstanceId, SendKeys, TerminalOpen, VolumeId } from '@berth/model';
import type { Clock, Store } from '../store/store.js';
import { ClockWatch } from './clock-watch.js';
import { type BlobHolder, blobOpen } from './blob-holders.js';
import { HostSecrets } from './host-secrets.js';
import { listFaults } from './fault-names.js';
import { HostTerminal } from './host-terminal.js';
import type {
  BlobSource,
  DispatchHooks,
  DispatchLog,
  HostLogOptions,
  Pause,
  SecretSource,
  TraceSink,
  UsageSink,
} from './hooks.js';
import { renderList } from './render.js';
import { ReportWriter } from './reports.js';

export interface HostLinkPorts {
  readonly store: Store;
  /** Another host that is connected to this process. */
  readonly holder: (hostId: HostId) => BlobHolder | undefined;
  readonly blobs: BlobSource;
  readonly secrets: SecretSource;
  readonly hooks: DispatchHooks;
  readonly log: DispatchLog;
  readonly clock: Clock;
  readonly pause: Pause;
  readonly usage: UsageSink;
  readonly traces?: TraceSink;
  /** The operator accepted a restored database: agents of the old one obey it. */
  readonly adoptRestored: boolean;
}

/** Heartbeats are written this often while nothing else is, milliseconds. */
const seenEveryMs = 5_000;
/** What the host measured is asked for this often, milliseconds. */
const usageEveryMs = 15_000;
/** The same until its first answer with figures in it. */
const firstUsageEveryMs = 1_000;
/** A guest may be slow to open a file, and to take a large one; milliseconds. */
const fileOpenMs = 60_000;
const fileMs = 6 * 3_600_000;
const FileWritten = z.strictObject({ bytes: z.int().min(0) });

/** Which changes are asked for. */
export interface LayerPage {
  /** Of which it is taken to be made; a host that has another one refuses. */
  readonly image: Digest;
  readonly limit: number;
  readonly after?: string | undefined;
}

/** Why a host broke off a layer, in its words. */
const layerRefused = ({
  code,
  message,
  remedy,
}: {
  code: string;
  message: string;
  remedy?: string | undefined;
}) =>
  new BerthError(
    code === 'badImage' ? 'badImage' : code === 'notPrepared' ? 'stateConflict' : 'unavailable',
    message,
    remedy === undefined ? {} : { remedy },
  );

async function* statsOf(stream: ClientHttp2Stream): AsyncGenerator<StatsLine> {
  for await (const line of lines(stream, linkLimits.lineBytes)) yield parseMessage(StatsLine, line);
}

/** A file as it comes from a host. */
export type HostFile = Awaited<ReturnType<typeof fileOfAnswer>>;

/** Blobs pushed to one host at a time. */
const pushesAtOnce = 2;
/** A blob may take this long, milliseconds. */
const pushMs = 3_600_000;

/** The API's side of one connected host, from first words to the end of the connection. */
export class HostLink {
  private session = 0;
  private listWanted = false;
  private pushingList = false;
  private readonly blobsWanted = new Set<Digest>();
  private pushes = 0;
  private readonly ended = new AbortController();
  private readonly secrets: HostSecrets;

  constructor(
    readonly hostId: HostId,
    private readonly keyFingerprint: string,
    private readonly h2: ClientHttp2Session,
    private readonly ports: HostLinkPorts,
  ) {
    h2.once('close', () => this.ended.abort());
    this.secrets = new HostSecrets(h2, hostId, ports);
  }

  /** Number of the session Postgres issued; 0 before. */
  get number(): number {
    return this.session;
  }

  close(): void {
    this.h2.destroy();
  }

  /** First words and a session. @throws LinkError refused when the host may not have one */
  async open(): Promise<void> {
    const answer = await this.request('GET', '/hello');
    const hello = parseMessage(Hello, answer.body);
    if (hello.hostId !== this.hostId) throw new LinkError('refused', 'the agent says it is another host');
    const opened = await this.ports.store.hostSessionOpen({
      hostId: this.hostId,
      keyFingerprint: this.keyFingerprint,
      bootId: hello.bootId,
      agentVersion: hello.agentVersion,
    });
    if (opened.outcome === 'refused')
      throw new LinkError('refused', `no session for this host: ${opened.reason}`);
    this.session = opened.session;
    const { storeIncarnation } = opened;
    const adopt = this.ports.adoptRestored;
    await this.request('POST', '/session', { protocol, session: this.session, storeIncarnation, adopt });
  }

  /** Serves the open session until it ends. */
  async serve(): Promise<void> {
    this.wake();
    const beat = Promise.all([this.heartbeat(), this.readUsage()]);
    try {
      const stream = await sendForStream(this.h2, {
        method: 'GET',
        path: `/reports?session=${this.session}`,
      });
      await this.readReports(stream);
    } finally {
      this.close();
      await beat;
    }
  }

  /** Sends the host's list as it is now, once, however often it is woken meanwhile. */
  wake(): void {
    if (this.session === 0) return;
    this.listWanted = true;
    if (!this.pushingList) void this.pushList();
  }

  private async pushList(): Promise<void> {
    const { store, log, pause } = this.ports;
    this.pushingList = true;
    for (let attempt = 0; this.listWanted && !this.ended.signal.aborted;) {
      this.listWanted = false;
      try {
        // Offered before the first byte: what was never offered may be withdrawn without a fence.
        const list = await store.assignmentsOffer(this.hostId);
        if (list === null) return this.close();
        await faultPoints(() => listFaults(list, 'offered'));
        this.mark(list.assignments, 'offer');
        await this.secrets.send(list.assignments);
        await this.sendList(JSON.stringify(list.assignmentRev), renderList(list, this.session));
        this.mark(list.assignments, 'link');
        await faultPoints(() => listFaults(list, 'sent'));
        attempt = 0;
      } catch (err) {
        if (this.ended.signal.aborted) break;
        log.warn({ err, hostId: this.hostId }, 'a list could not be sent; it is tried again');
        this.listWanted = true;
        await pause.sleep(Math.min(5_000, 100 * 2 ** attempt++), this.ended.signal);
      }
    }
    this.pushingList = false;
  }

  private mark(assignments: readonly { readonly instanceId: InstanceId }[], part: string): void {
    for (const { instanceId } of assignments) this.ports.traces?.mark(instanceId, part);
  }

  private async sendList(rev: string, body: object): Promise<void> {
    const answer = await send(this.h2, { method: 'PUT', path: '/assignments', body, timeoutMs: 60_000 });
    if (answer.status === 204) return;
    if (answer.status !== 409)
      throw new LinkError('status', `the agent answered ${answer.status}: ${answer.body.toString('utf8')}`);
    const refusal = parseMessage(Refusal, answer.body);
    this.ports.log.warn({ hostId: this.hostId, rev, refusal }, 'the agent refused a list');
  }

  /** In order, one by one: the order of commits is the order of acknowledgements. */
  private async readReports(stream: ClientHttp2Stream): Promise<void> {
    const { store, hooks, log } = this.ports;
    const writer = new ReportWriter(this.hostId, this.session, {
      store,
      hooks,
      log,
      ...(this.ports.traces === undefined ? {} : { traces: this.ports.traces }),
      listChanged: () => this.wake(),
      pushBlob: (digest) => this.wantBlob(digest),
    });
    for await (const line of lines(stream, linkLimits.lineBytes)) {
      const report = parseMessage(Report, line);
      await this.applyUntilDone(writer, report);
      this.acknowledge(report.seq);
    }
  }

  /** A database that is away is waited for: the agent keeps what is not acknowledged. */
  private async applyUntilDone(writer: ReportWriter, report: Report): Promise<void> {
    const { log, pause } = this.ports;
    for (let attempt = 0; ; attempt++) {
      try {
        return await writer.apply(report);
      } catch (err) {
        log.error({ err, hostId: this.hostId, kind: report.body.kind }, 'a report could not be committed');
        if (attempt >= 5) throw err;
        await pause.sleep(100 * 2 ** attempt, this.ended.signal);
        if (this.ended.signal.aborted) throw err;
      }
    }
  }

  private acknowledged = 0;
  private acking = false;
  private acked = 0;

  /** Not waited for, and coalesced: the next report need not wait a round trip. */
  private acknowledge(seq: number): void {
    this.acked = seq;
    if (this.acking) return;
    this.acking = true;
    void (async () => {
      try {
        while (this.acknowledged < this.acked) {
          const upTo = this.acked;
          await this.request('POST', '/ack', { session: this.session, seq: upTo });
          this.acknowledged = upTo;
        }
      } catch (err) {
        // What is not acknowledged is said again in the next session.
        if (!this.ended.signal.aborted)
          this.ports.log.warn({ err, hostId: this.hostId }, 'an acknowledgement failed');
        this.close();
      } finally {
        this.acking = false;
      }
    })();
  }

  /** Last seen is written while the agent answers PINGs: a dead peer ends the session by itself. */
  private async heartbeat(): Promise<void> {
    const { store, hooks, log, pause } = this.ports;
    while (!this.ended.signal.aborted) {
      try {
        const { changed, back } = await store.hostSeen(this.hostId, this.session);
        if (!changed) {
          log.info({ hostId: this.hostId, session: this.session }, 'a newer session took over');
          return this.close();
        }
        if (back) {
          hooks.ledger();
          hooks.scheduler();
        }
      } catch (err) {
        log.warn({ err, hostId: this.hostId }, 'a heartbeat could not be written');
      }
      await pause.sleep(seenEveryMs, this.ended.signal);
    }
  }

  /** Beside everything else: figures that are late or lost hold up nothing. */
  private async readUsage(): Promise<void> {
    const { usage, log, pause, clock, store } = this.ports;
    const watch = new ClockWatch();
    while (!this.ended.signal.aborted) {
      let more = false;
      try {
        const askedAt = clock.now().getTime();
        const { body } = await this.request('GET', `/usage?after=${usage.cursor(this.hostId)}`);
        const answer = parseMessage(UsageAnswer, body);
        const ahead = watch.seen(askedAt, clock.now().getTime(), answer.now);
        usage.take(this.hostId, answer);
        more = answer.more && answer.samples.length > 0;
        if (ahead !== null && (await store.hostClockSet(this.hostId, this.session, ahead)))
          this.ports.hooks.ledger();
      } catch (err) {
        if (!this.ended.signal.aborted) log.debug({ err, hostId: this.hostId }, 'a host told no usage');
      }
      const known = usage.cursor(this.hostId) > 0;
      if (!more) await pause.sleep(known ? usageEveryMs : firstUsageEveryMs, this.ended.signal);
    }
  }

  private wantBlob(digest: Digest): void {
    this.blobsWanted.add(digest);
    while (this.pushes < pushesAtOnce && this.blobsWanted.size > 0) void this.pushNext();
  }

  private async pushNext(): Promise<void> {
    const { log, pause } = this.ports;
    const [digest] = this.blobsWanted;
    if (digest === undefined) return;
    this.blobsWanted.delete(digest);
    this.pushes += 1;
    try {
      for (let attempt = 0; !this.ended.signal.aborted; attempt++) {
        try {
          await this.pushBlob(digest, attempt);
          break;
        } catch (err) {
          log.warn({ err, hostId: this.hostId, digest }, 'a blob could not be pushed');
          if (attempt >= 4) break;
          await pause.sleep(500 * 2 ** attempt, this.ended.signal);
        }
      }
    } finally {
      this.pushes -= 1;
      if (this.blobsWanted.size > 0) void this.pushNext();
    }
  }

  private async pushBlob(digest: Digest, attempt: number): Promise<void> {
    const { store, blobs, log, holder } = this.ports;
    if (!(await store.imageBlobWanted(this.hostId, digest)))
      return log.warn(
        { hostId: this.hostId, digest },
        'a host asked for content that it has no assignment for',
      );
    const wanted = { digest, asking: this.hostId, attempt };
    const stream = await blobOpen(blobs, { store, log, holder }, wanted, this.ended.signal);
    stream.on('error', () => undefined);
    const answer = await send(this.h2, {
      method: 'PUT',
      path: `/blobs/${digest}`,
      body: stream,
      timeoutMs: pushMs,
    }).finally(() => {
      stream.destroy();
    });
    // 409: nobody there waits for it any more.
    if (answer.status >= 300 && answer.status !== 409)
      throw new LinkError('status', `the agent answered ${answer.status}: ${answer.body.toString('utf8')}`);
  }

  /** Bytes of a blob that this host holds. @throws LinkError status, closed, timeout */
  blob(digest: Digest, signal: AbortSignal): Promise<ClientHttp2Stream> {
    return sendForStream(this.h2, { method: 'GET', path: `/blobs/${digest}`, signal });
  }

  /** Bytes of an instance's newest epoch on this host. The caller ends it by the signal or by destroying it. */
  logs(instanceId: InstanceId, options: HostLogOptions, signal: AbortSignal): Promise<ClientHttp2Stream> {
    const query = new URLSearchParams({ follow: options.follow ? '1' : '0' });
    if (options.tailBytes !== undefined) query.set('tailBytes', String(options.tailBytes));
    if (options.framed === true) query.set('framed', '1');
    return sendForStream(this.h2, { method: 'GET', path: `/logs/${instanceId}?${query.toString()}`, signal });
  }

  /**
   * What an instance's newest epoch on this host uses, a line after each interval, until it runs no more or the signal fires.
   * @throws LinkError status; the lines LinkError when the link is lost
   */
  async stats(
    instanceId: InstanceId,
    everyMs: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<StatsLine>> {
    const path = `/stats/${instanceId}?everyMs=${everyMs}`;
    return statsOf(await sendForStream(this.h2, { method: 'GET', path, signal }));
  }

  /** Console, display or exec of an instance's newest epoch on this host; `signal` ends it. @throws LinkError status */
  terminal(instanceId: InstanceId, open: TerminalOpen, signal: AbortSignal): Promise<HostTerminal> {
    return HostTerminal.open(this.h2, instanceId, open, signal);
  }

  /** What the guest of an instance's newest epoch on this host says of itself. @throws LinkError status */
  async guest(instanceId: InstanceId): Promise<GuestInfo> {
    return parseMessage(GuestInfo, (await this.request('GET', `/guest/${instanceId}`)).body);
  }

  /** What runs in an instance's newest epoch on this host. @throws LinkError status */
  async processes(instanceId: InstanceId): Promise<InstanceProcesses> {
    return parseMessage(InstanceProcesses, (await this.request('GET', `/processes/${instanceId}`)).body);
  }

  /** What the cloud-init of an instance's newest epoch on this host was given. @throws LinkError status */
  async seed(instanceId: InstanceId): Promise<CloudInitSeed> {
    return parseMessage(CloudInitSeed, (await this.request('GET', `/seed/${instanceId}`)).body);
  }

  /** A screen of an instance's newest epoch on this host, a PNG file. @throws LinkError status */
  async screenshot(instanceId: InstanceId, head: number, signal: AbortSignal): Promise<Buffer> {
    const path = `/screenshots/${instanceId}${head === 0 ? '' : `?head=${head}`}`;
    return readBody(await sendForStream(this.h2, { method: 'GET', path, signal }), linkLimits.bodyBytes);
  }

  /** A file of the guest of an instance's newest epoch on this host; `signal` ends it. @throws LinkError status */
  async fileRead(instanceId: InstanceId, path: string, signal: AbortSignal): Promise<HostFile> {
    const query = new URLSearchParams({ path });
    const stream = await sendForStream(this.h2, {
      method: 'GET',
      path: `/files/${instanceId}?${query.toString()}`,
      timeoutMs: fileOpenMs,
      signal,
    });
    return fileOfAnswer(stream as AsyncIterable<Buffer>);
  }

  /** Bytes of an export on this host, from an offset on; `signal` ends it. @throws LinkError status */
  exportRead(volumeId: VolumeId, from: number, signal: AbortSignal): Promise<ClientHttp2Stream> {
    return sendForStream(this.h2, { method: 'GET', path: `/exports/${volumeId}?from=${from}`, signal });
  }

  /** One page of what a container on this host changed of an image. @throws LinkError status */
  async layerChanges(
    instanceId: InstanceId,
    { image, limit, after }: LayerPage,
    signal: AbortSignal,
  ): Promise<LayerChanges> {
    const query = new URLSearchParams({
      image,
      limit: String(limit),
      ...(after === undefined ? {} : { after }),
    });
    const path = `/changes/${instanceId}?${query.toString()}`;
    const stream = await sendForStream(this.h2, { method: 'GET', path, timeoutMs: fileOpenMs, signal });
    return parseMessage(LayerChanges, await readBody(stream, linkLimits.bodyBytes));
  }

  /** The tar of the same; `signal` ends it, and the container goes on. @throws LinkError status; the bytes BerthError, LinkError */
  async layer(
    instanceId: InstanceId,
    image: Digest,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    const query = new URLSearchParams({ image, maxBytes: String(maxBytes) });
    const path = `/layers/${instanceId}?${query.toString()}`;
    const stream = await sendForStream(this.h2, { method: 'GET', path, timeoutMs: fileOpenMs, signal });
    return layerOfAnswer(stream as AsyncIterable<Uint8Array>, layerRefused);
  }

  /** How many bytes were written. @throws LinkError status */
  async fileWrite(
    instanceId: InstanceId,
    target: FileTarget,
    body: Readable,
    signal: AbortSignal,
  ): Promise<number> {
    const path = `/files/${instanceId}?${new URLSearchParams(target).toString()}`;
    const stream = await sendForStream(this.h2, { method: 'PUT', path, body, timeoutMs: fileMs, signal });
    return parseMessage(FileWritten, await readBody(stream, linkLimits.joinBytes)).bytes;
  }

  /** Resolves when an instance's newest epoch on this host has done it. @throws LinkError status */
  async act(instanceId: InstanceId, action: PromptAction): Promise<void> {
    await this.request('POST', `/actions/${instanceId}`, action);
  }

  /** Resolves when the keys have been pressed. @throws LinkError status */
  async sendKeys(instanceId: InstanceId, body: SendKeys, signal: AbortSignal): Promise<void> {
    const path = `/keys/${instanceId}`;
    (await sendForStream(this.h2, { method: 'POST', path, body, signal })).resume();
  }

  private async request(method: string, path: string, body?: object): Promise<{ body: Buffer }> {
    const answer = await send(this.h2, { method, path, ...(body === undefined ? {} : { body }) });
    if (answer.status < 300) return answer;
    throw new LinkError(
      'status',
      `${method} ${path}: ${answer.status} ${answer.body.toString('utf8').slice(0, 2_000)}`,
      { status: answer.status },
    );
  }
}

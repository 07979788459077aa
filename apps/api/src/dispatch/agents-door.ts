import type { ClientHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Readable } from 'node:stream';
import tls from 'node:tls';
import type { TLSSocket } from 'node:tls';
import type { PromptAction, StatsLine } from '@berth/link';
import { LinkError, agentDoor, clientLink, joinDoor, keyFingerprint, linkLimits } from '@berth/link';
import { BerthError } from '@berth/model';
import type {
  CloudInitSeed,
  Digest,
  FileTarget,
  GuestInfo,
  HostId,
  InstanceId,
  InstanceProcesses,
  LayerChanges,
  SendKeys,
  TerminalOpen,
  VolumeId,
} from '@berth/model';
import type { Clock } from '../store/store.js';
import type { HostLogOptions } from './hooks.js';
import { HostLink } from './host-link.js';
import type { HostFile, HostLinkPorts, LayerPage } from './host-link.js';
import { streamFault, type HostTerminal } from './host-terminal.js';
import { serveJoinDoor } from './join-door.js';
import type { JoinPorts } from './join-door.js';

export interface AgentsDoorOptions extends Omit<HostLinkPorts, 'holder'>, JoinPorts {
  readonly clock: Clock;
  /** Addresses to listen on, one listener each; port 0 takes a free one. */
  readonly listen: readonly { readonly host: string; readonly port: number }[];
}

/** Connections that have not finished their handshake or sit at the join door, at most. */
const strangersAtOnce = 256;

/**
 * Where agents come in: TLS 1.3, two doors told apart by ALPN. Holds the connected hosts of this API process,
 * one link each; the newest session wins.
 */
export class AgentsDoor {
  private readonly servers: readonly tls.Server[];
  private readonly links = new Map<HostId, HostLink>();
  private readonly sockets = new Set<TLSSocket>();
  /** Of connections that are over. */
  private readonly past = { receivedBytes: 0, sentBytes: 0 };
  private readonly closing = new AbortController();
  private readonly serving = new Set<Promise<void>>();

  private constructor(private readonly o: AgentsDoorOptions) {
    this.servers = o.listen.map(() => this.listener());
  }

  private listener(): tls.Server {
    const { authority, log } = this.o;
    const server = tls.createServer({
      minVersion: 'TLSv1.3',
      ALPNProtocols: [agentDoor, joinDoor],
      requestCert: true,
      // The join door has none; the agents' door refuses below what is not authorised.
      rejectUnauthorized: false,
      handshakeTimeout: linkLimits.handshakeMs,
      ca: [authority.certificatePem],
    });
    server.on('secureConnection', (socket) => this.arrived(socket));
    server.on('tlsClientError', (err) => log.debug({ err }, 'a TLS handshake failed'));
    server.on('error', (err) => log.error({ err }, 'the link failed'));
    return server;
  }

  /** Listens. @throws where the address cannot be had */
  static async open(options: AgentsDoorOptions): Promise<AgentsDoor> {
    const door = new AgentsDoor(options);
    await door.renewOwn();
    try {
      await Promise.all(door.servers.map((server, i) => listening(server, options.listen[i])));
    } catch (error) {
      await door.close();
      throw error;
    }
    return door;
  }

  /** Port of the first listener. */
  get port(): number {
    return (this.servers[0]?.address() as AddressInfo).port;
  }

  /** Hosts connected to this process. */
  connected(): readonly HostId[] {
    return [...this.links.keys()];
  }

  /** Hosts connected here, and the bytes of all connections since this process began, TLS included. */
  figures(): { readonly hosts: number; readonly receivedBytes: number; readonly sentBytes: number } {
    let { receivedBytes, sentBytes } = this.past;
    for (const socket of this.sockets) {
      receivedBytes += socket.bytesRead;
      sentBytes += socket.bytesWritten;
    }
    return { hosts: this.links.size, receivedBytes, sentBytes };
  }

  /** The host's list changed: send it, if it is connected here. Many wakes in a row send it once or twice. */
  wake(hostId: HostId): void {
    this.links.get(hostId)?.wake();
  }

  /** Ends a host's connection (revoked, removed, fenced); its next handshake is checked against the store. */
  disconnect(hostId: HostId): void {
    this.links.get(hostId)?.close();
  }

  /**
   * Log bytes of an instance's newest epoch on a host, as they come.
   * @throws BerthError unavailable (not connected here), notFound, unsupported
   */
  async logs(
    hostId: HostId,
    instanceId: InstanceId,
    options: HostLogOptions,
    signal: AbortSignal,
  ): Promise<ClientHttp2Stream> {
    try {
      return await this.linkOf(hostId).logs(instanceId, options, signal);
    } catch (cause) {
      throw streamFault(cause, 'log');
    }
  }

  /**
   * Console, display or exec of an instance's newest epoch on a host.
   * @throws BerthError unavailable (not connected here), notFound, stateConflict (does not run), unsupported, rateLimited
   */
  async terminal(
    hostId: HostId,
    instanceId: InstanceId,
    open: TerminalOpen,
    signal: AbortSignal,
  ): Promise<HostTerminal> {
    try {
      return await this.linkOf(hostId).terminal(instanceId, open, signal);
    } catch (cause) {
      throw streamFault(cause, open.kind);
    }
  }

  /**
   * What the guest of an instance's newest epoch on a host says of itself.
   * @throws BerthError unavailable (not connected here), notFound, stateConflict (does not run, no agent), unsupported
   */
  async guest(hostId: HostId, instanceId: InstanceId): Promise<GuestInfo> {
    try {
      return await this.linkOf(hostId).guest(instanceId);
    } catch (cause) {
      throw streamFault(cause, 'guest');
    }
  }

  /**
   * What an instance's newest epoch on a host uses, again after each interval, until it runs no more or the signal fires.
   * @throws BerthError unavailable (not connected here), notFound, stateConflict (does not run), unsupported, rateLimited
   */
  async stats(
    hostId: HostId,
    instanceId: InstanceId,
    everyMs: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<StatsLine>> {
    try {
      return await this.linkOf(hostId).stats(instanceId, everyMs, signal);
    } catch (cause) {
      throw streamFault(cause, 'stats');
    }
  }

  /** What runs in an instance's newest epoch on a host. @throws BerthError as `guest` */
  async processes(hostId: HostId, instanceId: InstanceId): Promise<InstanceProcesses> {
    try {
      return await this.linkOf(hostId).processes(instanceId);
    } catch (cause) {
      throw streamFault(cause, 'list of processes');
    }
  }

  /** What the cloud-init of an instance's newest epoch was given. @throws BerthError unavailable, notFound */
  async seed(hostId: HostId, instanceId: InstanceId): Promise<CloudInitSeed> {
    try {
      return await this.linkOf(hostId).seed(instanceId);
    } catch (cause) {
      throw streamFault(cause, 'cloud-init seed');
    }
  }

  /** @throws BerthError as `terminal` */
  async screenshot(
    hostId: HostId,
    instanceId: InstanceId,
    head: number,
    signal: AbortSignal,
  ): Promise<Buffer> {
    try {
      return await this.linkOf(hostId).screenshot(instanceId, head, signal);
    } catch (cause) {
      throw streamFault(cause, 'screenshot');
    }
  }

  /** @throws BerthError as `terminal` */
  async sendKeys(hostId: HostId, instanceId: InstanceId, keys: SendKeys, signal: AbortSignal): Promise<void> {
    try {
      await this.linkOf(hostId).sendKeys(instanceId, keys, signal);
    } catch (cause) {
      throw streamFault(cause, 'keyboard');
    }
  }

  /** @throws BerthError unavailable, notFound, stateConflict (does not run, is paused), unsupported */
  async act(hostId: HostId, instanceId: InstanceId, action: PromptAction): Promise<void> {
    try {
      await this.linkOf(hostId).act(instanceId, action);
    } catch (cause) {
      throw streamFault(cause, action.verb);
    }
  }

  /** @throws BerthError unavailable, notFound, noSuchFile, fileRefused, stateConflict (does not run, no agent), unsupported, rateLimited */
  async fileRead(
    hostId: HostId,
    instanceId: InstanceId,
    path: string,
    signal: AbortSignal,
  ): Promise<HostFile> {
    try {
      return await this.linkOf(hostId).fileRead(instanceId, path, signal);
    } catch (cause) {
      throw streamFault(cause, 'file');
    }
  }

  /** @throws BerthError as `fileRead` */
  async fileWrite(
    hostId: HostId,
    instanceId: InstanceId,
    target: FileTarget,
    body: Readable,
    signal: AbortSignal,
  ): Promise<number> {
    try {
      return await this.linkOf(hostId).fileWrite(instanceId, target, body, signal);
    } catch (cause) {
      throw streamFault(cause, 'file');
    }
  }

  /** @throws BerthError unavailable, stateConflict (it is not on the host), unsupported, rateLimited */
  async exportRead(
    hostId: HostId,
    volumeId: VolumeId,
    from: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    try {
      return (await this.linkOf(hostId).exportRead(volumeId, from, signal)) as AsyncIterable<Uint8Array>;
    } catch (cause) {
      const fault = streamFault(cause, 'export');
      if (fault.code !== 'noSuchFile') throw fault;
      throw new BerthError('stateConflict', 'its host does not have the file any more', {
        cause,
        remedy: 'delete the export, and export the volume again',
      });
    }
  }

  /** @throws BerthError unavailable (not connected here), notFound, stateConflict (never started, being rebuilt), unsupported */
  async layerChanges(
    hostId: HostId,
    instanceId: InstanceId,
    page: LayerPage,
    signal: AbortSignal,
  ): Promise<LayerChanges> {
    try {
      return await this.linkOf(hostId).layerChanges(instanceId, page, signal);
    } catch (cause) {
      throw streamFault(cause, 'writable layer');
    }
  }

  /** @throws BerthError as `layerChanges`, rateLimited; so do the bytes, and badImage */
  async layer(
    hostId: HostId,
    instanceId: InstanceId,
    image: Digest,
    maxBytes: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>> {
    try {
      return faultsOf(await this.linkOf(hostId).layer(instanceId, image, maxBytes, signal));
    } catch (cause) {
      throw streamFault(cause, 'writable layer');
    }
  }

  private linkOf(hostId: HostId): HostLink {
    const link = this.links.get(hostId);
    if (link !== undefined) return link;
    throw new BerthError('unavailable', 'the host of this instance is not connected to this API', {
      remedy: 'Look at GET /v1/hosts; its agent connects again by itself when it runs.',
    });
  }

  async close(): Promise<void> {
    this.closing.abort();
    const closed = this.servers.map((s) => new Promise<void>((resolve) => s.close(() => resolve())));
    for (const socket of this.sockets) socket.destroy();
    await Promise.all(closed);
    await Promise.all(this.serving);
  }

  /** The link's own certificate, again before it expires. */
  private async renewOwn(): Promise<void> {
    const { authority, clock, pause, log } = this.o;
    const { key, cert, expiresAt } = await authority.serverCredentials();
    for (const server of this.servers)
      server.setSecureContext({ key, cert, ca: [authority.certificatePem], minVersion: 'TLSv1.3' });
    const ms = ((expiresAt.getTime() - clock.now().getTime()) * 2) / 3;
    void pause.sleep(ms, this.closing.signal).then(async () => {
      if (this.closing.signal.aborted) return;
      await this.renewOwn().catch((err: unknown) =>
        log.error({ err }, 'the link certificate cannot be renewed'),
      );
    });
  }

  private arrived(socket: TLSSocket): void {
    socket.on('error', (err) => this.o.log.debug({ err }, 'a link connection failed'));
    this.sockets.add(socket);
    socket.once('close', () => {
      this.sockets.delete(socket);
      this.past.receivedBytes += socket.bytesRead;
      this.past.sentBytes += socket.bytesWritten;
    });
    socket.setNoDelay(true);
    if (this.sockets.size - this.links.size > strangersAtOnce) return void socket.destroy();
    if (socket.alpnProtocol === joinDoor) return serveJoinDoor(socket, this.o);
    if (socket.alpnProtocol !== agentDoor) return void socket.destroy();
    const served = this.serveAgent(socket)
      .catch((err: unknown) => this.o.log.warn({ err }, 'a host connection ended'))
      .finally(() => {
        socket.destroy();
        this.serving.delete(served);
      });
    this.serving.add(served);
  }

  /** @throws LinkError refused: a foreign certificate, an unknown, revoked or fenced host */
  private async serveAgent(socket: TLSSocket): Promise<void> {
    const { authority, store, log, hooks } = this.o;
    const certificate = socket.getPeerX509Certificate();
    if (!socket.authorized || certificate === undefined)
      throw new LinkError(
        'refused',
        `the host shows no valid certificate: ${String(socket.authorizationError)}`,
      );
    const hostId = authority.hostOf(certificate);
    const fingerprint = keyFingerprint(certificate);
    const admitted = await store.hostAdmit(hostId, fingerprint);
    if (admitted !== 'admitted')
      throw new LinkError('refused', `host ${hostId} is not admitted: ${admitted}`);
    const h2 = clientLink(socket, {
      onClose: (err) => log.debug({ err, hostId }, 'a link closed'),
      ...(hooks.roundTrip === undefined ? {} : { onRoundTrip: hooks.roundTrip }),
    });
    const holder = (id: HostId): HostLink | undefined => this.links.get(id);
    const link = new HostLink(hostId, fingerprint, h2, { ...this.o, holder });
    try {
      await link.open();
      this.seat(link);
      log.info({ hostId, session: link.number }, 'a host connected');
      await link.serve();
    } finally {
      link.close();
      if (this.links.get(hostId) === link) this.links.delete(hostId);
    }
  }

  /** The newest session wins; an older connection of the same host is closed. */
  private seat(link: HostLink): void {
    const before = this.links.get(link.hostId);
    if (before !== undefined && before.number > link.number)
      throw new LinkError('refused', 'a newer session is already here');
    this.links.set(link.hostId, link);
    before?.close();
    this.o.hooks.ledger();
    this.o.hooks.scheduler();
  }
}

/** What breaks a layer off, in the API's words. */
async function* faultsOf(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* bytes;
  } catch (cause) {
    throw streamFault(cause, 'writable layer');
  }
}

/** @throws where the address cannot be had */
function listening(server: tls.Server, at: { host: string; port: number } | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(at?.port, at?.host, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
}

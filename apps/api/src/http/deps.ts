import type { Readable } from 'node:stream';
import type { BlobStore } from '@berth/images';
import type { PromptAction } from '@berth/link';
import {
  Decision,
  HostVerdict,
  type CloudInitSeed,
  type FileTarget,
  type GuestInfo,
  type HostId,
  type Instance,
  type InstanceProcesses,
  type InstanceSpec,
  type InstanceStats,
  type LayerChanges,
  type SendKeys,
  type TerminalOpen,
  type VolumeId,
} from '@berth/model';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { HostLogOptions } from '../dispatch/hooks.js';
import type { HostTerminal } from '../dispatch/host-terminal.js';
import type { MasterKey } from '../dispatch/master-key.js';
import type { RemoteImports } from '../images/remote-imports.js';
import type { Ledger } from '../ledger/ledger.js';
import type { Exposition } from '../metrics/exposition.js';
import type { Meters } from '../metrics/meters.js';
import type { Traces } from '../metrics/traces.js';
import type { UsageHistory } from '../metrics/usage-history.js';
import type { Clock, IdSource, Store } from '../store/store.js';

/** What `explain` answers: what the scheduler would decide now, and the verdict on the one host that was asked for. */
export const Explanation = z
  .strictObject({
    asOf: z.iso.datetime(),
    decision: Decision.omit({ id: true, at: true }),
    host: HostVerdict.nullable(),
  })
  .meta({ id: 'Explanation' });
export type Explanation = z.infer<typeof Explanation>;

/** What a preview answers: the decision that would be made for a new instance. */
export const DecisionPreview = z
  .strictObject({
    asOf: z.iso.datetime(),
    decision: Decision.omit({ id: true, at: true, instanceId: true }),
  })
  .meta({ id: 'DecisionPreview' });
export type DecisionPreview = z.infer<typeof DecisionPreview>;

export interface HttpConfig {
  /** Largest image upload, bytes. */
  readonly imageMaxBytes: number;
  /** Comment line on quiet event streams, so that proxies keep them open, milliseconds. */
  readonly heartbeatMs: number;
  /** An event stream whose client takes nothing for this long, though there is something for it, is dropped, milliseconds. */
  readonly stalledMs: number;
  /** A browser's session ends after this long, and sooner when nothing of it was heard for `idleSeconds`. */
  readonly session: { readonly seconds: number; readonly idleSeconds: number };
  /** Who may read /metrics: tokens with the action, or also everybody on this machine without one. */
  readonly metricsAccess: 'token' | 'loopback';
  /** Terminals: how often a client must answer, and after how long without a byte they end, milliseconds. */
  readonly terminal: { readonly pingMs: number; readonly idleMs: number };
  /** The built dashboard; null: there is none to serve. */
  readonly dashboardDir: string | null;
  /** How long each operation may take before it counts as failed, seconds. */
  readonly deadlineSeconds: { readonly start: number; readonly stop: number; readonly delete: number };
}

export const defaultHttpConfig: HttpConfig = {
  imageMaxBytes: 64 * 1024 ** 3,
  heartbeatMs: 15_000,
  stalledMs: 30_000,
  session: { seconds: 12 * 3600, idleSeconds: 2 * 3600 },
  metricsAccess: 'token',
  terminal: { pingMs: 20_000, idleMs: 3_600_000 },
  dashboardDir: null,
  deadlineSeconds: { start: 900, stop: 180, delete: 600 },
};

/** What an instance uses now; its time is that of its arrival. */
export type StatsNow = Omit<InstanceStats, 'time'>;

/** Everything the REST API takes from other rooms; it knows no other. */
export interface HttpDeps {
  readonly store: Store;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly ids: IdSource;
  /** Called after a commit. Each returns at once; lost wake-ups are healed by timers. */
  readonly wake: {
    scheduler(): void;
    dispatch(hostId: string): void;
    ledger(): void;
  };
  /** The API's own store of uploaded images. */
  readonly blobs: BlobStore;
  /** Imports by URL. */
  readonly imports: Pick<RemoteImports, 'begin' | 'commit' | 'push'>;
  readonly config: HttpConfig;
  /** SHA-256 of the CA certificate's DER, lower-case hex; join tokens pin it. */
  readonly caFingerprint: string;
  readonly logger: Logger;
  /** Envelopes what must not stand in the database as it is. */
  readonly masterKey: Pick<MasterKey, 'seal' | 'open'>;
  /** What was used in the last hour. */
  readonly usage: Pick<UsageHistory, 'instance' | 'host'>;
  readonly meters: Pick<Meters, 'request' | 'eventStreams' | 'eventStreamDropped'>;
  readonly traces: Pick<Traces, 'now' | 'begin' | 'request' | 'get'>;
  readonly metrics: Pick<Exposition, 'text' | 'contentType'>;
  /** Log bytes of an instance's newest placement; resolves once the host opened it. @throws BerthError stateConflict, unavailable */
  logs(instance: Instance, options: HostLogOptions, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
  readonly terminals: Terminals;
  readonly prompts: Prompts;
  readonly files: Files;
  readonly layers: Layers;
  /** What the guest of a running VM says of itself. @throws BerthError stateConflict (no agent), unavailable, unsupported */
  guest(instance: Instance): Promise<GuestInfo>;
  /** What runs in an instance now. @throws BerthError stateConflict, unavailable, unsupported */
  processes(instance: Instance): Promise<InstanceProcesses>;
  /**
   * What an instance uses, again after each interval (1 to 60 s), until it runs no more or the signal fires.
   * @throws BerthError stateConflict, unavailable, unsupported, rateLimited
   */
  stats(instance: Instance, everyMs: number, signal: AbortSignal): Promise<AsyncIterable<StatsNow>>;
  /** What a VM's cloud-init was given. @throws BerthError stateConflict (never placed), unavailable, notFound */
  seed(instance: Instance): Promise<CloudInitSeed>;
  /** Calls back again and again until the returned function is called. */
  readonly every: (milliseconds: number, task: () => void) => () => void;
  /** Judges hosts for an instance as of now. @throws BerthError notFound (no such host) */
  explain(instance: Instance, host?: string): Promise<Explanation>;
  /** Judges hosts as of now for an instance that is not there yet. */
  /** @param project by its name */
  preview(
    project: string,
    spec: InstanceSpec,
    origin: Awaited<ReturnType<Store['originForSpec']>>,
  ): Promise<DecisionPreview>;
}

/** One terminal of a host, as a WebSocket carries it. */
export type OpenTerminal = Pick<HostTerminal, 'sayings' | 'type' | 'order' | 'close'>;

/** Consoles, displays and exec on the hosts that are connected to this process. */
export interface Terminals {
  /** @throws BerthError unavailable, when the host of a running instance is not connected to this process */
  refuseAway(instance: Instance): void;
  /** Ends with the signal. @throws BerthError unavailable, stateConflict (does not run), unsupported, rateLimited */
  open(instance: Instance, open: TerminalOpen, signal: AbortSignal): Promise<OpenTerminal>;
  /** One of its screens, counted from 0, as a PNG file. @throws BerthError as `open` */
  screenshot(instance: Instance, head: number, signal: AbortSignal): Promise<Uint8Array>;
  /** Resolves when they have been pressed. @throws BerthError as `open` */
  sendKeys(instance: Instance, keys: SendKeys, signal: AbortSignal): Promise<void>;
}

/** Actions that are no wanted state, on the hosts that are connected to this process: done when they resolve. */
export interface Prompts {
  /** @throws BerthError unavailable, when the host of an instance is not connected to this process */
  refuseAway(instance: Instance): void;
  /** @throws BerthError unavailable, stateConflict (does not run, is paused), unsupported */
  act(instance: Instance, action: PromptAction): Promise<void>;
}

/** What containers changed of their images, on the hosts that are connected to this process. */
export interface Layers {
  /** @throws BerthError stateConflict, unavailable, when its host is not connected to this process */
  refuseAway(instance: Instance): void;
  /** One page. @throws BerthError unavailable, stateConflict (never started, being rebuilt), unsupported */
  changes(
    instance: Instance,
    page: { readonly limit: number; readonly after?: string | undefined },
    signal: AbortSignal,
  ): Promise<LayerChanges>;
  /**
   * The tar of a layer, while the container stands still; both end with the signal. What breaks it off is an error.
   * @throws BerthError as `changes`, rateLimited; the bytes also badImage
   */
  read(instance: Instance, maxBytes: number, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

/** Files of guests on the hosts that are connected to this process, by their guest agents. */
export interface Files {
  /** Its bytes end with the signal. @throws BerthError unavailable, noSuchFile, fileRefused, stateConflict, unsupported, rateLimited */
  read(
    instance: Instance,
    path: string,
    signal: AbortSignal,
  ): Promise<{ readonly sizeBytes: number | null; readonly bytes: AsyncIterable<Uint8Array> }>;
  /** How many bytes were written. @throws BerthError as `read` */
  write(instance: Instance, target: FileTarget, body: Readable, signal: AbortSignal): Promise<number>;
  /** Bytes of an export, from an offset on; they end with the signal. @throws BerthError unavailable, stateConflict, unsupported, rateLimited */
  exported(
    hostId: HostId,
    volumeId: VolumeId,
    from: number,
    signal: AbortSignal,
  ): Promise<AsyncIterable<Uint8Array>>;
}

/** Nest's token for {@link HttpDeps}. */
export const HTTP_DEPS = Symbol('berth:http-deps');

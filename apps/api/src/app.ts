import { BlobStore } from '@berth/images';
import { BerthError, type HostId, type Instance } from '@berth/model';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Logger } from 'pino';
import type { ApiConfig, ApiPaths } from './config.js';
import { AgentsDoor } from './dispatch/agents-door.js';
import { secretSource } from './secrets/secret-values.js';
import { Authority } from './dispatch/authority.js';
import type { DispatchHooks, HostLogOptions } from './dispatch/hooks.js';
import { hostFiles, hostLayers, hostPrompts } from './dispatch/host-prompts.js';
import { hostGuest, hostProcesses, hostSeed, hostStats, hostTerminals } from './dispatch/host-terminals.js';
import { MasterKey } from './dispatch/master-key.js';
import { firstAccessEnsure } from './first-access.js';
import { defaultHttpConfig, type HttpDeps } from './http/deps.js';
import { createHttpApp } from './http/http-app.js';
import { BlobCollector } from './images/blob-collector.js';
import { defaultDownloadLimits, RemoteImports } from './images/remote-imports.js';
import type { Ledger } from './ledger/ledger.js';
import { startLedger } from './ledger/sequencer.js';
import { Exposition } from './metrics/exposition.js';
import { Meters } from './metrics/meters.js';
import { Traces } from './metrics/traces.js';
import { UsageHistory } from './metrics/usage-history.js';
import { reconcileStart } from './reconcile/reconcile.js';
import { explain, preview } from './scheduling/explain.js';
import { CoalescedLoop } from './scheduling/loop.js';
import { placePending } from './scheduling/place.js';
import { migrate } from './store/migrate.js';
import { openStore } from './store/open.js';
import type { Store } from './store/store.js';
import { randomIds, systemClock, systemPause, systemTicks, systemTimers } from './system-clock.js';

/** A running API process. */
export interface ApiApp {
  readonly http: NestFastifyApplication;
  readonly store: Store;
  /** Stops taking requests, ends the links, and closes the store. What agents run goes on. */
  close(): Promise<void>;
}

/**
 * Composes every room of the API and starts it: migrations first, then the store, the ledger, scheduling, the agents' door,
 * the reconcile loops and at last the REST port. @throws when a port is taken, the schema is newer, or Postgres is away
 */
export async function startApi(config: ApiConfig, paths: ApiPaths, logger: Logger): Promise<ApiApp> {
  await migrate(config.databaseUrl);
  const store = await openStore({
    url: config.databaseUrl,
    clock: systemClock,
    ids: randomIds,
    networkSupernet: config.networkSupernet,
    networkSupernet6: config.networkSupernet6,
  });
  const meters = new Meters();
  const ledger = startLedger({
    store,
    every: (ms, tick) => systemTimers.every(ms, tick),
    onError: (err) => logger.warn({ err }, 'the ledger could not go on; the next commit tries again'),
    onRead: (part) => meters.ledgerRead(part),
  });
  await firstAccessEnsure({ store, ids: randomIds, tokenFile: paths.adminTokenFile });
  const blobs = new BlobStore(paths.blobDir);
  await blobs.clean();
  const core = await startCore(config, paths, logger, { store, ledger, blobs, meters });
  const http = await createHttpApp({ ...core.httpDeps, ledger, blobs });
  await http.listen(config.apiPort, config.apiAddress);
  logger.info({ address: config.apiAddress, port: config.apiPort }, 'the REST API listens');
  return {
    http,
    store,
    close: async () => {
      await core.stop();
      await ledger.close();
      await http.close();
      await store.close();
    },
  };
}

/** What stands before the rest. */
interface Parts {
  readonly store: Store;
  readonly ledger: Ledger;
  readonly blobs: BlobStore;
  readonly meters: Meters;
}

/** Scheduling, dispatch and reconcile, and how they wake each other. */
async function startCore(
  config: ApiConfig,
  paths: ApiPaths,
  logger: Logger,
  { store, ledger, blobs, meters }: Parts,
): Promise<{ httpDeps: Omit<HttpDeps, 'ledger' | 'blobs'>; stop: () => Promise<void> }> {
  let door: AgentsDoor | null = null;
  const traces = new Traces(systemTicks);
  const usage = new UsageHistory(systemClock, config.usageHistories);
  const wakeDispatch = (hostId: HostId): void => door?.wake(hostId);
  const numberEvents = (): void => void ledger.flush().catch(() => undefined);
  const scheduling = new CoalescedLoop(
    'scheduling',
    () =>
      placePending({
        store,
        strategy: config.placementStrategy,
        clock: systemClock,
        ids: randomIds,
        placed: wakeDispatch,
        meters,
        traces,
      }),
    logger,
  );
  const masterKey = await MasterKey.open(paths.masterKeyFile);
  const authority = await Authority.open(store, masterKey, systemClock);
  const hooks: DispatchHooks = {
    ledger: numberEvents,
    scheduler: () => scheduling.wake(),
    roundTrip: (ms) => meters.pinged(ms),
  };
  const listen = config.linkAddresses.map((host) => ({ host, port: config.linkPort }));
  const agents = await AgentsDoor.open({
    store,
    authority,
    blobs,
    secrets: secretSource({ store, masterKey, log: logger }),
    clock: systemClock,
    ids: randomIds,
    hooks,
    log: logger,
    pause: systemPause,
    usage,
    traces,
    adoptRestored: config.adoptRestored,
    listen,
  });
  door = agents;
  const imageMaxBytes = config.uploadMaxMiB * 1024 * 1024;
  const imports = new RemoteImports({
    store,
    blobs,
    masterKey,
    clock: systemClock,
    ids: randomIds,
    pause: systemPause,
    log: logger,
    dispatch: wakeDispatch,
    ledger: numberEvents,
    layers: hostLayers(agents),
    limits: defaultDownloadLimits(imageMaxBytes),
    insecureRegistries: config.insecureRegistries,
    registryMirrors: config.registryMirrors,
  });
  await imports.takeUp();
  await imports.sweep();
  const wake = { scheduler: () => scheduling.wake(), dispatch: wakeDispatch, operations: numberEvents };
  const reconcileStop = reconcileStart(
    {
      store,
      clock: systemClock,
      log: logger,
      silentAfterMs: config.hostSilentSeconds * 1000,
      eventsKeptMs: config.eventsKeptDays * 86_400_000,
      imports,
      unused: new BlobCollector({
        store,
        blobs,
        clock: systemClock,
        dispatch: wakeDispatch,
        log: logger,
        graceMs: config.imageGraceSeconds * 1000,
      }),
      wake,
    },
    systemTimers,
  );
  scheduling.wake();
  return {
    httpDeps: {
      store,
      clock: systemClock,
      ids: randomIds,
      logger,
      masterKey,
      imports,
      caFingerprint: authority.fingerprint,
      usage,
      meters,
      traces,
      metrics: new Exposition({
        meters,
        store,
        usage,
        link: () => agents.figures(),
        instances: config.metricsInstances,
      }),
      config: {
        ...defaultHttpConfig,
        imageMaxBytes,
        metricsAccess: config.metricsAccess,
        dashboardDir: paths.dashboardDir,
      },
      wake: { scheduler: wake.scheduler, dispatch: (id) => wakeDispatch(id as HostId), ledger: numberEvents },
      every: (ms, task) => systemTimers.every(ms, task),
      terminals: hostTerminals(agents),
      prompts: hostPrompts(agents),
      files: hostFiles(agents),
      layers: hostLayers(agents),
      guest: (instance) => hostGuest(agents, instance),
      processes: (instance) => hostProcesses(agents, instance),
      stats: (instance, everyMs, signal) => hostStats(agents, instance, everyMs, signal),
      seed: (instance) => hostSeed(agents, instance),
      logs: (instance, options, signal) => instanceLogs(agents, instance, options, signal),
      explain: async (instance, host) =>
        explain(
          { store, strategy: config.placementStrategy },
          instance,
          await volumeHostOf(store, instance),
          host,
        ),
      preview: (project, spec, origin) =>
        preview({ store, strategy: config.placementStrategy, ids: randomIds }, project, spec, origin),
    },
    stop: async () => {
      await reconcileStop();
      await imports.close();
      await scheduling.close();
      await agents.close();
    },
  };
}

async function instanceLogs(
  door: AgentsDoor,
  instance: Instance,
  options: HostLogOptions,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array>> {
  const host = instance.status.host;
  if (host === null)
    throw new BerthError('stateConflict', `${instance.name} was never placed, so it has no log yet`, {
      remedy: `See why it waits: GET /v1/projects/${instance.project}/instances/${instance.name}/decision`,
    });
  if (!door.connected().includes(host.id))
    throw new BerthError('unavailable', `the host ${host.name} of ${instance.name} is not connected`, {
      remedy: 'Look at GET /v1/hosts; its agent connects again by itself when it runs.',
    });
  return door.logs(host.id, instance.id, options, signal);
}

async function volumeHostOf(store: Store, instance: Instance): Promise<HostId | null> {
  const { rootVolumeId } = instance.status;
  if (rootVolumeId === null) return null;
  const project = await store.projectGet(instance.project);
  const volume = project === null ? null : await store.volumeGet(project.id, rootVolumeId);
  return volume?.host?.id ?? null;
}

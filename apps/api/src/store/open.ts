import pg from 'pg';
import { DataSource } from 'typeorm';
import * as access from './access.js';
import * as assignments from './assignments.js';
import * as browserSessions from './browser-sessions.js';
import type { Clock, IdSource } from './context.js';
import type { Db, StoreOptions } from './db.js';
import { columnTypes } from './db.js';
import * as deadlines from './deadlines.js';
import * as decisions from './decisions.js';
import { entities } from './entities.js';
import * as events from './events.js';
import { figuresRead } from './figures.js';
import * as hostRead from './host-read.js';
import * as hostSessions from './host-sessions.js';
import * as hosts from './hosts.js';
import * as idempotency from './idempotency.js';
import * as imageImports from './image-imports.js';
import * as imagePlaces from './image-places.js';
import * as images from './images.js';
import { instanceAct, instanceUpdate, instanceUpdatePreview } from './instance-change.js';
import { instanceWaits } from './dependencies.js';
import { instanceCreate, originForSpec } from './instance-create.js';
import { deletionsAdvance, instanceDelete } from './instance-delete.js';
import { instanceRebuild } from './instance-rebuild.js';
import * as instances from './instance-read.js';
import { ledgerListen } from './listen.js';
import * as meta from './meta.js';
import * as operations from './operations.js';
import { snapshotSchedulesAdvance } from './snapshot-schedules.js';
import * as placements from './placements.js';
import { Presence } from './presence.js';
import * as networks from './networks.js';
import * as projects from './projects.js';
import * as reports from './reports.js';
import * as silence from './silence.js';
import { snapshotGet, snapshotList } from './snapshot-read.js';
import { snapshotReport } from './snapshot-reports.js';
import { cloneReport, volumeClone } from './volume-clones.js';
import { exportsExpire, volumeExport } from './volume-exports.js';
import { snapshotCreate, snapshotDelete, snapshotRevert } from './snapshots.js';
import * as terminalTickets from './terminal-tickets.js';
import * as registryCredentials from './registry-credentials.js';
import * as secrets from './secrets.js';
import * as securityGroups from './security-groups.js';
import * as volumes from './volumes.js';
import type { Store } from './store.js';

export interface OpenOptions extends Partial<Omit<StoreOptions, 'url'>> {
  readonly url: string;
  readonly clock: Clock;
  readonly ids: IdSource;
}

/**
 * A connection that is lost may say so twice (what the server says, then its end), and the second time nobody listens any
 * more, which would end the process. Whoever was asking is told by the query.
 */
class PooledClient extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config);
    this.on('error', () => undefined);
  }
}

/**
 * Connects to a migrated database (see {@link migrate}). One pool serves both TypeORM's mapped reads and the guarded
 * statements. Close it with `store.close()`.
 */
export async function openStore(options: OpenOptions): Promise<Store> {
  const storeOptions: StoreOptions = {
    url: options.url,
    networkSupernet: options.networkSupernet ?? '10.64.0.0/12',
    networkSupernet6: options.networkSupernet6 ?? 'fd62:6572:7468::/48',
    poolSize: options.poolSize ?? 10,
  };
  const orm = new DataSource({
    type: 'postgres',
    entities,
    synchronize: false,
    installExtensions: false,
    extra: {
      connectionString: options.url,
      max: storeOptions.poolSize,
      types: columnTypes,
      application_name: 'berth-api',
      connectionTimeoutMillis: 10_000,
      Client: PooledClient,
    },
    poolErrorHandler: () => undefined, // an idle connection that broke is simply replaced
  });
  await orm.initialize();
  const { master } = orm.driver as unknown as { master: pg.Pool };
  const { clock, ids } = options;
  const presence = await Presence.begin(options.url, ids);
  const db: Db = {
    pool: master,
    orm,
    clock,
    ids,
    options: storeOptions,
    commitListeners: new Set(),
    presence,
  };
  await meta.incarnationEnsure(db);
  return { ...bind(db), close: () => presence.close().then(() => orm.destroy()) };
}

type Bound<T> = {
  [K in keyof T]: T[K] extends (db: Db, ...args: infer A) => infer R ? (...args: A) => R : never;
};

function bindAll<T extends Record<string, (db: Db, ...args: never[]) => unknown>>(
  db: Db,
  functions: T,
): Bound<T> {
  const bound = Object.entries(functions).map(([name, f]) => [name, (...args: never[]) => f(db, ...args)]);
  return Object.fromEntries(bound) as Bound<T>;
}

function bind(db: Db): Omit<Store, 'close'> {
  const { networkList, networkGet, networkCreate, networkDelete } = networks;
  const { securityGroupList, securityGroupGet, securityGroupPut, securityGroupDelete } = securityGroups;
  const { volumeList, volumeGet, volumeCreate, volumeUpdate, volumeDelete } = volumes;
  const { hostOf: _hostOf, usedOf: _usedOf, ...hostReads } = hostRead;
  const { instanceGet, instanceById, instanceList, instanceCounts, instanceRevisions } = instances;
  const { snapshotRead: _snapshot, ...hostReaders } = hostReads;
  const { hostObject: _hostObject, ...hostWriters } = hosts;
  const { tokenColumns: _tokenColumns, ...accessWriters } = access;
  return {
    ...bindAll(db, projects),
    ...bindAll(db, { networkList, networkGet, networkCreate, networkDelete }),
    ...bindAll(db, { securityGroupList, securityGroupGet, securityGroupPut, securityGroupDelete }),
    ...bindAll(db, registryCredentials),
    ...bindAll(db, secrets),
    ...bindAll(db, {
      volumeList,
      volumeGet,
      volumeCreate,
      volumeUpdate,
      volumeDelete,
      volumeClone,
      volumeExport,
    }),
    ...bindAll(db, { snapshotList, snapshotGet, snapshotCreate, snapshotRevert, snapshotDelete }),
    ...bindAll(db, accessWriters),
    ...bindAll(db, browserSessions),
    ...bindAll(db, terminalTickets),
    ...bindAll(db, hostReaders),
    ...bindAll(db, hostWriters),
    ...bindAll(db, hostSessions),
    ...bindAll(db, images),
    ...bindAll(db, imageImports),
    ...bindAll(db, imagePlaces),
    ...bindAll(db, {
      originForSpec,
      instanceCreate,
      instanceUpdate,
      instanceUpdatePreview,
      instanceAct,
      instanceRebuild,
      instanceDelete,
    }),
    ...bindAll(db, { instanceGet, instanceById, instanceList, instanceCounts, instanceRevisions }),
    ...bindPlacement(db),
    ...bindLedger(db),
  };
}

function bindPlacement(db: Db) {
  const { decisionInsert, decisionGet, decisionList } = decisions;
  const { operationGet, operationList, operationStart, operationStep, operationFinish } = operations;
  const { hostsSilentMark, placementsWithdraw, fenceRecord } = silence;
  return {
    ...bindAll(db, { snapshotRead: hostRead.snapshotRead, instanceWaits }),
    ...bindAll(db, placements),
    ...bindAll(db, { decisionInsert, decisionGet, decisionList }),
    ...bindAll(db, assignments),
    ...bindAll(db, reports),
    ...bindAll(db, { snapshotReport, cloneReport }),
    ...bindAll(db, deadlines),
    ...bindAll(db, {
      hostsSilentMark,
      placementsWithdraw,
      fenceRecord,
      deletionsAdvance,
      snapshotSchedulesAdvance,
      exportsExpire,
    }),
    ...bindAll(db, { operationGet, operationList, operationStart, operationStep, operationFinish }),
  };
}

function bindLedger(db: Db) {
  const { eventInsert, eventsNumber, eventsRead, eventsCheck, eventsTrim } = events;
  const { storeIncarnation, caGet, caInit, ping } = meta;
  return {
    ...bindAll(db, idempotency),
    ...bindAll(db, { eventInsert, eventsNumber, eventsRead, eventsCheck, eventsTrim, ledgerListen }),
    ...bindAll(db, { storeIncarnation, caGet, caInit, ping, figuresRead }),
    onCommit: (listener: () => void) => {
      db.commitListeners.add(listener);
      return () => void db.commitListeners.delete(listener);
    },
  };
}

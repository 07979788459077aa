import { createHash } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { Readable } from 'node:stream';
import { join } from 'node:path';
import { randomBytes, randomUUID } from 'node:crypto';
import { BlobStore } from '@berth/images';
import { agentConnectedType, healthyType, readyType, tpmLostType, watchdogExpiredType } from '@berth/model';
import { disksOf } from '@berth/runtime';
import type {
  Capabilities,
  CloudInitSeed,
  CpuModels,
  HostNumaNode,
  HugePages,
  Digest,
  GuestInfo,
  HostId,
  ImageContent,
  InstanceId,
  InstanceSpec,
  ProjectId,
  Role,
  SnapshotTaken,
} from '@berth/model';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { pino } from 'pino';
import supertest from 'supertest';
import { makeSecret } from '../../apps/api/src/access/secret.js';
import { MasterKey } from '../../apps/api/src/dispatch/master-key.js';
import { defaultHttpConfig, type HttpDeps, type StatsNow } from '../../apps/api/src/http/deps.js';
import { createHttpApp } from '../../apps/api/src/http/http-app.js';
import { defaultDownloadLimits, RemoteImports } from '../../apps/api/src/images/remote-imports.js';
import { systemPause } from '../../apps/api/src/system-clock.js';
import { startLedger } from '../../apps/api/src/ledger/sequencer.js';
import type { Ledger } from '../../apps/api/src/ledger/ledger.js';
import { explain, preview } from '../../apps/api/src/scheduling/explain.js';
import { Exposition } from '../../apps/api/src/metrics/exposition.js';
import { Meters } from '../../apps/api/src/metrics/meters.js';
import { Traces } from '../../apps/api/src/metrics/traces.js';
import { UsageHistory } from '../../apps/api/src/metrics/usage-history.js';
import { placePending } from '../../apps/api/src/scheduling/place.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { migrate } from '../../apps/api/src/store/migrate.js';
import { openStore } from '../../apps/api/src/store/open.js';
import { EchoTerminals } from './echo-terminals.js';
import { DonePrompts } from './done-prompts.js';
import { changedLayers } from './changed-layers.js';
import { StoredFiles } from './stored-files.js';
import { freshDatabase, startPostgres, withClient, type ThrowawayPostgres } from '../support/postgres.js';

export const system = { actor: 'system:test', traceId: '0'.repeat(32) };
const clock = { now: () => new Date() };
const ids = { uuid: () => randomUUID() as string };
export const digest = (n: number): Digest => `sha256:${n.toString(16).padStart(64, '0')}` as Digest;

export const ociContent = (n: number): ImageContent => ({
  kind: 'oci',
  digest: digest(n),
  configDigest: digest(n + 1),
  layers: [],
  process: { entrypoint: [], cmd: ['sh'], env: [], user: '', workdir: '/' },
  arch: 'x86_64',
  blobs: [{ digest: digest(n), sizeBytes: 10 }],
});
export const diskContent: ImageContent = {
  kind: 'disk',
  digest: digest(500),
  format: 'qcow2',
  sizeBytes: 1000,
  virtualSizeMiB: 64,
  blobs: [{ digest: digest(500), sizeBytes: 1000 }],
};

/** What a host reports of a machine whose user data has `sim:agent`, `sim:held` or `sim:tpmless`, and of what is probed, which is well. */
const conditionsOf = ({
  userData = '',
  probes,
}: Pick<InstanceSpec, 'userData' | 'probes'>): { type: string; reason: string; message: string }[] => [
  ...(userData.includes('sim:agent')
    ? [{ type: agentConnectedType, reason: 'Answers', message: 'the agent in its guest answers' }]
    : []),
  ...(userData.includes('sim:held')
    ? [{ type: watchdogExpiredType, reason: 'Paused', message: 'its watchdog paused it' }]
    : []),
  ...(userData.includes('sim:tpmless')
    ? [{ type: tpmLostType, reason: 'Ended', message: 'its TPM has ended' }]
    : []),
  ...(probes?.readiness === undefined ? [] : [well(readyType)]),
  ...(probes?.liveness === undefined ? [] : [well(healthyType)]),
];
const well = (type: string) => ({ type, reason: 'ProbeSucceeded', message: 'its probe is answered' });
/** What runs in whatever runs. */
const runs = {
  ...{ pid: 1, parent: 0, uid: 0, user: 'root', state: 'S', threads: 1 },
  ...{ cpuMicros: 10_000, memoryBytes: 4096, ageSeconds: 5, command: 'sh' },
};
/** What whatever runs uses, after each interval, for as long as it does. */
async function* uses(
  store: Pick<Store, 'instanceById'>,
  id: InstanceId,
  everyMs: number,
  signal: AbortSignal,
): AsyncGenerator<StatsNow> {
  for (let n = 1; ; n += 1) {
    await systemPause.sleep(everyMs, signal);
    if (signal.aborted || (await store.instanceById(id))?.status.state !== 'running') return;
    yield {
      ...{ cpuMillis: 250, memoryBytes: n * 1024 * 1024, memoryLimitBytes: 64 * 1024 * 1024, pids: 3 },
      ...{ networkReceivedBytes: 2048, networkSentBytes: 1024, blockReadBytes: 0, blockWriteBytes: null },
      guestMemoryBytes: null,
    };
  }
}
/** What the agent of such a machine says. */
export const guestInfo: GuestInfo = {
  agentVersion: '7.2.0',
  hostname: 'inside',
  os: { id: 'debian', name: 'Debian GNU/Linux', version: '12', kernel: '6.1.0', machine: 'x86_64' },
  interfaces: [
    {
      name: 'eth0',
      mac: '52:54:00:01:02:03',
      addresses: [{ family: 'ipv4', address: '10.1.2.3', prefixLength: 24 }],
    },
  ],
};

export const isoContent: ImageContent = {
  kind: 'iso',
  digest: digest(600),
  sizeBytes: 2048,
  bootable: true,
  blobs: [{ digest: digest(600), sizeBytes: 2048 }],
};

export const seed: CloudInitSeed = {
  metaData: 'instance-id: i-1\n',
  userData: '#cloud-config\n{}\n',
  vendorData: null,
  networkConfig: 'version: 2\n',
};

const capabilities: Capabilities = {
  arch: 'x86_64',
  cpus: 8,
  processors: '0-7',
  memoryMiB: 16_384,
  diskMiB: 100_000,
  kernel: '6.1',
  cgroup: 'hybrid',
  isolation: { container: { ok: true, drivers: ['oci'] }, vm: { ok: true, drivers: ['libvirt'] } },
  accel: { kvm: { verdict: 'unusable', reason: 'measured' }, tcg: true },
  cpu: {
    vendor: 'GenuineIntel',
    model: 'test',
    virtualisation: 'none',
    secondLevelPaging: 'none',
    nested: false,
    kvmDevice: false,
  },
  facets: [
    'logs',
    'display',
    'screenshot',
    'sendKeys',
    'reset',
    'guest',
    'snapshots',
    'memorySnapshots',
    'copies',
    'clones',
    'exports',
    'nics',
    'resources',
    'ioLimits',
    'ioWeight',
    'memoryHigh',
    'swap',
    'mounts',
    'secrets',
    'attach',
  ],
  publishedPorts: { first: 1024, last: 32_767, held: [] },
  tenantBoundary: false,
  versions: {},
};

const exportedFile = {
  sizeBytes: StoredFiles.exportBytes.length,
  sha256: createHash('sha256').update(StoredFiles.exportBytes).digest('hex'),
};

/** The real HTTP application on a real database; beneath it, instead of agents, {@link Api.settle} reports what hosts would. */
export class Api {
  readonly http: ReturnType<typeof supertest>;
  readonly tokens = new Map<string, string>();
  private seq = 0;

  private constructor(
    readonly app: NestFastifyApplication,
    readonly store: Store,
    readonly ledger: Ledger,
    private readonly imports: RemoteImports,
    private readonly postgres: ThrowawayPostgres,
    readonly url: string,
    private readonly blobDir: string,
    readonly host: { id: HostId; name: string; session: number },
    readonly projects: Readonly<Record<'alpha' | 'beta', ProjectId>>,
    readonly usage: UsageHistory,
    /** Reads of the ledger for event streams. */
    readonly ledgerReads: Readonly<Record<'tail' | 'backlog', number>>,
  ) {
    // No agent of supertest: it would keep cookies from one request for the next.
    this.http = supertest(app.getHttpServer());
  }

  /** Two projects with an `oci` and a `disk` image each, one ready host, tokens for every role. */
  static async start(change: Partial<HttpDeps> = {}, hostName = 'h1', storeClock = clock): Promise<Api> {
    const postgres = await startPostgres();
    const url = await freshDatabase(postgres.url);
    await migrate(url);
    const store = await openStore({ url, clock: storeClock, ids });
    const ledgerReads = { tail: 0, backlog: 0 };
    const ledger = startLedger({
      store,
      every: () => () => undefined,
      onError: (error) => console.error(error),
      onRead: (part) => (ledgerReads[part] += 1),
    });
    const blobDir = await mkdtemp(join(tmpdir(), 'berth-http-'));
    const projects = { alpha: await seedProject(store, 'alpha'), beta: await seedProject(store, 'beta') };
    const host = await seedHost(store, hostName);
    const usage = new UsageHistory(clock, 100);
    const meters = new Meters();
    const blobs = new BlobStore(blobDir);
    const masterKey = new MasterKey(randomBytes(32));
    const imageMaxBytes = 4 * 1024 * 1024;
    const imports = new RemoteImports({
      store,
      blobs,
      masterKey,
      clock,
      ids,
      pause: systemPause,
      log: console,
      dispatch: () => undefined,
      ledger: () => void ledger.flush(),
      layers: changedLayers,
      limits: { ...defaultDownloadLimits(imageMaxBytes), stallMs: 500, backoffMs: () => 20 },
      insecureRegistries: ['127.0.0.1'],
      registryMirrors: {},
    });
    const link = () => ({ hosts: 1, receivedBytes: 10, sentBytes: 20 });
    const app = await createHttpApp({
      usage,
      meters,
      traces: new Traces(() => performance.now()),
      metrics: new Exposition({ meters, store, usage, link, instances: 100 }),
      store,
      ledger,
      clock,
      ids,
      wake: { scheduler: () => undefined, dispatch: () => undefined, ledger: () => undefined },
      blobs,
      imports,
      config: {
        ...defaultHttpConfig,
        imageMaxBytes,
        heartbeatMs: 50,
        terminal: { pingMs: 500, idleMs: 60_000 },
      },
      caFingerprint: 'ab'.repeat(32),
      masterKey,
      logger: pino({ level: 'silent' }),
      logs: (_instance, { framed }) => {
        const head = framed === true ? `${new Date().toISOString()} stdout F ` : '';
        return Promise.resolve(
          Readable.from(['first', 'second'].map((n) => Buffer.from(`${head}${n} line\n`))),
        );
      },
      terminals: new EchoTerminals(),
      prompts: new DonePrompts(),
      files: new StoredFiles(),
      layers: changedLayers,
      guest: () => Promise.resolve(guestInfo),
      processes: () => Promise.resolve({ items: [runs], total: 1 }),
      stats: ({ id }, everyMs, signal) => Promise.resolve(uses(store, id, everyMs, signal)),
      seed: () => Promise.resolve(seed),
      every: (ms, task) => {
        const timer = setInterval(task, ms);
        return () => clearInterval(timer);
      },
      explain: async (instance, name) =>
        explain({ store, strategy: 'spread' }, instance, null, name) as never,
      preview: (project, spec, origin) => preview({ store, strategy: 'spread', ids }, project, spec, origin),
      ...change,
    });
    await app.getHttpAdapter().getInstance().ready();
    await app.listen(0, '127.0.0.1');
    const api = new Api(
      app,
      store,
      ledger,
      imports,
      postgres,
      url,
      blobDir,
      host,
      projects,
      usage,
      ledgerReads,
    );
    for (const role of ['admin', 'operator', 'viewer'] as const)
      for (const project of [null, 'alpha', 'beta'] as const)
        api.tokens.set(`${project ?? 'all'}:${role}`, await api.tokenMake(role, project));
    return api;
  }

  async tokenMake(
    role: Role,
    project: 'alpha' | 'beta' | null,
    expiresAt: Date | null = null,
  ): Promise<string> {
    const { plain, hash } = makeSecret('berth_');
    const projectId = project === null ? null : this.projects[project];
    await this.store.tokenCreate(system, {
      name: `${project ?? 'all'}-${role}`,
      hash,
      projectId,
      role,
      expiresAt,
    });
    return plain;
  }

  /** A request as a role, `all:admin` when nothing else is said. */
  call(method: 'get' | 'post' | 'put' | 'patch' | 'delete', path: string, as = 'all:admin'): supertest.Test {
    return this.http[method](path).set('authorization', `Bearer ${this.tokens.get(as) ?? as}`);
  }

  /** Creates a container in a project and returns its name. */
  async instance(project = 'alpha', change: object = {}): Promise<string> {
    const name = `i${randomUUID().slice(0, 8)}`;
    const spec = { isolation: 'container', image: 'oci', memoryMiB: 64, ...change };
    await this.call('post', `/v1/projects/${project}/instances`).send({ name, spec }).expect(202);
    return name;
  }

  /** Lets the scheduler place what waits and the host report everything as asked, until nothing moves. */
  async settle(): Promise<void> {
    // What has ended may make room, and a restart goes on only then.
    while (await this.pass());
  }

  /** Whether something ended in it. */
  private async pass(): Promise<boolean> {
    let ended = false;
    await placePending({ store: this.store, strategy: 'spread', clock, ids, placed: () => undefined });
    const list = await this.store.assignmentsOffer(this.host.id);
    const { id: hostId, session } = this.host;
    for (const a of list?.assignments ?? []) {
      const outcome = await this.store.reportApply({
        hostId,
        session,
        seq: ++this.seq,
        instanceId: a.instanceId,
        epoch: a.epoch,
        run: 1,
        phase: a.wanted === 'stopped' ? 'ended' : 'running',
        power: a.wanted === 'stopped' ? 'off' : a.spec.userData === '#sim:held' ? 'paused' : a.wanted,
        exit: a.wanted !== 'stopped' ? null : { reason: 'stopped', at: new Date().toISOString() },
        conditions: a.wanted === 'stopped' ? [] : conditionsOf(a.spec),
        revision: a.generation,
        volumes: a.wanted === 'stopped' ? [] : disksOf(a),
        ...(a.cdroms !== undefined && a.wanted !== 'stopped' && { cdroms: a.cdroms.map(inDrive) }),
        observedAt: new Date(),
      });
      ended ||= outcome.outcome === 'applied' && outcome.freed;
    }
    for (let done = false; !done;) {
      const { tombstones } = (await this.store.assignmentsRead(hostId)) ?? { tombstones: [] };
      for (const t of tombstones) await this.store.tombstoneDone(hostId, session, t.id);
      done = tombstones.length === 0;
    }
    for (const order of (await this.store.assignmentsRead(hostId))?.snapshots ?? []) {
      const { id: orderId, state } = order;
      const taken = state === 'creating' ? takenNow(order.memory) : null;
      await this.store.snapshotReport({ hostId, session, orderId, outcome: { state: 'done', taken } });
    }
    for (const { id: orderId, export: exporting } of (await this.store.assignmentsRead(hostId))?.clones ?? [])
      await this.store.cloneReport({
        hostId,
        session,
        orderId,
        outcome: { state: 'done', ...(exporting === true ? { file: exportedFile } : {}) },
      });
    await this.ledger.flush();
    return ended;
  }

  /** The host says that it can do more. */
  async facetsAdd(...more: string[]): Promise<void> {
    await this.hostSays(({ facets }) => ({ facets: [...new Set([...facets, ...more])] }));
  }

  /** The host says that its own QEMUs have several displays. */
  async displaysGive(): Promise<void> {
    await this.hostSays(({ facets, isolation }) => ({
      facets: [...new Set([...facets, 'displays'])],
      isolation: { ...isolation, vm: { ok: true, drivers: ['libvirt', 'qemu'] } },
    }));
  }

  /** The host says which processors it can give. */
  async cpuModelsSet(cpuModels: CpuModels): Promise<void> {
    await this.hostSays(() => ({ cpuModels }));
  }

  /** The host says what it keeps in huge pages. */
  async hugePagesSet(hugePages: HugePages): Promise<void> {
    await this.hostSays(() => ({ hugePages }));
  }

  /** The host says which nodes it has. */
  async numaSet(numa: HostNumaNode[]): Promise<void> {
    await this.hostSays(() => ({ numa }));
  }

  /** The host says something else of itself. */
  async hostSays(change: (known: Capabilities) => Partial<Capabilities>): Promise<void> {
    const { capabilities: known, capacity } = (await this.store.hostGet(this.host.name)) ?? {};
    if (!known || !capacity) throw new Error('the host said nothing of itself');
    const { id, session } = this.host;
    await this.store.hostCapabilitiesSet(id, session, { ...known, ...change(known) }, capacity);
  }

  /** Rows of every table that a refused request could have written. */
  async counts(): Promise<Record<string, number>> {
    const tables = [
      'projects',
      'instances',
      'instance_revisions',
      'volumes',
      'volume_clones',
      'volume_exports',
      'snapshots',
      'nics',
      'images',
      'security_groups',
      'operations',
      'events',
      'tokens',
      'join_tokens',
      'idempotency_keys',
      'browser_sessions',
      'sign_in_codes',
      'terminal_tickets',
    ];
    const sql = `SELECT ${tables.map((t) => `(SELECT count(*)::int FROM ${t}) AS ${t}`).join(', ')},
        (SELECT sum(resource_version)::int FROM hosts) AS host_versions,
        (SELECT coalesce(sum(resource_version), 0)::int FROM instances) AS instance_versions`;
    const { rows } = await withClient(this.url, (client) => client.query<Record<string, number>>(sql));
    return rows[0] ?? {};
  }

  async stop(): Promise<void> {
    await this.app.close();
    await this.imports.close();
    await this.ledger.close();
    await this.store.close();
    await this.postgres.stop();
    await rm(this.blobDir, { recursive: true, force: true });
  }
}

/** What a guest that has mounted all its media makes of a drive. */
const inDrive = ({ image }: { readonly image: { readonly digest: Digest } | null }) => ({
  digest: image?.digest ?? null,
  trayOpen: false,
  locked: image !== null,
});

async function seedProject(store: Store, name: string): Promise<ProjectId> {
  const { id } = await store.projectCreate(system, { name });
  await store.imageInsert(system, { projectId: id, name: 'oci', content: ociContent(100) });
  await store.imageInsert(system, { projectId: id, name: 'disk', content: diskContent });
  return id;
}

/** What a host says of a snapshot that it took. */
const takenNow = (memory: boolean): SnapshotTaken => ({
  consistency: memory ? 'exact' : 'crash',
  indications: ['no guest agent answered'],
  takenAt: new Date().toISOString(),
  heldMiB: 1,
  ...(memory ? { memory: { sizeMiB: 1, stoodStillMs: 5, machine: memoryOf } } : {}),
});

/** A machine that no spec of these tests asks for. */
const memoryOf = {
  driver: 'libvirt',
  accel: 'tcg',
  vcpus: 7,
  bootMiB: 64,
  plugMiB: 0,
  requestedMiB: 0,
  cpuModel: null,
  firmware: 'bios',
  tpm: false,
  hugePages: null,
  vsock: false,
  numaNodes: 1,
  watchdog: null,
  usbTablet: null,
  displays: null,
  cdroms: [],
  mostVcpus: null,
  nics: [],
} satisfies NonNullable<SnapshotTaken['memory']>['machine'];

/** A host that joined, connected and reported what it can do. */
export async function seedHost(
  store: Store,
  name: string,
): Promise<{ id: HostId; name: string; session: number }> {
  const { hash } = makeSecret('berthjoin_');
  const expiresAt = new Date(Date.now() + 60_000);
  await store.joinTokenCreate(system, { hash, hostName: name, labels: {}, expiresAt });
  const keyFingerprint = randomUUID();
  const host = await store.hostJoin({ joinTokenHash: hash, name, keyFingerprint, traceId: system.traceId });
  const open = await store.hostSessionOpen({
    hostId: host.id,
    keyFingerprint,
    bootId: randomUUID(),
    agentVersion: 'test',
  });
  if (open.outcome !== 'open') throw new Error(`the host was refused: ${open.reason}`);
  // Room for all that the cases of a file make: none waits because others were there before.
  const capacity = { cpuMillis: 256_000, memoryMiB: 524_288, diskMiB: 10_000_000 };
  await store.hostCapabilitiesSet(host.id, open.session, capabilities, capacity);
  await store.hostSeen(host.id, open.session);
  return { id: host.id, name, session: open.session };
}

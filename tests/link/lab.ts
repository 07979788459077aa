import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { build, stop } from 'esbuild';
import type { BlobStore } from '@berth/images';
import { ImageContent } from '@berth/model';
import type {
  Digest,
  HostId,
  HostNetworkSpec,
  Instance,
  InstanceSpecInput,
  NetworkId,
  Operation,
  ProjectId,
} from '@berth/model';
import { InstanceSpec } from '@berth/model';
import { machineUsage } from '@berth/linux';
import { SimulatedHost, SimulatedRuntime } from '@berth/runtime';
import type { Runtime } from '@berth/runtime';
import { runAgent } from '../../apps/agent/src/agent.js';
import type { ImageStores } from '../../apps/agent/src/unused-images.js';
import type { AgentLog } from '../../apps/agent/src/log.js';
import { readConfig } from '../../apps/agent/src/config.js';
import type { NetworkKeeper } from '../../apps/agent/src/networks.js';
import { readMachine } from '../../apps/agent/src/facts.js';
import { systemClock } from '../../apps/agent/src/system-clock.js';
import { hashSecret, makeSecret } from '../../apps/api/src/access/secret.js';
import { AgentsDoor } from '../../apps/api/src/dispatch/agents-door.js';
import { Authority } from '../../apps/api/src/dispatch/authority.js';
import { MasterKey } from '../../apps/api/src/dispatch/master-key.js';
import { secretSource } from '../../apps/api/src/secrets/secret-values.js';
import { Traces } from '../../apps/api/src/metrics/traces.js';
import { UsageHistory } from '../../apps/api/src/metrics/usage-history.js';
import { placePending } from '../../apps/api/src/scheduling/place.js';
import { migrate } from '../../apps/api/src/store/migrate.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { freshDatabase } from '../support/postgres.js';

const clock = { now: () => new Date() };
const ids = { uuid: () => randomUUID() };
const ctx = { actor: 'system:test', traceId: 'test' };
export const quiet: AgentLog = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};
const noisy: AgentLog = {
  ...quiet,
  warn: console.warn,
  error: console.error,
  info: console.info,
  debug: console.info,
};
const log = process.env['BERTH_TEST_LOG'] === '1' ? noisy : quiet;

/** Asks until the answer is good; fails with the last answer when the deadline passes. */
export async function until<T>(
  ask: () => Promise<T> | T,
  good: (value: T) => boolean,
  what: string,
): Promise<T> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    const value = await ask();
    if (good(value)) return value;
    if (Date.now() > deadline) throw new Error(`${what}: still ${JSON.stringify(value)}`);
    await systemClock.sleep(10);
  }
}

/** Content in memory, as the API's upload store would hold it. */
export class Blobs {
  readonly held = new Map<string, Buffer>();
  add(bytes: Buffer): Digest {
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}` as Digest;
    this.held.set(digest, bytes);
    return digest;
  }
  rely(): void {}
  has(digest: string): Promise<boolean> {
    return Promise.resolve(this.held.has(digest));
  }
  open(digest: string): Promise<{ stream: Readable; sizeBytes: number }> {
    const bytes = this.held.get(digest);
    if (bytes === undefined) return Promise.reject(new Error(`no blob ${digest}`));
    return Promise.resolve({ stream: Readable.from([bytes]), sizeBytes: bytes.length });
  }
  async put(stream: Readable, options: { digest: string; maxBytes: number }): Promise<void> {
    const bytes = Buffer.concat((await stream.toArray()) as Buffer[]);
    if (bytes.length > options.maxBytes) throw new Error('too large');
    if (this.add(bytes) !== options.digest) throw new Error('bad digest');
  }
}

/** The API's side without REST: store, authority, agents' door and the scheduler, woken as production wakes them. */
export class Api {
  door!: AgentsDoor;
  readonly blobs = new Blobs();
  readonly usage = new UsageHistory(clock, 100);
  readonly traces = new Traces(() => performance.now());
  authority!: Authority;
  private constructor(
    readonly store: Store,
    private readonly keyPath: string,
  ) {}

  static async start(url: string, dir: string, port = 0, blobs?: Blobs): Promise<Api> {
    await migrate(url);
    const api = new Api(await openStore({ url, clock, ids }), join(dir, 'master.key'));
    for (const [digest, bytes] of blobs?.held ?? []) api.blobs.held.set(digest, bytes);
    const masterKey = await MasterKey.open(api.keyPath);
    api.authority = await Authority.open(api.store, masterKey, clock);
    api.door = await AgentsDoor.open({
      store: api.store,
      authority: api.authority,
      blobs: api.blobs,
      secrets: secretSource({ store: api.store, masterKey, log }),
      clock,
      ids,
      log,
      pause: systemClock,
      usage: api.usage,
      traces: api.traces,
      adoptRestored: false,
      listen: [{ host: '127.0.0.1', port }],
      hooks: {
        ledger: () => undefined,
        scheduler: () => void api.place(),
      },
    });
    return api;
  }

  private placing: Promise<void> = Promise.resolve();
  place(): Promise<void> {
    this.placing = this.placing
      .then(() =>
        placePending({
          store: this.store,
          ids,
          clock,
          strategy: 'spread',
          traces: this.traces,
          placed: (hostId) => this.door.wake(hostId),
        }),
      )
      .then(
        () => undefined,
        (err: unknown) => log.warn({ err }, 'a scheduling pass failed'),
      );
    return this.placing;
  }

  async joinToken(o: { hostName?: string; expiresAt?: Date } = {}): Promise<string> {
    const secret = makeSecret('berthjoin_');
    await this.store.joinTokenCreate(ctx, {
      hash: hashSecret(secret.plain),
      hostName: o.hostName ?? null,
      labels: {},
      expiresAt: o.expiresAt ?? new Date(Date.now() + 60_000),
    });
    return this.authority.joinTokenText(secret.plain);
  }

  async project(name = 'default'): Promise<ProjectId> {
    return ((await this.store.projectGet(name)) ?? (await this.store.projectCreate(ctx, { name }))).id;
  }

  /** A one-blob OCI image whose content is only in the API's blobs. */
  async image(projectId: ProjectId, name: string): Promise<void> {
    const bytes = randomBytes(64 * 1024);
    const digest = this.blobs.add(bytes);
    const content = ImageContent.parse({
      kind: 'oci',
      digest,
      configDigest: digest,
      layers: [],
      process: { entrypoint: [], cmd: [], env: [], user: '', workdir: '/' },
      arch: 'amd64',
      blobs: [{ digest, sizeBytes: bytes.length }],
    });
    await this.store.imageInsert(ctx, { projectId, name, content });
  }

  async create(name: string, spec: Partial<InstanceSpecInput> = {}): Promise<Instance> {
    const projectId = await this.project();
    if ((await this.store.imageGet(projectId, 'base')) === null) await this.image(projectId, 'base');
    const full = InstanceSpec.parse({ isolation: 'container', image: 'base', memoryMiB: 16, ...spec });
    const body = { name, labels: {}, spec: full };
    const { instance } = await this.store.instanceCreate(ctx, { projectId, body, deadlineSeconds: 60 });
    await this.place();
    return instance;
  }

  async get(name: string): Promise<Instance | null> {
    return this.store.instanceGet(await this.project(), name);
  }

  async act(name: string, verb: 'start' | 'stop' | 'restart', graceSeconds?: number): Promise<Operation> {
    const change = await this.store.instanceAct(ctx, {
      projectId: await this.project(),
      ...{ name, verb },
      ...(graceSeconds === undefined ? {} : { graceSeconds }),
      deadlineSeconds: 60,
    });
    for (const host of change.hosts) this.door.wake(host);
    await this.place();
    return change.operation;
  }

  async remove(name: string, graceSeconds?: number): Promise<void> {
    const del = await this.store.instanceDelete(ctx, {
      projectId: await this.project(),
      name,
      ...(graceSeconds === undefined ? {} : { graceSeconds }),
      deadlineSeconds: 60,
    });
    for (const host of del.hosts) this.door.wake(host);
  }

  untilState(name: string, state: Instance['status']['state']): Promise<Instance | null> {
    return until(
      () => this.get(name),
      (i) => i?.status.state === state,
      `${name} becomes ${state}`,
    );
  }

  async untilConnected(): Promise<HostId> {
    return (
      await until(
        () => this.door.connected(),
        (l) => l.length > 0,
        'a host connects',
      )
    )[0] as HostId;
  }

  async close(): Promise<void> {
    await this.door.close();
    await this.placing;
    await this.store.close();
  }
}

/** Keeps networks by word only: what it was told last of each. */
export class TestNetworks implements NetworkKeeper {
  readonly held = new Map<NetworkId, HostNetworkSpec>();
  ensure(spec: HostNetworkSpec): Promise<void> {
    const known = this.held.get(spec.id)?.revision ?? -1;
    if (spec.revision === undefined || spec.revision < known)
      return Promise.reject(new Error(`revision ${spec.revision} after ${known}`));
    this.held.set(spec.id, spec);
    return Promise.resolve();
  }
  release(networkId: NetworkId): Promise<{ released: boolean }> {
    this.held.delete(networkId);
    return Promise.resolve({ released: true });
  }
  /** Links are nothing here: all is known still. */
  rest(): Promise<void> {
    return Promise.resolve();
  }
  networks(): Promise<{ networkId: NetworkId }[]> {
    return Promise.resolve([...this.held.keys()].map((networkId) => ({ networkId })));
  }
  traffic(): Promise<[]> {
    return Promise.resolve([]);
  }
  /** DNS names per network. */
  names(): string[][] {
    return [...this.held.values()].map((spec) => spec.leases.map((lease) => lease.name));
  }
}

/** A host whose machine is a file: it outlives its agents. */
export class Host {
  readonly blobs = new Blobs();
  readonly networks = new TestNetworks();
  /** By how much its clock is wrong, milliseconds. */
  clockAheadMs = 0;
  /** Real ones, in place of those in memory. */
  stores: (ImageStores & { readonly blobs: BlobStore }) | null = null;
  machine: SimulatedHost;
  private stop = new AbortController();
  private running: Promise<void> | null = null;
  child: ChildProcess | null = null;

  constructor(
    readonly dir: string,
    readonly name: string,
  ) {
    this.machine = this.load();
  }

  get machineFile(): string {
    return join(this.dir, 'var/lib/berth/simulated-host.json');
  }

  private load(): SimulatedHost {
    return new SimulatedHost({ now: () => new Date() });
  }

  /** An agent in this process. */
  start(port: number, token: string, runtime: Runtime = new SimulatedRuntime(this.machine)): void {
    this.stop = new AbortController();
    const settings = readConfig(null, {
      BERTH_ROOT: this.dir,
      BERTH_API_LINK: `127.0.0.1:${port}`,
      BERTH_HOST_NAME: this.name,
      BERTH_INVENTORY_SECONDS: '1',
      BERTH_IMAGE_GRACE_SECONDS: '0',
    });
    this.running = runAgent(
      {
        settings,
        clock: { ...systemClock, now: () => new Date(Date.now() + this.clockAheadMs) },
        log,
        bootId: 'boot-1',
        agentVersion: 'test',
        machine: readMachine(),
        runtimes: [runtime],
        blobs: this.stores?.blobs ?? this.blobs,
        imageStores: this.stores,
        networks: this.networks,
        poolMiB: () => Promise.resolve(102_400),
        machineUsage: () => machineUsage(this.dir),
        publishedPorts: () => null,
        carriesIpv6: () => true,
        readToken: () => Promise.resolve(token),
      },
      this.stop.signal,
    );
  }

  async end(): Promise<void> {
    this.stop.abort();
    await this.running;
    this.running = null;
    if (this.child !== null) await this.kill('SIGKILL');
  }

  /** An agent as its own process, on the file-backed machine. */
  async spawn(port: number, token: string): Promise<void> {
    const tokenFile = join(this.dir, 'token');
    await mkdir(this.dir, { recursive: true });
    await writeFile(tokenFile, token, { mode: 0o600 });
    this.child = spawn(process.execPath, ['--enable-source-maps', await agentBundle()], {
      stdio: ['ignore', log === noisy ? 'inherit' : 'ignore', 'inherit'],
      env: {
        PATH: process.env['PATH'],
        BERTH_ROOT: this.dir,
        BERTH_API_LINK: `127.0.0.1:${port}`,
        BERTH_HOST_NAME: this.name,
        BERTH_AGENT_RUNTIME: 'simulated',
        BERTH_JOIN_TOKEN_FILE: tokenFile,
      },
    });
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const child = this.child;
    if (child === null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    if (child.exitCode === null && child.signalCode === null) await gone;
    this.child = null;
  }

  /** What the machine of a spawned agent holds. */
  async machineState(): Promise<SimulatedHost['state']> {
    return JSON.parse(await readFile(this.machineFile, 'utf8')) as SimulatedHost['state'];
  }
}

let bundled: Promise<string> | null = null;
function agentBundle(): Promise<string> {
  const require = createRequire(import.meta.url);
  const outfile = join(
    require.resolve('typescript/package.json'),
    '../../.cache/berth-tests',
    `agent-${process.pid}.mjs`,
  );
  bundled ??= build({
    entryPoints: [new URL('../../apps/agent/src/main.ts', import.meta.url).pathname],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    conditions: ['berth-source'],
    external: ['koffi'],
    banner: {
      js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
    },
    logLevel: 'error',
  })
    .finally(() => stop())
    .then(() => outfile);
  return bundled;
}
export async function dropBundle(): Promise<void> {
  if (bundled !== null) await rm(await bundled, { force: true });
  bundled = null;
}

export async function tempDir(): Promise<string> {
  return mkdtemp(join(tmpdir(), 'berth-link-'));
}

export async function database(clusterUrl: string): Promise<string> {
  return freshDatabase(clusterUrl);
}

import { randomUUID } from 'node:crypto';
import type {
  Capabilities,
  Decision,
  HostId,
  ImageContent,
  Instance,
  InstanceCreate,
  InstanceSpecInput,
  ProjectId,
} from '@berth/model';
import { BerthError, InstanceSpec } from '@berth/model';
import { migrate } from '../../apps/api/src/store/migrate.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { PlacementReport, RequestContext, Store } from '../../apps/api/src/store/store.js';
import { freshDatabase } from '../support/postgres.js';

/** A clock that moves only when told. */
export class TestClock {
  private at = Date.parse('2026-01-01T00:00:00.000Z');
  now(): Date {
    return new Date(this.at);
  }
  advance(ms: number): void {
    this.at += ms;
  }
}

export const ids = { uuid: () => randomUUID() as string };
export const ctx: RequestContext = { actor: 'token:test', traceId: 'trace-1' };
export const digest = (n: number): never => `sha256:${n.toString(16).padStart(64, '0')}` as never;

export interface World {
  readonly url: string;
  readonly store: Store;
  readonly clock: TestClock;
  readonly projectId: ProjectId;
}

const templates = new Map<string, Promise<string>>();

/** A migrated database, copied from a template that is made once per cluster. */
export async function migratedDatabase(clusterUrl: string): Promise<string> {
  const template =
    templates.get(clusterUrl) ?? freshDatabase(clusterUrl).then((url) => migrate(url).then(() => url));
  templates.set(clusterUrl, template);
  return freshDatabase(clusterUrl, await template);
}

/** A migrated database with project `p` and the images `busybox` (oci) and `debian` (disk). */
export async function world(clusterUrl: string): Promise<World> {
  const url = await migratedDatabase(clusterUrl);
  const clock = new TestClock();
  const store = await openStore({ url, clock, ids, poolSize: 12 });
  const { id: projectId } = await store.projectCreate(ctx, { name: 'p' });
  await store.imageInsert(ctx, { projectId, name: 'busybox', content: ociImage });
  await store.imageInsert(ctx, { projectId, name: 'debian', content: diskImage });
  return { url, store, clock, projectId };
}

export const ociImage: ImageContent = {
  kind: 'oci',
  digest: digest(1),
  configDigest: digest(2),
  layers: [
    {
      digest: digest(3),
      diffId: digest(4),
      sizeBytes: 10,
      mediaType: 'application/vnd.oci.image.layer.v1.tar',
    },
  ],
  process: { entrypoint: [], cmd: ['/bin/sh'], env: [], user: '', workdir: '/' },
  arch: 'amd64',
  blobs: [
    { digest: digest(1), sizeBytes: 5 },
    { digest: digest(3), sizeBytes: 10 },
  ],
};
export const diskImage: ImageContent = {
  kind: 'disk',
  digest: digest(9),
  format: 'qcow2',
  sizeBytes: 100,
  virtualSizeMiB: 64,
  blobs: [{ digest: digest(9), sizeBytes: 100 }],
};

export const capabilities: Capabilities = {
  arch: 'x86_64',
  cpus: 4,
  memoryMiB: 4096,
  diskMiB: 100_000,
  kernel: '6.1',
  cgroup: 'v2',
  isolation: { container: { ok: true, drivers: ['oci'] }, vm: { ok: true, drivers: ['libvirt'] } },
  accel: { kvm: { verdict: 'absent', reason: 'test' }, tcg: true },
  cpu: {
    vendor: 'x',
    model: 'x',
    virtualisation: 'none',
    secondLevelPaging: 'none',
    nested: false,
    kvmDevice: false,
  },
  publishedPorts: { first: 1024, last: 32_767, held: ['tcp/7070'] },
  facets: [],
  tenantBoundary: false,
  versions: {},
};

export interface TestHost {
  readonly id: HostId;
  readonly name: string;
  readonly session: number;
}

const hash = (): string => randomUUID().replaceAll('-', '').repeat(2);

/** Joins a host by token, opens a session and reports its capacity. */
export async function joinHost(
  { store, clock }: Pick<World, 'store' | 'clock'>,
  name: string,
  capacity = { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 100_000 },
): Promise<TestHost> {
  const joinTokenHash = hash();
  const expiresAt = new Date(clock.now().getTime() + 60_000);
  await store.joinTokenCreate(ctx, { hash: joinTokenHash, hostName: null, labels: {}, expiresAt });
  const host = await store.hostJoin({ joinTokenHash, name, keyFingerprint: `key-${name}`, traceId: 't' });
  const session = await openSession(store, host.id, name);
  await store.hostCapabilitiesSet(host.id, session, capabilities, capacity);
  return { id: host.id, name, session };
}

export async function openSession(
  store: Store,
  hostId: HostId,
  name: string,
  bootId = 'boot-1',
): Promise<number> {
  const open = await store.hostSessionOpen({
    hostId,
    keyFingerprint: `key-${name}`,
    bootId,
    agentVersion: '0',
  });
  if (open.outcome !== 'open') throw new Error(`refused: ${open.reason}`);
  return open.session;
}

export function body(name: string, spec: Partial<InstanceSpecInput> = {}): InstanceCreate {
  return {
    name,
    labels: {},
    spec: InstanceSpec.parse({
      isolation: 'container',
      image: 'busybox',
      memoryMiB: 16,
      rootDisk: { sizeMiB: 16 },
      ...spec,
    }),
  };
}

export async function create(
  w: World,
  name: string,
  spec: Partial<InstanceSpecInput> = {},
): Promise<Instance> {
  return (
    await w.store.instanceCreate(ctx, { projectId: w.projectId, body: body(name, spec), deadlineSeconds: 60 })
  ).instance;
}

export function decisionFor(
  instance: Pick<Instance, 'id'>,
  host: { id: HostId; name: string } | null,
  at: Date,
): Decision {
  return {
    id: randomUUID() as never,
    instanceId: instance.id,
    snapshotId: randomUUID(),
    outcome: host === null ? 'unplaced' : 'placed',
    hostId: host?.id ?? null,
    host: host?.name ?? null,
    strategy: 'spread',
    seed: '0',
    considered: 1,
    rejected: host === null ? [{ filter: 'cpu', hosts: 1, need: '1000', bestHave: '0' }] : [],
    best: [],
    nearest: [],
    verdicts: null,
    summary: host === null ? 'no host has the cpu: need 1000, best has 0' : `placed on ${host.name}`,
    at: at.toISOString(),
  };
}

/** Places what waits on this host and offers it, as scheduler and dispatch would. */
export async function place(w: World, instance: Pick<Instance, 'id'>, host: TestHost): Promise<number> {
  const pending = await w.store.pendingInstance(instance.id);
  if (pending === null) throw new Error('it waits for nothing');
  const commit = await w.store.placementCommit({
    instanceId: instance.id,
    hostId: host.id,
    runGeneration: pending.runGeneration,
    decision: decisionFor(instance, host, w.clock.now()),
  });
  if (commit.outcome !== 'placed') throw new Error(`${commit.outcome}: ${commit.reason}`);
  await w.store.assignmentsOffer(host.id);
  return commit.epoch;
}

/** Code of the error with which the work is refused. */
export async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (e: unknown) => e,
  );
  return error instanceof BerthError ? error.code : `no refusal (${String(error)})`;
}

let seq = 0;
/** The next report of a host about an instance. */
export function report(
  w: World,
  host: TestHost,
  of: {
    instance: Pick<Instance, 'id'>;
    epoch: number;
    phase: PlacementReport['phase'];
  } & Partial<PlacementReport>,
): Promise<Awaited<ReturnType<Store['reportApply']>>> {
  const { instance, ...rest } = of;
  return w.store.reportApply({
    hostId: host.id,
    session: host.session,
    seq: (seq += 1),
    instanceId: instance.id,
    run: 0,
    power: of.phase === 'running' ? 'running' : 'off',
    exit: null,
    observedAt: w.clock.now(),
    ...rest,
  });
}

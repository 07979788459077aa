import { answer, everyPage, type BerthClient, type EventQuery, type Schemas } from '@berth/client';
import { clockTrouble, troublesOf } from '@berth/model';
import { exitCodes, Failure } from './failure.js';
import { age, bytes, type Column } from './output.js';
import { ruleText } from './security-rule.js';
import { suggestion } from './suggest.js';

/** Which objects of a kind; `limit` counts for operations and events alone, of which it keeps the newest. */
export interface Selection {
  readonly project: string;
  readonly limit: number;
}

/** A kind of object that can be listed and shown. */
export interface Kind<T = never> {
  /** Kind of the ledger's objects whose events tell of a change; null for kinds that any event may concern. */
  readonly object: NonNullable<EventQuery['objectKind']> | null;
  readonly columns: readonly Column<T>[];
  list(api: BerthClient, selection: Selection): Promise<T[]>;
  get(api: BerthClient, project: string, name: string): Promise<T>;
}

type Instance = Schemas['Instance'];
type Event = Schemas['Event'];

/** What keeps an instance from what is wanted of it: its reason, or else its newest condition. Null when all is well. */
export function reasonOf({ spec, status }: Instance): string | null {
  const troubles = troublesOf(status.conditions);
  if (status.state === spec.desired && troubles.length === 0) return null;
  const newest = troubles.sort((a, b) => Date.parse(b.since) - Date.parse(a.since))[0];
  return status.reason ?? newest?.message ?? null;
}

export const instances: Kind<Instance> = {
  object: 'instance',
  list: (api, { project }) =>
    everyPage((query) =>
      answer(api.rest.GET('/v1/projects/{project}/instances', { params: { path: { project }, query } })),
    ),
  get: (api, project, name) =>
    answer(api.rest.GET('/v1/projects/{project}/instances/{name}', { params: { path: { project, name } } })),
  columns: [
    { head: 'NAME', cell: (i) => i.name },
    { head: 'ISOLATION', cell: (i) => i.spec.isolation },
    { head: 'STATE', cell: (i) => i.status.state },
    { head: 'HOST', cell: (i) => i.status.host?.name },
    { head: 'ADDRESS', cell: (i) => i.status.nics.map((n) => n.ipv4).join(',') },
    { head: 'IMAGE', cell: (i) => i.spec.image },
    { head: 'AGE', cell: (i) => age(i.createdAt, Date.now()) },
    { head: 'DRIVER', wide: true, cell: (i) => i.status.driver },
    { head: 'EPOCH', wide: true, cell: (i) => i.status.epoch },
    { head: 'RUN', wide: true, cell: (i) => i.status.run },
    {
      head: 'CPU',
      wide: true,
      cell: (i) => i.spec.vcpus ?? (i.spec.cpuMillis === undefined ? null : `${i.spec.cpuMillis}m`),
    },
    { head: 'MEMORY', wide: true, cell: (i) => `${i.spec.memoryMiB} MiB` },
    { head: 'DISK', wide: true, cell: (i) => `${i.spec.rootDisk.sizeMiB} MiB` },
    { head: 'REASON', wide: 'unlessFilled', cell: reasonOf },
  ],
};

export const hosts: Kind<Schemas['Host']> = {
  object: 'host',
  list: async (api) => (await answer(api.rest.GET('/v1/hosts'))).items,
  get: (api, _project, host) => answer(api.rest.GET('/v1/hosts/{host}', { params: { path: { host } } })),
  columns: [
    { head: 'NAME', cell: (h) => h.name },
    { head: 'STATE', cell: (h) => (h.schedulable ? h.state : `${h.state}, unschedulable`) },
    { head: 'CPU', cell: (h) => `${h.used.cpuMillis / 1000}/${(h.capacity?.cpuMillis ?? 0) / 1000}` },
    { head: 'MEMORY MiB', cell: (h) => `${h.used.memoryMiB}/${h.capacity?.memoryMiB ?? 0}` },
    { head: 'DISK MiB', cell: (h) => `${h.used.diskMiB}/${h.capacity?.diskMiB ?? 0}` },
    {
      head: 'RUNS',
      cell: (h) =>
        Object.entries(h.capabilities?.isolation ?? {})
          .filter(([, v]) => v.ok)
          .map(([k]) => k)
          .join(','),
    },
    { head: 'SEEN', cell: (h) => age(h.lastSeenAt, Date.now()) },
    { head: 'ARCH', wide: true, cell: (h) => h.capabilities?.arch },
    { head: 'KVM', wide: true, cell: (h) => h.capabilities?.accel.kvm.verdict },
    { head: 'CGROUPS', wide: true, cell: (h) => h.capabilities?.cgroup },
    { head: 'KERNEL', wide: true, cell: (h) => h.capabilities?.kernel },
    { head: 'REASON', wide: 'unlessFilled', cell: (h) => h.reason ?? clockTrouble(h)?.message },
  ],
};

export const images: Kind<Schemas['Image']> = {
  object: 'image',
  list: (api, { project }) =>
    everyPage((query) =>
      answer(api.rest.GET('/v1/projects/{project}/images', { params: { path: { project }, query } })),
    ),
  get: (api, project, name) =>
    answer(api.rest.GET('/v1/projects/{project}/images/{name}', { params: { path: { project, name } } })),
  columns: [
    { head: 'NAME', cell: (i) => i.name },
    { head: 'KIND', cell: (i) => i.kind },
    { head: 'SIZE', cell: (i) => bytes(i.sizeBytes) },
    { head: 'DIGEST', cell: (i) => i.digest.slice(0, 19) },
    { head: 'AGE', cell: (i) => age(i.createdAt, Date.now()) },
    { head: 'HOSTS', wide: true, cell: (i) => i.hosts.map((h) => h.name).join(',') },
  ],
};

export const operations: Kind<Schemas['Operation']> = {
  object: null,
  list: (api, { project, limit }) =>
    everyPage(
      (query) => answer(api.rest.GET('/v1/operations', { params: { query: { ...query, project } } })),
      limit,
    ),
  get: (api, _project, id) => answer(api.rest.GET('/v1/operations/{id}', { params: { path: { id } } })),
  columns: [
    { head: 'ID', cell: (o) => o.id },
    { head: 'KIND', cell: (o) => o.kind },
    { head: 'TARGET', cell: (o) => `${o.target.kind}/${o.target.name}` },
    { head: 'STATE', cell: (o) => o.state },
    { head: 'ACTOR', cell: (o) => o.actor },
    { head: 'AGE', cell: (o) => age(o.createdAt, Date.now()) },
    { head: 'STEPS', wide: true, cell: (o) => o.steps.map((s) => s.name).join(' ') },
    { head: 'ERROR', wide: true, cell: (o) => o.error?.message },
  ],
};

export const events: Kind<Event> = {
  object: null,
  list: async (api, { project, limit }) => (await eventsNewest(api, { project }, limit)).events,
  get: () => Promise.reject(new Failure('events are listed, not shown alone', exitCodes.usage)),
  columns: [
    { head: 'POSITION', cell: (e) => e.position },
    { head: 'AT', cell: (e) => e.at },
    { head: 'TYPE', cell: (e) => e.type },
    { head: 'OBJECT', cell: (e) => `${e.object.kind}/${e.object.name}` },
    { head: 'ACTOR', cell: (e) => e.actor },
    { head: 'CLASS', wide: true, cell: (e) => e.class },
    { head: 'DATA', wide: true, cell: (e) => JSON.stringify(e.data) },
  ],
};

export const networks: Kind<Schemas['Network']> = {
  object: 'network',
  list: async (api, { project }) =>
    (await answer(api.rest.GET('/v1/projects/{project}/networks', { params: { path: { project } } }))).items,
  get: (api, project, name) =>
    answer(api.rest.GET('/v1/projects/{project}/networks/{name}', { params: { path: { project, name } } })),
  columns: [
    { head: 'NAME', cell: (n) => n.name },
    { head: 'SCOPE', cell: (n) => n.scope },
    { head: 'SUBNET', cell: (n) => n.cidr },
    { head: 'GATEWAY', cell: (n) => n.gateway },
    { head: 'IPV6', cell: (n) => n.ipv6Cidr },
    { head: 'WAY OUT', cell: (n) => (n.internal ? 'none' : 'nat') },
    { head: 'AGE', cell: (n) => age(n.createdAt, Date.now()) },
  ],
};

export const volumes: Kind<Schemas['Volume']> = {
  object: 'volume',
  list: async (api, { project }) =>
    (await answer(api.rest.GET('/v1/projects/{project}/volumes', { params: { path: { project } } }))).items,
  get: (api, project, name) =>
    answer(
      api.rest.GET('/v1/projects/{project}/volumes/{volume}', {
        params: { path: { project, volume: name } },
      }),
    ),
  columns: [
    { head: 'NAME', cell: (v) => v.name },
    { head: 'INSTANCE', cell: (v) => v.owner?.instance },
    { head: 'KIND', cell: (v) => v.kind },
    { head: 'FORMAT', cell: (v) => v.format },
    { head: 'SIZE', cell: (v) => `${v.sizeMiB} MiB` },
    { head: 'HOST', cell: (v) => v.host?.name },
    { head: 'POOL', wide: true, cell: (v) => v.pool },
    { head: 'AGE', wide: true, cell: (v) => age(v.createdAt, Date.now()) },
    { head: 'ID', wide: true, cell: (v) => v.id },
  ],
};

export const securityGroups: Kind<Schemas['SecurityGroup']> = {
  object: 'securityGroup',
  list: async (api, { project }) =>
    (await answer(api.rest.GET('/v1/projects/{project}/securityGroups', { params: { path: { project } } })))
      .items,
  get: (api, project, name) =>
    answer(
      api.rest.GET('/v1/projects/{project}/securityGroups/{name}', { params: { path: { project, name } } }),
    ),
  columns: [
    { head: 'NAME', cell: (g) => g.name },
    { head: 'IN', cell: (g) => rulesText(g, 'ingress') },
    { head: 'OUT', cell: (g) => rulesText(g, 'egress') },
    { head: 'AGE', wide: true, cell: (g) => age(g.createdAt, Date.now()) },
  ],
};

function rulesText({ rules }: Schemas['SecurityGroup'], direction: 'ingress' | 'egress'): string {
  return rules
    .filter((r) => r.direction === direction)
    .map(ruleText)
    .join(' ');
}

export const registries: Kind<Schemas['RegistryCredential']> = {
  object: 'registryCredential',
  list: async (api, { project }) =>
    (await answer(api.rest.GET('/v1/projects/{project}/registries', { params: { path: { project } } })))
      .items,
  get: (api, project, host) =>
    answer(api.rest.GET('/v1/projects/{project}/registries/{host}', { params: { path: { project, host } } })),
  columns: [
    { head: 'REGISTRY', cell: (r) => r.host },
    { head: 'USER', cell: (r) => r.username },
    { head: 'SECRET', cell: (r) => (r.kind === 'password' ? 'password' : 'identity token') },
    { head: 'CHANGED', cell: (r) => age(r.updatedAt, Date.now()) },
  ],
};

export const secrets: Kind<Schemas['Secret']> = {
  object: 'secret',
  list: async (api, { project }) =>
    (await answer(api.rest.GET('/v1/projects/{project}/secrets', { params: { path: { project } } }))).items,
  get: (api, project, name) =>
    answer(api.rest.GET('/v1/projects/{project}/secrets/{name}', { params: { path: { project, name } } })),
  columns: [
    { head: 'NAME', cell: (s) => s.name },
    { head: 'USED BY', cell: (s) => s.usedBy.join(', ') },
    { head: 'CHANGED', cell: (s) => age(s.updatedAt, Date.now()) },
  ],
};

export const projects: Kind<Schemas['Project']> = {
  object: 'project',
  list: async (api) => (await answer(api.rest.GET('/v1/projects'))).items,
  get: (api, _project, project) =>
    answer(api.rest.GET('/v1/projects/{project}', { params: { path: { project } } })),
  columns: [
    { head: 'NAME', cell: (p) => p.name },
    { head: 'AGE', cell: (p) => age(p.createdAt, Date.now()) },
  ],
};

export const kinds = {
  instances,
  hosts,
  images,
  operations,
  events,
  networks,
  securityGroups,
  volumes,
  registries,
  secrets,
  projects,
} as const;
export type KindName = keyof typeof kinds;

/** The plural that a user may have meant: `instance` is `instances`. */
export function kindName(text: string): KindName | null {
  const found = (Object.keys(kinds) as KindName[]).find((k) => k === text || k === `${text}s`);
  return found ?? null;
}

/** The kind by its name. @throws Failure naming what was most likely meant */
export function kindOf(text: string): Kind<unknown> & { readonly name: KindName } {
  const name = kindName(text);
  if (name !== null) return { ...(kinds[name] as Kind<unknown>), name };
  const meant = suggestion(text, Object.keys(kinds));
  throw new Failure(
    `there is no kind ${text}\n  -> ${meant === null ? 'Known are' : `Did you mean ${meant}? Known are`} ${Object.keys(kinds).join(', ')}`,
    exitCodes.usage,
  );
}

/** The ledger reads forward; the newest are the last `limit` of it. `next` is where to go on. */
export async function eventsNewest(
  api: BerthClient,
  filter: EventQuery,
  limit: number,
): Promise<{ readonly events: Event[]; readonly next: string }> {
  let kept: Event[] = [];
  let from: { after?: string } = {};
  for (;;) {
    const page = await api.eventList({ ...filter, ...from, limit: 1000 });
    kept = [...kept, ...page.items].slice(-limit);
    if (page.items.length < 1000) return { events: kept, next: page.next };
    from = { after: page.next };
  }
}

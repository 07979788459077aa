import type { Event, Host, Image, Instance, Network, Operation, Project, Volume } from '@berth/model';
import type { Connection } from './connection.js';
import { age, bytes, type Column } from './output.js';

/** A kind of object that can be listed. */
export interface Kind<T = never> {
  readonly path: (project: string) => string;
  readonly columns: readonly Column<T>[];
}

const now = Date.now();
const inProject = (noun: string) => (project: string) =>
  `/v1/projects/${encodeURIComponent(project)}/${noun}`;

export const instances: Kind<Instance> = {
  path: inProject('instances'),
  columns: [
    { head: 'NAME', cell: (i) => i.name },
    { head: 'ISOLATION', cell: (i) => i.spec.isolation },
    { head: 'STATE', cell: (i) => i.status.state },
    { head: 'HOST', cell: (i) => i.status.host?.name },
    { head: 'ADDRESS', cell: (i) => i.status.nics.map((n) => n.ipv4).join(',') },
    { head: 'IMAGE', cell: (i) => i.spec.image },
    { head: 'AGE', cell: (i) => age(i.createdAt, now) },
    { head: 'EPOCH', wide: true, cell: (i) => i.status.epoch },
    { head: 'RUN', wide: true, cell: (i) => i.status.run },
    {
      head: 'CPU',
      wide: true,
      cell: (i) => i.spec.vcpus ?? (i.spec.cpuMillis === undefined ? null : `${i.spec.cpuMillis}m`),
    },
    { head: 'MEMORY', wide: true, cell: (i) => `${i.spec.memoryMiB} MiB` },
    { head: 'DISK', wide: true, cell: (i) => `${i.spec.rootDisk.sizeMiB} MiB` },
    { head: 'REASON', wide: true, cell: (i) => i.status.reason },
  ],
};

export const hosts: Kind<Host> = {
  path: () => '/v1/hosts',
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
    { head: 'SEEN', cell: (h) => age(h.lastSeenAt, now) },
    { head: 'ARCH', wide: true, cell: (h) => h.capabilities?.arch },
    { head: 'KVM', wide: true, cell: (h) => h.capabilities?.accel.kvm.verdict },
    { head: 'CGROUPS', wide: true, cell: (h) => h.capabilities?.cgroup },
    { head: 'KERNEL', wide: true, cell: (h) => h.capabilities?.kernel },
    { head: 'REASON', wide: true, cell: (h) => h.reason },
  ],
};

export const images: Kind<Image> = {
  path: inProject('images'),
  columns: [
    { head: 'NAME', cell: (i) => i.name },
    { head: 'KIND', cell: (i) => i.kind },
    { head: 'SIZE', cell: (i) => bytes(i.sizeBytes) },
    { head: 'DIGEST', cell: (i) => i.digest.slice(0, 19) },
    { head: 'AGE', cell: (i) => age(i.createdAt, now) },
    { head: 'HOSTS', wide: true, cell: (i) => i.hosts.map((h) => h.name).join(',') },
  ],
};

export const operations: Kind<Operation> = {
  path: () => '/v1/operations',
  columns: [
    { head: 'ID', cell: (o) => o.id },
    { head: 'KIND', cell: (o) => o.kind },
    { head: 'TARGET', cell: (o) => `${o.target.kind}/${o.target.name}` },
    { head: 'STATE', cell: (o) => o.state },
    { head: 'ACTOR', cell: (o) => o.actor },
    { head: 'AGE', cell: (o) => age(o.createdAt, now) },
    { head: 'STEPS', wide: true, cell: (o) => o.steps.map((s) => s.name).join(' ') },
    { head: 'ERROR', wide: true, cell: (o) => o.error?.message },
  ],
};

export const events: Kind<Event> = {
  path: () => '/v1/events',
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

export const networks: Kind<Network> = {
  path: inProject('networks'),
  columns: [
    { head: 'NAME', cell: (n) => n.name },
    { head: 'SCOPE', cell: (n) => n.scope },
    { head: 'SUBNET', cell: (n) => n.cidr },
    { head: 'GATEWAY', cell: (n) => n.gateway },
    { head: 'AGE', cell: (n) => age(n.createdAt, now) },
  ],
};

export const volumes: Kind<Volume> = {
  path: inProject('volumes'),
  columns: [
    { head: 'ID', cell: (v) => v.id },
    { head: 'OWNER', cell: (v) => v.owner?.instance },
    { head: 'KIND', cell: (v) => v.kind },
    { head: 'FORMAT', cell: (v) => v.format },
    { head: 'SIZE', cell: (v) => `${v.sizeMiB} MiB` },
    { head: 'HOST', cell: (v) => v.host?.name },
    { head: 'POOL', wide: true, cell: (v) => v.pool },
    { head: 'AGE', wide: true, cell: (v) => age(v.createdAt, now) },
  ],
};

export const projects: Kind<Project> = {
  path: () => '/v1/projects',
  columns: [
    { head: 'NAME', cell: (p) => p.name },
    { head: 'AGE', cell: (p) => age(p.createdAt, now) },
  ],
};

export const kinds = { instances, hosts, images, operations, events, networks, volumes, projects } as const;
export type KindName = keyof typeof kinds;

/** The plural that a user may have meant: `instance` is `instances`. */
export function kindName(text: string): KindName | null {
  const found = (Object.keys(kinds) as KindName[]).find((k) => k === text || k === `${text}s`);
  return found ?? null;
}

/** Address of one object of a kind. */
export function objectPath(kind: KindName, project: string, name: string): string {
  return `${kinds[kind].path(project)}/${encodeURIComponent(name)}`;
}

/** All objects of a kind; of events the newest `limit`. */
export async function objectsOf(
  api: Connection,
  kind: KindName,
  project: string,
  limit: number,
): Promise<unknown[]> {
  if (kind === 'operations') return api.list(kinds[kind].path(project), { project }, limit);
  if (kind === 'events') return newestEvents(api, project, limit);
  return api.list(kinds[kind].path(project));
}

/** The ledger reads forward; the newest are the last `limit` of it. */
async function newestEvents(api: Connection, project: string, limit: number): Promise<Event[]> {
  let kept: Event[] = [];
  let after = '0';
  for (;;) {
    const page = await api.get<{ items: Event[]; next: string }>('/v1/events', {
      project,
      after,
      limit: 1000,
    });
    kept = [...kept, ...page.items].slice(-limit);
    if (page.items.length < 1000) return kept;
    after = page.next;
  }
}

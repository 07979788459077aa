import type { Schemas } from '@berth/client';
import { listOf, numberOf, wordsOf } from './typed.js';

type SpecInput = Schemas['InstanceCreate']['spec'];
export type ProbeKind = 'startup' | 'readiness' | 'liveness';
export const probeKinds = ['startup', 'readiness', 'liveness'] as const;

export interface SecretDraft {
  readonly name: string;
  /** Empty: `/run/secrets/<name>`, or no file where there is a variable. */
  readonly path: string;
  readonly env: string;
  readonly mode: string;
  readonly uid: string;
  readonly gid: string;
}

export interface VolumeDraft {
  readonly name: string;
  /** Of an OCI image. */
  readonly path: string;
  readonly readOnly: boolean;
}

export interface DependencyDraft {
  readonly instance: string;
  readonly condition: 'running' | 'ready' | 'healthy' | 'completed';
}

export interface ProbeDraft {
  readonly ask: 'none' | 'exec' | 'http' | 'tcp';
  readonly command: string;
  readonly port: string;
  readonly path: string;
  readonly intervalSeconds: string;
  readonly timeoutSeconds: string;
  readonly failureThreshold: string;
  /** Of `startup` and `liveness`. */
  readonly startPeriodSeconds: string;
}

/** What most instances do without; text as it was typed, empty where nothing was. */
export interface PartsDraft {
  readonly pids: string;
  readonly cpuWeight: string;
  readonly cpus: string;
  readonly memoryHighMiB: string;
  readonly swapMiB: string;
  readonly readMiBPerSecond: string;
  readonly writeMiBPerSecond: string;
  readonly readOperationsPerSecond: string;
  readonly writeOperationsPerSecond: string;
  readonly ioWeight: string;
  readonly readOnlyRoot: boolean;
  readonly nesting: boolean;
  readonly system: boolean;
  readonly init: boolean;
  readonly devices: string;
  readonly dnsServers: string;
  readonly dnsSearch: string;
  readonly dnsOptions: string;
  readonly dnsHosts: string;
  readonly secrets: readonly SecretDraft[];
  readonly volumes: readonly VolumeDraft[];
  readonly dependsOn: readonly DependencyDraft[];
  readonly probes: Readonly<Record<ProbeKind, ProbeDraft>>;
}

export const firstSecret: SecretDraft = { name: '', path: '', env: '', mode: '', uid: '', gid: '' };
const firstProbe: ProbeDraft = {
  ask: 'none',
  command: '',
  port: '80',
  path: '/',
  intervalSeconds: '',
  timeoutSeconds: '',
  failureThreshold: '',
  startPeriodSeconds: '',
};
export const firstParts: PartsDraft = {
  pids: '',
  cpuWeight: '',
  cpus: '',
  memoryHighMiB: '',
  swapMiB: '',
  readMiBPerSecond: '',
  writeMiBPerSecond: '',
  readOperationsPerSecond: '',
  writeOperationsPerSecond: '',
  ioWeight: '',
  readOnlyRoot: false,
  nesting: false,
  system: false,
  init: false,
  devices: '',
  dnsServers: '',
  dnsSearch: '',
  dnsOptions: '',
  dnsHosts: '',
  secrets: [],
  volumes: [],
  dependsOn: [],
  probes: { startup: firstProbe, readiness: firstProbe, liveness: firstProbe },
};

/** Where a volume is proposed to be in a container. */
export const volumePath = (name: string): string => `/srv/${name}`;

/** What of a draft an isolation has; the rest is left out. Pure. */
export function partsOf(draft: PartsDraft, isolation: SpecInput['isolation']): Partial<SpecInput> {
  const oci = isolation !== 'vm';
  const { volumes, dependsOn, probes } = draft;
  const asked = probeKinds.filter((kind) => probes[kind].ask !== 'none');
  return {
    ...(isolation === 'container' && containerOnly(draft)),
    ...(oci && draft.secrets.length > 0 && { secrets: draft.secrets.map(secretOf) }),
    ...(oci && group('dns', dnsOf(draft))),
    ...(volumes.length > 0 && { volumes: volumes.map((v) => volumeOf(v, oci)) }),
    ...(dependsOn.length > 0 && { dependsOn: [...dependsOn] }),
    ...(asked.length > 0 && {
      probes: Object.fromEntries(asked.map((kind) => [kind, probeOf(kind, probes[kind])])),
    }),
  };
}

function containerOnly(draft: PartsDraft): Partial<SpecInput> {
  const io = {
    ...typed(draft, 'readMiBPerSecond'),
    ...typed(draft, 'writeMiBPerSecond'),
    ...typed(draft, 'readOperationsPerSecond'),
    ...typed(draft, 'writeOperationsPerSecond'),
    ...(draft.ioWeight !== '' && { weight: numberOf(draft.ioWeight) }),
  };
  const resources = {
    ...typed(draft, 'pids'),
    ...typed(draft, 'cpuWeight'),
    ...(draft.cpus.trim() !== '' && { cpus: draft.cpus.trim() }),
    ...typed(draft, 'memoryHighMiB'),
    ...typed(draft, 'swapMiB'),
    ...group('io', io),
  };
  const security = {
    ...(draft.readOnlyRoot && { readOnlyRoot: true }),
    ...(draft.nesting && { nesting: true }),
  };
  return {
    ...group('resources', resources),
    ...group('security', security),
    ...(draft.system && { system: true }),
    ...(listOf(draft.devices).length > 0 && { devices: listOf(draft.devices) }),
  };
}

function secretOf({ name, path, env, mode, uid, gid }: SecretDraft) {
  return {
    name,
    ...(path !== '' && { path }),
    ...(env !== '' && { env }),
    ...(mode !== '' && { mode }),
    ...(uid !== '' && { uid: numberOf(uid) }),
    ...(gid !== '' && { gid: numberOf(gid) }),
  };
}

const volumeOf = ({ name, path, readOnly }: VolumeDraft, oci: boolean) => ({
  name,
  ...(readOnly && { readOnly }),
  ...(oci && { path }),
});

function dnsOf(draft: PartsDraft): NonNullable<SpecInput['dns']> {
  const servers = listOf(draft.dnsServers);
  const search = listOf(draft.dnsSearch);
  const options = listOf(draft.dnsOptions);
  const hosts = draft.dnsHosts
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([address]) => address !== '')
    .map(([address = '', ...names]) => ({ address, names }));
  return {
    ...(servers.length > 0 && { servers }),
    ...(search.length > 0 && { search }),
    ...(options.length > 0 && { options }),
    ...(hosts.length > 0 && { hosts }),
  };
}

function probeOf(kind: ProbeKind, probe: ProbeDraft): object {
  const { ask, command, port, path } = probe;
  const question =
    ask === 'exec'
      ? { command: wordsOf(command) }
      : { port: numberOf(port), ...(ask === 'http' && path !== '' && { path }) };
  return {
    [ask]: question,
    ...typed(probe, 'intervalSeconds'),
    ...typed(probe, 'timeoutSeconds'),
    ...typed(probe, 'failureThreshold'),
    ...(kind !== 'readiness' && typed(probe, 'startPeriodSeconds')),
  };
}

/** A number as it is sent, where one was typed. */
const typed = <K extends string>(draft: Readonly<Record<K, string>>, key: K): { [P in K]?: number } =>
  (draft[key] === '' ? {} : { [key]: numberOf(draft[key]) }) as { [P in K]?: number };

/** A group of the spec, unless it is empty. */
const group = <K extends string, T extends object>(key: K, value: T): { [P in K]?: T } =>
  (Object.keys(value).length === 0 ? {} : { [key]: value }) as { [P in K]?: T };

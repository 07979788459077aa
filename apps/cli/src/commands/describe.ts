import { secretPath } from '@berth/model';
import { answer, ProblemError, type Schemas } from '@berth/client';
import { decisionText } from '../explain.js';
import { exitCodes, Failure } from '../failure.js';
import { events, eventsNewest, kindOf } from '../kinds.js';
import { age, listText, objectText, plain, yamlText } from '../output.js';
import { examples, ofInstance, say, type Commands, type Session } from '../session.js';

type Instance = Schemas['Instance'];

export const describeCommands: Commands = (program, session) => {
  const describe = program
    .command('describe <kind> <name>')
    .description('one object for people; of an instance also conditions, newest decision and events')
    .action(async (text: string, name: string) => {
      const s = session();
      const kind = kindOf(text);
      if (kind.name === 'events')
        throw new Failure('events are listed, not described\n  -> berth events', exitCodes.usage);
      const object = await kind.get(s.api, s.project, name);
      if (s.format === 'json' || s.format === 'yaml') return say(objectText(object, s.format));
      if (kind.name !== 'instances') return say(yamlText(object));
      const instance = object as Instance;
      say(instanceText(instance, Date.now()) + (await storyText(s, instance)));
    });
  examples(
    describe,
    `berth describe instance web
     berth describe host host-1
     berth describe image busybox -o json`,
  );
};

const hostPathText = ({
  name,
  subPath,
  path,
  readOnly,
}: NonNullable<Instance['spec']['hostPaths']>[number]): string =>
  `${name}${subPath === undefined ? '' : `/${subPath}`} at ${path}${readOnly ? '' : ', to write'}`;

/** What differs from the defaults, in few words. */
function securityText(security: Instance['spec']['security']): string | null {
  if (security === undefined) return null;
  const { capabilities, seccomp, nesting, readOnlyRoot, tmpfs = [], rlimits = {}, sysctls = {} } = security;
  const words = [
    readOnlyRoot === true ? 'read-only root' : null,
    seccomp === 'strict' ? 'strict seccomp' : null,
    nesting === true ? 'containers of its own' : null,
    ...(capabilities?.drop ?? []).map((name) => `-${name}`),
    ...(capabilities?.add ?? []).map((name) => `+${name}`),
    ...tmpfs.map(({ path, sizeMiB }) => `${path} in memory (${sizeMiB} MiB)`),
    ...Object.keys(rlimits),
    ...Object.keys(sysctls),
  ].filter((word) => word !== null);
  return words.length === 0 ? null : words.join(', ');
}

/** `268435456 to 268500991 of its host` */
const usersText = (range: Instance['status']['uidRange']): string | null =>
  range === null ? null : `${range.first} to ${range.first + range.count - 1} of its host`;
const ioNames = [
  ['readMiBPerSecond', 'MiB/s read'],
  ['writeMiBPerSecond', 'MiB/s written'],
  ['readOperationsPerSecond', 'reads/s'],
  ['writeOperationsPerSecond', 'writes/s'],
  ['weight', 'of disk weight'],
] as const;

/** Share and bounds beside its size; null where it has the defaults. */
function resourcesText({ resources = {} }: Instance['spec']): string | null {
  const { pids, cpuWeight, cpus, io = {}, memoryHighMiB, swapMiB } = resources;
  const words = [
    pids === undefined ? null : `${pids} processes`,
    cpuWeight === undefined ? null : `cpu weight ${cpuWeight}`,
    cpus === undefined ? null : `on processors ${cpus}`,
    ...ioNames.map(([field, unit]) => (io[field] === undefined ? null : `${io[field]} ${unit}`)),
    memoryHighMiB === undefined ? null : `memory taken back above ${memoryHighMiB} MiB`,
    swapMiB === undefined ? null : `${swapMiB} MiB swap`,
  ].filter((word) => word !== null);
  return words.length === 0 ? null : words.join(', ');
}

/** `token in /run/secrets/token, password as $PASSWORD` */
const secretsText = (secrets: Instance['spec']['secrets'] = []): string =>
  secrets
    .map((use) =>
      [use.name, secretPath(use) && `in ${secretPath(use)}`, use.env && `as $${use.env}`]
        .filter(Boolean)
        .join(' '),
    )
    .join(', ');

/** What was asked for and what is seen, for people. */
export function instanceText(i: Instance, now: number): string {
  const { spec, status } = i;
  const since = status.observedAt === null ? '' : `, seen ${age(status.observedAt, now)} ago`;
  const cpu = [
    spec.vcpus === undefined
      ? null
      : `${spec.vcpus} vCPUs${spec.maxVcpus === undefined ? '' : ` of at most ${spec.maxVcpus}`}`,
    spec.cpuMillis === undefined ? null : `${spec.cpuMillis} thousandths of a cpu`,
  ].filter((part) => part !== null);
  const size = [
    ...cpu,
    `${spec.memoryMiB} MiB memory${spec.maxMemoryMiB === undefined ? '' : ` of at most ${spec.maxMemoryMiB}`}`,
    `${spec.rootDisk.sizeMiB} MiB root disk in ${spec.rootDisk.pool}`,
  ];
  const lines: [string, string | null][] = [
    ['Name', `${i.name} in project ${i.project}`],
    ['State', status.state + (status.state === spec.desired ? '' : `, wanted ${spec.desired}`) + since],
    ['Reason', status.reason],
    [
      'Host',
      status.host === null ? 'none yet' : `${status.host.name}, epoch ${status.epoch}, run ${status.run}`,
    ],
    ['Isolation', spec.system === true ? 'container, with a system of its own' : spec.isolation],
    ['Image', `${spec.image} (${i.imageDigest})`],
    ['Size', size.join(', ')],
    ['Resources', resourcesText(spec)],
    ['Security', securityText(spec.security)],
    ['Devices', spec.devices?.join(', ') ?? null],
    ...(spec.hostPaths ?? []).map((use): [string, string] => ['Host path', hostPathText(use)]),
    ['Users', usersText(status.uidRange)],
    ['Secrets', secretsText(spec.secrets)],
    ...status.nics.map((n): [string, string] => [
      'Address',
      `${n.ipv4}${n.ipv6 === undefined ? '' : ` and ${n.ipv6}`} on ${n.network}, ${n.mac}${n.leaving === true ? ' (leaving: its guest has not let go of it)' : ''}`,
    ]),
    ...status.cdroms.map((drive, n): [string, string] => [`Drive ${n}`, driveText(drive)]),
    ['NUMA', numaText(i)],
    ['vsock', status.vsockCid === null ? null : `context id ${status.vsockCid} on its host`],
    ['Published', publishedText(i)],
    ['Limits', limitsText(i)],
    [
      'Labels',
      Object.entries(i.labels)
        .map(([k, v]) => `${k}=${v}`)
        .join(', '),
    ],
    ['Last exit', exitText(status.lastExit, now)],
    [
      'Operation',
      status.operationId === null ? null : `${status.operationId} until ${status.deadline ?? '-'}`,
    ],
    ['Created', `${i.createdAt}, generation ${i.generation}, run generation ${i.runGeneration}`],
  ];
  const shown = lines.filter(([, value]) => value !== null && value !== '');
  const head = shown.map(([key, value]) => `${`${key}:`.padEnd(11)} ${plain(value)}\n`).join('');
  return `${head}\nSpec:\n${indented(yamlText(spec))}\nConditions:${conditionsText(i, now)}`;
}

/** `installer (sha256:…), locked by its guest` */
function driveText({ image, digest, trayOpen, locked }: Instance['status']['cdroms'][number]): string {
  const medium = digest === null ? 'empty' : `${image ?? 'an image that was deleted'} (${digest})`;
  return `${medium}${trayOpen ? ', its tray is open' : ''}${locked ? ', locked by its guest' : ''}`;
}

/** `2 nodes, on nodes 0, 1 of its host` */
function numaText({ spec, status }: Instance): string | null {
  if (spec.numa === undefined) return null;
  const { nodes } = spec.numa;
  const where =
    status.numaHostNodes === null ? '' : `, on nodes ${status.numaHostNodes.join(', ')} of its host`;
  return `${nodes} node${nodes === 1 ? '' : 's'}${where}`;
}

/** `8080 of host-1 -> 80` */
function publishedText({ status }: Instance): string {
  const of = status.host === null ? '' : ` of ${status.host.name}`;
  const ports = status.nics.flatMap((n) => n.ports);
  return ports.map((p) => `${p.protocol} ${p.hostPort}${of} -> ${p.guestPort}`).join(', ');
}

/** Of nics, as their guest sees them. */
function limitsText({ spec }: Instance): string {
  return spec.nics
    .flatMap(({ network, limits: { ingressMbps: gets, egressMbps: sends } = {} }) => [
      ...(gets === undefined ? [] : [`${gets} Mbit/s in by ${network}`]),
      ...(sends === undefined ? [] : [`${sends} Mbit/s out by ${network}`]),
    ])
    .join(', ');
}

function exitText(exit: Instance['status']['lastExit'], now: number): string | null {
  if (exit === null) return null;
  const how = [exit.reason, exit.code, exit.signal, exit.message].filter(
    (p) => p !== undefined && p !== null,
  );
  return `${how.join(' ')}, ${age(exit.at, now)} ago`;
}

function conditionsText({ status }: Instance, now: number): string {
  if (status.conditions.length === 0) return ' none\n';
  const lines = status.conditions.flatMap((c) => [
    `  ${plain(c.type)} for ${age(c.since, now)}: ${plain(c.message)}`,
    ...(c.remedy === undefined ? [] : [`    -> ${plain(c.remedy)}`]),
  ]);
  return `\n${lines.join('\n')}\n`;
}

async function storyText(s: Session, instance: Instance): Promise<string> {
  const path = '/v1/projects/{project}/instances/{name}/decision';
  const decision = await answer(s.api.rest.GET(path, { params: ofInstance(s, instance.name) })).catch(
    (error: unknown) => {
      if (error instanceof ProblemError && error.status === 404) return null;
      throw error;
    },
  );
  const filter = { project: s.project, objectKind: 'instance', objectId: instance.id } as const;
  const { events: newest } = await eventsNewest(s.api, filter, 20);
  const why = decision === null ? ' none yet\n' : `\n${indented(decisionText(decision))}`;
  return `\nDecision:${why}\nEvents:\n${indented(listText(newest, events.columns, 'table'))}`;
}

const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ');

import { readFile } from 'node:fs/promises';
import { Problem } from '@berth/model';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Api } from './api.js';

interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly enum?: readonly unknown[];
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: Schema | boolean;
  readonly propertyNames?: Schema;
  readonly items?: Schema;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly pattern?: string;
}
interface Field {
  readonly path: readonly (string | number)[];
  readonly schema: Schema;
}

const document = JSON.parse(await readFile('docs/openapi.json', 'utf8')) as {
  components: { schemas: Record<string, Schema> };
};

/** What a reference stands for. */
const named = (schema: Schema): Schema =>
  document.components.schemas[schema.$ref?.replace('#/components/schemas/', '') ?? ''] ?? schema;

/** Every field a body can have, from the schema that the API publishes: containers first, then what is in them. */
function fieldsOf(said: Schema, path: readonly (string | number)[] = []): Field[] {
  const schema = named(said);
  const inner = Object.entries(schema.properties ?? {}).flatMap(([key, s]) => fieldsOf(s, [...path, key]));
  const items =
    schema.items === undefined || schema.maxItems === 0 ? [] : fieldsOf(schema.items, [...path, 0]);
  return [...(path.length === 0 ? [] : [{ path, schema }]), ...inner, ...items];
}

const values: readonly unknown[] = [
  'text',
  '',
  -1,
  0.5,
  1e300,
  true,
  null,
  [],
  {},
  [[]],
  { a: {} },
  '\u0000',
  'x'.repeat(70_000),
];

/** Values that a field must refuse: of another type, out of range, of a wrong form. */
function wrongFor(schema: Schema): unknown[] {
  const types: Record<string, (v: unknown) => boolean> = {
    string: (v) => typeof v === 'string',
    integer: (v) => Number.isSafeInteger(v),
    boolean: (v) => typeof v === 'boolean',
    array: Array.isArray,
    object: (v) => typeof v === 'object' && v !== null && !Array.isArray(v),
  };
  const isType = types[schema.type ?? 'string'] ?? (() => false);
  const wrong = values.filter((v) => !isType(v));
  if (schema.enum !== undefined) wrong.push('no-such-value');
  if (schema.minimum !== undefined && schema.minimum > Number.MIN_SAFE_INTEGER)
    wrong.push(schema.minimum - 1);
  if (schema.maximum !== undefined && schema.maximum < Number.MAX_SAFE_INTEGER)
    wrong.push(schema.maximum + 1);
  if (schema.minLength !== undefined && schema.minLength > 0) wrong.push('');
  if (schema.maxLength !== undefined) wrong.push('a'.repeat(schema.maxLength + 1));
  if (schema.pattern !== undefined && schema.enum === undefined) wrong.push('\u0007 not this');
  if (schema.type === 'string' && schema.enum === undefined) wrong.push('a\u0000b', '\ud800');
  if (schema.maxItems !== undefined) wrong.push(Array.from({ length: schema.maxItems + 1 }, () => 'x'));
  if (schema.properties !== undefined) wrong.push({ 'no-such-field': 1 });
  if (typeof schema.additionalProperties === 'object')
    wrong.push({ 'a key': 'x' }, { a: 5 }, { a: '\u0000' });
  return wrong;
}

const well = { exec: { command: ['true'] } };
const security = {
  capabilities: { add: ['NET_RAW'], drop: ['CHOWN'] },
  seccomp: 'default',
  nesting: false,
  readOnlyRoot: true,
  tmpfs: [{ path: '/run', sizeMiB: 8, mode: '0755' }],
  rlimits: { nofile: { soft: 64, hard: 128 } },
  sysctls: { 'net.core.somaxconn': '1024' },
};
const container = {
  name: 'web',
  labels: { tier: 'front' },
  spec: {
    isolation: 'container',
    image: 'oci',
    cpuMillis: 100,
    memoryMiB: 64,
    rootDisk: { sizeMiB: 1024, pool: 'default' },
    volumes: [],
    nics: [{ network: 'default' }],
    process: { command: ['sh'], args: ['-c', 'true'], env: { A: 'b' }, user: '0:0', workdir: '/' },
    probes: { startup: well, readiness: well, liveness: well },
    security,
    devices: ['fuse'],
    hostPaths: [{ name: 'data', subPath: 'a/b', path: '/data', readOnly: true }],
    system: false,
    dependsOn: [{ instance: 'db', condition: 'running' }],
    dns: {
      servers: ['9.9.9.9'],
      search: ['example.net'],
      options: ['ndots:2'],
      hosts: [{ address: '10.1.1.1', names: ['db'] }],
    },
    secrets: [{ name: 'token', path: '/etc/token', env: 'TOKEN', mode: '0400', uid: 0, gid: 0 }],
    resources: {
      ...{ pids: 64, cpuWeight: 200, cpus: '0-3', memoryHighMiB: 32, swapMiB: 16 },
      io: { readMiBPerSecond: 1, writeMiBPerSecond: 1, readOperationsPerSecond: 1, weight: 200 },
    },
    restart: { policy: 'never', backoffSeconds: 1, maxBackoffSeconds: 300 },
    placement: { selector: { zone: 'a' }, accel: 'any', driver: 'any', arch: 'x86_64' },
    desired: 'running',
  },
};
const {
  process: _,
  cpuMillis: __,
  probes: ___,
  security: ____,
  devices: _____,
  hostPaths: __________,
  dns: ______,
  secrets: _______,
  resources: ________,
  system: _________,
  ...machine
} = container.spec;
const key = `ssh-ed25519 ${'A'.repeat(68)} dev@laptop`;
const vm = {
  ...container,
  spec: {
    ...machine,
    isolation: 'vm',
    image: 'disk',
    vcpus: 1,
    maxVcpus: 2,
    maxMemoryMiB: 128,
    userData: '#cloud-config',
    cloudInit: { user: 'dev', sshKeys: [key] },
    watchdog: { action: 'reset' },
    firmware: { type: 'uefi', secureBoot: true },
    tpm: true,
    usbTablet: false,
    displays: 2,
    vsock: true,
    numa: { nodes: 1, placement: 'bind' },
    placement: { ...container.spec.placement, driver: 'qemu' },
    cpu: { model: 'max' },
    cdroms: [{ bus: 'sata', bootFirst: false, force: false }],
  },
};

const withVolume = { ...vm, spec: { ...vm.spec, volumes: [{ name: 'data', readOnly: false }] } };

const ports = [{ protocol: 'tcp', hostPort: 8080, guestPort: 80 }];
const withPorts = {
  ...container,
  spec: {
    ...container.spec,
    nics: [{ network: 'default', ports, securityGroups: ['web'], limits: { egressMbps: 10 } }],
  },
};

/** The body in which this field is broken. */
function baseFor(path: readonly (string | number)[]): unknown {
  if (path[1] === 'volumes') return withVolume;
  if (path[1] === 'nics') return withPorts;
  const onlyVm = [
    ...['vcpus', 'maxVcpus', 'maxMemoryMiB', 'userData', 'cloudInit', 'watchdog', 'firmware', 'tpm', 'cpu'],
    ...['usbTablet', 'displays', 'hugePages', 'cdroms', 'vsock', 'numa'],
  ];
  return onlyVm.includes(String(path[1])) ? vm : container;
}

function changed(body: unknown, [key, ...rest]: readonly (string | number)[], value: unknown): unknown {
  if (key === undefined) return value;
  if (Array.isArray(body)) return body.map((v, i) => (i === key ? changed(v, rest, value) : (v as unknown)));
  const fields = body as Record<string, unknown>;
  return { ...fields, [key]: changed(fields[key] ?? {}, rest, value) };
}

const create = document.components.schemas['InstanceCreate'] as Schema;
const fields = fieldsOf(create);
const wrongs = fields.flatMap(({ path, schema }) => wrongFor(schema).map((value) => ({ path, value })));
const pointerOf = (path: readonly (string | number)[]): string => path.map((p) => `/${p}`).join('');

let api: Api;
beforeAll(async () => {
  api = await Api.start();
  const db = { isolation: 'container', image: 'oci', memoryMiB: 64 };
  await api.call('post', '/v1/projects/alpha/instances').send({ name: 'db', spec: db }).expect(202);
});
afterAll(() => api.stop());

test('the bodies that the fields are broken in are good ones', async () => {
  await api.call('post', '/v1/projects/alpha/volumes').send({ name: 'data', sizeMiB: 16 }).expect(201);
  await api.call('put', '/v1/projects/alpha/securityGroups/web').send({ rules: [] }).expect(200);
  await api.call('put', '/v1/projects/alpha/secrets/token').send({ value: 'x' }).expect(200);
  for (const [i, body] of [container, vm, withVolume, withPorts].entries())
    await api
      .call('post', '/v1/projects/alpha/instances')
      .send({ ...body, name: `good${i}` })
      .expect(202);
  for (const path of [
    '/spec/vcpus',
    '/spec/userData',
    '/spec/cloudInit/user',
    '/spec/cloudInit/sshKeys',
    '/spec/watchdog/action',
    '/spec/firmware/type',
    '/spec/cpu/model',
    '/spec/usbTablet',
    '/spec/displays',
    '/spec/vsock',
    '/spec/numa/nodes',
    '/spec/numa/placement',
    '/spec/hugePages',
    '/spec/cdroms/0/image',
    '/spec/process/env',
    '/spec/security/capabilities/add/0',
    '/spec/security/rlimits/nofile/soft',
    '/spec/security/tmpfs/0/mode',
    '/spec/security/sysctls',
    '/spec/security/nesting',
    '/spec/devices/0',
    '/spec/hostPaths/0/subPath',
    '/spec/hostPaths/0/path',
    '/spec/system',
    '/spec/dns/servers/0',
    '/spec/dns/hosts/0/names/0',
    '/spec/secrets/0/mode',
    '/spec/resources/pids',
    '/spec/resources/cpus',
    '/spec/resources/io/writeOperationsPerSecond',
    '/spec/resources/swapMiB',
    '/spec/restart/policy',
    '/spec/volumes/0/name',
    '/spec/nics/0/ports/0/hostPort',
    '/spec/nics/0/securityGroups',
    '/spec/nics/0/limits/egressMbps',
    '/name',
    '/labels',
  ])
    expect(fields.map((f) => pointerOf(f.path))).toContain(path);
});

test('each field with a wrong type or out of range is refused by its pointer with a remedy, and no row changes', async () => {
  const before = await api.counts();
  const refused = async ({ path, value }: (typeof wrongs)[number]): Promise<void> => {
    const body = changed(baseFor(path), path, value);
    const answer = await api.call('post', '/v1/projects/alpha/instances').send(body as object);
    const problem = Problem.parse(answer.body);
    const said = `${pointerOf(path)} = ${JSON.stringify(value)?.slice(0, 80)}: ${JSON.stringify(problem.errors)}`;
    expect(answer.status, said).toBe(400);
    const named = (problem.errors ?? []).filter((e) => e.path.startsWith(pointerOf(path)));
    expect(named.length, said).toBeGreaterThan(0);
    for (const e of problem.errors ?? []) expect(e.remedy.length, said).toBeGreaterThan(5);
  };
  const left = [...wrongs];
  while (left.length > 0) await Promise.all(left.splice(0, 8).map(refused));
  expect(await api.counts()).toEqual(before);
}, 120_000);

test.each([
  ['a: [', 'cloudInit cannot be added to it'],
  ['- a list', 'it is no mapping of keys'],
  ['users: dev', 'users in it is no list'],
])('user data %j, to which nobody can be added, is refused by its field', async (text, why) => {
  const spec = { ...vm.spec, userData: `#cloud-config\n${text}\n` };
  const ask = () => api.call('post', '/v1/projects/alpha/instances').send({ name: 'nobody', spec });
  const { body } = await ask().expect(400);
  expect(body.errors).toEqual([
    expect.objectContaining({ path: '/spec/userData', message: expect.stringContaining(why) }),
  ]);
  const { cloudInit: _none, ...alone } = spec;
  await api
    .call('post', '/v1/projects/alpha/instances')
    .send({ name: `alone${text.length}`, spec: alone })
    .expect(202);
});

test.each([
  'ssh-ed25519',
  `ssh-ed25519 ${'A'.repeat(68)}\nssh-rsa x`,
  '-----BEGIN OPENSSH PRIVATE KEY-----',
  `command="x" ${key}`,
])('a key that is no line of a .pub file is refused: %j', async (bad) => {
  const spec = { ...vm.spec, cloudInit: { sshKeys: [key, bad] } };
  const { body } = await api
    .call('post', '/v1/projects/alpha/instances')
    .send({ name: 'badkey', spec })
    .expect(400);
  expect(body.errors[0]).toMatchObject({
    path: '/spec/cloudInit/sshKeys/1',
    message: expect.stringContaining('.pub file'),
  });
});

/** Fields of a spec that take a path, by who reads it: none of them is read by a host as one of its own. */
const takingPaths: Readonly<Record<string, readonly string[]>> = {
  'whatever runs in it': [
    'process.command.0',
    'process.args.0',
    'process.env',
    'process.workdir',
    'userData',
  ],
  'the kernel, with its root as the root': [
    'volumes.0.path',
    'hostPaths.0.path',
    'security.tmpfs.0.path',
    'secrets.0.path',
  ],
  'its own server, or a program in it': ['startup', 'readiness', 'liveness'].flatMap((probe) => [
    `probes.${probe}.exec.command.0`,
    `probes.${probe}.http.path`,
  ]),
};

test('no field of a spec names a file of its host', () => {
  const takes = ({ type, enum: words, pattern = '', minLength = 0, maxLength = Infinity }: Schema): boolean =>
    [`/etc/shadow`, '../../etc/shadow', 'file:///etc/shadow'].some(
      (path) =>
        (type === 'string' || type === undefined) &&
        words === undefined &&
        new RegExp(pattern, 'u').test(path) &&
        minLength <= path.length &&
        path.length <= maxLength,
    );
  const texts = fieldsOf({ $ref: '#/components/schemas/InstanceSpecInput' }).filter(({ schema }) => {
    const values = typeof schema.additionalProperties === 'object' ? schema.additionalProperties : null;
    return schema.type === 'string' ? takes(schema) : values?.type === 'string' && takes(values);
  });
  expect(texts.map(({ path }) => path.join('.')).sort()).toEqual(Object.values(takingPaths).flat().sort());
});

test('a field nobody knows is refused wherever it stands', async () => {
  const before = await api.counts();
  const objects = [[], ...fields.filter((f) => f.schema.properties !== undefined).map((f) => f.path)];
  for (const path of objects) {
    const answer = await api
      .call('post', '/v1/projects/alpha/instances')
      .send(changed(baseFor(path), [...path, 'noSuchField'], 1) as object);
    expect(answer.body.errors).toContainEqual(
      expect.objectContaining({ path: `${pointerOf(path)}/noSuchField`, code: 'unknownField' }),
    );
  }
  expect(await api.counts()).toEqual(before);
});

test('whatever JSON is sent, the answer is an operation or a problem document, never a fault', async () => {
  const body = fc.oneof(
    fc.jsonValue(),
    fc
      .tuple(fc.constantFrom(...fields), fc.jsonValue())
      .map(([field, value]) => changed(container, field.path, value)),
  );
  await fc.assert(
    fc.asyncProperty(body, async (value) => {
      const answer = await api
        .call('post', '/v1/projects/alpha/instances')
        .set('content-type', 'application/json')
        .send(JSON.stringify(value));
      if (answer.status === 202) return;
      expect(answer.status).toBeLessThan(500);
      expect(Problem.safeParse(answer.body).success).toBe(true);
    }),
    { numRuns: 150 },
  );
}, 60_000);

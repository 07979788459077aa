import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect } from 'vitest';
import { digestOf, ociTar, tarOf } from '../../libs/images/src/archive-fixture.js';
import { guestInfo, seed, seedHost, type Api } from './api.js';
import { Browser } from './browser.js';
import { containerVolumes } from './container-volumes.js';
import { secretCases } from './secret-cases.js';
import { StoredFiles } from './stored-files.js';

/** A request that must be refused; it is sent when the test has counted the rows. */
export interface Refused {
  readonly send: () => PromiseLike<Answer>;
}
export interface RouteCase {
  /** The route does what it is for. */
  readonly good: (api: Api) => Promise<void>;
  /** The route is asked for something it must refuse. */
  readonly bad: (api: Api) => Refused | Promise<Refused>;
  /** A refusal is itself recorded as a failed operation. */
  readonly recorded?: boolean;
}

type Answer = { readonly status: number; readonly body: unknown };
const refused = (call: PromiseLike<Answer>): Refused => ({ send: () => call });
const absent = (path: string) => (api: Api) => refused(api.call('get', path));
const nobody = '00000000-0000-4000-8000-000000000000';
const instances = '/v1/projects/alpha/instances';
const images = '/v1/projects/alpha/images';
const groups = '/v1/projects/alpha/securityGroups';
const registries = '/v1/projects/alpha/registries';
const networks = '/v1/projects/alpha/networks';
const volumes = '/v1/projects/alpha/volumes';
const snapshots = '/v1/projects/{project}/instances/{name}/snapshots';
const spec = { isolation: 'container', image: 'oci', memoryMiB: 64 };
let fresh = 0;
const name = (): string => `n${++fresh}`;

async function listed(api: Api, path: string): Promise<{ items: Record<string, unknown>[] }> {
  const { body } = await api.call('get', path).expect(200);
  expect(Array.isArray(body.items)).toBe(true);
  return body;
}

/** A raw disk whose bytes nobody else uploads. */
function disk(): Buffer {
  const bytes = Buffer.alloc(1024 * 1024);
  createHash('sha256').update(String(++fresh)).digest().copy(bytes, 4096);
  bytes.writeUInt16LE(0xaa55, 510);
  return bytes;
}

/** A security group that nothing names. */
async function group(api: Api): Promise<string> {
  const made = name();
  const rule = { direction: 'ingress', protocol: 'tcp', ports: { first: 80, last: 80 } };
  await api
    .call('put', `${groups}/${made}`)
    .send({ rules: [rule] })
    .expect(200);
  return made;
}

/** An image of containers whose one layer nobody else has. */
async function layered(api: Api): Promise<{ made: string; layer: Buffer }> {
  const made = name();
  const layer = await tarOf([{ name: 'etc/motd', content: made }]);
  await api
    .call('post', `${images}?name=${made}&kind=oci`)
    .set('content-type', 'application/octet-stream')
    .send(await ociTar({ layer, diffId: digestOf(layer) }))
    .expect(201);
  return { made, layer };
}

/** A container that runs. */
async function contained(api: Api, image = 'oci'): Promise<string> {
  const made = await api.instance('alpha', { image });
  await api.settle();
  return made;
}

/** A registry that the project signs in at. */
async function registry(api: Api): Promise<string> {
  const host = `${name()}.example:5000`;
  await api.call('put', `${registries}/${host}`).send({ username: 'me', password: 's3cret' }).expect(200);
  return host;
}

/** A volume of 16 MiB that nobody has. */
async function volume(api: Api): Promise<string> {
  const made = name();
  await api.call('post', volumes).send({ name: made, sizeMiB: 16 }).expect(201);
  return made;
}

const machines = new WeakMap<Api, Promise<string>>();
/** A VM that runs, the same for all who look at it: the host has not room for many. */
function shown(api: Api): Promise<string> {
  const made = machines.get(api) ?? started(api);
  machines.set(api, made);
  return made;
}
/** A snapshot that was taken of a machine, of the one that runs unless said. */
async function snapshot(api: Api, machine?: string): Promise<{ at: string; made: string }> {
  const at = `${instances}/${machine ?? (await shown(api))}/snapshots`;
  const made = name();
  await api.call('post', at).send({ name: made }).expect(202);
  await api.settle();
  return { at, made };
}
/** Another machine and a volume that begin as a snapshot keep it until their host has made them. */
async function copied(api: Api, at: string, snapshot: string): Promise<void> {
  const source = { instance: at.split('/').at(-2), snapshot };
  const spec = { isolation: 'vm', image: 'disk', memoryMiB: 64, rootDisk: { sizeMiB: 1024, source } };
  const foreseen = await api.call('post', '/v1/projects/alpha/decisions/preview').send({ spec }).expect(200);
  expect(foreseen.body.decision).toMatchObject({ outcome: 'placed', host: 'h1' });
  const other = name();
  await api.call('post', instances).send({ name: other, spec }).expect(202);
  const early = await api.call('delete', `${at}/${snapshot}`).expect(409);
  expect(early.body).toMatchObject({ code: 'conflict', detail: expect.stringContaining(other) });
  const container = { ...spec, isolation: 'container', image: 'oci' };
  const wrong: [object, string][] = [
    [container, '/spec/rootDisk/source'],
    [{ ...spec, rootDisk: { source: { ...source, snapshot: 'nowhere' } } }, '/spec/rootDisk/source/snapshot'],
  ];
  for (const [asked, path] of wrong) {
    const no = await api.call('post', instances).send({ name: name(), spec: asked }).expect(400);
    expect(no.body.errors).toContainEqual(expect.objectContaining({ path }));
  }
  const raw = await api
    .call('post', volumes)
    .send({ name: name(), sizeMiB: 1024, format: 'raw', source: { ...source, volume: 'data' } })
    .expect(400);
  expect(raw.body.errors).toContainEqual(expect.objectContaining({ path: '/format' }));
  await api.settle();
  const { body } = await api.call('get', `${volumes}/${other}.root`).expect(200);
  expect(body).toMatchObject({ source, sourceHeld: false });
  await api.call('delete', `${instances}/${other}`).expect(202);
  await api.settle();
}
const answering = new WeakMap<Api, Promise<string>>();
/** One in whose guest an agent answers. */
function withAgent(api: Api): Promise<string> {
  const made = answering.get(api) ?? started(api, { userData: '#sim:agent' });
  answering.set(api, made);
  return made;
}
async function started(api: Api, change: object = {}): Promise<string> {
  const made = await api.instance('alpha', { isolation: 'vm', image: 'disk', ...change });
  await api.settle();
  return made;
}

/** A machine that runs, and the volume that it has. */
async function written(api: Api): Promise<{ readonly used: string; readonly machine: string }> {
  const used = name();
  await api.call('post', volumes).send({ name: used, sizeMiB: 16 }).expect(201);
  return { used, machine: await started(api, { volumes: [{ name: used }] }) };
}

/** Every route of the API, as `METHOD path` of the OpenAPI document. */
export const cases: Readonly<Record<string, RouteCase>> = {
  'POST /v1/projects': {
    good: async (api) => {
      const project = name();
      const { body, headers } = await api.call('post', '/v1/projects').send({ name: project }).expect(201);
      expect(body.name).toBe(project);
      await api.call('get', headers['location'] as string).expect(200);
    },
    bad: (api) => refused(api.call('post', '/v1/projects').send({ name: 'Not A Label' })),
  },
  'GET /v1/projects': {
    good: async (api) => {
      expect((await listed(api, '/v1/projects')).items.map((p) => p['name'])).toEqual(
        expect.arrayContaining(['alpha', 'beta']),
      );
      const own = await api.call('get', '/v1/projects', 'alpha:viewer').expect(200);
      expect(own.body.items.map((p: { name: string }) => p.name)).toEqual(['alpha']);
    },
    bad: (api) => refused(api.call('get', '/v1/projects', 'berth_not-a-token')),
  },
  'GET /v1/projects/{project}': {
    good: async (api) => {
      const { body } = await api.call('get', '/v1/projects/alpha', 'alpha:viewer').expect(200);
      expect(body.name).toBe('alpha');
    },
    bad: absent('/v1/projects/nowhere'),
  },
  'PATCH /v1/projects/{project}': {
    good: async (api) => {
      const project = name();
      const { body: made } = await api.call('post', '/v1/projects').send({ name: project }).expect(201);
      expect(made.imageSources).toEqual({ redirects: false, privateAddresses: false });
      const change = (imageSources: object, version = made.resourceVersion) =>
        api.call('patch', `/v1/projects/${project}`).set('if-match', `"${version}"`).send({ imageSources });
      const { body, headers } = await change({ redirects: true }).expect(200);
      expect(body.imageSources).toEqual({ redirects: true, privateAddresses: false });
      expect(headers['etag']).toBe(`"${made.resourceVersion + 1}"`);
      await change({ redirects: false }).expect(412);
      // An administrator of one project may not open the network of all.
      await api
        .call('patch', '/v1/projects/alpha', await api.tokenMake('admin', 'alpha'))
        .send({ imageSources: { privateAddresses: true } })
        .expect(403);
    },
    bad: (api) => refused(api.call('patch', '/v1/projects/alpha').send({ imageSources: {} })),
  },
  'GET /v1/projects/{project}/summary': {
    good: async (api) => {
      await api.instance();
      const { body } = await api.call('get', '/v1/projects/alpha/summary', 'alpha:viewer').expect(200);
      expect(body.instances).toContainEqual({
        state: 'pending',
        isolation: 'container',
        count: expect.any(Number),
      });
    },
    bad: absent('/v1/projects/nowhere/summary'),
  },
  'POST /v1/projects/{project}/instances': {
    good: async (api) => {
      const instance = name();
      const { body, headers } = await api.call('post', instances).send({ name: instance, spec }).expect(202);
      expect(body).toMatchObject({
        operation: { kind: 'create' },
        instance: { name: instance, generation: 1 },
      });
      expect(headers['location']).toBe(`/v1/operations/${body.operation.id}`);
      expect(headers['etag']).toBe(`"${body.instance.resourceVersion}"`);
    },
    bad: (api) =>
      refused(api.call('post', instances).send({ name: name(), spec: { ...spec, image: 'none-such' } })),
  },
  'GET /v1/projects/{project}/instances': {
    good: async (api) => {
      const made = name();
      const labels = { tier: made };
      await api.call('post', instances).send({ name: made, labels, spec }).expect(202);
      const found = await listed(api, `${instances}?selector=tier=${made}&isolation=container&state=pending`);
      expect(found.items.map((i) => i['name'])).toEqual([made]);
      expect((await listed(api, `${instances}?selector=tier=other`)).items).toEqual([]);
      const named = await listed(api, `${instances}?search=${made.slice(0, -1)}&limit=500`);
      expect(named.items.map((i) => i['name'])).toContain(made);
      expect((await listed(api, `${instances}?search=no-such-part`)).items).toEqual([]);
    },
    bad: (api) => refused(api.call('get', `${instances}?state=asleep`)),
  },
  'GET /v1/projects/{project}/instances/{name}': {
    good: async (api) => {
      const made = await api.instance();
      const { body, headers } = await api.call('get', `${instances}/${made}`).expect(200);
      expect(body).toMatchObject({ name: made, project: 'alpha', status: { state: 'pending' } });
      expect(headers['etag']).toBe(`"${body.resourceVersion}"`);
    },
    bad: absent(`${instances}/nowhere`),
  },
  'GET /v1/projects/{project}/instances/{name}/metrics': {
    good: async (api) => {
      const made = await api.instance();
      const { body } = await api.call('get', `${instances}/${made}/metrics?window=10m&step=15s`).expect(200);
      expect(body).toMatchObject({ stepSeconds: 15, cpuMillis: Array.from({ length: 40 }, () => null) });
      expect(body.times).toHaveLength(40);
    },
    bad: async (api) => refused(api.call('get', `${instances}/${await api.instance()}/metrics?window=2h`)),
  },
  'POST /v1/projects/{project}/instances/{name}/console': {
    good: async (api) => {
      const made = await api.instance('alpha', { isolation: 'vm', image: 'disk' });
      await api.settle();
      const { body } = await api.call('post', `${instances}/${made}/console`).send({}).expect(201);
      expect(body.secret).toMatch(/^berthticket_/);
    },
    bad: async (api) => {
      const made = await api.instance('alpha', { isolation: 'vm', image: 'disk' });
      return refused(api.call('post', `${instances}/${made}/console`).send({}));
    },
  },
  'POST /v1/projects/{project}/instances/{name}/display': {
    good: async (api) => {
      const made = await shown(api);
      const { body } = await api.call('post', `${instances}/${made}/display`).send({}).expect(201);
      expect(body.secret).toMatch(/^berthticket_/);
    },
    bad: async (api) => {
      const made = await shown(api);
      return refused(api.call('post', `${instances}/${made}/display`).send({ readOnly: true }));
    },
  },
  'GET /v1/projects/{project}/instances/{name}/screenshot': {
    good: async (api) => {
      const made = await shown(api);
      const { body, headers } = await api
        .call('get', `${instances}/${made}/screenshot`)
        .responseType('arraybuffer')
        .expect(200);
      expect([headers['content-type'], headers['cache-control']]).toEqual(['image/png', 'no-store']);
      expect((body as Buffer).subarray(1, 4).toString()).toBe('PNG');
    },
    bad: async (api) => {
      const made = await api.instance('alpha', { isolation: 'vm', image: 'disk', desired: 'stopped' });
      return refused(api.call('get', `${instances}/${made}/screenshot`));
    },
  },
  'POST /v1/projects/{project}/instances/{name}/keys': {
    good: async (api) => {
      const made = await shown(api);
      const { body } = await api
        .call('post', `${instances}/${made}/keys`)
        .send({ presses: [['ctrl', 'alt', 'delete'], ['ret']] })
        .expect(200);
      expect(body).toEqual({ presses: 2 });
    },
    bad: async (api) => {
      const made = await shown(api);
      return refused(api.call('post', `${instances}/${made}/keys`).send({ presses: [['ctrl', 'enter']] }));
    },
  },
  'POST /v1/projects/{project}/instances/{name}/actions/reset': {
    good: async (api) => {
      const made = await shown(api);
      const { body, headers } = await api.call('post', `${instances}/${made}/actions/reset`).expect(202);
      expect(body).toMatchObject({
        operation: { kind: 'reset', state: 'succeeded', target: { name: made } },
        instance: { name: made, status: { state: 'running' } },
      });
      expect(headers['location']).toBe(`/v1/operations/${body.operation.id}`);
    },
    bad: async (api) => refused(api.call('post', `${instances}/${await api.instance()}/actions/reset`)),
  },
  'POST /v1/projects/{project}/instances/{name}/actions/rebuild': {
    good: async (api) => {
      const made = await api.instance();
      const { body, headers } = await api
        .call('post', `${instances}/${made}/actions/rebuild`)
        .send({ image: 'oci' })
        .expect(202);
      expect(body.operation).toMatchObject({ kind: 'rebuild', target: { name: made } });
      expect(headers['location']).toContain(body.operation.id);
    },
    bad: async (api) =>
      refused(
        api
          .call('post', `${instances}/${await api.instance()}/actions/rebuild`)
          .send({ image: 'no image of the project' }),
      ),
  },
  'POST /v1/projects/{project}/instances/{name}/actions/freeze': {
    good: async (api) => {
      const made = await withAgent(api);
      const freeze = api.call('post', `${instances}/${made}/actions/freeze`).send({ seconds: 5 });
      expect((await freeze.expect(202)).body.operation).toMatchObject({ kind: 'freeze', state: 'succeeded' });
    },
    bad: async (api) => {
      const made = await withAgent(api);
      return refused(api.call('post', `${instances}/${made}/actions/freeze`).send({ seconds: 61 }));
    },
  },
  'POST /v1/projects/{project}/instances/{name}/actions/thaw': {
    good: async (api) => {
      const thaw = api.call('post', `${instances}/${await withAgent(api)}/actions/thaw`);
      expect((await thaw.expect(202)).body.operation).toMatchObject({ kind: 'thaw', state: 'succeeded' });
    },
    bad: async (api) => refused(api.call('post', `${instances}/${await shown(api)}/actions/thaw`)),
  },
  'GET /v1/projects/{project}/instances/{name}/files': {
    good: async (api) => {
      const made = await withAgent(api);
      const { body, headers } = await api
        .call('get', `${instances}/${made}/files?path=/etc/hostname`)
        .responseType('arraybuffer')
        .expect(200);
      expect((body as Buffer).toString()).toBe(`${made}\n`);
      expect(headers).toMatchObject({
        'berth-file-size': String(made.length + 1),
        'cache-control': 'no-store',
      });
    },
    bad: async (api) =>
      refused(api.call('get', `${instances}/${await withAgent(api)}/files?path=etc/hostname`)),
  },
  'PUT /v1/projects/{project}/instances/{name}/files': {
    good: async (api) => {
      const made = await withAgent(api);
      const { body } = await api
        .call('put', `${instances}/${made}/files?path=/etc/motd&mode=0644`)
        .set('content-type', 'application/octet-stream')
        .send('hello\n')
        .expect(200);
      expect(body).toEqual({ path: '/etc/motd', bytes: 6 });
    },
    bad: async (api) => {
      const made = await withAgent(api);
      return refused(
        api
          .call('put', `${instances}/${made}/files?path=/etc/motd&mode=rw`)
          .set('content-type', 'application/octet-stream')
          .send('x'),
      );
    },
  },
  'POST /v1/projects/{project}/instances/{name}/attach': {
    good: async (api) => {
      const made = await api.instance('alpha', { process: { stdin: true } });
      await api.settle();
      const { body } = await api.call('post', `${instances}/${made}/attach`).send({}).expect(201);
      expect(body.secret).toMatch(/^berthticket_/);
    },
    bad: async (api) => {
      const made = await api.instance();
      await api.settle();
      return refused(api.call('post', `${instances}/${made}/attach`).send({}));
    },
  },
  'POST /v1/projects/{project}/instances/{name}/exec': {
    good: async (api) => {
      const made = await api.instance();
      await api.settle();
      const { body } = await api
        .call('post', `${instances}/${made}/exec`)
        .send({ command: ['id'] })
        .expect(201);
      expect(body.secret).toMatch(/^berthticket_/);
    },
    bad: async (api) => {
      const made = await api.instance();
      await api.settle();
      return refused(api.call('post', `${instances}/${made}/exec`).send({ command: [] }));
    },
  },
  'GET /v1/projects/{project}/instances/{name}/guest': {
    good: async (api) => {
      const made = await api.instance('alpha', { isolation: 'vm', image: 'disk', userData: '#sim:agent' });
      await api.settle();
      const { body } = await api.call('get', `${instances}/${made}/guest`, 'alpha:viewer').expect(200);
      expect(body).toEqual(guestInfo);
    },
    bad: async (api) => {
      const made = await api.instance('alpha', { isolation: 'vm', image: 'disk' });
      await api.settle();
      return absent(`${instances}/${made}/guest`)(api);
    },
  },
  'GET /v1/projects/{project}/instances/{name}/cloudInit': {
    good: async (api) => {
      const made = await api.instance('alpha', { isolation: 'vm', image: 'disk' });
      const { body } = await api.call('get', `${instances}/${made}/cloudInit`, 'alpha:viewer').expect(200);
      expect(body).toEqual(seed);
    },
    bad: async (api) => absent(`${instances}/${await api.instance()}/cloudInit`)(api),
  },
  'GET /v1/console': {
    good: async (api) => {
      const { body, headers } = await api.http.get('/v1/console').expect(426);
      expect([body.code, headers['upgrade']]).toEqual(['upgradeRequired', 'websocket']);
    },
    bad: (api) => refused(api.http.get('/v1/console?ticket=x&more=y')),
  },
  'PUT /v1/projects/{project}/instances/{name}': {
    good: async (api) => {
      const made = await api.instance();
      const { headers } = await api.call('get', `${instances}/${made}`).expect(200);
      const changed = { ...spec, memoryMiB: 128 };
      const { body } = await api
        .call('put', `${instances}/${made}`)
        .set('if-match', headers['etag'] as string)
        .send({ spec: changed, labels: { a: 'b' } })
        .expect(202);
      expect(body.instance).toMatchObject({ generation: 2, labels: { a: 'b' }, spec: { memoryMiB: 128 } });
    },
    bad: async (api) => {
      const made = await api.instance();
      return refused(api.call('put', `${instances}/${made}`).set('if-match', '"999999"').send({ spec }));
    },
  },
  'POST /v1/projects/{project}/instances/{name}/actions/{verb}': {
    good: async (api) => {
      const made = await api.instance();
      await api.settle();
      const { body } = await api.call('post', `${instances}/${made}/actions/stop`).expect(202);
      expect(body.operation.kind).toBe('stop');
      await api.settle();
      const after = await api.call('get', `${instances}/${made}`).expect(200);
      expect(after.body.status.state).toBe('stopped');
    },
    bad: async (api) => refused(api.call('post', `${instances}/${await api.instance()}/actions/explode`)),
  },
  'DELETE /v1/projects/{project}/instances/{name}': {
    good: async (api) => {
      const made = await api.instance();
      await api.settle();
      const { body } = await api.call('delete', `${instances}/${made}`).expect(202);
      expect(body.operation.kind).toBe('delete');
      await api.settle();
      await api.settle();
      await api.call('get', `${instances}/${made}`).expect(404);
    },
    bad: (api) => refused(api.call('delete', `${instances}/nowhere`)),
  },
  'GET /v1/projects/{project}/instances/{name}/decision': {
    good: async (api) => {
      const made = await api.instance();
      await api.settle();
      const { body } = await api.call('get', `${instances}/${made}/decision`).expect(200);
      expect(body).toMatchObject({ outcome: 'placed', host: 'h1' });
    },
    bad: async (api) => absent(`${instances}/${await api.instance()}/decision`)(api),
  },
  'GET /v1/projects/{project}/instances/{name}/decisions': {
    good: async (api) => {
      const made = await api.instance('alpha', { memoryMiB: 1_000_000 });
      await api.settle();
      const { items } = await listed(api, `${instances}/${made}/decisions`);
      expect(items[0]).toMatchObject({ outcome: 'unplaced', rejected: [{ filter: 'memory', hosts: 1 }] });
      await api.call('delete', `${instances}/${made}`).expect(202);
    },
    bad: async (api) => refused(api.call('get', `${instances}/${await api.instance()}/decisions?limit=0`)),
  },
  'GET /v1/projects/{project}/instances/{name}/explain': {
    good: async (api) => {
      const made = await api.instance();
      const { body } = await api.call('get', `${instances}/${made}/explain?host=h1`).expect(200);
      expect(body).toMatchObject({ decision: { outcome: 'placed' }, host: { host: 'h1', fits: true } });
    },
    bad: async (api) => absent(`${instances}/${await api.instance()}/explain?host=nowhere`)(api),
  },
  'GET /v1/projects/{project}/instances/{name}/processes': {
    good: async (api) => {
      const made = await api.instance();
      await api.settle();
      const { body } = await api.call('get', `${instances}/${made}/processes`).expect(200);
      expect(body).toMatchObject({ items: [{ pid: 1, command: 'sh' }], total: 1 });
    },
    bad: async (api) => refused(api.call('get', `${instances}/${await api.instance()}/processes`)),
  },
  'GET /v1/projects/{project}/instances/{name}/stats': {
    good: async (api) => {
      const made = await api.instance();
      await api.settle();
      const { body } = await api.call('get', `${instances}/${made}/stats`).expect(200);
      expect(body).toMatchObject({ cpuMillis: 250, memoryLimitBytes: 64 * 1024 * 1024, pids: 3 });
      expect(Date.parse(body.time)).not.toBeNaN();
    },
    bad: async (api) => refused(api.call('get', `${instances}/${await api.instance()}/stats`)),
  },
  'GET /v1/projects/{project}/instances/{name}/logs': {
    good: async (api) => {
      const { text, headers } = await api
        .call('get', `${instances}/${await api.instance()}/logs?tailBytes=10`)
        .expect(200);
      expect(text).toBe('first line\nsecond line\n');
      expect(headers['content-type']).toBe('text/plain; charset=utf-8');
    },
    bad: async (api) => refused(api.call('get', `${instances}/${await api.instance()}/logs?follow=maybe`)),
  },
  'GET /v1/projects/{project}/instances/{name}/revisions': {
    good: async (api) => {
      const { items } = await listed(api, `${instances}/${await api.instance()}/revisions`);
      expect(items).toMatchObject([{ generation: 1, actor: 'token:all-admin', spec: { memoryMiB: 64 } }]);
    },
    bad: absent(`${instances}/nowhere/revisions`),
  },
  'POST /v1/projects/{project}/images': {
    recorded: true,
    good: async (api) => {
      const image = name();
      const { body } = await api
        .call('post', `${images}?name=${image}&kind=disk`)
        .set('content-type', 'application/octet-stream')
        .send(disk())
        .expect(201);
      expect(body).toMatchObject({
        operation: { kind: 'imageImport', state: 'succeeded' },
        image: { name: image, kind: 'disk', content: { format: 'raw', virtualSizeMiB: 1 } },
      });
    },
    bad: (api) =>
      refused(
        api
          .call('post', `${images}?name=${name()}&kind=oci`)
          .set('content-type', 'application/octet-stream')
          .send(Buffer.from('this is no archive'.repeat(100))),
      ),
  },
  'POST /v1/projects/{project}/images/import': {
    good: async (api) => {
      const project = name();
      await api.call('post', '/v1/projects').send({ name: project }).expect(201);
      const imageSources = { privateAddresses: true };
      await api.call('patch', `/v1/projects/${project}`).send({ imageSources }).expect(200);
      const bytes = disk();
      const server = createServer((_, response) => void response.end(bytes)).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/disk.raw`;
      const sha256 = createHash('sha256').update(bytes).digest('hex');
      const { body, headers } = await api
        .call('post', `/v1/projects/${project}/images/import?wait=30`)
        .send({ name: 'far', kind: 'disk', url, sha256 })
        .expect(202);
      server.closeAllConnections();
      server.close();
      expect(body.operation).toMatchObject({ kind: 'imageImport', state: 'succeeded', progress: 100 });
      expect(body.image).toMatchObject({ id: body.operation.target.id, digest: `sha256:${sha256}` });
      expect(headers['location']).toBe(`/v1/operations/${body.operation.id}`);
      expect(headers['etag']).toBe(`"${body.image.resourceVersion}"`);
    },
    bad: async (api) => {
      const send = (body: object) => api.call('post', `${images}/import`).send({ name: name(), ...body });
      await send({ kind: 'disk', url: 'http://169.254.169.254/latest/meta-data' }).expect(403);
      const reference = '10.0.0.1/shop/web:1';
      const url = 'https://example.org/x';
      // Which field is meant.
      const wrong: [object, string][] = [
        [{ kind: 'oci' }, '/url'],
        [{ kind: 'oci', url, registry: { reference } }, '/url'],
        [{ kind: 'disk', registry: { reference } }, '/kind'],
        [{ kind: 'oci', registry: { reference }, sha256: '0'.repeat(64) }, '/sha256'],
        [{ kind: 'oci', registry: { reference: 'web' } }, '/registry/reference'],
        [{ kind: 'oci', registry: { reference, username: 'me' } }, '/registry/password'],
        [{ kind: 'oci', registry: { reference, password: 's3cret' } }, '/registry/username'],
        [{ kind: 'oci', registry: { reference, username: 'a:b', password: 's3cret' } }, '/registry/username'],
      ];
      for (const [body, path] of wrong) {
        const { body: problem, text } = await send(body).expect(400);
        expect(problem.errors.map((e: { path: string }) => e.path)).toEqual([path]);
        expect(text).not.toContain('s3cret');
      }
      return refused(send({ kind: 'oci', registry: { reference } }));
    },
  },
  'GET /v1/projects/{project}/images': {
    good: async (api) => {
      const { body } = await api.call('get', `${images}?limit=1`).expect(200);
      expect(body.items).toHaveLength(1);
      expect(
        (await listed(api, `${images}?cursor=${encodeURIComponent(body.nextCursor)}`)).items.length,
      ).toBeGreaterThan(0);
    },
    bad: (api) => refused(api.call('get', `${images}?limit=many`)),
  },
  'GET /v1/projects/{project}/images/{name}': {
    good: async (api) => {
      const { body } = await api.call('get', `${images}/oci`).expect(200);
      expect(body).toMatchObject({ name: 'oci', kind: 'oci' });
    },
    bad: absent(`${images}/nowhere`),
  },
  'POST /v1/projects/{project}/images/{name}/actions/tag': {
    good: async (api) => {
      const made = name();
      const tag = () => api.call('post', `${images}/oci/actions/tag`).send({ name: made });
      const { body, headers } = await tag().expect(201);
      const before = (await api.call('get', `${images}/oci`).expect(200)).body;
      expect(body).toMatchObject({ name: made, digest: before.digest, content: before.content });
      expect(body.id).not.toBe(before.id);
      expect(headers).toMatchObject({
        location: `${images}/${made}`,
        etag: `"${body.resourceVersion}"`,
      });
      expect((await tag().expect(409)).body.code).toBe('nameTaken');
      await api.call('post', `${images}/nowhere/actions/tag`).send({ name: name() }).expect(404);
      await api.call('delete', `${images}/${made}`).expect(204);
      await api.call('get', `${images}/oci`).expect(200);
    },
    bad: (api) => refused(api.call('post', `${images}/oci/actions/tag`).send({ name: 'No Name' })),
  },
  'GET /v1/projects/{project}/imageTree': {
    good: async (api) => {
      const { made, layer } = await layered(api);
      const { body } = await api.call('get', '/v1/projects/alpha/imageTree').expect(200);
      const top = body.layers.find((l: { images: string[] }) => l.images.includes(made));
      expect(top).toMatchObject({ diffId: digestOf(layer), parent: null, images: [made] });
      expect(body.storedBytes).toBeGreaterThanOrEqual(top.sizeBytes);
    },
    bad: absent('/v1/projects/nowhere/imageTree'),
  },
  'GET /v1/projects/{project}/images/{name}/diff': {
    good: async (api) => {
      const [{ made: before }, { made: after }] = [await layered(api), await layered(api)];
      const { body } = await api
        .call('get', `${images}/${before}/diff?to=${after}`, 'alpha:viewer')
        .expect(200);
      const changed = { path: '/etc/motd', change: 'changed', type: 'file', sizeBytes: after.length };
      expect(body).toEqual({ items: [changed], nextCursor: null });
      expect((await api.call('get', `${images}/${after}/diff?to=${after}`).expect(200)).body.items).toEqual(
        [],
      );
      await api.call('get', `${images}/${before}/diff?to=nowhere`).expect(404);
    },
    bad: (api) => refused(api.call('get', `${images}/oci/diff?to=disk`)),
  },
  'GET /v1/projects/{project}/images/{name}/history': {
    good: async (api) => {
      const { made, layer } = await layered(api);
      const { body } = await api.call('get', `${images}/${made}/history?limit=1`).expect(200);
      const { sizeBytes } = (await api.call('get', `${images}/${made}`)).body.content.layers[0];
      const step = { createdAt: null, createdBy: '', author: null, comment: null };
      expect(body.items).toEqual([
        { ...step, layer: expect.objectContaining({ diffId: digestOf(layer), sizeBytes }) as unknown },
      ]);
      expect(body.nextCursor).toBeNull();
      await api.call('get', `${images}/oci/history`).expect(409); // its content was never here
    },
    bad: (api) => refused(api.call('get', `${images}/disk/history`)),
  },
  'GET /v1/projects/{project}/images/{name}/file': {
    good: async (api) => {
      const [raw, made] = [disk(), name()];
      await api
        .call('post', `${images}?name=${made}&kind=disk`)
        .set('content-type', 'application/octet-stream')
        .send(raw)
        .expect(201);
      const at = `${images}/${made}/file`;
      const got = await api.call('get', at).buffer(true).expect(200);
      expect(Buffer.from(got.body as Buffer).equals(raw)).toBe(true);
      expect(got.headers).toMatchObject({
        'content-length': String(raw.length),
        'content-disposition': `attachment; filename="${made}.raw"`,
      });
      const tag = got.headers['etag'] as string;
      const rest = await api
        .call('get', at)
        .set({ Range: 'bytes=4096-', 'If-Range': tag })
        .buffer(true)
        .expect(206);
      expect(Buffer.from(rest.body as Buffer).equals(raw.subarray(4096))).toBe(true);
      await api.call('get', at).set('Range', `bytes=${raw.length}-`).expect(416);
      await api.call('get', at, 'alpha:viewer').expect(403);
      await api.ledger.flush();
      const { id } = (await api.call('get', `${images}/${made}`).expect(200)).body;
      const { items } = await listed(api, `/v1/events?objectKind=image&objectId=${id}`);
      expect(items).toContainEqual(
        expect.objectContaining({
          type: 'image.downloaded',
          data: { first: 4096, last: raw.length - 1, sizeBytes: raw.length },
        }),
      );
    },
    // Its content was never here.
    bad: (api) => refused(api.call('get', `${images}/oci/file`)),
  },
  'DELETE /v1/projects/{project}/images/{name}': {
    good: async (api) => {
      const image = name();
      await api
        .call('post', `${images}?name=${image}&kind=disk`)
        .set('content-type', 'application/octet-stream')
        .send(disk())
        .expect(201);
      await api.call('delete', `${images}/${image}`).expect(204);
      await api.call('get', `${images}/${image}`).expect(404);
    },
    bad: async (api) => {
      await api.instance();
      return refused(api.call('delete', `${images}/oci`));
    },
  },
  'GET /v1/projects/{project}/networks': {
    good: async (api) => {
      const { items } = await listed(api, networks);
      expect(items).toContainEqual(expect.objectContaining({ name: 'default' }));
    },
    bad: absent('/v1/projects/nowhere/networks'),
  },
  'POST /v1/projects/{project}/networks': {
    good: async (api) => {
      const made = name();
      const cidr = '192.168.40.0/28';
      const { body, headers } = await api.call('post', networks).send({ name: made, cidr }).expect(201);
      expect(body).toMatchObject({ name: made, cidr, gateway: '192.168.40.1', scope: 'host' });
      expect(body.internal).toBe(false);
      await api.call('get', headers['location'] as string).expect(200, body);
      const vault = { name: name(), internal: true };
      expect((await api.call('post', networks).send(vault).expect(201)).body).toMatchObject(vault);
      const six = { name: name(), ipv6Cidr: 'fd00:40::/64' };
      const both = await api.call('post', networks).send(six).expect(201);
      expect(both.body).toMatchObject({ ...six, ipv6Gateway: 'fd00:40::1' });
      for (const ipv6Cidr of ['fd00:40::/48', 'fe80::/64', 'fd00:40::1/64', '10.0.0.0/24', 'yes'])
        expect(
          (await api.call('post', networks).send({ name: name(), ipv6Cidr }).expect(400)).body,
        ).toMatchObject({
          errors: [{ path: '/ipv6Cidr', message: expect.stringMatching(/^must .*or be auto$/) as string }],
        });
      const taken = await api.call('post', networks).send({ name: made }).expect(409);
      expect(taken.body.code).toBe('nameTaken');
      const same = await api.call('post', networks).send({ name: name(), cidr }).expect(409);
      expect(same.body).toMatchObject({ code: 'conflict', errors: [{ path: '/cidr' }] });
    },
    bad: (api) => refused(api.call('post', networks).send({ name: name(), cidr: '8.8.8.0/24' })),
  },
  'GET /v1/projects/{project}/networks/{name}': {
    good: async (api) => {
      const { body } = await api.call('get', `${networks}/default`).expect(200);
      expect(body.cidr).toMatch(/\/24$/);
    },
    bad: absent(`${networks}/nowhere`),
  },
  'DELETE /v1/projects/{project}/networks/{name}': {
    good: async (api) => {
      const at = `${networks}/${name()}`;
      await api
        .call('post', networks)
        .send({ name: at.split('/').at(-1) })
        .expect(201);
      await api.call('delete', at).set('If-Match', '"9"').expect(412);
      await api.call('delete', at).expect(204);
      await api.call('get', at).expect(404);
    },
    bad: async (api) => {
      await api.instance();
      return refused(api.call('delete', `${networks}/default`));
    },
  },
  'GET /v1/projects/{project}/securityGroups': {
    good: async (api) => {
      const made = await group(api);
      const { items } = await listed(api, '/v1/projects/alpha/securityGroups');
      expect(items).toContainEqual(expect.objectContaining({ name: made }));
    },
    bad: absent('/v1/projects/nowhere/securityGroups'),
  },
  'GET /v1/projects/{project}/securityGroups/{name}': {
    good: async (api) => {
      const { body } = await api.call('get', `${groups}/${await group(api)}`).expect(200);
      expect(body.rules).toEqual([{ direction: 'ingress', protocol: 'tcp', ports: { first: 80, last: 80 } }]);
    },
    bad: absent('/v1/projects/alpha/securityGroups/nowhere'),
  },
  'PUT /v1/projects/{project}/securityGroups/{name}': {
    good: async (api) => {
      const at = `${groups}/${await group(api)}`;
      await api.call('put', at).set('If-Match', '"9"').send({ rules: [] }).expect(412);
      const { body } = await api.call('put', at).set('If-Match', '"1"').send({ rules: [] }).expect(200);
      expect(body).toMatchObject({ rules: [], resourceVersion: 2 });
    },
    bad: (api) =>
      refused(
        api.call('put', `${groups}/${name()}`).send({ rules: [{ direction: 'ingress', group: 'nowhere' }] }),
      ),
  },
  'DELETE /v1/projects/{project}/securityGroups/{name}': {
    good: async (api) => {
      const at = `${groups}/${await group(api)}`;
      await api.call('delete', at).expect(204);
      await api.call('get', at).expect(404);
    },
    bad: async (api) => {
      const used = await group(api);
      await api.call('put', `${groups}/${name()}`).send({ rules: [{ direction: 'ingress', group: used }] });
      return refused(api.call('delete', `${groups}/${used}`));
    },
  },
  'GET /v1/projects/{project}/instances/{name}/diff': {
    good: async (api) => {
      const at = `${instances}/${await contained(api)}/diff`;
      const { body } = await api.call('get', at).expect(200);
      expect(body).toMatchObject({ items: [{ path: '/etc/motd', change: 'changed' }, {}], nextCursor: null });
      const first = await api.call('get', `${at}?limit=1`).expect(200);
      const second = await api.call('get', `${at}?limit=1&cursor=${first.body.nextCursor}`).expect(200);
      expect([...first.body.items, ...second.body.items]).toEqual(body.items);
      const machine = await api.call('get', `${instances}/${await shown(api)}/diff`).expect(422);
      expect(machine.body.code).toBe('unsupported');
    },
    bad: async (api) => refused(api.call('get', `${instances}/${await api.instance()}/diff`)),
  },
  'POST /v1/projects/{project}/instances/{name}/actions/commit': {
    good: async (api) => {
      const layer = await tarOf([{ name: 'etc/motd', content: name() }]);
      const file = await ociTar({ layer, diffId: digestOf(layer) });
      const base = name();
      const imported = await api
        .call('post', `${images}?name=${base}&kind=oci`)
        .set('content-type', 'application/octet-stream')
        .send(file)
        .expect(201);
      const made = await contained(api, base);
      const body = { image: name(), author: 'me', message: 'with a greeting' };
      const { body: done, headers } = await api
        .call('post', `${instances}/${made}/actions/commit?wait=20`)
        .send(body)
        .expect(202);
      expect(done.operation).toMatchObject({
        kind: 'imageCommit',
        state: 'succeeded',
        target: { name: body.image },
      });
      await api.call('get', headers['location'] as string).expect(200);
      const { content } = imported.body.image;
      expect(done.image.content).toMatchObject({ kind: 'oci', process: content.process });
      expect(done.image.content.layers.slice(0, -1)).toEqual(content.layers);
      const taken = await api.call('post', `${instances}/${made}/actions/commit`).send(body).expect(409);
      expect(taken.body.code).toBe('nameTaken');
    },
    bad: async (api) =>
      refused(api.call('post', `${instances}/${await shown(api)}/actions/commit`).send({ image: name() })),
  },
  'POST /v1/projects/{project}/images/{name}/actions/push': {
    good: async (api) => {
      const { made } = await layered(api);
      await api
        .call('patch', '/v1/projects/alpha')
        .send({ imageSources: { privateAddresses: true } })
        .expect(200);
      const server = createServer((request, response) => {
        const { method = '', url = '' } = request;
        const status = { HEAD: 404, POST: 202, PATCH: 202, PUT: 201 }[method] ?? 405;
        request.resume().on('end', () => void response.writeHead(status, { location: url }).end());
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const reference = `127.0.0.1:${(server.address() as AddressInfo).port}/shop/web:1`;
      const { body, headers } = await api
        .call('post', `${images}/${made}/actions/push?wait=30`)
        .send({ reference })
        .expect(202);
      server.closeAllConnections();
      server.close();
      expect(body.operation).toMatchObject({ kind: 'imagePush', state: 'succeeded', target: { name: made } });
      expect(headers['location']).toBe(`/v1/operations/${body.operation.id}`);
      const byDigest = { reference: `registry.example/a@sha256:${'0'.repeat(64)}` };
      const no = await api.call('post', `${images}/${made}/actions/push`).send(byDigest).expect(400);
      expect(no.body.errors).toContainEqual(expect.objectContaining({ path: '/reference' }));
      await api
        .call('patch', '/v1/projects/alpha')
        .send({ imageSources: { privateAddresses: false } })
        .expect(200);
    },
    bad: (api) =>
      refused(api.call('post', `${images}/disk/actions/push`).send({ reference: 'registry.example/a:1' })),
  },
  'GET /v1/projects/{project}/registries': {
    good: async (api) => {
      const host = await registry(api);
      const { items } = await listed(api, registries);
      expect(items).toContainEqual(expect.objectContaining({ host, username: 'me' }));
    },
    bad: absent('/v1/projects/nowhere/registries'),
  },
  'GET /v1/projects/{project}/registries/{host}': {
    good: async (api) => {
      const { body, text } = await api.call('get', `${registries}/${await registry(api)}`).expect(200);
      expect(body).toMatchObject({ kind: 'password', username: 'me', resourceVersion: 1 });
      expect(text).not.toMatch(/s3cret|envelope/);
    },
    bad: absent(`${registries}/registry.nowhere`),
  },
  'PUT /v1/projects/{project}/registries/{host}': {
    good: async (api) => {
      const at = `${registries}/${await registry(api)}`;
      await api.call('put', at).set('If-Match', '"9"').send({ identityToken: 's3cret' }).expect(412);
      const put = await api.call('put', at).set('If-Match', '"1"').send({ identityToken: 's3cret' });
      expect(put.body).toMatchObject({ kind: 'identityToken', username: null, resourceVersion: 2 });
      const hub = await api
        .call('put', `${registries}/Index.Docker.IO`)
        .send({ username: 'me', password: 'x' });
      expect(hub.body).toMatchObject({ host: 'docker.io' });
      const none = await api.call('put', `${registries}/no%2Fhost`).send({ identityToken: 'x' }).expect(400);
      expect(none.body.errors).toContainEqual(expect.objectContaining({ path: 'path/host' }));
      const both = { identityToken: 'x', password: 'y' };
      const no = await api.call('put', at).send(both).expect(400);
      expect(no.body.errors).toContainEqual(expect.objectContaining({ path: '/identityToken' }));
    },
    bad: (api) => refused(api.call('put', `${registries}/registry.example`).send({ username: 'me' })),
  },
  'DELETE /v1/projects/{project}/registries/{host}': {
    good: async (api) => {
      const at = `${registries}/${await registry(api)}`;
      await api.call('delete', at).set('If-Match', '"9"').expect(412);
      await api.call('delete', at).expect(204);
      await api.call('get', at).expect(404);
    },
    bad: (api) => refused(api.call('delete', `${registries}/registry.nowhere`)),
  },
  ...secretCases,
  'GET /v1/projects/{project}/volumes': {
    good: async (api) => {
      const made = await api.instance();
      const { items } = await listed(api, '/v1/projects/alpha/volumes');
      expect(items).toContainEqual(expect.objectContaining({ owner: { instance: made } }));
    },
    bad: absent('/v1/projects/nowhere/volumes'),
  },
  'POST /v1/projects/{project}/volumes': {
    good: async (api) => {
      const made = name();
      const { body, headers } = await api
        .call('post', volumes)
        .send({ name: made, sizeMiB: 16, limits: { readBytesPerSecond: 1000 } })
        .expect(201);
      expect(body).toMatchObject({ name: made, kind: 'data', format: 'qcow2', host: null, owner: null });
      await api.call('get', headers['location'] as string).expect(200, body);
      const taken = await api.call('post', volumes).send({ name: made, sizeMiB: 1 }).expect(409);
      expect(taken.body.code).toBe('nameTaken');
      await containerVolumes(api);
    },
    bad: (api) => refused(api.call('post', volumes).send({ name: name(), sizeMiB: 0 })),
  },
  'GET /v1/projects/{project}/volumes/{volume}': {
    good: async (api) => {
      const { body } = await api.call('get', `${instances}/${await api.instance()}`).expect(200);
      const volume = await api.call('get', `${volumes}/${body.status.rootVolumeId}`).expect(200);
      expect(volume.body).toMatchObject({ kind: 'writableLayer', owner: { instance: body.name } });
      await api.call('get', `${volumes}/${volume.body.name}`).expect(200, volume.body);
    },
    bad: absent('/v1/projects/alpha/volumes/nowhere'),
  },
  'PATCH /v1/projects/{project}/volumes/{volume}': {
    good: async (api) => {
      const at = `${volumes}/${await volume(api)}`;
      const { body } = await api.call('patch', at).send({ sizeMiB: 32 }).expect(200);
      expect(body).toMatchObject({ sizeMiB: 32, limits: {} });
      const limits = { writeOperationsPerSecond: 10 };
      await api.call('patch', at).set('If-Match', '"1"').send({ limits }).expect(412);
      const version = `"${body.resourceVersion}"`;
      const limited = await api.call('patch', at).set('If-Match', version).send({ limits }).expect(200);
      expect(limited.body).toMatchObject({ sizeMiB: 32, limits });
    },
    bad: async (api) => refused(api.call('patch', `${volumes}/${await volume(api)}`).send({ sizeMiB: 15 })),
  },
  'DELETE /v1/projects/{project}/volumes/{volume}': {
    good: async (api) => {
      const at = `${volumes}/${await volume(api)}`;
      await api.call('delete', at).expect(204);
      await api.call('get', at).expect(404);
    },
    bad: async (api) => {
      const { body } = await api.call('get', `${instances}/${await api.instance()}`).expect(200);
      return refused(api.call('delete', `${volumes}/${body.status.rootVolumeId}`));
    },
  },
  'POST /v1/projects/{project}/volumes/{volume}/actions/clone': {
    good: async (api) => {
      const at = `${volumes}/${await volume(api)}`;
      const empty = await api.call('post', `${at}/actions/clone`).send({ name: name() }).expect(202);
      expect(empty.body).toMatchObject({ operation: { state: 'succeeded' }, volume: { cloning: null } });
      const [used, copy] = [name(), name()];
      await api.call('post', volumes).send({ name: used, sizeMiB: 16 }).expect(201);
      const machine = await started(api, { volumes: [{ name: used }] });
      const clone = () => api.call('post', `${volumes}/${used}/actions/clone`).send({ name: copy });
      expect((await clone().expect(409)).body.code).toBe('stateConflict');
      await api.call('post', `${instances}/${machine}/actions/stop`).expect(202);
      await api.settle();
      const { body, headers } = await clone().expect(202);
      expect(body.operation).toMatchObject({
        kind: 'volumeClone',
        state: 'running',
        target: { kind: 'volume' },
      });
      expect(headers['location']).toBe(`/v1/operations/${body.operation.id}`);
      const cloning = { from: used, operationId: body.operation.id };
      expect(body.volume).toMatchObject({ name: copy, sizeMiB: 16, cloning });
      await api.call('post', `${instances}/${machine}/actions/start`).expect(409);
      await api.settle();
      const made = await api.call('get', `${volumes}/${copy}`).expect(200);
      expect(made.body).toMatchObject({ cloning: null, host: { name: api.host.name } });
      expect((await clone().expect(409)).body.code).toBe('nameTaken');
      await api.call('post', `${at}/actions/clone`, 'alpha:viewer').send({ name: name() }).expect(403);
      await api.call('post', `${volumes}/nowhere/actions/clone`).send({ name: name() }).expect(404);
      await api.call('delete', `${instances}/${machine}`).expect(202);
      await api.call('delete', `${volumes}/${copy}`).expect(202);
      await api.settle();
    },
    bad: async (api) =>
      refused(
        api
          .call('post', `${volumes}/${await volume(api)}/actions/clone`)
          .send({ name: name(), format: 'dir' }),
      ),
  },
  'POST /v1/projects/{project}/volumes/{volume}/actions/export': {
    good: async (api) => {
      const { used, machine } = await written(api);
      const at = `${volumes}/${used}`;
      const ask = (body: object = {}) => api.call('post', `${at}/actions/export`).send(body);
      const refusal = await ask().expect(409);
      expect(refusal.body).toMatchObject({
        code: 'stateConflict',
        remedy: expect.stringContaining('snapshot'),
      });
      await api.call('post', `${instances}/${machine}/snapshots`).send({ name: 'one' }).expect(202);
      await api.settle();
      const { body, headers } = await ask({ source: { instance: machine, snapshot: 'one' } }).expect(202);
      expect(body.operation).toMatchObject({
        kind: 'volumeExport',
        state: 'running',
        target: { kind: 'volume' },
      });
      expect(headers['location']).toBe(`/v1/operations/${body.operation.id}`);
      const operationId = body.operation.id;
      const none = { of: used, operationId, consistency: 'crash', file: null, expiresAt: null };
      expect(body.volume).toMatchObject({ kind: 'export', format: 'qcow2', owner: null, export: none });
      const made = body.volume.name as string;
      const early = await api.call('get', `${volumes}/${made}/file`).expect(409);
      expect(early.body).toMatchObject({
        code: 'stateConflict',
        remedy: expect.stringContaining(operationId),
      });
      // Until it is whole its snapshot stays; nobody can have it as a disk.
      await api.call('delete', `${instances}/${machine}/snapshots/one`).expect(409);
      await api.call('post', `${volumes}/${made}/actions/clone`).send({ name: name() }).expect(409);
      await api.call('patch', `${volumes}/${made}`).send({ sizeMiB: 64 }).expect(409);
      await api.settle();
      const { sha256 } = (await api.call('get', `${volumes}/${made}`).expect(200)).body.export.file;
      expect(sha256).toMatch(/^[0-9a-f]{64}$/);
      await api.call('delete', `${volumes}/${made}`).expect(202);
      await api.call('get', `${volumes}/${made}/file`).expect(409);
      await api.settle();
      await api.call('get', `${volumes}/${made}/file`).expect(404);
      const source = { instance: machine, snapshot: 'two' };
      expect((await ask({ source }).expect(400)).body.errors[0].path).toBe('/source/snapshot');
      await api.call('post', `${at}/actions/export`, 'alpha:viewer').send({}).expect(403);
      await api.call('post', `${volumes}/nowhere/actions/export`).send({}).expect(404);
      const empty = await api
        .call('post', `${volumes}/${await volume(api)}/actions/export`)
        .send({})
        .expect(409);
      expect(empty.body.code).toBe('stateConflict');
      await api.call('delete', `${instances}/${machine}/snapshots/one`).expect(202);
      await api.settle();
      await api.call('delete', `${instances}/${machine}`).expect(202);
      await api.settle();
    },
    bad: async (api) =>
      refused(api.call('post', `${volumes}/${await volume(api)}/actions/export`).send({ format: 'vmdk' })),
  },
  'GET /v1/projects/{project}/volumes/{volume}/file': {
    good: async (api) => {
      const { used, machine } = await written(api);
      await api.call('post', `${instances}/${machine}/actions/stop`).expect(202);
      await api.settle();
      const ask = await api
        .call('post', `${volumes}/${used}/actions/export`)
        .send({ format: 'raw' })
        .expect(202);
      await api.call('post', `${instances}/${machine}/actions/start`).expect(409);
      await api.settle();
      const at = `${volumes}/${ask.body.volume.name}/file`;
      const bytes = StoredFiles.exportBytes;
      const got = await api.call('get', at).buffer(true).expect(200);
      expect(Buffer.from(got.body as Buffer)).toEqual(bytes);
      const { sha256 } = (await api.call('get', `${volumes}/${ask.body.volume.name}`).expect(200)).body.export
        .file;
      expect(got.headers).toMatchObject({
        'accept-ranges': 'bytes',
        'content-length': String(bytes.length),
        etag: `"${sha256}"`,
        'content-disposition': `attachment; filename="${ask.body.volume.name}.raw"`,
      });
      const part = async (range: string, first: number, last: number): Promise<void> => {
        const answer = await api.call('get', at).set('Range', range).buffer(true).expect(206);
        expect(Buffer.from(answer.body as Buffer)).toEqual(bytes.subarray(first, last + 1));
        expect(answer.headers['content-range']).toBe(`bytes ${first}-${last}/${bytes.length}`);
      };
      await part('bytes=5-', 5, bytes.length - 1);
      await part('bytes=5-9', 5, 9);
      await part('bytes=5-100000', 5, bytes.length - 1);
      await part('bytes=-4', bytes.length - 4, bytes.length - 1);
      for (const range of ['bytes=9-5', 'bytes=1-2,4-5', 'lines=1-2', 'bytes=-'])
        expect((await api.call('get', at).set('Range', range).expect(200)).headers['content-length']).toBe(
          String(bytes.length),
        );
      await api.call('get', at).set('Range', 'bytes=5-').set('If-Range', '"another"').expect(200);
      const after = await api.call('get', at).set('Range', `bytes=${bytes.length}-`).expect(416);
      expect(after.body).toMatchObject({
        code: 'badRange',
        remedy: expect.stringContaining(String(bytes.length)),
      });
      expect(after.headers['content-range']).toBe(`bytes */${bytes.length}`);
      await api.call('get', at, 'alpha:viewer').expect(403);
      await api.call('get', `${volumes}/${used}/file`).expect(409);
      await api.call('delete', `${volumes}/${ask.body.volume.name}`).expect(202);
      await api.call('delete', `${instances}/${machine}`).expect(202);
      await api.settle();
    },
    bad: async (api) => refused(api.call('get', `${volumes}/${await volume(api)}/file`)),
  },
  [`POST ${snapshots}`]: {
    good: async (api) => {
      const at = `${instances}/${await shown(api)}/snapshots`;
      const made = name();
      const { body, headers } = await api.call('post', at).send({ name: made }).expect(202);
      expect(body.operation).toMatchObject({ kind: 'snapshot', state: 'running' });
      expect(headers['location']).toBe(`/v1/operations/${body.operation.id}`);
      const begun = await api.call('get', `${at}/${made}`).expect(200);
      expect(begun.body).toMatchObject({ state: 'creating', consistency: null, takenAt: null });
      await api.settle();
      const taken = await api.call('get', `${at}/${made}`).expect(200);
      expect(taken.body).toMatchObject({ state: 'ready', consistency: 'crash', operationId: null });
      const again = await api.call('post', at).send({ name: made }).expect(409);
      expect(again.body.code).toBe('nameTaken');
      await copied(api, at, made);
      const whole = name();
      await api.call('post', at).send({ name: whole, memory: true }).expect(202);
      await api.settle();
      expect((await api.call('get', `${at}/${whole}`).expect(200)).body).toMatchObject({
        consistency: 'exact',
        memory: true,
        memoryMiB: 1,
        stoodStillMs: 5,
      });
      await api.call('delete', `${at}/${whole}`).expect(202);
      const layer = `${instances}/${await api.instance()}/snapshots`;
      const container = await api.call('post', layer).send({ name: made }).expect(422);
      expect(container.body.code).toBe('unsupported');
      await api.call('post', at, 'alpha:viewer').send({ name: name() }).expect(403);
      await api.call('delete', `${at}/${made}`).expect(202);
      await api.settle();
    },
    bad: async (api) =>
      refused(api.call('post', `${instances}/${await shown(api)}/snapshots`).send({ name: 'No Label' })),
  },
  [`GET ${snapshots}`]: {
    good: async (api) => {
      const { at, made } = await snapshot(api);
      expect((await listed(api, at)).items).toContainEqual(expect.objectContaining({ name: made }));
    },
    bad: absent(`${instances}/nowhere/snapshots`),
  },
  [`GET ${snapshots}/{snapshot}`]: {
    good: async (api) => {
      const { at, made } = await snapshot(api);
      const { body, headers } = await api.call('get', `${at}/${made}`, 'alpha:viewer').expect(200);
      expect(body).toMatchObject({ name: made, disks: [{ root: true }], indications: [expect.any(String)] });
      expect(headers['etag']).toBe(`"${body.resourceVersion}"`);
    },
    bad: async (api) => absent(`${instances}/${await shown(api)}/snapshots/nowhere`)(api),
  },
  [`POST ${snapshots}/{snapshot}/actions/revert`]: {
    good: async (api) => {
      const machine = await started(api);
      const { at, made } = await snapshot(api, machine);
      await api.call('post', at).send({ name: 'whole', memory: true }).expect(202);
      await api.settle();
      await api.call('post', `${instances}/${machine}/actions/stop`).expect(202);
      await api.settle();
      const late = await api.call('post', at).send({ name: 'late', memory: true }).expect(409);
      expect(late.body).toMatchObject({ code: 'stateConflict', remedy: expect.stringContaining('start it') });
      const { body: unfit } = await api.call('post', `${at}/whole/actions/revert`).expect(409);
      expect(unfit.errors).toContainEqual(
        expect.objectContaining({ path: '/spec/vcpus', remedy: 'set it to 7' }),
      );
      await api.call('post', `${at}/${made}/actions/revert`).set('if-match', '"1"').expect(412);
      const { body } = await api.call('post', `${at}/${made}/actions/revert`).expect(202);
      expect(body.operation).toMatchObject({ kind: 'snapshotRevert', state: 'running' });
      const start = await api.call('post', `${instances}/${machine}/actions/start`).expect(409);
      expect(start.body).toMatchObject({ code: 'stateConflict', detail: expect.stringContaining(made) });
      await api.settle();
      const { body: over } = await api.call('get', `/v1/operations/${body.operation.id}`).expect(200);
      expect(over.state).toBe('succeeded');
      await api.call('delete', `${instances}/${machine}`).expect(202);
      await api.settle();
    },
    bad: async (api) => {
      const { at, made } = await snapshot(api);
      return refused(api.call('post', `${at}/${made}/actions/revert`));
    },
  },
  [`DELETE ${snapshots}/{snapshot}`]: {
    good: async (api) => {
      const { at, made } = await snapshot(api);
      const { body } = await api.call('delete', `${at}/${made}`).expect(202);
      expect(body.operation.kind).toBe('snapshotDelete');
      const joined = await api.call('delete', `${at}/${made}`).expect(202);
      expect(joined.body.operation.id).toBe(body.operation.id);
      await api.settle();
      await api.call('get', `${at}/${made}`).expect(404);
    },
    bad: async (api) => {
      const { at, made } = await snapshot(api);
      return refused(api.call('delete', `${at}/${made}`).set('if-match', '"9999"'));
    },
  },
  'GET /v1/hosts': {
    good: async (api) => {
      expect((await listed(api, '/v1/hosts')).items).toContainEqual(
        expect.objectContaining({ name: 'h1', state: 'ready' }),
      );
    },
    bad: (api) => refused(api.call('get', '/v1/hosts', 'alpha:admin')),
  },
  'GET /v1/cpuBaseline': {
    good: async (api) => {
      const { body } = await api.call('get', '/v1/cpuBaseline?accel=tcg&selector=zone=nowhere').expect(200);
      expect(body).toEqual({ accel: 'tcg', model: null, hosts: [], without: [] });
    },
    bad: (api) => refused(api.call('get', '/v1/cpuBaseline?accel=any')),
  },
  'GET /v1/hosts/{host}': {
    good: async (api) => {
      const { body } = await api.call('get', '/v1/hosts/h1').expect(200);
      expect(body).toMatchObject({ name: 'h1', capabilities: { arch: 'x86_64' } });
    },
    bad: absent('/v1/hosts/nowhere'),
  },
  'PATCH /v1/hosts/{host}': {
    good: async (api) => {
      const { body } = await api
        .call('patch', '/v1/hosts/h1')
        .send({ labels: { zone: 'a' }, schedulable: false })
        .expect(200);
      expect(body).toMatchObject({ labels: { zone: 'a' }, schedulable: false });
      await api.call('patch', '/v1/hosts/h1').send({ labels: {}, schedulable: true }).expect(200);
    },
    bad: (api) => refused(api.call('patch', '/v1/hosts/h1').send({})),
  },
  'DELETE /v1/hosts/{host}': {
    good: async (api) => {
      const host = name();
      await seedHost(api.store, host);
      await api.call('delete', `/v1/hosts/${host}`).expect(204);
      await api.call('get', `/v1/hosts/${host}`).expect(404);
    },
    bad: async (api) => {
      await api.instance();
      await api.settle();
      return refused(api.call('delete', '/v1/hosts/h1'));
    },
  },
  'GET /metrics': {
    good: async (api) => {
      const { text, headers } = await api.call('get', '/metrics', 'all:viewer').expect(200);
      expect(headers['content-type']).toMatch(/^text\/plain; version=0\.0\.4/);
      expect(text).toMatch(/^berth_host_up\{host="h1"\} 1$/m);
    },
    bad: (api) => refused(api.call('get', '/metrics', 'alpha:admin')),
  },
  'GET /v1/hosts/{host}/metrics': {
    good: async (api) => {
      const now = Date.now();
      const sample = (ago: number, cpuMicros: number) => ({
        at: now - ago,
        host: { cpuMicros, memoryBytes: 4096, diskBytes: 1 },
        instances: [],
      });
      const samples = [sample(15_000, 0), sample(0, 30_000_000)];
      api.usage.take(api.host.id, { now, samples, more: false });
      const { body } = await api
        .call('get', `/v1/hosts/${api.host.name}/metrics?window=1m&step=15s`)
        .expect(200);
      expect(body.cpuMillis.at(-1) ?? body.cpuMillis.at(-2)).toBeCloseTo(2000, -2);
    },
    bad: absent('/v1/hosts/nowhere/metrics'),
  },
  'POST /v1/join-tokens': {
    good: async (api) => {
      const { body } = await api.call('post', '/v1/join-tokens').send({ hostName: 'h9' }).expect(201);
      expect(body.secret).toMatch(/^berthjoin_[\w-]{43}\.[0-9a-f]{64}$/);
    },
    bad: (api) => refused(api.call('post', '/v1/join-tokens').send({ expiresInSeconds: 1 })),
  },
  'GET /v1/join-tokens': {
    good: async (api) => {
      await api.call('post', '/v1/join-tokens').send({}).expect(201);
      for (const item of (await listed(api, '/v1/join-tokens')).items)
        expect(item).not.toHaveProperty('secret');
    },
    bad: (api) => refused(api.call('get', '/v1/join-tokens', 'all:operator')),
  },
  'POST /v1/tokens': {
    good: async (api) => {
      const { body } = await api
        .call('post', '/v1/tokens')
        .send({ name: 'ci', project: 'alpha', role: 'viewer' })
        .expect(201);
      await api.call('get', '/v1/projects/alpha', body.secret).expect(200);
      await api.call('get', '/v1/projects/beta', body.secret).expect(404);
    },
    bad: (api) => refused(api.call('post', '/v1/tokens', 'alpha:admin').send({ name: 'ci', role: 'viewer' })),
  },
  'GET /v1/tokens': {
    good: async (api) => {
      const own = await api.call('get', '/v1/tokens', 'alpha:admin').expect(200);
      expect(own.body.items.length).toBeGreaterThan(0);
      for (const item of own.body.items) expect(item).toMatchObject({ project: 'alpha' });
      expect(JSON.stringify(own.body)).not.toMatch(/hash|berth_/);
    },
    bad: (api) => refused(api.call('get', '/v1/tokens', 'alpha:operator')),
  },
  'DELETE /v1/tokens/{id}': {
    good: async (api) => {
      const { body } = await api
        .call('post', '/v1/tokens')
        .send({ name: 'gone', role: 'viewer' })
        .expect(201);
      await api.call('get', '/v1/projects', body.secret).expect(200);
      await api.call('delete', `/v1/tokens/${body.id}`).expect(204);
      await api.call('get', '/v1/projects', body.secret).expect(401);
    },
    bad: (api) => refused(api.call('delete', `/v1/tokens/${nobody}`)),
  },
  'POST /v1/session': {
    good: async (api) => {
      const { body, headers } = await api.http
        .post('/v1/session')
        .send({ secret: api.tokens.get('alpha:viewer') })
        .expect(201);
      expect(body).toMatchObject({ actor: 'token:alpha-viewer', role: 'viewer', project: 'alpha' });
      expect(headers['set-cookie']?.[0]).toMatch(/^berth_session=\S+; Path=\/; .*HttpOnly; SameSite=Strict$/);
    },
    bad: (api) => refused(api.http.post('/v1/session').send({ secret: 'open sesame' })),
  },
  'GET /v1/session': {
    good: async (api) => {
      const { body } = await api.call('get', '/v1/session', 'beta:operator').expect(200);
      expect(body).toMatchObject({ role: 'operator', project: 'beta', via: 'token', csrf: null });
    },
    bad: (api) => refused(api.call('get', '/v1/session', 'berth_not-a-token')),
  },
  'DELETE /v1/session': {
    good: async (api) => {
      const browser = await Browser.signIn(api, 'alpha:viewer');
      await browser.call('delete', '/v1/session').expect(204);
      await browser.call('get', '/v1/session').expect(401);
    },
    bad: (api) => refused(api.call('delete', '/v1/session')),
  },
  'POST /v1/sign-in-codes': {
    good: async (api) => {
      const { body } = await api.call('post', '/v1/sign-in-codes', 'alpha:viewer').expect(201);
      expect(body.secret).toMatch(/^[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{4}$/);
    },
    bad: async (api) => {
      const browser = await Browser.signIn(api, 'alpha:admin');
      return refused(browser.call('post', '/v1/sign-in-codes'));
    },
  },
  'GET /v1/operations': {
    good: async (api) => {
      const made = await api.instance();
      const { body } = await api.call('get', `${instances}/${made}`).expect(200);
      const { items } = await listed(api, `/v1/operations?project=alpha&target=${body.id}&state=running`);
      expect(items).toMatchObject([{ kind: 'create', target: { name: made } }]);
    },
    bad: (api) => refused(api.call('get', '/v1/operations?project=beta', 'alpha:viewer')),
  },
  'GET /v1/operations/{id}/trace': {
    good: async (api) => {
      const { body } = await api.call('post', instances).send({ name: name(), spec }).expect(202);
      const { id, traceId } = body.operation;
      const trace = await api.call('get', `/v1/operations/${id}/trace`, 'alpha:viewer').expect(200);
      expect(trace.body).toMatchObject({ operationId: id, traceId });
      expect(trace.body.spans.map((s: { name: string }) => s.name)).toEqual(['request', 'transaction']);
      await api.call('get', `/v1/operations/${id}/trace`, 'beta:admin').expect(404);
    },
    bad: absent(`/v1/operations/${nobody}/trace`),
  },
  'GET /v1/operations/{id}': {
    good: async (api) => {
      const { body } = await api.call('post', instances).send({ name: name(), spec }).expect(202);
      const waiting = api.call('get', `/v1/operations/${body.operation.id}?wait=20`).expect(200);
      const [done] = await Promise.all([waiting, api.settle()]);
      expect(done.body).toMatchObject({ id: body.operation.id, state: 'succeeded' });
    },
    bad: absent(`/v1/operations/${nobody}`),
  },
  'GET /v1/decisions/{id}': {
    good: async (api) => {
      const made = await api.instance();
      await api.settle();
      const { body } = await api.call('get', `${instances}/${made}`).expect(200);
      const decision = await api
        .call('get', `/v1/decisions/${body.status.decisionId}`, 'alpha:viewer')
        .expect(200);
      expect(decision.body.instanceId).toBe(body.id);
    },
    bad: absent('/v1/decisions/not-an-id'),
  },
  'POST /v1/projects/{project}/decisions/preview': {
    good: async (api) => {
      const ask = (change: object) =>
        api
          .call('post', '/v1/projects/alpha/decisions/preview', 'alpha:viewer')
          .set('idempotency-key', name())
          .send({ spec: { ...spec, ...change } })
          .expect(200);
      const taken = await api.instance();
      const before = await api.counts();
      expect((await ask({})).body.decision).toMatchObject({ outcome: 'placed', host: 'h1' });
      await api
        .call('post', '/v1/projects/alpha/decisions/preview', 'alpha:viewer')
        .send({ name: taken, spec })
        .expect(409);
      const { body } = await ask({ memoryMiB: 1_000_000 });
      expect(body.decision).toMatchObject({
        outcome: 'unplaced',
        verdicts: [{ host: 'h1', failed: { filter: 'memory' } }],
      });
      expect(await api.counts()).toEqual(before);
    },
    bad: (api) =>
      refused(
        api
          .call('post', '/v1/projects/alpha/decisions/preview')
          .send({ spec: { ...spec, image: 'none-such' } }),
      ),
  },
  'GET /v1/events': {
    good: async (api) => {
      const made = await api.instance();
      const { id } = (await api.call('get', `${instances}/${made}`).expect(200)).body;
      await api.ledger.flush();
      const { body } = await api
        .call('get', `/v1/events?objectKind=instance&objectId=${id}`, 'alpha:viewer')
        .expect(200);
      expect(body.items.map((e: { object: { name: string } }) => e.object.name)).toContain(made);
      for (const event of body.items) expect(event.project).toBe('alpha');
    },
    bad: (api) => refused(api.call('get', '/v1/events?after=yesterday')),
  },
  'GET /healthz': {
    good: async (api) => void (await api.http.get('/healthz').expect(200, { status: 'ok' })),
    bad: (api) => refused(api.http.post('/healthz')),
  },
  'GET /readyz': {
    good: async (api) => void (await api.http.get('/readyz').expect(200, { status: 'ok' })),
    bad: (api) => refused(api.http.delete('/readyz')),
  },
  'GET /v1/openapi.json': {
    good: async (api) => {
      const { body } = await api.http.get('/v1/openapi.json').expect(200);
      expect(body.openapi).toBe('3.1.0');
    },
    bad: (api) => refused(api.http.put('/v1/openapi.json')),
  },
};

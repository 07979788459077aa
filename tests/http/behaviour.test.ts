import { randomUUID } from 'node:crypto';
import { Writable } from 'node:stream';
import { Controller, Get } from '@nestjs/common';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createHttpApp } from '../../apps/api/src/http/http-app.js';
import { withClient } from '../support/postgres.js';
import { Api } from './api.js';

const instances = '/v1/projects/alpha/instances';
const spec = { isolation: 'container', image: 'oci', memoryMiB: 64 };
const fresh = (): string => `n${randomUUID().slice(0, 8)}`;

let api: Api;
const logged: string[] = [];
beforeAll(async () => {
  const sink = new Writable({ write: (chunk: Buffer, _, done) => (logged.push(chunk.toString()), done()) });
  api = await Api.start({ logger: pino({ level: 'trace' }, sink) });
});
afterAll(() => api.stop());

describe('Idempotency-Key', () => {
  test('the same request again gets the same answer, and there is one instance', async () => {
    const name = fresh();
    const key = randomUUID();
    const send = () => api.call('post', instances).set('idempotency-key', key).send({ name, spec });
    const first = await send().expect(202);
    const again = await send().expect(202);
    expect(again.body).toEqual(first.body);
    expect(again.headers['idempotent-replay']).toBe('true');
    expect(again.headers['location']).toBe(first.headers['location']);
    expect(again.headers['etag']).toBe(first.headers['etag']);
  });

  test('another body under the same key is a mismatch', async () => {
    const key = randomUUID();
    await api.call('post', instances).set('idempotency-key', key).send({ name: fresh(), spec }).expect(202);
    const { body } = await api
      .call('post', instances)
      .set('idempotency-key', key)
      .send({ name: fresh(), spec });
    expect(body).toMatchObject({ status: 422, code: 'idempotencyMismatch' });
  });

  test('ten at once make one instance; each answer is that instance or says that it is under way', async () => {
    const name = fresh();
    const key = randomUUID();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () =>
        api.call('post', instances).set('idempotency-key', key).send({ name, spec }),
      ),
    );
    const made = answers.filter((a) => a.status === 202).map((a) => a.body.instance.id as string);
    expect(made.length).toBeGreaterThan(0);
    expect(new Set(made).size).toBe(1);
    for (const a of answers) if (a.status !== 202) expect(a.body.code).toBe('idempotencyInProgress');
  });

  test('a refused request leaves its key free', async () => {
    const key = randomUUID();
    const name = fresh();
    const send = (image: string) =>
      api
        .call('post', instances)
        .set('idempotency-key', key)
        .send({ name, spec: { ...spec, image } });
    await send('none-such').expect(400);
    await send('oci').expect(202);
  });

  test('a request that was committed but never answered is answered from its operation', async () => {
    const key = randomUUID();
    const name = fresh();
    const send = () => api.call('post', instances).set('idempotency-key', key).send({ name, spec });
    const first = await send().expect(202);
    await withClient(api.url, (c) =>
      c.query(
        `UPDATE idempotency_keys SET state = 'committed', answer = NULL, status = NULL, holder = 0 WHERE key = $1`,
        [key],
      ),
    );
    const again = await send().expect(202);
    expect(again.body.operation.id).toBe(first.body.operation.id);
    expect(again.body.instance.id).toBe(first.body.instance.id);
  });

  test('a secret is in the first answer, and in no replay and no row', async () => {
    const send = (key: string) =>
      api.call('post', '/v1/tokens').set('idempotency-key', key).send({ name: 'once', role: 'viewer' });
    const key = randomUUID();
    const first = await send(key).expect(201);
    const again = await send(key).expect(201);
    expect(again.body).toEqual({ ...first.body, secret: null });
    const { rows } = await withClient(api.url, (c) =>
      c.query(
        `SELECT (SELECT json_agg(k)::text FROM idempotency_keys k) || (SELECT json_agg(t)::text FROM tokens t) AS all`,
      ),
    );
    expect(rows[0].all).toContain(first.body.id);
    expect(rows[0].all).not.toContain(first.body.secret);
  });

  test('keys of two tokens do not meet', async () => {
    const key = randomUUID();
    const send = (as: string, name: string) =>
      api.call('post', instances, as).set('idempotency-key', key).send({ name, spec });
    await send('all:admin', fresh()).expect(202);
    await send('alpha:operator', fresh()).expect(202);
  });

  test.each(['', 'a b', 'x'.repeat(256)])('the key %j is refused', async (key) => {
    const { body } = await api
      .call('post', instances)
      .set('idempotency-key', key)
      .send({ name: fresh(), spec });
    expect(body).toMatchObject({ status: 400, errors: [{ path: 'header/idempotency-key' }] });
  });
});

describe('If-Match', () => {
  test('a stale ETag changes nothing, the newest one does', async () => {
    const path = `${instances}/${await api.instance()}`;
    const { headers } = await api.call('get', path).expect(200);
    const put = (memoryMiB: number, etag: string) =>
      api
        .call('put', path)
        .set('if-match', etag)
        .send({ spec: { ...spec, memoryMiB } });
    const changed = await put(65, headers['etag'] as string).expect(202);
    const { body } = await put(66, headers['etag'] as string).expect(412);
    expect(body.code).toBe('preconditionFailed');
    expect((await api.call('get', path)).body.spec.memoryMiB).toBe(65);
    await put(66, changed.headers['etag'] as string).expect(202);
  });

  test('what is no ETag is named', async () => {
    const path = `${instances}/${await api.instance()}`;
    const { body } = await api.call('delete', path).set('if-match', 'W/"x"').expect(400);
    expect(body.errors[0].path).toBe('header/if-match');
  });
});

describe('?dryRun', () => {
  const at = async () => {
    const path = `${instances}/${await api.instance()}`;
    await api.settle();
    const { body } = await api.call('get', path).expect(200);
    return { path, instance: body as { spec: typeof spec } };
  };
  const dry = (path: string, body: object) => api.call('put', `${path}?dryRun=true`).send(body);

  test('says what would change and when it takes effect, and changes nothing', async () => {
    const { path, instance } = await at();
    const before = await api.counts();
    const process = { args: ['other'] };
    const changed = { ...instance.spec, memoryMiB: 99, process, restart: { policy: 'always' } };
    const { body } = await dry(path, { spec: changed, labels: { tier: 'db' } }).expect(200);
    expect(body).toEqual({
      changes: [
        { path: '/labels/tier', effect: 'now', from: null, to: 'db' },
        { path: '/spec/memoryMiB', effect: 'now', from: instance.spec.memoryMiB, to: 99 },
        { path: '/spec/process', effect: 'nextStart', from: null, to: process },
        { path: '/spec/restart/policy', effect: 'now', from: 'never', to: 'always' },
      ],
      restartRequired: true,
    });
    const same = await dry(path, { spec: instance.spec }).expect(200);
    expect(same.body).toEqual({ changes: [], restartRequired: false });
    expect((await api.call('get', path)).body).toEqual(instance);
    expect(await api.counts()).toEqual(before);
    await api.call('post', `${path}/actions/stop`).expect(202);
    await api.settle();
    const stopped = (await api.call('get', path)).body.spec;
    expect((await dry(path, { spec: { ...stopped, process } }).expect(200)).body).toMatchObject({
      changes: [{ effect: 'nextStart' }],
      restartRequired: false,
    });
  });

  test('tells what of the memory and the processors of a machine that runs changes at once', async () => {
    const sizes = { memoryMiB: 64, maxMemoryMiB: 256, vcpus: 1, maxVcpus: 3 };
    const path = `${instances}/${await api.instance('alpha', { isolation: 'vm', image: 'disk', ...sizes })}`;
    await api.settle();
    const { spec: machine } = (await api.call('get', path).expect(200)).body as { spec: object };
    const effects = async (fields: object) => {
      const { body } = await dry(path, { spec: { ...machine, ...fields } }).expect(200);
      return (body as { changes: { path: string; effect: string }[] }).changes.map((c) => [c.path, c.effect]);
    };
    expect(await effects({ memoryMiB: 256 })).toEqual([['/spec/memoryMiB', 'now']]);
    expect(await effects({ memoryMiB: 63 })).toEqual([['/spec/memoryMiB', 'nextStart']]);
    expect(await effects({ vcpus: 3 })).toEqual([['/spec/vcpus', 'now']]);
    expect(await effects({ vcpus: 4, maxVcpus: 4 })).toEqual([
      ['/spec/maxVcpus', 'nextStart'],
      ['/spec/vcpus', 'nextStart'],
    ]);
    expect(await effects({ memoryMiB: 300, maxMemoryMiB: 300 })).toEqual([
      ['/spec/maxMemoryMiB', 'nextStart'],
      ['/spec/memoryMiB', 'nextStart'],
    ]);
    await api
      .call('put', path)
      .send({ spec: { ...machine, memoryMiB: 128 } })
      .expect(202);
    expect(await effects({ memoryMiB: 63 })).toEqual([['/spec/memoryMiB', 'nextStart']]);
    expect(await effects({ memoryMiB: 64 })).toEqual([['/spec/memoryMiB', 'now']]);
  });

  test('tells that bounds of a container change at once, and refuses those that its host cannot give', async () => {
    const { path, instance } = await at();
    const bounded = (resources: object) => dry(path, { spec: { ...instance.spec, resources } });
    expect((await bounded({ pids: 64, cpuWeight: 200, cpus: '0-1' }).expect(200)).body).toEqual({
      changes: [
        { path: '/spec/resources', effect: 'now', from: null, to: { pids: 64, cpuWeight: 200, cpus: '0-1' } },
      ],
      restartRequired: false,
    });
    const refused = await bounded({ cpus: '7,8' }).expect(422);
    expect(refused.body).toMatchObject({
      detail: expect.stringMatching(/^Host h1, where its disk is, cannot give it processors 7,8/),
      errors: [{ path: '/spec/resources/cpus', code: 'unsupported', remedy: expect.stringMatching(/leave/) }],
    });
  });

  test('tells that nics come to a machine that runs and leave it, and refuses what its guest would not hear of', async () => {
    const other = fresh();
    await api.call('post', '/v1/projects/alpha/networks').send({ name: other }).expect(201);
    const machine = { isolation: 'vm', image: 'disk', nics: [{ network: 'default' }] };
    const path = `${instances}/${await api.instance('alpha', machine)}`;
    await api.settle();
    const { spec: placed } = (await api.call('get', path).expect(200)).body as { spec: object };
    const nics = (...wanted: object[]) => dry(path, { spec: { ...placed, nics: wanted } });
    const more = await nics({ network: 'default' }, { network: other }).expect(200);
    const change = [{ path: '/spec/nics', effect: 'now' }];
    expect(more.body).toMatchObject({ changes: change, restartRequired: false });
    expect((await nics().expect(200)).body).toMatchObject({ changes: change, restartRequired: false });
    const moved = await nics({ network: 'default', address: '10.64.0.77' }).expect(409);
    expect(moved.body.errors).toMatchObject([{ path: '/spec/nics/0/address', code: 'stateConflict' }]);
  });

  test('is refused as the change itself would be', async () => {
    const { path, instance } = await at();
    const image = await dry(path, { spec: { ...instance.spec, image: 'disk' } }).expect(400);
    expect(image.body.errors[0]).toMatchObject({ path: '/spec/image' });
    const unknown = { ...instance.spec, nics: [{ network: 'default', securityGroups: ['no-such'] }] };
    await dry(path, { spec: unknown }).expect(400);
    const stale = await dry(path, { spec: instance.spec }).set('if-match', '"1"');
    expect(stale.body.code).toBe('preconditionFailed');
    await api.call('put', `${path}?dryRun=true`, 'alpha:viewer').send({ spec: instance.spec }).expect(403);
    await dry(`${instances}/nobody`, { spec: instance.spec }).expect(404);
  });
});

describe('?wait', () => {
  test('holds the answer until the operation is over', async () => {
    const name = fresh();
    const waiting = api
      .call('post', `${instances}?wait=20`)
      .send({ name, spec })
      .then((a) => a);
    for (let listed = 0; listed === 0;)
      listed = (await api.call('get', `${instances}/${name}`)).status === 200 ? 1 : 0;
    await api.settle();
    const { body } = await waiting;
    expect(body.operation.state).toBe('succeeded');
    expect(body.instance.status.state).toBe('running');
  });

  test('gives what there is when the time is up', async () => {
    const { body } = await api.call('post', `${instances}?wait=1`).send({ name: fresh(), spec }).expect(202);
    expect(body.operation.state).toBe('running');
  });
});

describe('?graceSeconds', () => {
  test('is for what stops a guest, and for nothing else', async () => {
    const name = fresh();
    await api.call('post', `${instances}?wait=20`).send({ name, spec }).expect(202);
    for (const verb of ['start', 'pause', 'resume', 'suspend']) {
      const { body } = await api
        .call('post', `${instances}/${name}/actions/${verb}?graceSeconds=5`)
        .expect(400);
      expect(body.errors).toMatchObject([{ path: 'query/graceSeconds', remedy: 'Leave it out.' }]);
    }
    for (const bad of ['3601', '-1', 'soon', '']) {
      const at = [`actions/stop?graceSeconds=${bad}`, `?graceSeconds=${bad}`] as const;
      const answers = [
        api.call('post', `${instances}/${name}/${at[0]}`),
        api.call('delete', `${instances}/${name}${at[1]}`),
      ];
      for (const answer of answers)
        expect((await answer.expect(400)).body.errors).toMatchObject([{ path: 'query/graceSeconds' }]);
    }
    await api.call('post', `${instances}/${name}/actions/restart?graceSeconds=0&wait=20`).expect(202);
    await api.call('post', `${instances}/${name}/actions/stop?graceSeconds=3600&wait=20`).expect(202);
    await api.call('delete', `${instances}/${name}?graceSeconds=0&wait=20`).expect(202);
  });
});

describe('what cannot be done is refused with its reason', () => {
  test.each([
    [{ desired: 'suspended' }, '/spec/desired', /suspend/],
    [{ desired: 'paused' }, '/spec/desired', /no host can pause/],
    [{ resources: { cpus: '6-9' } }, '/spec/resources/cpus', /host h1: it has no processor 8, 9;/],
  ])('%j', async (change, path, reason) => {
    const before = await api.counts();
    const { body } = await api
      .call('post', instances)
      .send({ name: fresh(), spec: { ...spec, ...change } })
      .expect(422);
    expect(body).toMatchObject({
      code: 'unsupported',
      errors: [{ path, message: expect.stringMatching(reason) }],
    });
    expect(await api.counts()).toEqual(before);
  });

  test('a container is not suspended', async () => {
    const name = await api.instance();
    await api.settle();
    const { body } = await api.call('post', `${instances}/${name}/actions/suspend`).expect(422);
    expect(body).toMatchObject({ code: 'unsupported', remedy: expect.stringContaining('Pause it') });
  });

  test('pausing on a host whose runtimes cannot pause', async () => {
    const name = await api.instance();
    await api.settle();
    const { body } = await api.call('post', `${instances}/${name}/actions/pause`).expect(422);
    expect(body).toMatchObject({ code: 'unsupported', detail: 'Host h1 cannot pause isolation container.' });
  });
});

describe('requests that are no requests', () => {
  const raw = (body: string | Buffer, type: string) =>
    api.call('post', instances).set('content-type', type).send(body);

  test.each([
    ['malformed JSON', () => raw('{"name": ', 'application/json'), 400, 'malformed'],
    ['no body', () => api.call('post', instances), 400, 'invalid'],
    ['an empty JSON body', () => raw('', 'application/json'), 400, 'malformed'],
    ['a prototype key', () => raw('{"__proto__": {"a": 1}}', 'application/json'), 400, 'malformed'],
    [
      'arrays 200,000 deep',
      () => raw('['.repeat(200_000) + ']'.repeat(200_000), 'application/json'),
      400,
      'invalid',
    ],
    ['text', () => raw('name=web', 'text/plain'), 415, 'unsupportedMediaType'],
    ['a form', () => raw('name=web', 'application/x-www-form-urlencoded'), 415, 'unsupportedMediaType'],
    ['bytes for JSON', () => raw(Buffer.from('{}'), 'application/octet-stream'), 415, 'unsupportedMediaType'],
    [
      '2 MiB of JSON',
      () => raw(JSON.stringify({ name: 'x'.repeat(2 ** 21) }), 'application/json'),
      413,
      'tooLarge',
    ],
    [
      'JSON for bytes',
      () => api.call('post', '/v1/projects/alpha/images?name=a&kind=oci').send({}),
      415,
      'unsupportedMediaType',
    ],
    [
      'no bytes at all',
      () => api.call('post', '/v1/projects/alpha/images?name=a&kind=oci'),
      415,
      'unsupportedMediaType',
    ],
    ['an unknown route', () => api.call('get', '/v1/nowhere'), 404, 'notFound'],
    ['a method the route has not', () => api.call('patch', instances), 405, 'methodNotAllowed'],
    ['a broken escape', () => api.call('get', '/v1/projects/%zz'), 400, 'malformed'],
    ['a NUL in an address', () => api.call('get', `${instances}/a%00b`), 404, 'notFound'],
    ['one query field twice', () => api.call('get', `${instances}?limit=1&limit=2`), 400, 'invalid'],
    ['an unknown query field', () => api.call('get', `${instances}?colour=red`), 400, 'invalid'],
    ['a cursor nobody gave', () => api.call('get', `${instances}?cursor=%27%3B--`), 400, 'invalid'],
  ])('%s is a problem document and changes nothing', async (_, send, status, code) => {
    const before = await api.counts();
    const answer = await send();
    expect(answer.headers['content-type']).toBe('application/problem+json; charset=utf-8');
    expect(answer.body).toMatchObject({
      status,
      code,
      remedy: expect.any(String),
      traceId: expect.any(String),
    });
    expect(answer.status).toBe(status);
    expect(await api.counts()).toEqual(before);
  });

  test('the methods of a route are in Allow', async () => {
    const { headers } = await api.call('patch', instances);
    expect(headers['allow']?.split(', ').sort()).toEqual(['GET', 'POST']);
  });

  test('an image larger than the limit is refused while it comes, and nothing of it stays', async () => {
    const path = `/v1/projects/alpha/images`;
    const { body } = await api
      .call('post', `${path}?name=huge&kind=disk`)
      .set('content-type', 'application/octet-stream')
      .send(Buffer.alloc(5 * 1024 * 1024))
      .expect(413);
    expect(body.code).toBe('tooLarge');
    await api.call('get', `${path}/huge`).expect(404);
  });
});

describe('tokens', () => {
  test('an expired one is no token', async () => {
    const token = await api.tokenMake('admin', null, new Date(Date.now() - 1000));
    const { body } = await api.call('get', '/v1/projects', token).expect(401);
    expect(body.code).toBe('unauthenticated');
  });

  test('a viewer reads and does not write', async () => {
    await api.call('get', instances, 'alpha:viewer').expect(200);
    const { body } = await api
      .call('post', instances, 'alpha:viewer')
      .send({ name: fresh(), spec })
      .expect(403);
    expect(body).toMatchObject({ code: 'forbidden', remedy: expect.stringContaining('operator') });
  });

  test('objects of another project, by id, answer like ids that nobody has', async () => {
    const made = await api.instance('beta');
    await api.settle();
    const { body } = await api.call('get', `/v1/projects/beta/instances/${made}`).expect(200);
    const created = await api.call('get', `/v1/operations?target=${body.id}`).expect(200);
    const tokens = await api.call('get', '/v1/tokens', 'beta:admin').expect(200);
    const paths = [
      ['get', '/v1/operations/', created.body.items[0].id],
      ['get', '/v1/decisions/', body.status.decisionId],
      ['get', '/v1/projects/alpha/volumes/', body.status.rootVolumeId],
      ['delete', '/v1/tokens/', tokens.body.items[0].id],
    ] as const;
    for (const [method, path, id] of paths) {
      const ask = async (asked: string): Promise<object> => {
        const trace = `00-${'e'.repeat(32)}-${'f'.repeat(16)}-00`;
        const { status, text } = await api
          .call(method, path + asked, 'alpha:admin')
          .set('traceparent', trace);
        return { status, text: text.replaceAll(asked, '<id>') };
      };
      const foreign = await ask(id as string);
      expect(foreign).toMatchObject({ status: 404 });
      expect(foreign).toEqual(await ask(randomUUID()));
    }
  });

  test('a project administrator cannot reach beyond the project by making tokens', async () => {
    const make = (body: object) =>
      api.call('post', '/v1/tokens', 'alpha:admin').send({ name: 'x', role: 'viewer', ...body });
    await make({}).expect(403);
    await make({ project: 'beta' }).expect(404);
    await make({ project: 'alpha' }).expect(201);
  });
});

describe('an API', () => {
  test('is ready only while the schema is the one of its release, and says what is wrong', async () => {
    const alter = (sql: string) => withClient(api.url, (client) => client.query(sql));
    const ready = () => api.http.get('/readyz');
    await ready().expect(200, { status: 'ok' });
    await alter(`INSERT INTO migrations (timestamp, name) VALUES (1, 'FromTheFuture1')`);
    const newer = await ready().expect(503);
    expect(newer.body).toMatchObject({ code: 'unavailable', remedy: expect.stringMatching(/newer release/) });
    expect(newer.body.detail).toMatch(/newer release.*FromTheFuture1/);
    await alter(`DELETE FROM migrations WHERE name = 'FromTheFuture1'`);
    await alter(`UPDATE migrations SET name = 'kept ' || name`);
    expect((await ready().expect(503)).body.detail).toMatch(/lacks Initial/);
    await alter('ALTER TABLE migrations RENAME TO hidden');
    expect((await ready().expect(503)).body.code).toBe('unavailable');
    await alter(
      `ALTER TABLE hidden RENAME TO migrations; UPDATE migrations SET name = replace(name, 'kept ', '')`,
    );
    await ready().expect(200);
    await api.http.get('/healthz').expect(200);
  });
});

describe('traces and logs', () => {
  test('the trace id of the caller is in the answer, the operation, the event and the log', async () => {
    const trace = randomUUID().replaceAll('-', '');
    const { body, headers } = await api
      .call('post', instances)
      .set('traceparent', `00-${trace}-${'a'.repeat(16)}-01`)
      .send({ name: fresh(), spec })
      .expect(202);
    expect(headers['x-trace-id']).toBe(trace);
    expect(body.operation.traceId).toBe(trace);
    await api.ledger.flush();
    const events = await api.call('get', `/v1/events?limit=1000&objectId=${body.instance.id}`).expect(200);
    expect(events.body.items[0]).toMatchObject({ traceId: trace, actor: 'token:all-admin' });
    expect(logged.some((line) => line.includes(trace) && line.includes('"status":202'))).toBe(true);
  });

  test('no token and no secret is ever logged', () => {
    expect(logged.length).toBeGreaterThan(50);
    expect(logged.join('')).not.toMatch(/berth_[\w-]{20}|berthjoin_|authorization/i);
  });
});

test('an API whose route declares no action does not boot', async () => {
  @Controller('v1/open')
  class Open {
    @Get()
    all(): string {
      return 'everything';
    }
  }
  await expect(createHttpApp({ logger: pino({ level: 'silent' }) } as never, [Open])).rejects.toThrow(
    /Open\.all \(GET \/v1\/open\) declares no action/,
  );
});

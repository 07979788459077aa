import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { answer, type Schemas } from '@berth/client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FaultBench } from '../../libs/faults/src/testing/fault-bench.js';
import { patience, until } from '../e2e/berth.js';
import { ApiProcess } from '../support/api-process.js';
import { freshDatabase, startPostgres, type ThrowawayPostgres } from '../support/postgres.js';
import { challenge, FakeRegistry, imageParts, types } from './fake-registry.js';
import { file, SourceServer } from './source-server.js';

/*
 * An import by URL or from a registry goes on after a kill -9 of the API, wherever it was: the real API as a process, real
 * Postgres, a real web server.
 */

let postgres: ThrowawayPostgres;
let server: SourceServer;
let dir: string;
let bench: FaultBench;
let api: ApiProcess;

beforeAll(async () => {
  postgres = await startPostgres();
  server = await SourceServer.start();
  dir = mkdtempSync(join(tmpdir(), 'berth-killed-'));
  bench = new FaultBench(join(dir, 'points'));
  api = await ApiProcess.start(await freshDatabase(postgres.url), {
    ...bench.env,
    BERTH_INSECURE_REGISTRIES: '127.0.0.1',
  });
  const params = { path: { project: 'default' } };
  const body = { imageSources: { privateAddresses: true } };
  await answer(api.client().rest.PATCH('/v1/projects/{project}', { params, body }));
}, patience(120_000));
afterAll(async () => {
  await api.stop();
  await server.stop();
  await postgres.stop();
  rmSync(dir, { recursive: true, force: true });
});

const KIB = 1024;
const digestOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const blobs = (): string => join(api.root, 'var/lib/berth/api/blobs');

async function begin(name: string, url: string, sha256?: string): Promise<Schemas['Operation']> {
  const body = { name, kind: 'disk' as const, url, ...(sha256 === undefined ? {} : { sha256 }) };
  const params = { path: { project: 'default' } };
  return (await answer(api.client().rest.POST('/v1/projects/{project}/images/import', { params, body })))
    .operation;
}
const get = (id: string): Promise<Schemas['Operation']> =>
  answer(api.client().rest.GET('/v1/operations/{id}', { params: { path: { id } } }));

async function succeeded(id: string, name: string, bytes: Buffer): Promise<Schemas['Operation']> {
  const end = await until('the import ends', patience(60_000), async () => {
    const now = await get(id);
    return now.finishedAt === null ? undefined : now;
  });
  expect(end).toMatchObject({ state: 'succeeded', error: null });
  const params = { path: { project: 'default', name } };
  const image = await answer(api.client().rest.GET('/v1/projects/{project}/images/{name}', { params }));
  expect(image.digest).toBe(`sha256:${digestOf(bytes)}`);
  expect(readFileSync(join(blobs(), 'sha256', digestOf(bytes)))).toEqual(bytes);
  await until('its files are gone', patience(10_000), async () =>
    readdirSync(join(blobs(), 'imports')).length === 0 ? true : undefined,
  );
  return end;
}

it('while it downloads: what is on disk is not downloaded again', async () => {
  const bytes = randomBytes(512 * KIB);
  let n = 0;
  const from = server.at('/slow', (request, response) => {
    n += 1;
    if (n > 1)
      return file(
        () => bytes,
        () => ({ etag: '"a"' }),
      )(request, response, n);
    // The first half, and then a little from time to time, until it is killed.
    response.writeHead(200, { etag: '"a"', 'content-length': String(bytes.length) });
    let sent = 256 * KIB;
    response.write(bytes.subarray(0, sent));
    const drip = setInterval(() => response.write(bytes.subarray(sent, (sent += 16))), 100);
    response.on('close', () => clearInterval(drip));
  });
  const { id } = await begin('slow', from, digestOf(bytes));
  const state = join(blobs(), 'imports', id, 'state.json');
  await until('half of it is on disk', patience(30_000), async () => {
    const synced = existsSync(state)
      ? (JSON.parse(readFileSync(state, 'utf8')) as { syncedBytes: number }).syncedBytes
      : 0;
    return synced >= 256 * KIB ? true : undefined;
  });
  expect(await api.end('SIGKILL')).toBe('SIGKILL');
  await api.start();
  const end = await succeeded(id, 'slow', bytes);
  expect(end.steps.map((s) => s.name)).toEqual(['download', 'verify']);
  const [first, second, ...more] = server.ranges('/slow');
  expect([first, more]).toEqual([null, []]);
  expect(Number(/^bytes=(\d+)-$/.exec(second ?? '')?.[1])).toBeGreaterThanOrEqual(256 * KIB);
});

it.each(['api.import.downloaded', 'api.import.published'])(
  'at %s: nothing is downloaded again',
  async (point) => {
    const bytes = randomBytes(64 * KIB);
    const name = point.replaceAll('.', '-');
    const from = server.at(
      `/${name}`,
      file(
        () => bytes,
        () => ({ etag: '"a"' }),
      ),
    );
    bench.arm(point, name);
    const { id } = await begin(name, from, digestOf(bytes));
    await until('it is held there', patience(30_000), async () =>
      bench.holder(point, name) !== null ? true : undefined,
    );
    expect(await api.end('SIGKILL')).toBe('SIGKILL');
    bench.release(point, name);
    await api.start();
    await succeeded(id, name, bytes);
    expect(server.ranges(`/${name}`)).toEqual([null]);
  },
);

it.each(['api.import.downloaded', 'api.import.published'])(
  'a pull with a password, at %s: no blob is downloaded again',
  async (point) => {
    const registry = await FakeRegistry.start();
    try {
      const name = `pull-${point.replaceAll('.', '-')}`;
      const parts = imageParts([randomBytes(32 * KIB), randomBytes(8 * KIB)]);
      const reference = registry.image('1', parts);
      const username = 'me';
      const password = 'pull-s3cret';
      const basic = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
      registry.at('manifests/1', (request, response) => {
        if (request.headers.authorization !== basic) return challenge(response, 'Basic realm="x"');
        response.writeHead(200, { 'content-type': types.manifest }).end(parts.manifest);
      });
      bench.arm(point, name);
      const body = { name, kind: 'oci' as const, registry: { reference, username, password } };
      const params = { path: { project: 'default' } };
      const path = '/v1/projects/{project}/images/import';
      const { operation } = await answer(api.client().rest.POST(path, { params, body }));
      await until('it is held there', patience(30_000), async () =>
        bench.holder(point, name) !== null ? true : undefined,
      );
      expect(await api.end('SIGKILL')).toBe('SIGKILL');
      bench.release(point, name);
      await api.start();
      await succeeded(operation.id, name, parts.manifest);
      for (const blob of [parts.config, ...parts.layers]) {
        expect(registry.server.ranges(`/v2/x/y/blobs/sha256:${digestOf(blob)}`)).toEqual([null]);
        expect(readFileSync(join(blobs(), 'sha256', digestOf(blob)))).toEqual(blob);
      }
    } finally {
      await registry.stop();
    }
  },
);

it('and again and again', async () => {
  const bytes = randomBytes(256 * KIB);
  const from = server.at(
    '/often',
    file(
      () => bytes,
      () => ({ etag: '"a"', cut: () => 48 * KIB }),
    ),
  );
  const { id } = await begin('often', from);
  for (let kills = 0; kills < 3; kills += 1) {
    const asked = server.ranges('/often').length;
    await until('it asks for more', patience(30_000), async () =>
      server.ranges('/often').length > asked || (await get(id)).finishedAt !== null ? true : undefined,
    );
    await api.end('SIGKILL');
    await api.start();
  }
  await succeeded(id, 'often', bytes);
});

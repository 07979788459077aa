import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { BlobStore, importArchive } from '@berth/images';
import type { Image, Operation, ProjectId, RegistryCredentialPut } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MasterKey } from '../../apps/api/src/dispatch/master-key.js';
import type { RegistryTarget } from '../../apps/api/src/images/import-source.js';
import { registryCredentialKeep } from '../../apps/api/src/images/registry-credentials.js';
import { RemoteImports } from '../../apps/api/src/images/remote-imports.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { systemClock, systemPause } from '../../apps/api/src/system-clock.js';
import { busyboxArchive } from '../../libs/containers/src/testing/busybox-image.js';
import { patience, until } from '../e2e/berth.js';
import { changedLayers } from '../http/changed-layers.js';
import { ctx, ids, migratedDatabase } from '../store/fixture.js';
import { startPostgres, withClient, type ThrowawayPostgres } from '../support/postgres.js';
import { Registry, registryUser } from '../support/registry.js';
import { challenge, digestOf } from './fake-registry.js';
import { SourceServer } from './source-server.js';

/* Pushes to Debian's docker-registry, which skopeo reads, and to registries of this test that take them in every odd way. */

const exec = promisify(execFile);
const masterKey = new MasterKey(randomBytes(32));
let postgres: ThrowawayPostgres;
let url: string;
let store: Store;
let projectId: ProjectId;
let registry: Registry;
let closed: Registry;
let dir: string;
let blobs: BlobStore;
let imports: RemoteImports;
let image: Image;
let servers: SourceServer[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
  url = await migratedDatabase(postgres.url);
  store = await openStore({ url, clock: systemClock, ids });
  ({ id: projectId } = await store.projectCreate(ctx, { name: 'p' }));
  registry = await Registry.start({ signIn: false });
  closed = await Registry.start({ signIn: true });
  dir = mkdtempSync(join(tmpdir(), 'berth-push-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  const archive = await busyboxArchive({
    layer: [{ name: 'etc/motd', content: 'pushed\n' }],
    config: { Cmd: ['x'] },
  });
  const content = await importArchive(Readable.from([archive], { objectMode: false }), blobs);
  image = await store.imageInsert(ctx, { projectId, name: 'it', content });
}, patience(60_000));
afterAll(async () => {
  await closed?.stop();
  await registry?.stop();
  await store.close();
  await postgres.stop();
  rmSync(dir, { recursive: true, force: true });
});
beforeEach(async () => {
  imports = new RemoteImports({
    ...{
      store,
      blobs,
      masterKey,
      clock: systemClock,
      ids,
      pause: systemPause,
      log: console,
      layers: changedLayers,
    },
    dispatch: () => undefined,
    ledger: () => undefined,
    limits: { maxBytes: 1e9, stallMs: 2_000, idleTries: 3, tries: 10, backoffMs: () => 5 },
    insecureRegistries: ['127.0.0.1', 'localhost'],
  });
  await store.projectUpdate(ctx, 'p', { imageSources: { privateAddresses: true, redirects: false } });
});
afterEach(async () => {
  await imports.close();
  for (const server of servers) await server.stop();
  servers = [];
});

async function pushed(to: RegistryTarget): Promise<Operation> {
  const operation = await imports.push(ctx, 'p', image, to);
  return until('the push ends', patience(20_000), async () => {
    const now = await store.operationGet(null, operation.id);
    return now === null || now.finishedAt === null ? undefined : now;
  });
}
async function refused(to: RegistryTarget): Promise<NonNullable<Operation['error']>> {
  const { state, error } = await pushed(to);
  expect(state).toBe('failed');
  expect(error?.remedy, 'every failure says what to do').toBeTruthy();
  return error!;
}
const raw = async (reference: string, creds: string[] = []): Promise<string> =>
  (await exec('skopeo', ['inspect', '--raw', '--tls-verify=false', ...creds, `docker://${reference}`]))
    .stdout;

describe('to docker-registry', () => {
  it('by tag: skopeo reads the same manifest, and copies every blob of it', async () => {
    const reference = `${registry.domain}/shop/it:1`;
    const end = await pushed({ reference });
    expect(end).toMatchObject({
      kind: 'imagePush',
      state: 'succeeded',
      progress: 100,
      target: { name: 'it' },
    });
    expect(digestOf(Buffer.from(await raw(reference)))).toBe(image.digest);
    const copy = join(dir, 'copy.tar');
    await exec('skopeo', [
      'copy',
      '--insecure-policy',
      '--src-tls-verify=false',
      `docker://${reference}`,
      `oci-archive:${copy}`,
    ]);
    // Once more, under another tag and in another repository.
    expect((await pushed({ reference: `${registry.domain}/shop/it:2` })).state).toBe('succeeded');
    expect((await pushed({ reference: `${registry.domain}/other` })).state).toBe('succeeded');
    expect(digestOf(Buffer.from(await raw(`${registry.domain}/other:latest`)))).toBe(image.digest);
  });

  it('that asks for a password: with what the project keeps, or what comes with the request', async () => {
    const reference = `${closed.domain}/shop/it:1`;
    const { username, password } = registryUser;
    expect((await refused({ reference })).message).toContain('does not let anybody push shop/it');
    expect((await refused({ reference, username, password: 'wr0ng-s3cret' })).message).toContain('"puller"');
    const secret: RegistryCredentialPut = { username, password };
    await registryCredentialKeep({ store, masterKey }, ctx, { projectId, host: closed.domain }, secret);
    expect((await pushed({ reference })).state).toBe('succeeded');
    const creds = ['--creds', `${username}:${password}`];
    expect(digestOf(Buffer.from(await raw(reference, creds)))).toBe(image.digest);
    const rows = await withClient(url, async (c) => [
      (await c.query('SELECT * FROM events')).rows,
      (await c.query('SELECT * FROM operations')).rows,
      (await c.query('SELECT * FROM image_imports')).rows,
    ]);
    expect(JSON.stringify(rows)).not.toContain('s3cret');
  });

  it('whose address the project may not reach, or by a digest, is refused at once', async () => {
    await store.projectUpdate(ctx, 'p', { imageSources: { privateAddresses: false } });
    await expect(
      imports.push(ctx, 'p', image, { reference: `${registry.domain}/x/y:1` }),
    ).rejects.toMatchObject({
      code: 'forbidden',
    });
    expect(
      (await refused({ reference: `localhost:${registry.domain.split(':')[1]}/x/y:1` })).message,
    ).toContain('not of the public Internet');
    const byDigest = { reference: `${registry.domain}/x/y@${image.digest}` };
    await expect(imports.push(ctx, 'p', image, byDigest)).rejects.toMatchObject({
      code: 'invalid',
      options: { errors: [expect.objectContaining({ path: '/reference' })] },
    });
  });
});

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

/** A registry that takes what it is told to, and remembers what it was sent. */
async function taking(odd: Partial<Record<'head' | 'post' | 'patch' | 'end' | 'manifest', Handler>>) {
  const server = await SourceServer.start();
  servers.push(server);
  const seen: string[] = [];
  const kept = new Map<string, Buffer>();
  const handle = (path: string, handlers: Record<string, Handler>) =>
    server.at(path, (request, response) => {
      const parts: Buffer[] = [];
      request.on('data', (part: Buffer) => parts.push(part));
      request.on('end', () => {
        const method = request.method ?? '';
        seen.push(`${method} ${path}`);
        (handlers[method] ?? ((_, r) => void r.writeHead(405).end()))(
          request,
          response,
          Buffer.concat(parts),
        );
      });
    });
  let last: Buffer = Buffer.alloc(0);
  for (const { digest } of image.content.blobs)
    handle(`/v2/x/y/blobs/${digest}`, {
      HEAD: odd.head ?? ((_, r) => void r.writeHead(kept.has(digest) ? 200 : 404).end()),
    });
  handle('/v2/x/y/blobs/uploads/', {
    POST: odd.post ?? ((_, r) => void r.writeHead(202, { location: '/up?state=1' }).end()),
  });
  handle('/up', {
    PATCH:
      odd.patch ??
      ((_, r, body) => {
        last = body;
        r.writeHead(202, { location: '/up?state=2' }).end();
      }),
    PUT:
      odd.end ??
      ((q, r) => {
        kept.set(new URL(q.url ?? '', 'http://x').searchParams.get('digest') ?? '', last);
        r.writeHead(201).end();
      }),
  });
  let manifest: Buffer | null = null;
  handle('/v2/x/y/manifests/odd', {
    PUT:
      odd.manifest ??
      ((_, r, body) => {
        manifest = body;
        r.writeHead(201, { 'docker-content-digest': digestOf(body) }).end();
      }),
  });
  const reference = `127.0.0.1:${server.port}/x/y:odd`;
  return { reference, seen, kept, manifest: () => manifest, port: server.port };
}

describe('to a registry that', () => {
  it('cuts and is busy gets each blob once and whole, and the manifest last', async () => {
    let patches = 0;
    let tags = 0;
    const state: { last: Buffer } = { last: Buffer.alloc(0) };
    const fake = await taking({
      patch: (request, response, body) => {
        state.last = body;
        if (++patches === 1) return void request.socket.destroy();
        if (patches === 2) return void response.writeHead(503, { 'retry-after': '0' }).end();
        response.writeHead(202, { location: '/up?state=2' }).end();
      },
      manifest: (_, response, body) =>
        void response.writeHead(++tags === 1 ? 500 : 201, { 'docker-content-digest': digestOf(body) }).end(),
      end: (request, response) => {
        const digest = new URL(request.url ?? '', 'http://x').searchParams.get('digest') ?? '';
        expect(digestOf(state.last)).toBe(digest);
        fake.kept.set(digest, state.last);
        response.writeHead(201).end();
      },
    });
    const end = await pushed({ reference: fake.reference });
    expect(end).toMatchObject({ state: 'succeeded' });
    expect(end.steps.map((s) => s.name)).toContain('retry');
    const blobsOf = image.content.blobs.filter((b) => b.digest !== image.digest);
    expect([...fake.kept.keys()].sort()).toEqual(blobsOf.map((b) => b.digest).sort());
    expect(fake.seen.slice(-2)).toEqual(['PUT /v2/x/y/manifests/odd', 'PUT /v2/x/y/manifests/odd']);
    const before = fake.seen.length;
    await pushed({ reference: fake.reference });
    expect(fake.seen.slice(before).filter((one) => one.startsWith('P'))).toEqual([
      'PUT /v2/x/y/manifests/odd',
    ]);
  });

  it('has uploads go on elsewhere gives its password to nobody there, and redirects nothing', async () => {
    const elsewhere: (string | undefined)[] = [];
    const far = await SourceServer.start();
    servers.push(far);
    const to = far.at('/far', (request, response) => {
      elsewhere.push(request.headers.authorization);
      request
        .resume()
        .on(
          'end',
          () => void response.writeHead(request.method === 'PUT' ? 201 : 202, { location: to }).end(),
        );
    });
    let told = 0;
    const fake = await taking({
      post: (request, response) => {
        if (request.headers.authorization === undefined) return challenge(response, 'Basic realm="x"');
        told += 1;
        response.writeHead(202, { location: to }).end();
      },
    });
    const signed = { reference: fake.reference, username: 'me', password: 's3cret' };
    expect((await pushed(signed)).state).toBe('succeeded');
    expect(told).toBeGreaterThan(0);
    expect(new Set(elsewhere)).toEqual(new Set([undefined]));
    const moved = await taking({ post: (_, r) => void r.writeHead(307, { location: to }).end() });
    await store.projectUpdate(ctx, 'p', { imageSources: { redirects: true } });
    expect((await refused({ reference: moved.reference })).message).toContain('redirects what is sent');
  });

  it.each([
    ['takes no pushes', { post: 405 }, 'unsupported', 'takes no pushes'],
    ['takes no such body', { patch: 413 }, 'tooLarge', 'answered 413'],
    ['does not like the manifest', { manifest: 400 }, 'badImage', 'MANIFEST_INVALID, no such type'],
    ['is forever busy', { post: 503 }, 'unavailable', 'given up after'],
    ['forgets every upload', { end: 404 }, 'unavailable', 'given up after'],
    ['lets nobody in', { post: 403 }, 'forbidden', 'does not let anybody push'],
  ] as const)('%s is told so', async (_, odd, code, words) => {
    const body = JSON.stringify({ errors: [{ code: 'MANIFEST_INVALID', message: 'no\u001b such\ntype' }] });
    const handlers = Object.fromEntries(
      Object.entries(odd).map(([at, status]) => [
        at,
        (_q: IncomingMessage, r: ServerResponse) => void r.writeHead(status).end(body),
      ]),
    );
    const fake = await taking(handlers);
    const error = await refused({ reference: fake.reference });
    expect(error).toMatchObject({ code, message: expect.stringContaining(words) as string });
  });

  it('says it took another manifest is not believed', async () => {
    const fake = await taking({
      manifest: (_, r) =>
        void r.writeHead(201, { 'docker-content-digest': `sha256:${'0'.repeat(64)}` }).end(),
    });
    expect((await refused({ reference: fake.reference })).message).toContain('took the manifest');
  });
});

it('what is not in the store is missed before anything is sent', async () => {
  const [layer] = image.content.kind === 'oci' ? image.content.layers : [];
  if (layer === undefined) throw new Error('the image has a layer');
  const { stream } = await blobs.open(layer.digest);
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  await blobs.remove(layer.digest);
  try {
    const fake = await taking({});
    expect((await refused({ reference: fake.reference })).message).toContain(layer.digest);
    expect(fake.seen).toEqual([]);
  } finally {
    writeFileSync(blobs.path(layer.digest), Buffer.concat(parts));
  }
});

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
import { RegistryProxy } from './registry-proxy.js';
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
let servers: { stop(): Promise<unknown> }[] = [];
/** Of one request; the layer of the image takes several. */
const partBytes = 256 * 1024;

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
  imports = process_();
  await store.projectUpdate(ctx, 'p', { imageSources: { privateAddresses: true, redirects: false } });
});
/** A process of the API. */
const process_ = (): RemoteImports =>
  new RemoteImports({
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
    limits: { maxBytes: 1e9, stallMs: 2_000, idleTries: 3, tries: 10, backoffMs: () => 5, partBytes },
    insecureRegistries: ['127.0.0.1', 'localhost'],
    registryMirrors: {},
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

describe('to docker-registry behind a proxy', () => {
  let proxy: RegistryProxy;
  beforeEach(async () => {
    proxy = await RegistryProxy.start(registry.domain);
    servers.push(proxy);
  });
  const layer = () => image.content.blobs.toSorted((a, b) => b.sizeBytes - a.sizeBytes)[0]!;
  const sent = () => proxy.passed.filter((r) => r.method === 'PATCH').reduce((sum, r) => sum + r.bytes, 0);
  const total = () =>
    image.content.blobs.filter((b) => b.digest !== image.digest).reduce((sum, b) => sum + b.sizeBytes, 0);
  const begun = () => proxy.passed.filter((r) => r.method === 'POST').length;

  it('blobs that the project has in another repository there are taken over, and not sent', async () => {
    expect((await pushed({ reference: `${proxy.domain}/first/home:1` })).state).toBe('succeeded');
    expect(sent()).toBe(total());
    proxy.passed.length = 0;
    const end = await pushed({ reference: `${proxy.domain}/second/home:1` });
    expect(end.state).toBe('succeeded');
    expect(sent()).toBe(0);
    expect(end.steps.find((s) => s.name === 'upload')?.message).toContain('blobs taken over');
    expect(
      proxy.passed.filter((r) => r.path.includes('mount=') && r.path.includes('from=first%2Fhome')),
    ).toHaveLength(image.content.blobs.length - 1);
    expect(digestOf(Buffer.from(await raw(`${registry.domain}/second/home:1`)))).toBe(image.digest);
  });

  it('what another project has there is not asked for', async () => {
    const { id } = await store.projectCreate(ctx, { name: 'other' });
    const theirs = await store.imageInsert(ctx, { projectId: id, name: 'it', content: image.content });
    await store.imagePlaceKeep(theirs.id, { registry: proxy.domain, repository: 'secret/name' });
    expect((await pushed({ reference: `${proxy.domain}/third/home:1` })).state).toBe('succeeded');
    expect(proxy.passed.filter((r) => r.path.includes('mount='))).toEqual([]);
    expect(sent()).toBe(total());
  });

  it('a part that did not arrive is sent alone: the upload goes on where the registry has its end', async () => {
    let patches = 0;
    proxy.before = (request) => (request.method === 'PATCH' && ++patches === 3 ? 'cut' : 'pass');
    const end = await pushed({ reference: `${proxy.domain}/cut/parts:1` });
    expect(end.state).toBe('succeeded');
    expect(end.steps.map((s) => s.name)).toContain('retry');
    expect(sent()).toBe(total());
    expect(begun()).toBe(image.content.blobs.length - 1);
    expect(proxy.passed.filter((r) => r.method === 'GET')).toHaveLength(1);
    expect(digestOf(Buffer.from(await raw(`${registry.domain}/cut/parts:1`)))).toBe(image.digest);
  });

  it('a part that is cut in its middle, which this registry does not get over, is begun again', async () => {
    let patches = 0;
    proxy.before = (request) => (request.method === 'PATCH' && ++patches === 3 ? 'half' : 'pass');
    expect((await pushed({ reference: `${proxy.domain}/cut/half:1` })).state).toBe('succeeded');
    expect(begun()).toBe(image.content.blobs.length);
    expect(digestOf(Buffer.from(await raw(`${registry.domain}/cut/half:1`)))).toBe(image.digest);
  });

  it('another process goes on where the one that died was, with what the registry has', async () => {
    let patches = 0;
    const held = new Promise<void>((resolve) => {
      proxy.before = (request) => {
        if (request.method !== 'PATCH' || ++patches < 4) return 'pass';
        resolve();
        return 'hold';
      };
    });
    const operation = await imports.push(ctx, 'p', image, { reference: `${proxy.domain}/killed/it:1` });
    await held;
    await imports.close();
    const before = sent();
    expect(before).toBeGreaterThan(0);
    proxy.before = () => 'pass';
    imports = process_();
    await imports.takeUp();
    const end = await until('the push ends', patience(20_000), async () => {
      const now = await store.operationGet(null, operation.id);
      return now === null || now.finishedAt === null ? undefined : now;
    });
    expect(end.state).toBe('succeeded');
    expect(sent(), 'nothing was sent twice').toBe(total());
    expect(begun()).toBe(image.content.blobs.length - 1);
    expect(digestOf(Buffer.from(await raw(`${registry.domain}/killed/it:1`)))).toBe(image.digest);
    expect(layer().sizeBytes).toBeGreaterThan(4 * partBytes);
  });
});

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

/** A registry that takes what it is told to, and remembers what it was sent. */
async function taking(
  odd: Partial<Record<'head' | 'post' | 'patch' | 'state' | 'end' | 'manifest', Handler>>,
) {
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
    POST:
      odd.post ??
      ((_, r) => {
        last = Buffer.alloc(0);
        r.writeHead(202, { location: '/up?state=1' }).end();
      }),
  });
  handle('/up', {
    ...(odd.state === undefined ? {} : { GET: odd.state }),
    PATCH:
      odd.patch ??
      ((_, r, body) => {
        last = Buffer.concat([last, body]);
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
      post: (_, response) => {
        state.last = Buffer.alloc(0);
        response.writeHead(202, { location: '/up?state=1' }).end();
      },
      patch: (request, response, body) => {
        if (++patches === 1) return void request.socket.destroy();
        if (patches === 2) return void response.writeHead(503, { 'retry-after': '0' }).end();
        state.last = Buffer.concat([state.last, body]);
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

  it('keeps half a part is asked for its end, and sent the rest alone; what does not fit is refused by 416', async () => {
    const uploads = new Map<string, Buffer>();
    let at: Buffer = Buffer.alloc(0);
    let patches = 0;
    const ranges: string[] = [];
    const where = (): Record<string, string> => ({
      location: '/up?state=3',
      range: `0-${Math.max(0, at.length - 1)}`,
    });
    const fake = await taking({
      post: (_, response) => {
        at = Buffer.alloc(0);
        response.writeHead(202, { location: '/up?state=1' }).end();
      },
      state: (_, response) => void response.writeHead(204, where()).end(),
      patch: (request, response, body) => {
        const range = request.headers['content-range'] ?? '0-';
        ranges.push(range);
        if (Number(range.split('-')[0]) !== at.length) return void response.writeHead(416, where()).end();
        // The second is kept by half and answered as if it were whole; the next does not fit.
        const lies = ++patches === 2;
        at = Buffer.concat([at, lies ? body.subarray(0, body.length / 2) : body]);
        if (lies) return void response.writeHead(202, { location: '/up?state=2' }).end();
        response.writeHead(202, where()).end();
      },
      end: (request, response) => {
        const digest = new URL(request.url ?? '', 'http://x').searchParams.get('digest') ?? '';
        uploads.set(digest, at);
        response.writeHead(digestOf(at) === digest ? 201 : 400).end();
      },
    });
    const end = await pushed({ reference: fake.reference });
    expect(end.state, end.error?.message).toBe('succeeded');
    expect(fake.seen.filter((one) => one === 'GET /up')).toHaveLength(1);
    expect(ranges).toContain(`${1.5 * partBytes}-${2.5 * partBytes - 1}`);
    for (const [digest, bytes] of uploads) expect(digestOf(bytes)).toBe(digest);
  });

  it('takes no parts gets each blob in one piece', async () => {
    const whole: number[] = [];
    const fake = await taking({
      patch: (request, response, body) => {
        if (request.headers['content-range'] !== undefined) return void response.writeHead(416).end();
        whole.push(body.length);
        response.writeHead(202, { location: '/up?state=2' }).end();
      },
    });
    expect((await pushed({ reference: fake.reference })).state).toBe('succeeded');
    expect(Math.max(...whole)).toBe(Math.max(...image.content.blobs.map((b) => b.sizeBytes)));
  });

  it('asks for a token is asked for one that reads the other repository too, and does without', async () => {
    const tokens = await SourceServer.start();
    servers.push(tokens);
    const scopes: string[][] = [];
    const realm = tokens.at('/token', (request, response) => {
      const asked = new URL(request.url ?? '', 'http://x').searchParams.getAll('scope');
      scopes.push(asked);
      if (asked.length > 1) return void response.writeHead(403).end();
      response.end(JSON.stringify({ token: 't' }));
    });
    const mounts: string[] = [];
    const fake = await taking({
      head: (request, response) => {
        if (request.headers.authorization === undefined)
          return challenge(response, `Bearer realm="${realm}",service="s"`);
        response.writeHead(404).end();
      },
      post: (request, response) => {
        if (!(request.url ?? '').includes('mount='))
          return void response.writeHead(202, { location: '/up?state=1' }).end();
        mounts.push(request.url ?? '');
        response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="s"` }).end();
      },
    });
    await store.imagePlaceKeep(image.id, { registry: `127.0.0.1:${fake.port}`, repository: 'mine/too' });
    expect((await pushed({ reference: fake.reference })).state).toBe('succeeded');
    expect(scopes[0]).toEqual(['repository:x/y:pull,push', 'repository:mine/too:pull']);
    expect(scopes[1]).toEqual(['repository:x/y:pull,push']);
    expect(mounts.length).toBeGreaterThan(0);
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

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { BlobStore, fileDigest, importArchive, RegistryReference } from '@berth/images';
import type { Digest, Image, ImageSources, Operation, ProjectId, RegistryCredentialPut } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MasterKey } from '../../apps/api/src/dispatch/master-key.js';
import type { DownloadLimits } from '../../apps/api/src/images/download.js';
import type { RemoteImport } from '../../apps/api/src/images/import-source.js';
import { RegistryClient } from '../../apps/api/src/images/registry-client.js';
import {
  registryCredentialKeep,
  registryCredentialOpen,
} from '../../apps/api/src/images/registry-credentials.js';
import type { RegistryMirrors } from '../../apps/api/src/images/registry-mirrors.js';
import { RemoteImports } from '../../apps/api/src/images/remote-imports.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { systemClock, systemPause } from '../../apps/api/src/system-clock.js';
import { busyboxArchive } from '../../libs/containers/src/testing/busybox-image.js';
import { patience, until } from '../e2e/berth.js';
import { changedLayers } from '../http/changed-layers.js';
import { ctx, ids, migratedDatabase } from '../store/fixture.js';
import { chanceOf, dice, seedOfRun } from '../support/chance.js';
import { startPostgres, withClient, type ThrowawayPostgres } from '../support/postgres.js';
import { Registry, registryUser } from '../support/registry.js';
import { challenge, described, digestOf, FakeRegistry, imageParts, json, types } from './fake-registry.js';
import { file, SourceServer } from './source-server.js';

/*
 * Pulls from Debian's docker-registry, filled by skopeo, and from registries of this test that do every wrong thing; real
 * Postgres, real blob store.
 */

const exec = promisify(execFile);
const KIB = 1024;
const maxBytes = 8 * KIB * KIB;
const seed = seedOfRun();
let postgres: ThrowawayPostgres;
let url: string;
let store: Store;
let registry: Registry;
let closed: Registry;
let fake: FakeRegistry;
let archive: string;
let root: string;
let dir: string;
let blobs: BlobStore;
let imports: RemoteImports;
let projectId: ProjectId;
let slept: number[];
let ran = 0;

beforeAll(async () => {
  postgres = await startPostgres();
  url = await migratedDatabase(postgres.url);
  store = await openStore({ url, clock: systemClock, ids });
  ({ id: projectId } = await store.projectCreate(ctx, { name: 'p' }));
  fake = await FakeRegistry.start();
  registry = await Registry.start({ signIn: false });
  closed = await Registry.start({ signIn: true });
  root = mkdtempSync(join(tmpdir(), 'berth-pulls-'));
  archive = join(root, 'busybox.tar');
  writeFileSync(
    archive,
    await busyboxArchive({
      layer: [{ name: 'etc/motd', content: 'two layers\n' }],
      config: { Cmd: ['pulled'] },
    }),
  );
  await registry.push(`oci-archive:${archive}`, 'shop/busybox:1');
  await registry.push(`oci-archive:${archive}`, 'shop/busybox:docker', ['--format', 'v2s2']);
  await closed.push(`oci-archive:${archive}`, 'shop/busybox:1');
}, patience(60_000));
afterAll(async () => {
  await closed?.stop();
  await registry?.stop();
  await fake.stop();
  await store.close();
  await postgres.stop();
  rmSync(root, { recursive: true, force: true });
});
beforeEach(async () => {
  begin();
  await allow({ redirects: false, privateAddresses: true });
});
afterEach(end);

/** A process of the API with a store of its own. */
function begin(limits: Partial<DownloadLimits> = {}): void {
  dir = mkdtempSync(join(root, 'process-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  imports = process_(limits);
}
async function end(): Promise<void> {
  await imports.close();
  rmSync(dir, { recursive: true, force: true });
}
const masterKey = new MasterKey(randomBytes(32));
const process_ = (limits: Partial<DownloadLimits> = {}): RemoteImports => {
  slept = [];
  const heard = slept;
  return new RemoteImports({
    store,
    blobs,
    masterKey,
    clock: systemClock,
    ids,
    pause: {
      sleep: (ms, signal) => {
        heard.push(ms);
        return systemPause.sleep(ms, signal);
      },
    },
    log: console,
    dispatch: () => undefined,
    ledger: () => undefined,
    layers: changedLayers,
    limits: {
      maxBytes,
      stallMs: 2_000,
      idleTries: 3,
      tries: 40,
      backoffMs: () => 5,
      partBytes: 2 ** 20,
      ...limits,
    },
    insecureRegistries: ['127.0.0.1', 'localhost'],
    registryMirrors: {},
  });
};
const allow = (imageSources: Partial<ImageSources>) => store.projectUpdate(ctx, 'p', { imageSources });

async function ended(operation: Operation): Promise<Operation> {
  return until('the pull ends', patience(20_000), async () => {
    const now = await store.operationGet(null, operation.id);
    return now === null || now.finishedAt === null ? undefined : now;
  });
}
type Registered = NonNullable<RemoteImport['registry']>;
async function pulled(
  reference: string,
  more: Partial<Registered> = {},
): Promise<{ name: string; end: Operation }> {
  const name = `i${++ran}`;
  const operation = await imports.begin(ctx, 'p', { name, kind: 'oci', registry: { reference, ...more } });
  return { name, end: await ended(operation) };
}
/** Pulled, all its content is here and is what it says, and nothing half-made is left. */
async function arrived(
  reference: string,
  more: Partial<Registered> = {},
): Promise<{ image: Image; end: Operation }> {
  const { name, end } = await pulled(reference, more);
  expect(end).toMatchObject({ state: 'succeeded', progress: 100, error: null });
  const image = (await store.imageGet(projectId, name))!;
  for (const { digest, sizeBytes } of image.content.blobs)
    expect(await fileDigest(blobs.path(digest))).toEqual({ digest, sizeBytes });
  expect((await blobs.list()).map((b) => b.digest)).toEqual(image.content.blobs.map((b) => b.digest).sort());
  await nothingLeft();
  return { image, end };
}
async function refused(
  reference: string,
  more: Partial<Registered> = {},
): Promise<NonNullable<Operation['error']>> {
  const { name, end } = await pulled(reference, more);
  expect(end.state).toBe('failed');
  expect(await store.imageGet(projectId, name)).toBeNull();
  expect(await blobs.list()).toEqual([]);
  await nothingLeft();
  expect(end.error?.remedy, 'every failure says what to do').toBeTruthy();
  return end.error!;
}
const entries = (path: string): string[] => (existsSync(path) ? readdirSync(path) : []);
async function nothingLeft(): Promise<void> {
  const left = () => [...entries(join(blobs.dir, 'imports')), ...entries(join(blobs.dir, 'staging'))];
  await until(
    'nothing is left of it',
    patience(5_000),
    async () => (left().length === 0 ? true : undefined),
    () => left().join(),
  );
}
const steps = ({ steps: all }: Operation): string[] => all.map((s) => s.name);

describe('from docker-registry', () => {
  it('by tag, and by the digest that the tag led to: what skopeo says it is', async () => {
    const reference = `${registry.domain}/shop/busybox:1`;
    const { image, end } = await arrived(reference);
    expect(steps(end)).toEqual(['resolve', 'download', 'verify']);
    expect(end.steps[0]?.message).toBe(image.digest);
    const raw = await exec('skopeo', ['inspect', '--raw', '--tls-verify=false', `docker://${reference}`]);
    expect(image.digest).toBe(digestOf(Buffer.from(raw.stdout)));
    expect(image.content).toMatchObject({ process: { cmd: ['pulled'] }, arch: 'x86_64' });
    const { rows } = await withClient(url, (c) =>
      c.query<{ source: string }>(
        `SELECT data->>'source' AS source FROM events WHERE object_id = $1 AND type = 'image.imageImport'`,
        [end.target.id],
      ),
    );
    expect(rows).toEqual([{ source: reference }]);
    const again = await arrived(`${registry.domain}/shop/busybox@${image.digest}`);
    expect(again.image.content).toEqual(image.content);
  });

  it('it is the image that an upload of the same archive makes', async () => {
    const { image } = await arrived(`${registry.domain}/shop/busybox:1`);
    const copy = join(dir, 'copy.tar');
    const from = `docker://${registry.domain}/shop/busybox:1`;
    await exec('skopeo', [
      'copy',
      '--insecure-policy',
      '--src-tls-verify=false',
      from,
      `oci-archive:${copy}`,
    ]);
    const other = new BlobStore(join(dir, 'other'));
    const uploaded = await importArchive(Readable.from([readFileSync(copy)], { objectMode: false }), other);
    expect(image.content).toEqual(uploaded);
  });

  it('in Docker’s own format (schema 2)', async () => {
    const { image } = await arrived(`${registry.domain}/shop/busybox:docker`);
    const layer = 'application/vnd.docker.image.rootfs.diff.tar.gzip';
    expect(image.content.kind === 'oci' && image.content.layers.map((l) => l.mediaType)).toEqual([
      layer,
      layer,
    ]);
  });

  it('with layers by zstd', async () => {
    const packed = join(dir, 'layer');
    await exec('zstd', ['-q', archive, '-o', packed]);
    const layer = readFileSync(packed);
    const mediaType = `${types.layer}+zstd`;
    const parts = imageParts([layer], { layers: [described(mediaType, layer)] });
    const { image } = await arrived(fake.image('zstd', parts));
    expect(image.content).toMatchObject({ layers: [{ mediaType, digest: digestOf(layer) }] });
  });

  it('through an index: the plain image of our platform, whatever stands before it', async () => {
    const at = `http://${registry.domain}/v2/shop/busybox/manifests`;
    const own = Buffer.from(
      await (await fetch(`${at}/1`, { headers: { accept: types.manifest } })).arrayBuffer(),
    );
    const other = json({ ...(JSON.parse(own.toString()) as object), annotations: { other: 'one' } });
    await registry.manifest('shop/busybox', digestOf(other), types.manifest, other);
    const of = (bytes: Buffer, platform: object) => ({ ...described(types.manifest, bytes), platform });
    const index = json({
      schemaVersion: 2,
      mediaType: types.index,
      manifests: [
        of(other, { os: 'unknown', architecture: 'unknown' }),
        of(other, { os: 'linux', architecture: 'arm64', variant: 'v8' }),
        of(other, { os: 'linux', architecture: 'amd64', variant: 'v3' }),
        of(other, { os: 'windows', architecture: 'amd64' }),
        of(own, { os: 'linux', architecture: 'amd64', variant: 'v1' }),
        of(other, { os: 'linux', architecture: 'amd64' }),
      ],
    });
    await registry.manifest('shop/busybox', 'multi', types.index, index);
    const { image } = await arrived(`${registry.domain}/shop/busybox:multi`);
    expect(image.digest).toBe(digestOf(own));
    const byDigest = await arrived(`${registry.domain}/shop/busybox@${digestOf(index)}`);
    expect(byDigest.image.digest).toBe(digestOf(own));
  });

  it('that asks for a password: with it alone, and it is kept nowhere', async () => {
    const reference = `${closed.domain}/shop/busybox:1`;
    const { username, password } = registryUser;
    const without = await refused(reference);
    expect(without).toMatchObject({
      code: 'forbidden',
      remedy: expect.stringContaining('registry.password'),
    });
    expect(without.message).toContain('does not let anybody pull shop/busybox');
    const wrong = await refused(reference, { username, password: 'wr0ng-s3cret' });
    expect(wrong).toMatchObject({ code: 'forbidden', message: expect.stringContaining('"puller"') });
    await arrived(reference, { username, password });
    const everything = await withClient(url, async (c) =>
      JSON.stringify([
        (await c.query('SELECT * FROM events')).rows,
        (await c.query('SELECT * FROM operations')).rows,
        (await c.query('SELECT * FROM image_imports')).rows,
      ]),
    );
    expect(everything).not.toMatch(/s3cret/);
  });

  it('that the project signs in at with what it keeps: sealed, and of that project alone', async () => {
    const reference = `${closed.domain}/shop/busybox:1`;
    const { username, password } = registryUser;
    const other = await store.projectCreate(ctx, { name: `q${ran}` });
    const keep = (projectId: ProjectId, secret: RegistryCredentialPut) =>
      registryCredentialKeep({ store, masterKey }, ctx, { projectId, host: closed.domain }, secret);
    await keep(other.id, { username, password });
    expect((await refused(reference)).message).toContain('does not let anybody pull shop/busybox');
    await keep(projectId, { username, password: 'wr0ng-s3cret' });
    expect(await refused(reference)).toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('user "puller"'),
      remedy: expect.stringContaining(`berth registry login ${closed.domain}`),
    });
    await keep(projectId, { identityToken: 'refresh-s3cret' });
    expect((await refused(reference)).message).toContain('what is kept is an identity token');
    await keep(projectId, { username, password });
    // What comes with the request goes first, and nothing else is tried after it.
    expect((await refused(reference, { username, password: 'wr0ng-s3cret' })).message).toContain('"puller"');
    await arrived(reference);
    const everything = await withClient(url, async (c) => {
      const rows = await c.query('SELECT * FROM registry_credentials');
      // An envelope is of its project and host: none opens in another's row.
      await c.query(
        `UPDATE registry_credentials SET envelope = (SELECT envelope FROM registry_credentials WHERE project_id = $1) WHERE project_id = $2`,
        [projectId, other.id],
      );
      return JSON.stringify([rows.rows, (await c.query('SELECT * FROM events')).rows]);
    });
    expect(everything).not.toMatch(/s3cret/);
    await expect(registryCredentialOpen({ store, masterKey }, other.id, closed.domain)).rejects.toThrow(
      'another master key',
    );
    await store.registryCredentialDelete(ctx, { projectId, host: closed.domain });
    await end();
    begin();
    expect((await refused(reference)).message).toContain('does not let anybody');
  });

  it('that lacks it', async () => {
    expect(await refused(`${registry.domain}/shop/busybox:none`)).toMatchObject({
      code: 'notFound',
      message: 'the registry has no manifest none in shop/busybox',
    });
    expect((await refused(`${registry.domain}/shop/none`)).code).toBe('notFound');
  });
});

/** A way to a registry that is cut once, after so many bytes of what it says; and then shut, if it is told so. */
class Cut {
  private left: number;
  said = 0;
  cuts = 0;

  private constructor(
    private readonly server: Server,
    after: number,
    private readonly shuts: boolean,
  ) {
    this.left = after;
  }

  static async to(port: number, after: number, shuts: boolean): Promise<Cut> {
    const server = createServer();
    const made = new Cut(server, after, shuts);
    server.on('connection', (socket) => {
      if (made.shuts && made.cuts > 0) return void socket.destroy();
      const up = connect(port, '127.0.0.1');
      const both = (): void => {
        socket.destroy();
        up.destroy();
      };
      for (const end of [socket, up]) end.on('error', both).on('close', both);
      socket.pipe(up);
      up.on('data', (chunk: Buffer) => {
        if (made.shuts && made.cuts > 0) return both();
        made.said += chunk.length;
        if (made.cuts > 0 || chunk.length <= made.left) {
          made.left -= chunk.length;
          return void socket.write(chunk);
        }
        made.cuts += 1;
        socket.end(chunk.subarray(0, made.left));
        up.destroy();
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return made;
  }

  get domain(): string {
    return `127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): Promise<unknown> {
    return new Promise((resolve) => this.server.close(resolve));
  }
}

describe('cut', () => {
  it(
    `at 100 places by chance (BERTH_SEED=${seed}): a whole image or none, and nothing left`,
    async () => {
      const { below } = dice(chanceOf(seed));
      const outcomes = { whole: 0, none: 0 };
      // Each its own content, so that what of it is visible can be told; the bytes on the wire are as many for all.
      const parts = (n: number) => imageParts([Buffer.alloc(3 * KIB, n), Buffer.alloc(2 * KIB, n)]);
      const port = fake.server.port;
      fake.image('cut-100', parts(100));
      const whole = await Cut.to(port, Infinity, false);
      await arrived(`${whole.domain}/x/y:cut-100`);
      await whole.stop();
      imports = process_({ stallMs: patience(5_000) });
      const one = async (n: number): Promise<void> => {
        const image = parts(n);
        const tag = `cut-${String(n).padStart(3, '0')}`;
        fake.image(tag, image);
        const after = below(whole.said);
        const shuts = n % 2 === 1;
        const cut = await Cut.to(port, after, shuts);
        const { name, end: over } = await pulled(`${cut.domain}/x/y:${tag}`);
        await cut.stop();
        const made = await store.imageGet(projectId, name);
        const told = `cut after ${after} bytes, ${shuts ? 'for good' : 'once'}: ${JSON.stringify(over.error)}`;
        expect(cut.cuts, told).toBe(1);
        const digests = [image.manifest, image.config, ...image.layers].map((b) => digestOf(b) as Digest);
        if (over.state === 'succeeded') {
          outcomes.whole += 1;
          expect(made?.content.blobs.map((b) => b.digest).sort(), told).toEqual([...digests].sort());
          for (const digest of digests)
            expect((await fileDigest(blobs.path(digest))).digest, told).toBe(digest);
        } else {
          outcomes.none += 1;
          expect([shuts, over.error?.code, made], told).toEqual([true, 'unavailable', null]);
          for (const digest of digests) expect(await blobs.has(digest), told).toBe(false);
        }
      };
      for (let n = 0; n < 100; n += 10) await Promise.all(Array.from({ length: 10 }, (_, i) => one(n + i)));
      await nothingLeft();
      expect(outcomes.whole).toBeGreaterThanOrEqual(50);
      expect(outcomes.none).toBeGreaterThan(0);
      begin();
    },
    patience(60_000),
  );

  it('a layer is gone on with where it broke off, and the others are not asked for again', async () => {
    const layers = [randomBytes(100 * KIB), randomBytes(50 * KIB)];
    const reference = fake.image('resumed', imageParts(layers));
    fake.blob(
      layers[0]!,
      file(
        () => layers[0]!,
        () => ({ etag: '"a"', cut: (n) => (n === 1 ? 60 * KIB : Infinity) }),
      ),
    );
    const { end: over } = await arrived(reference);
    expect(steps(over)).toContain('retry');
    expect(fake.server.ranges(`/v2/x/y/blobs/${digestOf(layers[0]!)}`)).toEqual([null, `bytes=${60 * KIB}-`]);
    expect(fake.server.ranges(`/v2/x/y/blobs/${digestOf(layers[1]!)}`)).toEqual([null]);
  });

  it('a layer whose parts do not make the whole is tried once more whole', async () => {
    const layer = randomBytes(100 * KIB);
    const other = randomBytes(100 * KIB);
    const reference = fake.image('mixed', imageParts([layer]));
    fake.blob(
      layer,
      file(
        (n) => (n === 1 ? other : layer),
        (n) => ({ cut: () => (n === 1 ? 60 * KIB : Infinity) }),
      ),
    );
    await arrived(reference);
    expect(fake.server.ranges(`/v2/x/y/blobs/${digestOf(layer)}`)).toEqual([
      null,
      `bytes=${60 * KIB}-`,
      null,
    ]);
  });

  it('by the end of a process, the next one has what is whole already', async () => {
    const layers = [randomBytes(20 * KIB), randomBytes(20 * KIB)];
    const reference = fake.image('handed', imageParts(layers));
    fake.blob(layers[1]!, (request, response, n) =>
      n === 1 ? void response.writeHead(503).end() : file(() => layers[1]!)(request, response, n),
    );
    await imports.close();
    imports = process_({ backoffMs: () => 60_000 });
    const operation = await imports.begin(ctx, 'p', { name: 'handed', kind: 'oci', registry: { reference } });
    const states = () =>
      entries(join(blobs.dir, 'imports', operation.id)).filter((name) => {
        const state = join(blobs.dir, 'imports', operation.id, name, 'state.json');
        return existsSync(state) && (JSON.parse(readFileSync(state, 'utf8')) as { done: boolean }).done;
      });
    await until('the others are whole', patience(10_000), async () =>
      states().length === 2 && slept.length === 1 ? true : undefined,
    );
    await imports.close();
    imports = process_();
    await imports.takeUp();
    await imports.sweep();
    expect((await ended(operation)).state).toBe('succeeded');
    expect(fake.server.ranges(`/v2/x/y/blobs/${digestOf(layers[0]!)}`)).toEqual([null]);
    await nothingLeft();
  });
});

describe('a busy registry', () => {
  it.each([429, 500, 503])('that answers %d is asked again, after the pause it asks for', async (status) => {
    const image = imageParts([randomBytes(KIB)]);
    const reference = fake.image(`busy-${status}`, image);
    const headers = { 'retry-after': '2' };
    fake.at(`manifests/busy-${status}`, (_, response, n) => {
      if (n === 1) return void response.writeHead(status, headers).end();
      response.writeHead(200, { 'content-type': types.manifest }).end(image.manifest);
    });
    await arrived(reference);
    expect(slept).toEqual([2_000]);
  });

  it('is given up after so many tries', async () => {
    const reference = fake.at('manifests/down', (_, response) => void response.writeHead(502).end());
    const error = await refused(reference);
    expect(error).toMatchObject({ code: 'unavailable' });
    expect(error.message).toBe(
      'given up after 3 tries to read the manifest: the server answered 502 Bad Gateway',
    );
  });
});

describe('bearer tokens', () => {
  const image = imageParts([randomBytes(10 * KIB), randomBytes(10 * KIB)]);
  const servers: { stop(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop();
  });
  /** Where whoever asks is told to fetch a token; `seen` has what was sent to the registry, to the token server and elsewhere. */
  async function guarded(o: { readonly user: boolean; readonly uses?: number }): Promise<{
    reference: string;
    seen: { registry: string[]; tokens: { authorization: string; query: string }[]; elsewhere: string[] };
  }> {
    const seen = {
      registry: [] as string[],
      tokens: [] as { authorization: string; query: string }[],
      elsewhere: [] as string[],
    };
    const auth = await SourceServer.start();
    const store = await SourceServer.start();
    let good = '';
    let uses = 0;
    const realm = auth.at('/token', (request, response) => {
      const { authorization = '' } = request.headers;
      seen.tokens.push({ authorization, query: (request.url ?? '').split('?')[1] ?? '' });
      const { username, password } = registryUser;
      const wanted = o.user ? `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` : '';
      if (authorization !== wanted) return void response.writeHead(401).end();
      good = `t-${randomBytes(6).toString('hex')}`;
      uses = o.uses ?? Infinity;
      response
        .writeHead(200, { 'content-type': 'application/json' })
        .end(JSON.stringify({ token: good, expires_in: 60 }));
    });
    const server = await FakeRegistry.start();
    const guard =
      (then: Parameters<FakeRegistry['at']>[1]): Parameters<FakeRegistry['at']>[1] =>
      (request, response, n) => {
        const { authorization = '' } = request.headers;
        seen.registry.push(authorization);
        if (authorization !== `Bearer ${good}` || uses-- <= 0)
          return challenge(
            response,
            `Bearer realm="${realm}",service="r.test",scope="repository:victim/z:push"`,
          );
        then(request, response, n);
      };
    for (const bytes of [image.config, ...image.layers]) {
      const to = store.at(`/${digestOf(bytes)}`, (request, response, n) => {
        seen.elsewhere.push(request.headers.authorization ?? 'none');
        file(() => bytes)(request, response, n);
      });
      server.blob(
        bytes,
        guard((_, response) => void response.writeHead(307, { location: to }).end()),
      );
    }
    const reference = server.at(
      'manifests/guarded',
      guard(
        (_, response) => void response.writeHead(200, { 'content-type': types.manifest }).end(image.manifest),
      ),
    );
    servers.push(auth, store, server);
    return { reference, seen };
  }

  it('are fetched where the registry says, for our own scope, and go to no other host', async () => {
    const { reference, seen } = await guarded({ user: false });
    await allow({ redirects: true });
    await arrived(reference);
    expect(seen.tokens).toEqual([
      { authorization: '', query: 'service=r.test&scope=repository%3Ax%2Fy%3Apull' },
    ]);
    expect(seen.registry[0]).toBe('');
    expect(seen.registry.slice(1).every((sent) => /^Bearer t-/.test(sent))).toBe(true);
    expect(seen.elsewhere).toEqual(['none', 'none', 'none']);
  });

  it('stand for a password that the registry itself never gets', async () => {
    const { reference, seen } = await guarded({ user: true });
    await allow({ redirects: true });
    const { username, password } = registryUser;
    expect(await refused(reference)).toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining('token server that answered 401'),
    });
    await arrived(reference, { username, password });
    expect(seen.registry.join()).not.toContain('Basic');
    expect(seen.elsewhere).toEqual(['none', 'none', 'none']);
  });

  it('are given for an identity token, which goes to the token server alone, and nowhere else by a redirect', async () => {
    const identityToken = 'refresh-s3cret';
    const forms: { method: string; body: string; url: string }[] = [];
    let moved = false;
    const auth = await SourceServer.start();
    const elsewhere = await SourceServer.start();
    const far = elsewhere.at('/token', (request, response) => {
      forms.push({ method: request.method ?? '', body: '', url: 'elsewhere' });
      response.writeHead(200).end('{"access_token":"good"}');
    });
    const realm = auth.at('/token', (request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        forms.push({ method: request.method ?? '', body, url: request.url ?? '' });
        if (moved) return void response.writeHead(307, { location: far }).end();
        response.writeHead(200).end('{"access_token":"good","refresh_token":"next"}');
      });
    });
    servers.push(auth, elsewhere);
    const guard =
      (then: Parameters<FakeRegistry['at']>[1]): Parameters<FakeRegistry['at']>[1] =>
      (request, response, n) =>
        request.headers.authorization === 'Bearer good'
          ? then(request, response, n)
          : challenge(response, `Bearer realm="${realm}",service="r.test"`);
    const server = await FakeRegistry.start();
    servers.push(server);
    for (const bytes of [image.config, ...image.layers]) server.blob(bytes, guard(file(() => bytes)));
    const reference = server.at(
      'manifests/guarded',
      guard(
        (_, response) => void response.writeHead(200, { 'content-type': types.manifest }).end(image.manifest),
      ),
    );
    await registryCredentialKeep(
      { store, masterKey },
      ctx,
      { projectId, host: server.domain },
      { identityToken },
    );
    await arrived(reference);
    expect(forms).toEqual([{ method: 'POST', url: '/token', body: expect.any(String) }]);
    expect(Object.fromEntries(new URLSearchParams(forms[0]?.body))).toEqual({
      grant_type: 'refresh_token',
      client_id: 'berth',
      service: 'r.test',
      scope: 'repository:x/y:pull',
      refresh_token: identityToken,
    });
    await end();
    begin();
    moved = true;
    await allow({ redirects: true });
    expect((await refused(reference)).message).toContain('redirects what is sent to it');
    expect(forms.map((f) => f.url)).not.toContain('elsewhere');
  });

  it('that expire on the way are fetched anew', async () => {
    const { reference, seen } = await guarded({ user: false, uses: 2 });
    await allow({ redirects: true });
    await arrived(reference);
    expect(seen.tokens.length).toBeGreaterThan(1);
  });

  it('redirects of blobs are the project’s to allow', async () => {
    const { reference, seen } = await guarded({ user: false });
    const error = await refused(reference);
    expect(error).toMatchObject({
      code: 'forbidden',
      remedy: expect.stringContaining('imageSources.redirects'),
    });
    expect(seen.elsewhere).toEqual([]);
  });

  it.each([
    ['Bearer realm="file:///etc/passwd"', 'token server whose address has the scheme "file"'],
    ['Bearer realm="http://me:pw@127.0.0.1/"', 'token server whose address holds a user name'],
    ['Bearer service="x"', 'token server that is no address'],
    ['Negotiate', 'asks for negotiate'],
    ['', 'asks for nothing'],
    ['Basic realm="x"', 'asks for a user name and password'],
  ])('are not fetched for the challenge %s', async (header, why) => {
    const reference = fake.at('manifests/odd', (_, response) => challenge(response, header));
    expect(await refused(reference)).toMatchObject({
      code: 'forbidden',
      message: expect.stringContaining(why),
    });
  });
});

describe('nothing of it becomes visible, and the operation says why, when', () => {
  const layers = [randomBytes(2 * KIB), randomBytes(3 * KIB)];
  const good = imageParts(layers);
  /** A manifest of those layers with other fields, and how its end is told. */
  const odd = (change: object): string => {
    fake.image('odd', good);
    return fake.manifest('odd', imageParts(layers, change).manifest);
  };
  const layer = (change: object): object => ({ ...described(types.layer, layers[0]!), ...change });

  it.each<[string, () => string, string, string]>([
    [
      'a layer has another content',
      () => {
        const reference = fake.image('odd', good);
        fake.blob(
          layers[0]!,
          file(() => randomBytes(2 * KIB)),
        );
        return reference;
      },
      'badImage',
      `the content of ${digestOf(layers[0]!)} hashes to sha256:`,
    ],
    [
      'a layer is longer than stated',
      () => {
        const reference = fake.image('odd', good);
        fake.blob(layers[0]!, (_, response) => {
          response.write(layers[0]!);
          response.end('more');
        });
        return reference;
      },
      'badImage',
      'the server gives 2052 bytes of content that has 2048',
    ],
    [
      'a layer says itself to have another size',
      () => odd({ layers: [layer({ size: 2000 }), described(types.layer, layers[1]!)] }),
      'badImage',
      'the server gives 2048 bytes of content that has 2000',
    ],
    [
      'a manifest states two sizes for one layer',
      () => odd({ layers: [layer({}), layer({ size: 7 })] }),
      'badImage',
      'two sizes',
    ],
    [
      'it is too large',
      () => odd({ layers: [layer({ size: maxBytes })] }),
      'tooLarge',
      `more than ${maxBytes} bytes`,
    ],
    [
      'it has too many layers',
      () => odd({ layers: Array.from({ length: 129 }, () => layer({})) }),
      'tooLarge',
      'more than 128 layers',
    ],
    [
      'a layer is foreign',
      () =>
        odd({ layers: [layer({ mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' })] }),
      'unsupported',
      'is foreign',
    ],
    [
      'a layer is not to be distributed',
      () =>
        odd({
          layers: [layer({ mediaType: 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip' })],
        }),
      'unsupported',
      'is foreign',
    ],
    [
      'a layer lies elsewhere',
      () => odd({ layers: [layer({ urls: ['http://10.0.0.1/x'] })] }),
      'unsupported',
      'is foreign',
    ],
    [
      'a layer is of no known type',
      () => odd({ layers: [layer({ mediaType: 'text/plain' })] }),
      'unsupported',
      'text/plain',
    ],
    [
      'it is no image but an artifact',
      () => odd({ config: described('application/vnd.oci.empty.v1+json', good.config) }),
      'unsupported',
      'it is no image',
    ],
    [
      'the digest names another manifest',
      () => fake.manifest(`sha256:${'0'.repeat(64)}`, good.manifest),
      'badImage',
      'hashes to',
    ],
    [
      'the registry names another digest',
      () =>
        fake.manifest('odd', good.manifest, types.manifest, {
          'docker-content-digest': `sha256:${'0'.repeat(64)}`,
        }),
      'badImage',
      'hashes to',
    ],
    [
      'a page comes',
      () => fake.manifest('odd', Buffer.from('<html></html>'), 'text/html; charset=utf-8'),
      'badImage',
      '"text/html"',
    ],
    [
      'what is called a manifest is a page',
      () => fake.manifest('odd', Buffer.from('<html></html>')),
      'badImage',
      'no manifest',
    ],
    [
      'it is no manifest inside',
      () => fake.manifest('odd', json({ schemaVersion: 2 })),
      'badImage',
      'is not valid: config',
    ],
    [
      'it is of schema 1',
      () =>
        fake.manifest(
          'odd',
          json({ schemaVersion: 1, fsLayers: [] }),
          'application/vnd.docker.distribution.manifest.v1+prettyjws',
        ),
      'unsupported',
      'schema 1',
    ],
    [
      'it is called two things',
      () => fake.manifest('odd', good.manifest, 'application/vnd.docker.distribution.manifest.v2+json'),
      'badImage',
      'is called',
    ],
    ['it is a manifest and an index', () => odd({ manifests: [] }), 'badImage', 'an index too'],
    [
      'it is endless',
      () => fake.manifest('odd', Buffer.alloc(4 * KIB * KIB + 1, 32)),
      'tooLarge',
      'more than 4194304 bytes',
    ],
    [
      'its config is for another platform',
      () => {
        const config = json({
          architecture: 'arm64',
          os: 'linux',
          rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
        });
        fake.blob(config);
        return odd({ config: described(types.config, config) });
      },
      'unsupported',
      'linux/arm64',
    ],
  ])('%s', async (_, reference, code, why) => {
    expect(await refused(reference())).toMatchObject({ code, message: expect.stringContaining(why) });
  });

  it('an index leads to indexes without end, or to nothing for us', async () => {
    const index = (manifests: object[]): Buffer =>
      json({ schemaVersion: 2, mediaType: types.index, manifests });
    let inner = index([described(types.manifest, good.manifest)]);
    for (let depth = 0; depth < 5; depth += 1) {
      fake.manifest(digestOf(inner), inner, types.index);
      inner = index([described(types.index, inner)]);
    }
    expect(await refused(fake.manifest('deep', inner, types.index))).toMatchObject({
      code: 'tooLarge',
      message: expect.stringContaining('more than 3 deep'),
    });
    // One that names itself cannot be: its digest is not known before it is written. One that pretends to is found out.
    const self = `sha256:${'1'.repeat(64)}`;
    const loop = index([{ mediaType: types.index, digest: self, size: 1 }]);
    fake.manifest(self, loop, types.index);
    expect((await refused(fake.manifest('loop', loop, types.index))).message).toContain('hashes to');
    const foreign = index([
      {
        ...described(types.manifest, good.manifest),
        platform: { os: 'linux', architecture: 'amd64', variant: 'v4' },
      },
    ]);
    expect(await refused(fake.manifest('foreign', foreign, types.index))).toMatchObject({
      code: 'unsupported',
      message: expect.stringContaining('nothing for linux/x86_64'),
    });
  });
});

describe('a project that reaches no private address', () => {
  it.each(['127.0.0.1:1/x', '127.1/x', '0x7f.1/x', '[::1]:5000/x', '[::ffff:7f00:1]/x', '169.254.169.254/x'])(
    'is refused %s at once',
    async (reference) => {
      await allow({ privateAddresses: false });
      const begun = imports.begin(ctx, 'p', { name: 'x', kind: 'oci', registry: { reference } });
      await expect(begun).rejects.toMatchObject({
        code: 'forbidden',
        options: { remedy: expect.stringContaining('imageSources.privateAddresses') },
      });
    },
  );

  it('nor by name, nor as a token server, nor by a redirect of a blob', async () => {
    await allow({ privateAddresses: false });
    const before = fake.server.requests.length;
    const port = fake.server.port;
    expect(await refused(`localhost:${port}/x/y:small`)).toMatchObject({
      code: 'forbidden',
      message: expect.stringMatching(/^The address localhost \(.+\) is not of the public Internet/),
    });
    expect(fake.server.requests.length).toBe(before);
    // The first connection is let through, as to a public address: what is tried is the second.
    const inner = await SourceServer.start();
    const to = inner.at('/inner', (_, response) => void response.writeHead(200).end('{"token":"t"}'));
    fake.at('manifests/token', (_, response) => challenge(response, `Bearer realm="${to}"`));
    fake.at('blobs/moved', (_, response) => void response.writeHead(307, { location: to }).end());
    for (const path of ['manifests/token', 'blobs/moved']) {
      let asked = 0;
      const sources = {
        redirects: true,
        get privateAddresses() {
          return ++asked <= 2;
        },
      };
      const reference = RegistryReference.parse(`${fake.domain}/x/y`);
      const base = new URL(`http://${fake.domain}`);
      const client = new RegistryClient({
        reference,
        credentials: null,
        kept: false,
        access: 'pull',
        base,
        stallMs: 1_000,
      });
      await expect(client.get(path, {}, sources, new AbortController().signal)).rejects.toMatchObject({
        code: 'forbidden',
        options: { remedy: expect.stringContaining('privateAddresses') },
      });
    }
    expect(inner.requests).toEqual([]);
    await inner.stop();
  });

  it('speaks https where the configuration says nothing else', async () => {
    imports = new RemoteImports({
      ...(imports as unknown as { o: ConstructorParameters<typeof RemoteImports>[0] }).o,
      insecureRegistries: ['127.0.0.1:1'],
      registryMirrors: {},
    });
    const before = fake.server.requests.length;
    expect((await refused(`${fake.domain}/x/y:small`)).code).toBe('unavailable');
    expect(fake.server.requests.length).toBe(before);
  });
});

describe('mirrors', () => {
  const dead = '127.0.0.1:1';
  /** A process with a store of its own, whose configuration names mirrors. */
  function mirroring(registryMirrors: RegistryMirrors): void {
    begin();
    const { o } = imports as unknown as { o: ConstructorParameters<typeof RemoteImports>[0] };
    imports = new RemoteImports({ ...o, registryMirrors });
  }
  const small = () => imageParts([Buffer.from('small')]);

  it('are asked in their order, and the registry not at all where one of them has it', async () => {
    mirroring({ 'REGISTRY.invalid': [dead, registry.domain] });
    const { image, end } = await arrived('registry.invalid/shop/busybox:1');
    expect(end.steps.find((s) => s.name === 'retry')?.message).toContain(dead);
    const again = await arrived(`registry.invalid/shop/busybox@${image.digest}`);
    expect(again.image.digest).toBe(image.digest);
    // Below a path of the mirror's.
    const under = await FakeRegistry.start('cache/x/y');
    under.image('small', small());
    mirroring({ 'registry.invalid': [`${under.domain}/cache`] });
    await arrived('registry.invalid/x/y:small').finally(() => under.stop());
  });

  it('are not believed: what does not hash to its digest comes from the next place', async () => {
    const [bad, parts] = [await FakeRegistry.start(), small()];
    bad.image('it', parts);
    const [layer] = parts.layers;
    bad.at(
      `blobs/${digestOf(layer!)}`,
      file(() => Buffer.from('sMALL')),
    );
    const digest = digestOf(parts.manifest);
    bad.manifest(digest, json({ schemaVersion: 2, mediaType: types.manifest, layers: [] }));
    fake.image('it', parts);
    fake.manifest(digest, parts.manifest);
    mirroring({ [fake.domain]: [bad.domain] });
    try {
      expect((await arrived(`${fake.domain}/x/y:it`)).image.digest).toBe(digest);
      expect((await arrived(`${fake.domain}/x/y@${digest}`)).image.digest).toBe(digest);
    } finally {
      await bad.stop();
    }
  });

  it('that cut go no further than they can: the next place gives the rest of what one began', async () => {
    const content = Buffer.alloc(256 * KIB, 'x');
    const parts = imageParts([content]);
    const cutting = await FakeRegistry.start();
    cutting.image('rest', parts);
    const half = content.length / 2;
    cutting.blob(
      content,
      file(
        () => content,
        (n) => ({ ranges: true, cut: () => (n === 1 ? half : 0) }),
      ),
    );
    fake.image('rest', parts);
    const path = `/v2/x/y/blobs/${digestOf(content)}`;
    mirroring({ [fake.domain]: [cutting.domain] });
    try {
      await arrived(`${fake.domain}/x/y:rest`);
      expect(fake.server.ranges(path).at(-1)).toBe(`bytes=${half}-`);
    } finally {
      await cutting.stop();
    }
  });

  it('get nothing of what signs in at the registry, and are left out when they ask for it', async () => {
    const nosy = await FakeRegistry.start();
    const heard: (string | undefined)[] = [];
    const path = nosy.at('manifests/mine', (request, response) => {
      heard.push(request.headers.authorization);
      challenge(response, 'Basic realm="give"');
    });
    expect(path).toContain('mine');
    fake.image('mine', small());
    const { username, password } = registryUser;
    await registryCredentialKeep(
      { store, masterKey },
      ctx,
      { projectId, host: fake.domain },
      { username, password },
    );
    mirroring({ [fake.domain]: [nosy.domain] });
    try {
      await arrived(`${fake.domain}/x/y:mine`);
      await arrived(`${fake.domain}/x/y:mine`, { username: 'me', password: 's3cret' });
    } finally {
      await store.registryCredentialDelete(ctx, { projectId, host: fake.domain });
      await nosy.stop();
    }
    expect(heard).toEqual([undefined, undefined]);
  });

  it('all of them, and the registry, are named when none has it', async () => {
    mirroring({ [fake.domain]: [dead, registry.domain] });
    const error = await refused(`${fake.domain}/x/y:nowhere`);
    expect(error.code).toBe('notFound');
    for (const place of [dead, registry.domain, fake.domain]) expect(error.message).toContain(`${place}: `);
    expect(error.remedy).toContain('registryMirrors');
  });

  it('may be at a private address, as the configuration names them; what they redirect to may not', async () => {
    await allow({ privateAddresses: false, redirects: true });
    mirroring({ 'registry.invalid': [registry.domain] });
    await arrived('registry.invalid/shop/busybox:1');
    const inner = await SourceServer.start();
    try {
      const to = inner.at('/inner', (_, response) => void response.end('{}'));
      fake.at('manifests/moved', (_, response) => void response.writeHead(302, { location: to }).end());
      mirroring({ 'registry.invalid': [fake.domain] });
      const { message } = await refused('registry.invalid/x/y:moved');
      expect(message).toContain('not of the public Internet');
      expect(inner.requests).toEqual([]);
    } finally {
      await inner.stop();
    }
  });
});

describe('references', () => {
  it('are taken and refused as skopeo does', async () => {
    const d = '127.0.0.1:1';
    const hex = 'a'.repeat(64);
    const references = [
      ...[
        'a',
        'a/b',
        'a/b:1',
        'a.b/c_d/e__f-g--h',
        `a@sha256:${hex}`,
        'a:X.y-z_1',
        `a:${'t'.repeat(128)}`,
      ].map((r) => `${d}/${r}`),
      ...[
        'A',
        'a//b',
        'a/',
        '-a',
        'a-',
        'a..b',
        'a___b',
        'a:',
        'a:-x',
        'a:.x',
        `a:${'t'.repeat(129)}`,
        'a@sha256:aa',
        'a b',
        'a?x',
        'a#x',
        'a%2f',
        'a/../b',
        'ä',
      ].map((r) => `${d}/${r}`),
      `${d}/${'a'.repeat(260)}`,
      '-x.y:1/a',
    ];
    for (const reference of references) {
      const ours = await imports
        .begin(ctx, 'p', { name: 'reference', kind: 'oci', registry: { reference } })
        .then(
          async (operation) => (await ended(operation)).error?.code,
          (error: { code: string }) => error.code,
        );
      const theirs = await exec('skopeo', ['inspect', '--tls-verify=false', `docker://${reference}`]).then(
        () => 'there',
        ({ stderr }: { stderr: string }) =>
          /invalid reference format|must be lowercase|must not be more than/.test(stderr)
            ? 'invalid'
            : 'unavailable',
      );
      expect({ reference, ours }).toEqual({ reference, ours: theirs });
    }
  });
});

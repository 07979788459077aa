import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BlobStore } from '@berth/images';
import type { Digest, ImageSources, Operation, ProjectId } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MasterKey } from '../../apps/api/src/dispatch/master-key.js';
import type { RemoteImport } from '../../apps/api/src/images/import-source.js';
import { RemoteImports } from '../../apps/api/src/images/remote-imports.js';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { systemClock, systemPause } from '../../apps/api/src/system-clock.js';
import { busyboxArchive } from '../../libs/containers/src/testing/busybox-image.js';
import { patience, until } from '../e2e/berth.js';
import { changedLayers } from '../http/changed-layers.js';
import { ctx, ids, migratedDatabase } from '../store/fixture.js';
import { startPostgres, withClient, type ThrowawayPostgres } from '../support/postgres.js';
import { file, SourceServer } from './source-server.js';

/*
 * Imports by URL from a real web server on loopback that does every wrong thing; real Postgres, real blob store. The process
 * of the API is another file's.
 */

const KIB = 1024;
const maxBytes = 2 * KIB * KIB;
let postgres: ThrowawayPostgres;
let url: string;
let store: Store;
let server: SourceServer;
let dir: string;
let blobs: BlobStore;
let imports: RemoteImports;
let projectId: ProjectId;
let ran = 0;
const masterKey = new MasterKey(randomBytes(32));

beforeAll(async () => {
  postgres = await startPostgres();
  url = await migratedDatabase(postgres.url);
  store = await openStore({ url, clock: systemClock, ids });
  server = await SourceServer.start();
  ({ id: projectId } = await store.projectCreate(ctx, { name: 'p' }));
});
afterAll(async () => {
  await server.stop();
  await store.close();
  await postgres.stop();
});
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-imports-'));
  blobs = new BlobStore(join(dir, 'blobs'));
  imports = process_();
  await allow({ redirects: false, privateAddresses: true });
});
afterEach(async () => {
  await imports.close();
  rmSync(dir, { recursive: true, force: true });
});

const process_ = (): RemoteImports =>
  new RemoteImports({
    store,
    blobs,
    masterKey,
    clock: systemClock,
    ids,
    pause: systemPause,
    log: console,
    dispatch: () => undefined,
    ledger: () => undefined,
    layers: changedLayers,
    limits: { maxBytes, stallMs: 300, idleTries: 3, tries: 20, backoffMs: () => 5, partBytes: 2 ** 20 },
    insecureRegistries: [],
    registryMirrors: {},
  });
const allow = (imageSources: Partial<ImageSources>) => store.projectUpdate(ctx, 'p', { imageSources });

/** A raw disk that nobody else has. */
function disk(bytes = 256 * KIB): Buffer {
  const made = randomBytes(bytes);
  made.writeUInt16LE(0xaa55, 510);
  return made;
}
const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const digestOf = (bytes: Buffer): Digest => `sha256:${sha(bytes)}` as Digest;

async function ended(operation: Operation): Promise<Operation> {
  return until('the import ends', patience(20_000), async () => {
    const now = await store.operationGet(null, operation.id);
    return now === null || now.finishedAt === null ? undefined : now;
  });
}
async function imported(
  from: string,
  more: Partial<RemoteImport> = {},
): Promise<{ name: string; end: Operation }> {
  const name = `i${++ran}`;
  const operation = await imports.begin(ctx, 'p', { name, kind: 'disk', url: from, ...more });
  return { name, end: await ended(operation) };
}
/** Imported, and it is what the server has; nothing half-made is left. */
async function arrived(from: string, bytes: Buffer, more: Partial<RemoteImport> = {}): Promise<Operation> {
  const { name, end } = await imported(from, more);
  expect(end).toMatchObject({ state: 'succeeded', progress: 100, error: null });
  const image = await store.imageGet(projectId, name);
  expect(image).toMatchObject({ id: end.target.id, digest: digestOf(bytes), sizeBytes: bytes.length });
  expect(readFileSync(blobs.path(digestOf(bytes)))).toEqual(bytes);
  await nothingLeft();
  return end;
}
async function refused(
  from: string,
  more: Partial<RemoteImport> = {},
): Promise<NonNullable<Operation['error']>> {
  const { name, end } = await imported(from, more);
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

describe('an image is imported from an address', () => {
  it('a disk, with steps and progress, and the ledger names the source without its query', async () => {
    const bytes = disk();
    const end = await arrived(
      server.at(
        '/plain',
        file(() => bytes),
      ) + '?signature=s3cret',
      bytes,
      {
        sha256: sha(bytes),
      },
    );
    expect(end.steps.map((s) => s.name)).toEqual(['download', 'verify']);
    expect(end.steps[0]?.message).toBe('0.3 of 0.3 MiB');
    const { rows } = await withClient(url, (c) =>
      c.query<{ type: string; source: string | null }>(
        `SELECT type, data->>'source' AS source FROM events WHERE object_id = $1 AND object_kind = 'image' ORDER BY id`,
        [end.target.id],
      ),
    );
    const source = `http://127.0.0.1:${server.port}/plain?…`;
    expect(rows).toEqual(
      [
        { type: 'image.imageImport', source },
        { type: 'image.created', source },
        { type: 'operation.succeeded', source: null },
      ].sort((a, b) => rows.findIndex((r) => r.type === a.type) - rows.findIndex((r) => r.type === b.type)),
    );
    const everything = await withClient(url, async (c) =>
      JSON.stringify([
        (await c.query('SELECT * FROM events')).rows,
        (await c.query('SELECT * FROM operations')).rows,
        (await c.query('SELECT * FROM image_imports')).rows,
      ]),
    );
    expect(everything).not.toContain('s3cret');
  });

  it('an OCI archive', async () => {
    const archive = await busyboxArchive();
    const { name, end } = await imported(
      server.at(
        '/oci',
        file(() => archive),
      ),
      { kind: 'oci', sha256: sha(archive) },
    );
    expect(end.error).toBeNull();
    const image = await store.imageGet(projectId, name);
    for (const { digest } of image!.content.blobs) expect(await blobs.has(digest)).toBe(true);
    await nothingLeft();
  });

  it('whose length is not said', async () => {
    const bytes = disk();
    const from = server.at('/chunked', (_, response) => {
      response.write(bytes.subarray(0, 1000));
      response.end(bytes.subarray(1000));
    });
    expect((await arrived(from, bytes)).steps[0]?.message).toBe('0.3 MiB');
  });

  it('that somebody else has already: one blob, two images', async () => {
    const bytes = disk();
    const from = server.at(
      '/twice',
      file(() => bytes),
    );
    await arrived(from, bytes);
    await arrived(from, bytes);
    expect(await blobs.list()).toHaveLength(1);
  });

  it('but not under a name that is taken, or being imported', async () => {
    const bytes = disk();
    const from = server.at(
      '/named',
      file(() => bytes),
    );
    const { name } = await imported(from);
    await expect(imports.begin(ctx, 'p', { name, kind: 'disk', url: from })).rejects.toMatchObject({
      code: 'nameTaken',
    });
    const never = server.at('/never', () => undefined);
    await imports.begin(ctx, 'p', { name: 'under-way', kind: 'disk', url: never });
    await expect(
      imports.begin(ctx, 'p', { name: 'under-way', kind: 'disk', url: from }),
    ).rejects.toMatchObject({
      code: 'nameTaken',
    });
  });
});

describe('a cut connection', () => {
  const third = 100 * KIB;

  it('is gone on with where it broke off, under a strong ETag', async () => {
    const bytes = disk();
    const from = server.at(
      '/etag',
      file(
        () => bytes,
        () => ({ etag: '"a"', cut: (n) => (n < 3 ? third : Infinity) }),
      ),
    );
    const end = await arrived(from, bytes);
    expect(server.ranges('/etag')).toEqual([null, `bytes=${third}-`, `bytes=${2 * third}-`]);
    expect(end.steps.map((s) => s.name)).toEqual([
      'download',
      'retry',
      'download',
      'retry',
      'download',
      'verify',
    ]);
    expect(end.steps[1]?.message).toBe('the connection was cut');
  });

  it('and by the date of the last change', async () => {
    const bytes = disk();
    const lastModified = 'Wed, 21 Oct 2015 07:28:00 GMT';
    const from = server.at(
      '/dated',
      file(
        () => bytes,
        () => ({ lastModified, cut: (n) => (n === 1 ? third : Infinity) }),
      ),
    );
    await arrived(from, bytes);
    expect(server.ranges('/dated')).toEqual([null, `bytes=${third}-`]);
  });

  it.each([
    ['a weak ETag', { etag: 'W/"a"' }],
    ['no validator', {}],
    ['a last change of this very second', { lastModified: new Date(Date.now() + 3_600_000).toUTCString() }],
  ])('is begun again under %s: nothing says that it is the same', async (what, validator) => {
    const bytes = disk();
    const path = `/again-${what.replaceAll(' ', '-')}`;
    const from = server.at(
      path,
      file(
        () => bytes,
        () => ({ ...validator, cut: (n) => (n === 1 ? third : Infinity) }),
      ),
    );
    await arrived(from, bytes);
    expect(server.ranges(path)).toEqual([null, null]);
  });

  it('is begun again by a server that ignores ranges', async () => {
    const bytes = disk();
    const options = { etag: '"a"', ranges: false };
    const from = server.at(
      '/whole',
      file(
        () => bytes,
        () => ({ ...options, cut: (n) => (n === 1 ? third : Infinity) }),
      ),
    );
    await arrived(from, bytes);
    expect(server.ranges('/whole')).toEqual([null, `bytes=${third}-`]);
  });

  it('is begun again when the content changed meanwhile', async () => {
    const old = disk();
    const bytes = disk();
    const from = server.at(
      '/changed',
      file(
        (n) => (n === 1 ? old : bytes),
        (n) => ({ etag: `"${n === 1 ? 'old' : 'new'}"`, cut: () => (n === 1 ? third : Infinity) }),
      ),
    );
    await arrived(from, bytes);
  });

  it('is begun again when a server heeds no If-Range and gives a part of something else', async () => {
    const old = disk();
    const bytes = disk();
    const from = server.at('/liar', (request, response, n) => {
      const asked = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
      if (n === 1)
        return file(
          () => old,
          () => ({ etag: '"old"', cut: () => third }),
        )(request, response, n);
      if (asked === undefined)
        return file(
          () => bytes,
          () => ({ etag: '"new"' }),
        )(request, response, n);
      const start = Number(asked);
      response.writeHead(206, {
        etag: '"new"',
        'content-range': `bytes ${start}-${bytes.length - 1}/${bytes.length}`,
      });
      response.end(bytes.subarray(start));
    });
    await arrived(from, bytes);
    expect(server.ranges('/liar')).toEqual([null, `bytes=${third}-`, null]);
  });

  it('is begun again when a part lies about where it begins', async () => {
    const bytes = disk();
    const from = server.at('/shifted', (request, response, n) => {
      if (request.headers.range === undefined)
        return file(
          () => bytes,
          () => ({ etag: '"a"', cut: () => (n === 1 ? third : Infinity) }),
        )(request, response, n);
      response.writeHead(206, {
        etag: '"a"',
        'content-range': `bytes 7-${bytes.length - 1}/${bytes.length}`,
      });
      response.end(bytes.subarray(7));
    });
    await arrived(from, bytes);
  });

  it('of which the parts do not make the whole is tried once more from the beginning', async () => {
    const old = disk();
    const bytes = disk();
    const from = server.at(
      '/mixed',
      file(
        (n) => (n === 1 ? old : bytes),
        () => ({ etag: '"same"', cut: (n) => (n === 1 ? third : Infinity) }),
      ),
    );
    await arrived(from, bytes, { sha256: sha(bytes) });
    expect(server.ranges('/mixed')).toEqual([null, `bytes=${third}-`, null]);
  });

  it('is given up when nothing new comes any more, and says how far it was', async () => {
    const bytes = disk();
    const from = server.at(
      '/stuck',
      file(
        () => bytes,
        () => ({ etag: '"a"', cut: (n) => (n === 1 ? third : 0) }),
      ),
    );
    const error = await refused(from);
    expect(error).toMatchObject({ code: 'unavailable' });
    expect(error.message).toBe(
      `given up after 4 tries and ${third} of ${bytes.length} bytes: the connection was cut`,
    );
  });

  it('is given up after so many tries, even if each brings a little', async () => {
    const bytes = disk();
    const from = server.at(
      '/drops',
      file(
        () => bytes,
        () => ({ etag: '"a"', cut: () => KIB }),
      ),
    );
    expect((await refused(from)).message).toMatch(/^given up after 20 tries and 20480 of /);
  });
});

describe('nothing of it becomes visible, and the operation says why, when', () => {
  it('the digest is another', async () => {
    const bytes = disk();
    const from = server.at(
      '/other',
      file(() => bytes),
    );
    const error = await refused(from, { sha256: sha(disk()) });
    expect(error).toMatchObject({ code: 'badImage', message: expect.stringContaining(sha(bytes)) });
    expect(server.ranges('/other')).toEqual([null]);
  });

  it('the server says a greater length than it gives', async () => {
    const bytes = disk();
    const from = server.at('/short', (_, response) => {
      response.writeHead(200, { 'content-length': String(bytes.length + 512), etag: '"a"' });
      response.write(bytes, () => response.destroy());
    });
    expect((await refused(from)).message).toMatch(/^given up after \d+ tries and 262144 of 262656 bytes: /);
  });

  it('the server says a smaller length than it gives: what is more is not taken', async () => {
    const bytes = disk();
    const raw = createTcpServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${bytes.length - 512}\r\nconnection: close\r\n\r\n`);
        socket.end(bytes);
      });
    });
    await new Promise<void>((resolve) => raw.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = raw.address() as { port: number };
      const error = await refused(`http://127.0.0.1:${port}/more`, { sha256: sha(bytes) });
      expect(error.code).toBe('badImage');
    } finally {
      await new Promise((resolve) => raw.close(resolve));
    }
  });

  it('it says itself to be too large: nothing is downloaded', async () => {
    const from = server.at('/large', (_, response) => {
      response.writeHead(200, { 'content-length': String(maxBytes + 1) });
      response.write('x');
    });
    expect(await refused(from)).toMatchObject({
      code: 'tooLarge',
      message: expect.stringContaining(String(maxBytes)),
    });
  });

  it('it never ends', async () => {
    const from = server.at('/endless', (_, response) => {
      const chunk = Buffer.alloc(64 * KIB);
      const more = (): void => {
        if (!response.destroyed) response.write(chunk, () => setImmediate(more));
      };
      more();
    });
    expect((await refused(from)).code).toBe('tooLarge');
  });

  it('the server takes the connection and says nothing, or stops in the middle', async () => {
    const silent = server.at('/silent', () => undefined);
    expect((await refused(silent)).message).toMatch(
      /^given up after 3 tries and 0 bytes: nothing came for 0 s$/,
    );
    const bytes = disk();
    const stalls = server.at('/stalls', (_, response) => {
      response.writeHead(200, { 'content-length': String(bytes.length) });
      response.write(bytes.subarray(0, 1000));
    });
    expect((await refused(stalls)).message).toContain('nothing came for');
  });

  it.each([
    [404, 'notFound', 1],
    [403, 'forbidden', 1],
    [401, 'forbidden', 1],
    [400, 'unavailable', 1],
    [500, 'unavailable', 3],
    [429, 'unavailable', 3],
    [206, 'unavailable', 3],
  ])('the server answers %d', async (status, code, tries) => {
    const from = server.at(`/status-${status}`, (_, response) => void response.writeHead(status).end());
    expect(await refused(from)).toMatchObject({ code, message: expect.stringContaining(String(status)) });
    expect(server.ranges(`/status-${status}`)).toHaveLength(tries);
  });

  it('it is encoded on its way', async () => {
    const from = server.at(
      '/gzip',
      (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('x'),
    );
    expect((await refused(from)).code).toBe('unsupported');
  });

  it('what comes is no HTTP, or nobody listens', async () => {
    const raw = createTcpServer((socket) =>
      socket
        .on('error', () => undefined)
        .resume()
        .end('SSH-2.0-nothing\r\n'),
    );
    await new Promise<void>((resolve) => raw.listen(0, '127.0.0.1', resolve));
    const { port } = raw.address() as { port: number };
    expect((await refused(`http://127.0.0.1:${port}/`)).code).toBe('unavailable');
    await new Promise((resolve) => raw.close(resolve));
    expect((await refused(`http://127.0.0.1:${port}/`)).message).toContain('ECONNREFUSED');
  });

  it('it is no image', async () => {
    const bytes = Buffer.from('<html>not found</html>');
    const from = server.at(
      '/page',
      file(() => bytes),
    );
    expect((await refused(from)).code).toBe('badImage');
    expect((await refused(from, { kind: 'oci' })).code).toBe('badImage');
  });

  it('its operation is over before all of it is here', async () => {
    const bytes = disk();
    let go: () => void = () => undefined;
    const from = server.at('/late', (_, response) => {
      response.writeHead(200, { 'content-length': String(bytes.length) });
      response.write(bytes.subarray(0, 1000));
      go = () => response.end(bytes.subarray(1000));
    });
    const operation = await imports.begin(ctx, 'p', { name: 'late', kind: 'disk', url: from });
    await until('it downloads', patience(10_000), async () =>
      ((await store.operationGet(null, operation.id))?.steps.length ?? 0) > 0 ? true : undefined,
    );
    const error = { code: 'unavailable', message: 'not finished by its deadline' };
    expect(await store.operationFinish(operation.id, error)).toBe(true);
    go();
    await nothingLeft();
    expect(await store.imageGet(projectId, 'late')).toBeNull();
    expect((await store.operationGet(null, operation.id))?.error).toEqual(error);
  });
});

describe('a project', () => {
  it('that allows nothing reaches no private address, by number, in any way of writing it, or by name', async () => {
    await allow({ privateAddresses: false });
    const bytes = disk();
    const { port } = new URL(
      server.at(
        '/secret',
        file(() => bytes),
      ),
    );
    for (const host of [
      '127.0.0.1',
      '127.1',
      '0x7f000001',
      '2130706433',
      '[::1]',
      '[::ffff:127.0.0.1]',
      '0.0.0.0',
      '169.254.169.254',
    ]) {
      const begun = imports.begin(ctx, 'p', {
        name: 'x',
        kind: 'disk',
        url: `http://${host}:${port}/secret`,
      });
      await expect(begun, host).rejects.toMatchObject({
        code: 'forbidden',
        options: { remedy: expect.stringContaining('imageSources.privateAddresses') },
      });
    }
    const error = await refused(`http://localhost:${port}/secret`);
    expect(error).toMatchObject({
      code: 'forbidden',
      message: expect.stringMatching(/^The address localhost \(.+\) is not of the public Internet/),
    });
    expect(error.remedy).toContain('imageSources.privateAddresses');
    expect(server.ranges('/secret')).toEqual([]);
  });

  it('that allows no redirects is told where it would go; one that does goes there', async () => {
    const bytes = disk();
    const to = server.at(
      '/target',
      file(
        () => bytes,
        () => ({ etag: '"a"', cut: (n) => (n === 1 ? 1000 : Infinity) }),
      ),
    );
    const from = server.at(
      '/moved',
      (_, response) => void response.writeHead(302, { location: `${to}?key=s3cret` }).end(),
    );
    const error = await refused(from);
    expect(error).toMatchObject({ code: 'forbidden', message: `the server redirects to ${to}?…` });
    expect(error.remedy).toContain('imageSources.redirects');
    await allow({ redirects: true });
    await arrived(from, bytes);
    expect(server.ranges('/target')).toEqual([null, 'bytes=1000-']);
  });

  it('that allows redirects is not led to private addresses by them', async () => {
    await allow({ redirects: true, privateAddresses: false });
    // The first hop has to be let through, as a public address would be: what is tried is the second.
    const { sourceGet } = await import('../../apps/api/src/images/source-get.js');
    const inner = server.at(
      '/inner',
      file(() => disk()),
    );
    const from = server.at(
      '/outer',
      (_, response) => void response.writeHead(307, { location: inner }).end(),
    );
    let asked = 0;
    const sources = {
      redirects: true,
      get privateAddresses() {
        return ++asked <= 2;
      },
    };
    const get = sourceGet(new URL(from), {
      headers: {},
      sources,
      stallMs: 1000,
      signal: new AbortController().signal,
    });
    await expect(get).rejects.toMatchObject({
      code: 'forbidden',
      options: { remedy: expect.stringContaining('privateAddresses') },
    });
    expect(server.ranges('/outer')).toHaveLength(1);
    expect(server.ranges('/inner')).toEqual([]);
  });

  it('is not led in circles, to other schemes, or to addresses with a password', async () => {
    await allow({ redirects: true });
    const circle = server.at(
      '/circle',
      (_, response) => void response.writeHead(301, { location: '/circle' }).end(),
    );
    expect((await refused(circle)).message).toBe('the server redirects more than 5 times');
    expect(server.ranges('/circle')).toHaveLength(5);
    for (const location of [
      'file:///etc/passwd',
      'ftp://127.0.0.1/x',
      'http://me:pass@127.0.0.1/x',
      'http://[',
      'gopher://x',
    ])
      expect(['forbidden', 'unavailable']).toContain(
        (await refused(server.at('/away', (_, response) => void response.writeHead(302, { location }).end())))
          .code,
      );
  });

  it.each([
    ['ftp://127.0.0.1/x', 'scheme "ftp"'],
    ['file:///etc/passwd', 'scheme "file"'],
    ['http://me@127.0.0.1/x', 'user name or password'],
    ['http://:secret@127.0.0.1/x', 'user name or password'],
    ['/etc/passwd', 'is no absolute address'],
    ['http://', 'is no absolute address'],
  ])('may not name %s', async (from, why) => {
    const begun = imports.begin(ctx, 'p', { name: 'x', kind: 'disk', url: from });
    await expect(begun).rejects.toMatchObject({ code: 'invalid', options: { errors: [{ path: '/url' }] } });
    await expect(begun).rejects.toThrow(why);
  });

  it('whose setting is taken back meanwhile is not served any more', async () => {
    const bytes = disk();
    const from = server.at('/revoked', (request, response, n) => {
      void allow({ privateAddresses: false }).then(() =>
        file(
          () => bytes,
          () => ({ etag: '"a"', cut: () => 1000 }),
        )(request, response, n),
      );
    });
    expect((await refused(from)).code).toBe('forbidden');
    expect(server.ranges('/revoked')).toHaveLength(1);
  });
});

describe('an ISO', () => {
  it('is taken whole, as one, and refused where it is none', async () => {
    const medium = Buffer.alloc(20 * 2 * KIB);
    medium.write('\0BEA01', 32 * KIB, 'latin1');
    medium.write('\0NSR02', 34 * KIB, 'latin1');
    await arrived(
      server.at(
        '/medium.iso',
        file(() => medium),
      ),
      medium,
      { kind: 'iso' },
    );
    const image = await store.imageGet(projectId, `i${ran}`);
    expect(image?.content).toMatchObject({ kind: 'iso', bootable: false, sizeBytes: medium.length });
  });

  it('is refused where it is none', async () => {
    const bytes = disk();
    const error = await refused(
      server.at(
        '/none.iso',
        file(() => bytes),
      ),
      { kind: 'iso' },
    );
    expect(error).toMatchObject({ code: 'badImage' });
  });
});

describe('another process', () => {
  it('goes on with what one that ended had begun, from where it was', async () => {
    const bytes = disk();
    const from = server.at(
      '/handed',
      file(
        () => bytes,
        () => ({ etag: '"a"', cut: (n) => (n === 1 ? 100 * KIB : Infinity) }),
      ),
    );
    // The first gives nothing more after its part; it is ended while it waits for the next try.
    const first = new RemoteImports({
      store,
      blobs,
      masterKey,
      clock: systemClock,
      ids,
      pause: systemPause,
      log: console,
      dispatch: () => undefined,
      ledger: () => undefined,
      layers: changedLayers,
      limits: {
        maxBytes,
        stallMs: 300,
        idleTries: 3,
        tries: 20,
        backoffMs: () => 60_000,
        partBytes: 2 ** 20,
      },
      insecureRegistries: [],
      registryMirrors: {},
    });
    const operation = await first.begin(ctx, 'p', { name: 'handed', kind: 'disk', url: from });
    await until('it was cut', patience(10_000), async () =>
      (await store.operationGet(null, operation.id))?.steps.some((s) => s.name === 'retry')
        ? true
        : undefined,
    );
    await first.close();
    expect((await store.operationGet(null, operation.id))?.state).toBe('running');
    await imports.takeUp();
    await imports.sweep();
    expect((await ended(operation)).state).toBe('succeeded');
    expect(server.ranges('/handed')).toEqual([null, `bytes=${100 * KIB}-`]);
    expect((await store.imageGet(projectId, 'handed'))?.digest).toBe(digestOf(bytes));
    await nothingLeft();
  });

  it('sweeps what is left of imports that are over', async () => {
    const { PartialFile } = await import('@berth/images');
    const left = await PartialFile.open(join(blobs.dir, 'imports', randomUUID()));
    await left.restart('"a"', 10);
    await left.checkpoint();
    await left.close();
    await imports.takeUp();
    await imports.sweep();
    await nothingLeft();
  });
});

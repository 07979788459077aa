import { randomBytes, randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ImageContent, type ImageKind, type ProjectId } from '@berth/model';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openStore } from '../../apps/api/src/store/open.js';
import type { Store } from '../../apps/api/src/store/store.js';
import { FaultBench } from '../../libs/faults/src/testing/fault-bench.js';
import { patience, until } from '../e2e/berth.js';
import { Host } from '../link/lab.js';
import { ids } from '../store/fixture.js';
import { ApiProcess } from '../support/api-process.js';
import { chanceOf, dice, seedOfRun } from '../support/chance.js';
import { freshDatabase, startPostgres, withClient, type ThrowawayPostgres } from '../support/postgres.js';

/*
 * One object and one answer under one Idempotency-Key, whatever dies when: every POST that takes a key, sent several times at
 * once by clients that repeat it until they are answered, against a real API process that gets a kill -9 while it holds each
 * request at another point. Real Postgres; the host is the real agent on the simulated runtime.
 */

/** Where a request is when the API is killed; `anywhere` is left to chance. */
const points = ['api.key.begun', 'api.key.committed', 'api.key.kept', 'anywhere'] as const;
const senders = 4;

interface Case {
  readonly path: (n: string) => string;
  readonly body: (n: string) => unknown;
  readonly other: (n: string) => unknown;
  /** SQL that counts what `$1`, the round's name, was made into. */
  readonly count: string;
  readonly status: number;
  /** What has to be there before; gives the token that asks, where it is not the admin's. */
  readonly before?: (n: string) => Promise<string | undefined>;
}

const instances = '/v1/projects/default/instances';
const container = { isolation: 'container', image: 'base', memoryMiB: 16, rootDisk: { sizeMiB: 16 } };
const noTickets = (instance: string) => async (): Promise<undefined> =>
  void (await query('DELETE FROM tickets_made WHERE instance = $1', [instance]));
const ticketsOf = (instance: string): string =>
  `SELECT count(*)::int AS n FROM tickets_made WHERE $1 <> '' AND instance = '${instance}'`;

/** An action that a host does at once: its operation is what counts. */
const prompt = (verb: string, body: object): Record<string, Case> => ({
  [`POST /v1/projects/{project}/instances/{name}/actions/${verb}`]: {
    path: () => `${instances}/guest/actions/${verb}`,
    body: () => body,
    other: () => ({ other: true }),
    count: `SELECT count(*)::int AS n FROM operations WHERE $1 <> '' AND kind = '${verb}' AND target_name = 'guest'`,
    status: 202,
    before: async () =>
      void (await query(`UPDATE operations SET target_name = 'before' WHERE kind = '${verb}'`)),
  },
});

const cases: Readonly<Record<string, Case>> = {
  'POST /v1/projects': {
    path: () => '/v1/projects',
    body: (n) => ({ name: n }),
    other: (n) => ({ name: `${n}-other` }),
    count: `SELECT count(*)::int AS n FROM projects WHERE name LIKE $1 || '%'`,
    status: 201,
  },
  'POST /v1/projects/{project}/networks': {
    path: () => '/v1/projects/default/networks',
    body: (n) => ({ name: n }),
    other: (n) => ({ name: `${n}-other` }),
    count: `SELECT count(*)::int AS n FROM networks WHERE name LIKE $1 || '%'`,
    status: 201,
  },
  'POST /v1/projects/{project}/volumes': {
    path: () => '/v1/projects/default/volumes',
    body: (n) => ({ name: n, sizeMiB: 16 }),
    other: (n) => ({ name: `${n}-other`, sizeMiB: 16 }),
    count: `SELECT count(*)::int AS n FROM volumes WHERE name LIKE $1 || '%'`,
    status: 201,
  },
  'POST /v1/projects/{project}/instances': {
    path: () => instances,
    body: (n) => ({ name: n, spec: { ...container, desired: 'stopped' } }),
    other: (n) => ({ name: `${n}-other`, spec: container }),
    count: `SELECT count(*)::int AS n FROM operations WHERE kind = 'create' AND target_name LIKE $1 || '%'`,
    status: 202,
  },
  'POST /v1/projects/{project}/instances/{name}/actions/{verb}': {
    path: (n) => `${instances}/act-${n}/actions/start`,
    body: () => ({}),
    other: () => ({ other: true }),
    count: `SELECT count(*)::int AS n FROM operations WHERE kind <> 'create' AND target_name = 'act-' || $1`,
    status: 202,
    before: async (n) => {
      await made(instances, { name: `act-${n}`, spec: { ...container, desired: 'stopped' } });
      return undefined;
    },
  },
  'POST /v1/projects/{project}/instances/{name}/actions/rebuild': {
    path: (n) => `${instances}/anew-${n}/actions/rebuild`,
    body: () => ({}),
    other: () => ({ image: 'another' }),
    count: `SELECT count(*)::int AS n FROM operations WHERE kind = 'rebuild' AND target_name = 'anew-' || $1`,
    status: 202,
    before: async (n) => {
      await made(instances, { name: `anew-${n}`, spec: { ...container, desired: 'stopped' } });
      return undefined;
    },
  },
  ...prompt('reset', {}),
  ...prompt('freeze', { seconds: 1 }),
  ...prompt('thaw', {}),
  'POST /v1/projects/{project}/instances/{name}/console': {
    path: () => `${instances}/machine/console`,
    body: () => ({}),
    other: () => ({ other: true }),
    count: ticketsOf('machine'),
    status: 201,
    before: noTickets('machine'),
  },
  'POST /v1/projects/{project}/instances/{name}/display': {
    path: () => `${instances}/screen/display`,
    body: () => ({}),
    other: () => ({ other: true }),
    count: ticketsOf('screen'),
    status: 201,
    before: noTickets('screen'),
  },
  'POST /v1/projects/{project}/instances/{name}/keys': {
    path: () => `${instances}/machine/keys`,
    body: () => ({ presses: [['a']] }),
    other: () => ({ presses: [['b']] }),
    count: `SELECT count(*)::int AS n FROM events WHERE $1 <> '' AND type = 'keys.sent'`,
    status: 200,
    before: async () => void (await query(`DELETE FROM events WHERE type = 'keys.sent'`)),
  },
  'POST /v1/projects/{project}/instances/{name}/attach': {
    path: () => `${instances}/worker/attach`,
    body: () => ({ readOnly: true }),
    other: () => ({ readOnly: true, scrollbackBytes: 1 }),
    count: ticketsOf('worker'),
    status: 201,
    before: noTickets('worker'),
  },
  'POST /v1/projects/{project}/instances/{name}/exec': {
    path: () => `${instances}/runner/exec`,
    body: () => ({ command: ['true'] }),
    other: () => ({ command: ['false'] }),
    count: ticketsOf('runner'),
    status: 201,
    before: noTickets('runner'),
  },
  'POST /v1/projects/{project}/instances/{name}/actions/commit': {
    path: () => `${instances}/runner/actions/commit`,
    body: (n) => ({ image: `of-${n}` }),
    other: (n) => ({ image: `of-${n}-other` }),
    count: `SELECT count(*)::int AS n FROM operations WHERE kind = 'imageCommit' AND target_name LIKE 'of-' || $1 || '%'`,
    status: 202,
  },
  'POST /v1/projects/{project}/images': {
    path: (n) => `/v1/projects/default/images?name=${n}&kind=disk`,
    body: () => Buffer.alloc(64 * 1024, 7),
    other: () => Buffer.alloc(32 * 1024, 7),
    count: `SELECT count(*)::int AS n FROM images WHERE name = $1`,
    status: 201,
  },
  'POST /v1/projects/{project}/images/import': {
    path: () => '/v1/projects/default/images/import',
    // Nothing comes from there: it is under way for as long as this test runs.
    body: (n) => ({ name: `far-${n}`, kind: 'disk', url: `http://127.0.0.1:${silent}/` }),
    other: (n) => ({ name: `far-${n}-other`, kind: 'disk', url: `http://127.0.0.1:${silent}/` }),
    count: `SELECT count(*)::int AS n FROM operations WHERE kind = 'imageImport' AND target_name LIKE 'far-' || $1 || '%'`,
    status: 202,
  },
  'POST /v1/projects/{project}/images/{name}/actions/push': {
    path: () => '/v1/projects/default/images/base/actions/push',
    body: (n) => ({ reference: `127.0.0.1:${silent}/x/${n.toLowerCase()}:1` }),
    other: (n) => ({ reference: `127.0.0.1:${silent}/x/${n.toLowerCase()}:2` }),
    count: `SELECT count(*)::int AS n FROM events WHERE type = 'image.imagePush' AND data->>'source' LIKE '%/x/' || lower($1) || ':%'`,
    status: 202,
  },
  'POST /v1/projects/{project}/images/{name}/actions/tag': {
    path: () => '/v1/projects/default/images/base/actions/tag',
    body: (n) => ({ name: n }),
    other: (n) => ({ name: `${n}-other` }),
    count: `SELECT count(*)::int AS n FROM images WHERE name LIKE $1 || '%'`,
    status: 201,
  },
  'POST /v1/projects/{project}/volumes/{volume}/actions/clone': {
    path: () => '/v1/projects/default/volumes/origin/actions/clone',
    body: (n) => ({ name: n }),
    other: (n) => ({ name: `${n}-other` }),
    count: `SELECT count(*)::int AS n FROM volumes WHERE name LIKE $1 || '%'`,
    status: 202,
  },
  'POST /v1/projects/{project}/volumes/{volume}/actions/export': {
    path: () => '/v1/projects/default/volumes/kept/actions/export',
    // `holder`, which has it, is stopped, and no other case does anything to it.
    body: () => ({}),
    other: () => ({ format: 'raw' }),
    count: `SELECT count(*)::int AS n FROM volume_exports WHERE $1 <> '' AND of_name = 'kept'`,
    status: 202,
    before: async () => {
      await query(`UPDATE volume_exports SET of_name = 'before'`);
      return undefined;
    },
  },
  'POST /v1/projects/{project}/instances/{name}/snapshots': {
    path: () => `${instances}/machine/snapshots`,
    body: (n) => ({ name: n }),
    other: (n) => ({ name: n, memory: true }),
    count: `SELECT count(*)::int AS n FROM snapshots WHERE name LIKE $1 || '%'`,
    status: 202,
  },
  'POST /v1/projects/{project}/instances/{name}/snapshots/{snapshot}/actions/revert': {
    path: () => `${instances}/past/snapshots/one/actions/revert`,
    body: () => ({}),
    other: () => ({ other: true }),
    count: `SELECT count(*)::int AS n FROM operations WHERE $1 <> '' AND kind = 'snapshotRevert' AND target_name = 'past'`,
    status: 202,
    before: async () => {
      await snapshotReady();
      await query(`UPDATE operations SET target_name = 'before' WHERE kind = 'snapshotRevert'`);
      return undefined;
    },
  },
  'POST /v1/join-tokens': {
    path: () => '/v1/join-tokens',
    body: (n) => ({ hostName: n }),
    other: (n) => ({ hostName: `${n}-other` }),
    count: `SELECT count(*)::int AS n FROM join_tokens WHERE host_name LIKE $1 || '%'`,
    status: 201,
  },
  'POST /v1/tokens': {
    path: () => '/v1/tokens',
    body: (n) => ({ name: n, role: 'viewer' }),
    other: (n) => ({ name: `${n}-other`, role: 'viewer' }),
    count: `SELECT count(*)::int AS n FROM tokens WHERE name LIKE $1 || '%'`,
    status: 201,
  },
  'POST /v1/sign-in-codes': {
    path: () => '/v1/sign-in-codes',
    body: () => ({}),
    other: () => ({ other: true }),
    count: `SELECT count(*)::int AS n FROM sign_in_codes c JOIN tokens t ON t.id = c.token_id WHERE t.name = 'code-' || $1`,
    status: 201,
    before: async (n) => {
      const { secret } = (await made('/v1/tokens', { name: `code-${n}`, role: 'admin' })) as {
        secret: string;
      };
      return secret;
    },
  },
};

let postgres: ThrowawayPostgres;
let url: string;
let store: Store;
let dir: string;
let bench: FaultBench;
let api: ApiProcess;
let host: Host;
/** A port on which every connection is taken and nothing said. */
let silent: number;
let mute: Server;

beforeAll(async () => {
  postgres = await startPostgres();
  url = await freshDatabase(postgres.url);
  dir = mkdtempSync(join(tmpdir(), 'berth-keys-'));
  bench = new FaultBench(join(dir, 'points'));
  // On a busy machine an API takes its time to come back: no host counts as silent for that.
  api = await ApiProcess.start(url, { ...bench.env, BERTH_HOST_SILENT_SECONDS: '3600' });
  store = await openStore({ url, clock: { now: () => new Date() }, ids });
  await query(ticketsCounted);
  host = new Host(join(dir, 'host'), 'h1');
  const { secret } = (await made('/v1/join-tokens', { hostName: 'h1' })) as { secret: string };
  host.start(api.linkPort, secret);
  const projectId = ((await store.projectGet('default')) as { id: ProjectId }).id;
  const operator = { actor: 'system:test', traceId: '0'.repeat(32) };
  await store.projectUpdate(operator, 'default', { imageSources: { privateAddresses: true } });
  mute = createServer((socket) => socket.on('error', () => undefined).resume());
  await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
  silent = (mute.address() as AddressInfo).port;
  await image(projectId, 'base', 'oci');
  await image(projectId, 'disk', 'disk');
  for (const name of ['origin', 'kept']) await made('/v1/projects/default/volumes', { name, sizeMiB: 1 });
  for (const name of ['runner', 'worker']) await made(instances, { name, spec: container });
  for (const name of ['machine', 'screen', 'guest', 'past', 'holder'])
    await made(instances, {
      name,
      spec: {
        ...{ isolation: 'vm', image: 'disk', vcpus: 1, memoryMiB: 64, cpuMillis: 200 },
        ...(name === 'guest' ? { userData: '#sim:agent' } : {}),
        ...(name === 'holder' ? { volumes: [{ name: 'kept' }] } : {}),
      },
    });
  for (const name of ['runner', 'worker', 'machine', 'screen', 'guest', 'past', 'holder'])
    await until(`${name} runs`, patience(60_000), async () => {
      const found = await store.instanceGet(projectId, name);
      return found?.status.state === 'running' ? true : undefined;
    });
  await made(`${instances}/past/snapshots`, { name: 'one' });
  for (const name of ['past', 'holder']) await made(`${instances}/${name}/actions/stop`, {});
  await snapshotReady();
  await until('holder has stopped', patience(60_000), async () =>
    (await store.instanceGet(projectId, 'holder'))?.status.state === 'stopped' ? true : undefined,
  );
}, patience(120_000));
afterAll(async () => {
  await host.end();
  await api.stop();
  await new Promise((resolve) => mute.close(resolve));
  await store.close();
  await postgres.stop();
  rmSync(dir, { recursive: true, force: true });
}, 60_000);

/** The machine `past` has stopped, and nothing is done with its one snapshot. */
async function snapshotReady(): Promise<void> {
  const ready = `SELECT count(*)::int AS n FROM snapshots s JOIN instances i ON i.id = s.instance_id
    WHERE i.name = 'past' AND i.state = 'stopped' AND s.state = 'ready'`;
  await until('its snapshot is ready', patience(60_000), async () =>
    (await query(ready))[0]?.n === 1 ? true : undefined,
  );
}

/** An image whose content the host has. */
async function image(projectId: ProjectId, name: string, kind: ImageKind): Promise<void> {
  const bytes = randomBytes(64);
  const digest = host.blobs.add(bytes);
  const blobs = [{ digest, sizeBytes: bytes.length }];
  const process_ = { entrypoint: [], cmd: ['sh'], env: [], user: '', workdir: '/' };
  const oci = { configDigest: digest, layers: [], process: process_, arch: 'amd64' };
  const disk = { format: 'raw', sizeBytes: bytes.length, virtualSizeMiB: 1 };
  const content = ImageContent.parse({ kind, digest, blobs, ...(kind === 'oci' ? oci : disk) });
  await store.imageInsert({ actor: 'system:test', traceId: '0'.repeat(32) }, { projectId, name, content });
}

/** Tickets have no name and are gone after half a minute: a trigger counts what is written. */
const ticketsCounted = `CREATE TABLE tickets_made (instance text);
  CREATE FUNCTION ticket_made() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO tickets_made SELECT name FROM instances WHERE id = NEW.instance_id; RETURN NEW; END';
  CREATE TRIGGER ticket_made AFTER INSERT ON terminal_tickets FOR EACH ROW EXECUTE FUNCTION ticket_made()`;

async function query(sql: string, values: unknown[] = []): Promise<{ n: number }[]> {
  return withClient(url, async (c) => (await c.query<{ n: number }>(sql, values)).rows);
}

interface Answer {
  readonly status: number;
  readonly location: string | null;
  readonly body: Record<string, unknown>;
}

async function send(path: string, key: string, body: unknown, token = api.token): Promise<Answer> {
  const raw = Buffer.isBuffer(body);
  const response = await fetch(api.baseUrl + path, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'idempotency-key': key,
      'content-type': raw ? 'application/octet-stream' : 'application/json',
    },
    body: raw ? new Uint8Array(body) : JSON.stringify(body),
    signal: AbortSignal.timeout(patience(30_000)),
  });
  const answer = (await response.json()) as Record<string, unknown>;
  return { status: response.status, location: response.headers.get('location'), body: answer };
}

/** Sends until it is answered: as any client has to, over lost answers, 503, and a first try that is under way. */
async function sendUntilAnswered(...args: Parameters<typeof send>): Promise<Answer> {
  return until(`${args[0]} is answered`, patience(60_000), async () => {
    const answer = await send(...args).catch(() => null);
    if (answer === null || answer.status === 503) return undefined;
    return answer.body['code'] === 'idempotencyInProgress' ? undefined : answer;
  });
}

async function made(path: string, body: unknown): Promise<Record<string, unknown>> {
  const { status, body: answer } = await sendUntilAnswered(path, randomUUID(), body);
  if (status >= 300) throw new Error(`${path}: ${status} ${JSON.stringify(answer)}`);
  return answer;
}

/** A request of a case under one key, by several clients at once. */
class Try {
  readonly key = randomUUID();
  private answers: Promise<Answer[]> = Promise.resolve([]);

  private constructor(
    readonly route: string,
    readonly round: string,
    readonly point: (typeof points)[number],
    private readonly token: string | undefined,
  ) {}

  static async begin(route: string, round: string, point: (typeof points)[number]): Promise<Try> {
    const { before, path, body } = cases[route] as Case;
    const one = new Try(route, round, point, await before?.(round));
    if (point !== 'anywhere') bench.arm(point, one.key);
    one.answers = Promise.all(
      Array.from({ length: senders }, () => sendUntilAnswered(path(round), one.key, body(round), one.token)),
    );
    one.answers.catch(() => undefined);
    return one;
  }

  /** Resolves when it is where it is to be killed. */
  async isHeld(): Promise<void> {
    if (this.point === 'anywhere') return;
    const held = async () => (bench.holder(this.point, this.key) !== null ? true : undefined);
    await until(`${this.route} is at ${this.point}`, patience(30_000), held);
  }

  release(): void {
    if (this.point !== 'anywhere') bench.release(this.point, this.key);
  }

  /** One answer, one object, and no other body. */
  async check(): Promise<void> {
    const { path, body, other, count, status } = cases[this.route] as Case;
    const what = `${this.route}, killed at ${this.point}`;
    const again = await sendUntilAnswered(path(this.round), this.key, body(this.round), this.token);
    const answers = [...(await this.answers), again];
    expect(again.status, `${what}: ${JSON.stringify(again.body)}`).toBe(status);
    // A secret is told once, and to nobody when the API died with it.
    const secrets = answers.filter((a) => (a.body['secret'] ?? null) !== null);
    expect(secrets.length, what).toBeLessThanOrEqual(1);
    for (const answer of answers) {
      const { secret, ...rest } = answer.body;
      const { secret: replayed, ...kept } = again.body;
      expect({ ...answer, body: rest }, what).toEqual({ ...again, body: kept });
      expect(secret === undefined, what).toBe(replayed === undefined);
    }
    expect(await query(count, [this.round]), what).toEqual([{ n: 1 }]);
    const refused = await send(path(this.round), this.key, other(this.round), this.token);
    expect(refused, what).toMatchObject({
      status: 422,
      body: { code: 'idempotencyMismatch', remedy: expect.stringContaining('fresh key') },
    });
  }
}

test('every POST that takes an Idempotency-Key is tried below', () => {
  const document = JSON.parse(readFileSync(new URL('../../docs/openapi.json', import.meta.url), 'utf8')) as {
    paths: Record<string, { post?: { parameters?: { in: string; name: string }[] } }>;
  };
  const keyed = Object.entries(document.paths)
    .filter(([, { post }]) => post?.parameters?.some((p) => p.name === 'idempotency-key') === true)
    .map(([path]) => `POST ${path}`);
  expect(Object.keys(cases).sort()).toEqual(keyed.sort());
});

const seed = seedOfRun();

test(
  `one object and one answer, whenever the API is killed (BERTH_SEED=${seed})`,
  async () => {
    const { below, pick } = dice(chanceOf(seed));
    const first = below(points.length);
    // Each case meets each point once, in another round than its neighbour.
    for (let round = 0; round < points.length; round += 1) {
      const tries = await Promise.all(
        Object.keys(cases).map((route, i) =>
          Try.begin(route, `r${round}-${i}`, points[(first + i + round) % points.length]!),
        ),
      );
      await Promise.all(tries.map((t) => t.isHeld()));
      await new Promise((resolve) => setTimeout(resolve, pick([0, 1, 3, 10, 30])));
      expect(await api.end('SIGKILL')).toBe('SIGKILL');
      for (const one of tries) one.release();
      await api.start();
      for (const one of tries) await one.check();
    }
  },
  patience(240_000),
);

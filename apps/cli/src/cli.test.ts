import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { problemText } from './failure.js';
import { kindName } from './kinds.js';
import { cliRun } from './main.js';
import { age, bytes, listText } from './output.js';
import { documentsParse, valueSet } from './spec-file.js';

/** What the stand-in API saw and answers; the real one is met in tests/. */
const seen: { method: string; url: string; headers: IncomingMessage['headers']; body: string }[] = [];
let answers: Record<string, { status?: number; body: unknown }> = {};
let server: Server;
let env: NodeJS.ProcessEnv;
const dir = mkdtempSync(join(tmpdir(), 'berth-cli-'));

beforeAll(async () => {
  server = createServer((req, res) => {
    let body = '';
    req.on('data', (chunk) => (body += String(chunk)));
    req.on('end', () => {
      seen.push({ method: req.method!, url: req.url!, headers: req.headers, body });
      const address = `${req.method} ${req.url!}`;
      const answer = answers[address] ??
        answers[address.split('?')[0]!] ?? {
          status: 404,
          body: problem(404, 'notFound'),
        };
      const { status = 200, body: said } = answer;
      res.writeHead(status, { 'content-type': 'application/json' });
      res.end(typeof said === 'string' ? said : JSON.stringify(said));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  env = { BERTH_API: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, BERTH_TOKEN: 'secret' };
});
afterAll(() => {
  server.close();
  rmSync(dir, { recursive: true, force: true });
});
afterEach(() => {
  seen.length = 0;
  answers = {};
  vi.restoreAllMocks();
});

const problem = (status: number, code: string) => ({
  type: 'about:blank',
  title: code,
  status,
  code,
  detail: `said ${code}`,
});

/** Runs a command line and gives what it printed. */
async function berth(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = '';
  let err = '';
  vi.spyOn(process.stdout, 'write').mockImplementation((text) => ((out += String(text)), true));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => ((err += String(text)), true));
  const code = await cliRun(argv, env);
  vi.restoreAllMocks();
  return { code, out, err };
}

const operation = {
  id: 'op-1',
  kind: 'stop',
  target: { kind: 'instance', id: 'i', name: 'web' },
  state: 'succeeded',
  steps: [],
  error: null,
};

describe('requests', () => {
  it('carry the token, and every POST an idempotency key of its own', async () => {
    answers = {
      'POST /v1/projects/default/instances/web/actions/stop': {
        status: 202,
        body: { operation, instance: null },
      },
    };
    expect((await berth('stop', 'web')).code).toBe(0);
    expect((await berth('stop', 'web')).code).toBe(0);
    expect(seen[0]!.headers.authorization).toBe('Bearer secret');
    const keys = seen.map((s) => s.headers['idempotency-key']);
    expect(keys.every((k) => typeof k === 'string' && k.length > 8)).toBe(true);
    expect(new Set(keys).size).toBe(2);
  });
  it('go through all pages of a list', async () => {
    answers = {
      'GET /v1/projects/p/images': { body: { items: [{ name: 'a' }], nextCursor: 'more' } },
      'GET /v1/projects/p/images?cursor=more': { body: { items: [{ name: 'b' }], nextCursor: null } },
    };
    const { out } = await berth('get', 'images', '-p', 'p', '-o', 'json');
    expect((JSON.parse(out) as { name: string }[]).map((n) => n.name)).toEqual(['a', 'b']);
    expect(seen.map((s) => s.url)).toEqual(['/v1/projects/p/images', '/v1/projects/p/images?cursor=more']);
  });
  it('do not let a name leave its place in the address', async () => {
    await berth('get', 'instances', '../../tokens');
    expect(seen[0]!.url).toBe('/v1/projects/default/instances/..%2F..%2Ftokens');
  });
  it('create sends the file with the fields that were set', async () => {
    const file = join(dir, 'c.yaml');
    writeFileSync(file, 'name: a\nspec:\n  isolation: container\n  memoryMiB: 8\n');
    answers = { 'POST /v1/projects/default/instances': { status: 202, body: { operation, instance: null } } };
    const { code } = await berth(
      'create',
      '-f',
      file,
      '--set',
      'spec.memoryMiB=16',
      '--set',
      'spec.process.env.N=007',
    );
    expect(code).toBe(0);
    expect(JSON.parse(seen[0]!.body)).toEqual({
      name: 'a',
      spec: { isolation: 'container', memoryMiB: 16, process: { env: { N: '007' } } },
    });
  });
  it('do not let a name be a step between folders, nor stand for the whole list', async () => {
    for (const name of ['..', '.', '']) {
      const { code, err } = await berth('delete', name);
      expect([code, err]).toEqual([5, expect.stringContaining(`"${name}" is no name (invalid)`)]);
    }
    expect(seen).toEqual([]);
  });
  it('tell what an instance waits for, each thing once, and what goes on after Ctrl-C', async () => {
    const path = 'POST /v1/projects/default/instances/web/actions/start';
    const running = { ...operation, kind: 'start', project: 'default', state: 'running' };
    const waits = { state: 'pending', reason: 'no host fits', conditions: [] };
    answers = {
      [path]: { status: 202, body: { operation: running, instance: null } },
      'GET /v1/operations/op-1': { body: running },
      'GET /v1/projects/default/instances/web': { body: { spec: { desired: 'running' }, status: waits } },
    };
    const waiting = berth('start', 'web');
    await expect.poll(() => seen.filter((s) => s.url.endsWith('/web')).length).toBeGreaterThan(2);
    process.emit('SIGINT');
    const { code, err } = await waiting;
    expect(code).toBe(130);
    expect(err.split('\n')[0]).toBe('web: pending, no host fits');
    expect(err.match(/no host fits/g)).toHaveLength(1);
    expect(err).toContain('goes on (operation op-1)');
    expect(err).toContain('berth explain web');
    expect(process.listenerCount('SIGINT')).toBe(0);
  });
  it('wait for the operation, and fail with its reason', async () => {
    const failed = {
      ...operation,
      state: 'failed',
      error: { code: 'badImage', message: 'no such layer', remedy: 'import it' },
    };
    answers = {
      'POST /v1/projects/default/instances/web/actions/start': {
        status: 202,
        body: { operation: { ...operation, state: 'running' } },
      },
      'GET /v1/operations/op-1': { body: failed },
    };
    const { code, err } = await berth('start', 'web');
    expect(code).toBe(1);
    expect(err).toContain('no such layer');
    expect(err).toContain('-> import it');
  });
});

describe('failures', () => {
  it('name every bad field and what to do about it', async () => {
    const errors = [
      { path: '/spec/memoryMiB', code: 'tooSmall', message: 'must be at least 4', remedy: 'Use 4 or more.' },
    ];
    answers = { 'GET /v1/hosts': { status: 400, body: { ...problem(400, 'invalid'), errors } } };
    const { code, err } = await berth('host', 'ls');
    expect(code).toBe(5);
    expect(err).toContain('/spec/memoryMiB: must be at least 4\n    -> Use 4 or more.');
  });
  it('name a bad address and a bad token before anything is sent', async () => {
    const address = await berth('--api', 'localhost:7070', 'get', 'hosts');
    expect([address.code, address.err]).toEqual([2, expect.stringContaining('is no address of an API')]);
    const token = await berth('--token', 'two words', 'get', 'hosts');
    expect([token.code, token.err]).toEqual([2, expect.stringContaining('--token or BERTH_TOKEN')]);
    expect(seen).toEqual([]);
  });
  it('have exit codes of their own', async () => {
    expect((await berth('get', 'instances', 'gone')).code).toBe(4);
    expect((await berth('get', 'colours')).code).toBe(2);
    expect((await berth('fly')).code).toBe(2);
    expect((await berth('create')).code).toBe(2);
    expect((await berth('--api', 'http://127.0.0.1:1', 'get', 'hosts')).code).toBe(3);
    expect((await berth('--help')).code).toBe(0);
  });
  it('tell what answered when it was no problem document', async () => {
    answers = { 'GET /v1/hosts': { status: 502, body: '<html>proxy' } };
    expect((await berth('host', 'ls')).err).toContain('502 <html>proxy');
  });
  it('of the server show the trace to look for', () => {
    expect(problemText({ ...problem(500, 'internal'), code: 'internal', traceId: 'abc' })).toContain(
      'trace abc',
    );
  });
});

describe('an update', () => {
  const at = '/v1/projects/default/instances/web';
  const now = { spec: { desired: 'stopped', memoryMiB: 64 }, labels: { a: 'b' }, resourceVersion: 7 };
  const yes = { instance: null, operation };
  const file = join(dir, 'web.yaml');
  const sent = () =>
    seen.filter((r) => r.method === 'PUT').map((r) => [r.url, r.headers['if-match'], JSON.parse(r.body)]);

  it('by --set changes what is there', async () => {
    answers = { [`GET ${at}`]: { body: now }, [`PUT ${at}`]: { status: 202, body: yes } };
    const { code } = await berth('update', 'web', '--set', 'spec.memoryMiB=96', '--set', 'labels.c=d');
    expect(code).toBe(0);
    const body = { spec: { desired: 'stopped', memoryMiB: 96 }, labels: { a: 'b', c: 'd' } };
    expect(sent()).toEqual([[at, '"7"', body]]);
  });
  it('by a file that does not say whether it is to run leaves that as it is', async () => {
    answers = { [`GET ${at}`]: { body: now }, [`PUT ${at}`]: { status: 202, body: yes } };
    writeFileSync(file, 'name: web\nspec: { memoryMiB: 128 }\n');
    expect((await berth('update', '-f', file)).code).toBe(0);
    expect(sent()).toEqual([[at, '"7"', { spec: { desired: 'stopped', memoryMiB: 128 } }]]);
  });
  it('that is tried shows fields, values and when they take effect', async () => {
    const changes = [
      { path: '/spec/memoryMiB', effect: 'nextStart', from: 64, to: 96 },
      { path: '/labels/app~1tier', effect: 'now', from: null, to: 'web\u001b[2J' },
    ];
    const preview = { changes, restartRequired: true };
    answers = { [`GET ${at}`]: { body: now }, [`PUT ${at}?dryRun=true`]: { body: preview } };
    const { out } = await berth('update', 'web', '--set', 'spec.memoryMiB=96', '--dry-run');
    expect(out.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['web:'],
      ['FIELD', 'FROM', 'TO', 'TAKES EFFECT'],
      ['spec.memoryMiB', '64', '96', 'at the next start'],
      ['labels.app/tier', '-', 'web?[2J', 'at once'],
      [expect.stringContaining('berth restart web')],
      [''],
    ]);
    expect(sent()[0]?.slice(0, 2)).toEqual([`${at}?dryRun=true`, undefined]);
  });
  it('of nothing, or of two minds about its name, is refused before anything is sent', async () => {
    writeFileSync(file, 'name: web\nspec: { memoryMiB: 128 }\n');
    for (const words of [[], ['web'], ['db', '-f', file]])
      expect((await berth('update', ...words)).code).toBe(2);
    expect(seen).toEqual([]);
  });
});

describe('an upload', () => {
  it('that is refused before it was read ends with the refusal, and lets go of the connection', async () => {
    const refusing = createServer((req, res) => {
      res.writeHead(401, { 'content-type': 'application/json' });
      res.end(JSON.stringify(problem(401, 'unauthenticated')));
      req.socket.pause();
    });
    await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve));
    const file = join(dir, 'large');
    writeFileSync(file, Buffer.alloc(32 * 1024 * 1024));
    const api = `http://127.0.0.1:${(refusing.address() as AddressInfo).port}`;
    const { code, err } = await berth('--api', api, 'image', 'import', file, '--name', 'x');
    expect([code, err]).toEqual([5, expect.stringContaining('said unauthenticated')]);
    // Resolves only when no connection is held open any more.
    await new Promise<void>((resolve) => refusing.close(() => resolve()));
  });
  it('of what is no file is refused before anything is sent', async () => {
    const { code, err } = await berth('image', 'import', dir, '--name', 'x');
    expect([code, err]).toEqual([2, expect.stringContaining('no regular file')]);
    expect(seen).toEqual([]);
  });
});

describe('assignments of --set', () => {
  it('refuse what is no path, and what would walk through a value', () => {
    const [document] = documentsParse('{"a": 1}', 'x') as [Record<string, unknown>];
    expect(() => valueSet(document, 'a')).toThrow(/path.to.field=value/);
    expect(() => valueSet(document, '__proto__.x=1')).toThrow();
    expect(() => valueSet(document, 'a.b=1')).toThrow(/holds a value/);
    expect(({} as { x?: unknown }).x).toBeUndefined();
  });
  it('keep the types of YAML, and environment values as text', () => {
    const document: Record<string, unknown> = {};
    for (const a of ['n=1', 'b=true', 'l=[1, 2]', 'p.env.X=1']) valueSet(document, a);
    expect(document).toEqual({ n: 1, b: true, l: [1, 2], p: { env: { X: '1' } } });
  });
});

describe('files', () => {
  it.each([
    ['a mistake in the second document', 'a: 1\n---\nb: [', /document 2 of my.yaml is neither/],
    ['a value that holds itself', 'a: &a [*a]', /neither YAML nor JSON: Converting circular/],
    ['a key given twice', 'a: 1\na: 2', /unique at line 2/],
    ['a list', '[]', /one mapping/],
    ['nothing', '', /holds no document/],
  ])('with %s are refused by name', (_what, text, complaint) => {
    expect(() => documentsParse(text, 'my.yaml')).toThrow(complaint);
    expect(() => documentsParse(text, 'my.yaml')).toThrow('my.yaml');
  });
  it('and values of --set alike', () => {
    expect(() => valueSet({}, 'a.b=[1')).toThrow(/--set a\.b=\[1: the value is no YAML/);
  });
});

describe('output', () => {
  it('does not let a text from outside steer the terminal', () => {
    const text = listText([{ t: 'a\u001b[31mb\u0007' }], [{ head: 'T', cell: (i) => i.t }], 'table');
    expect(text).toBe('T\na?[31mb?\n');
  });
  it('shows a reason in the narrow list only where there is one', () => {
    const columns = [
      { head: 'A', cell: () => 1 },
      { head: 'REASON', wide: 'unlessFilled' as const, cell: (i: { r?: string }) => i.r },
    ];
    expect(listText([{}], columns, 'table')).toBe('A\n1\n');
    expect(listText([{ r: 'full' }], columns, 'table')).toBe('A  REASON\n1  full\n');
    expect(listText([{}], columns, 'wide')).toBe('A  REASON\n1  -\n');
  });
  it('shows wide columns only when asked', () => {
    const columns = [
      { head: 'A', cell: () => 1 },
      { head: 'B', wide: true, cell: () => 2 },
    ];
    expect(listText([{}], columns, 'table')).toBe('A\n1\n');
    expect(listText([{}], columns, 'wide')).toBe('A  B\n1  2\n');
    expect(listText([], columns, 'table')).toBe('none\n');
  });
  it('takes singular and plural, and rounds ages and sizes down to one unit', () => {
    expect([kindName('instance'), kindName('instances'), kindName('thing')]).toEqual([
      'instances',
      'instances',
      null,
    ]);
    expect([
      age(null, 0),
      age(new Date(0).toISOString(), 119_000),
      age(new Date(0).toISOString(), 7_199_000),
    ]).toEqual(['-', '119s', '119m']);
    expect([bytes(5), bytes(1536), bytes(3 * 1024 ** 3)]).toEqual(['5 B', '1.5 KiB', '3.0 GiB']);
  });
});

import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { answer, BerthClient, ProblemError, sseMessages, UnreachableError } from '@berth/client';
import type { Event } from '@berth/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { withClient } from '../support/postgres.js';
import { Api } from './api.js';

let api: Api;
let baseUrl: string;
beforeAll(async () => {
  api = await Api.start();
  baseUrl = `http://127.0.0.1:${(api.app.getHttpServer().address() as AddressInfo).port}`;
});
afterAll(() => api.stop());

const token = (as = 'all:admin'): string => api.tokens.get(as) as string;
const client = (as?: string): BerthClient => new BerthClient({ baseUrl, token: token(as) });

/** The first so many, then the stream is let go. */
async function take<T>(count: number, source: AsyncIterable<T>): Promise<T[]> {
  const taken: T[] = [];
  for await (const item of source) if (taken.push(item) === count) break;
  return taken;
}

async function stream(headers: Record<string, string>, query = ''): Promise<Response> {
  return fetch(`${baseUrl}/v1/events${query}`, {
    headers: { authorization: `Bearer ${token()}`, accept: 'text/event-stream', ...headers },
    signal: AbortSignal.timeout(20_000),
  });
}

async function allEvents(): Promise<Event[]> {
  await api.ledger.flush();
  return (await client().eventList({ limit: 1000 })).items as Event[];
}

describe('GET /v1/events as server-sent events', () => {
  test('goes on after Last-Event-ID without a gap and without a double', async () => {
    await api.instance();
    const before = await allEvents();
    const middle = before[Math.floor(before.length / 2)] as Event;
    const response = await stream({ 'last-event-id': middle.position });
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8');
    const later = before.filter((e) => BigInt(e.position) > BigInt(middle.position));
    const name = await api.instance();
    await api.ledger.flush();
    const messages = await take(later.length + 1, sseMessages(response.body as ReadableStream<Uint8Array>));
    expect(messages.slice(0, later.length).map((m) => m.id)).toEqual(later.map((e) => e.position));
    expect(messages.slice(later.length).some((m) => JSON.parse(m.data).object.name === name)).toBe(true);
  });

  test('a quiet stream carries comments, so that nobody in between closes it', async () => {
    const head = await api.ledger.flush();
    const response = await stream({}, '?objectId=none');
    const text: string[] = [];
    const decoder = new TextDecoder();
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>)
      if (text.push(decoder.decode(chunk)) === 3) break;
    const still = `: still here\nid: ${head}\n\n`;
    expect(text.join('')).toBe(`: connected\nid: ${head}\n\n${still}${still}`);
  });

  test('a token of one project sees its events and no other', async () => {
    const head = await api.ledger.flush();
    await api.instance('beta');
    const mine = await api.instance('alpha');
    await api.ledger.flush();
    const stop = new AbortController();
    const [first] = await take(1, client('alpha:viewer').events({ after: head, signal: stop.signal }));
    expect(first?.object.name).toBe(mine);
  });

  test('a stream ends when its token is revoked', async () => {
    const { body } = await api.call('post', '/v1/tokens').send({ name: 'short', role: 'viewer' }).expect(201);
    const response = await stream({ authorization: `Bearer ${body.secret}` }, '?objectId=none');
    await api.call('delete', `/v1/tokens/${body.id}`).expect(204);
    const [last] = await take(1, sseMessages(response.body as ReadableStream<Uint8Array>));
    expect(last?.event).toBe('problem');
    expect(JSON.parse(last?.data ?? '')).toMatchObject({ code: 'unauthenticated' });
  });

  test.each([['Last-Event-ID'], ['last event']])('the position %j is refused', async (position) => {
    expect((await stream({ 'last-event-id': position })).status).toBe(400);
  });
});

describe('the client', () => {
  test('takes a lost connection up where it was', async () => {
    const head = await api.ledger.flush();
    let connections = 0;
    const dropping = new BerthClient({
      baseUrl,
      token: token(),
      // Cuts every stream after its first event.
      fetch: async (request) => {
        const response = await fetch(request);
        if (response.headers.get('content-type')?.startsWith('text/event-stream') !== true) return response;
        connections += 1;
        return new Response(cutAfterFirstEvent(response.body as ReadableStream<Uint8Array>), response);
      },
    });
    for (let i = 0; i < 3; i++) await api.instance();
    await api.ledger.flush();
    const expected = (await allEvents()).filter((e) => BigInt(e.position) > BigInt(head)).slice(0, 3);
    const signal = AbortSignal.timeout(20_000);
    const events = await take(3, dropping.events({ after: head, signal, backoffMs: [1] }));
    expect(events.map((e) => e.position)).toEqual(expected.map((e) => e.position));
    expect(connections).toBe(3);
  });

  test('repeats a create whose answer was lost, and there is one instance', async () => {
    let sent = 0;
    const lossy = new BerthClient({
      baseUrl,
      token: token(),
      backoffMs: [1, 1],
      fetch: async (request) => {
        const response = await fetch(request);
        if (request.method === 'POST' && ++sent === 1) throw new TypeError('socket hang up');
        return response;
      },
    });
    const body = { name: 'once', spec: { isolation: 'container', image: 'oci', memoryMiB: 64 } } as const;
    const params = { path: { project: 'alpha' } };
    const made = await answer(lossy.rest.POST('/v1/projects/{project}/instances', { params, body }));
    expect(sent).toBe(2);
    expect(made.instance?.name).toBe('once');
    const { rows } = await withClient(api.url, (c) =>
      c.query(`SELECT count(*)::int AS n FROM instances WHERE name = 'once'`),
    );
    expect(rows[0].n).toBe(1);
  });

  test('waits for a first try that is under way, as it is after a lost answer', async () => {
    let sent = 0;
    const early = new BerthClient({
      baseUrl,
      token: token(),
      backoffMs: [1, 1],
      fetch: async (request) => {
        if (request.method !== 'POST' || ++sent > 1) return fetch(request);
        const problem = { status: 409, code: 'idempotencyInProgress' };
        return Response.json(problem, {
          status: 409,
          headers: { 'content-type': 'application/problem+json' },
        });
      },
    });
    await answer(early.rest.POST('/v1/projects', { body: { name: 'later' } }));
    expect(sent).toBe(2);
    await expect(answer(early.rest.POST('/v1/projects', { body: { name: 'later' } }))).rejects.toMatchObject({
      code: 'nameTaken',
    });
    expect(sent).toBe(3);
  });

  test('throws the problem document as an error with its code', async () => {
    const params = { path: { project: 'alpha', name: 'nowhere' } };
    const failure = await answer(
      client().rest.GET('/v1/projects/{project}/instances/{name}', { params }),
    ).catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ProblemError);
    expect(failure).toMatchObject({ code: 'notFound', status: 404, retryable: false });
  });

  test('says that nobody answers, and does not hang', async () => {
    const nobody = new BerthClient({ baseUrl: 'http://127.0.0.1:1', token: token(), backoffMs: [1] });
    await expect(answer(nobody.rest.GET('/v1/projects'))).rejects.toBeInstanceOf(UnreachableError);
  });

  test('uploads an image as a stream and reads logs', async () => {
    const file = new Blob([Buffer.alloc(1024 * 1024, 7)]);
    const { image } = await client().imageUpload('alpha', { name: 'blob', kind: 'disk' }, file);
    expect(image).toMatchObject({ name: 'blob', sizeBytes: 1024 * 1024 });
    const again = client().imageUpload('alpha', { name: 'blob', kind: 'disk' }, file);
    await expect(again).rejects.toMatchObject({ code: 'nameTaken' });
    const log = await client().logs({ project: 'alpha', instance: await api.instance(), follow: true });
    expect(await new Response(log).text()).toBe('first line\nsecond line\n');
  });

  test('an upload that breaks off leaves no image and a failed operation', async () => {
    await new Promise<void>((resolve) => {
      const path = '/v1/projects/alpha/images?name=half&kind=disk';
      const headers = {
        authorization: `Bearer ${token()}`,
        'content-type': 'application/octet-stream',
        'content-length': '1000000',
      };
      const upload = httpRequest(`${baseUrl}${path}`, { method: 'POST', headers });
      upload.on('error', () => resolve());
      upload.write(Buffer.alloc(1000), () => upload.destroy());
    });
    const failed = async (): Promise<number> =>
      (await api.call('get', '/v1/operations?project=alpha&state=failed')).body.items.length;
    await expect.poll(failed, { timeout: 10_000 }).toBe(1);
    await api.call('get', '/v1/projects/alpha/images/half').expect(404);
  });
});

// Last: it trims the ledger under everyone.
test('a position whose events were trimmed is gone, and the client does not try for ever', async () => {
  await api.settle();
  await api.store.eventsTrim(new Date(Date.now() + 1000));
  const refused = await stream({ 'last-event-id': '0' });
  expect(refused.status).toBe(410);
  const head = api.ledger.head();
  expect(await refused.json()).toMatchObject({
    code: 'gone',
    detail: expect.stringMatching(/^Events up to position \d+ are no longer kept\.$/),
    remedy: `list the objects again, then read on from position ${head}`,
  });
  expect((await client().eventList({ class: 'lifecycle' })).next).toBe(head);
  const signal = AbortSignal.timeout(20_000);
  await expect(take(1, client().events({ after: '0', signal }))).rejects.toMatchObject({ code: 'gone' });
});

function cutAfterFirstEvent(body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const messages = sseMessages(body);
  return new ReadableStream({
    async pull(controller) {
      const { value } = await messages.next();
      if (value)
        controller.enqueue(encoder.encode(`id: ${value.id}\nevent: ${value.event}\ndata: ${value.data}\n\n`));
      controller.close();
      await messages.return(undefined);
    },
  });
}

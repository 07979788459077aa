import { connect, type AddressInfo, type Socket } from 'node:net';
import { BerthClient, sseMessages } from '@berth/client';
import type { Event, ProjectId } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { defaultHttpConfig } from '../../apps/api/src/http/deps.js';
import { Meters } from '../../apps/api/src/metrics/meters.js';
import { Api } from './api.js';
import { Browser } from './browser.js';

/* What the shared tail may tell whom, and what becomes of clients that do not read. */

const ctx = { actor: 'system:test', traceId: '0'.repeat(32) };
const meters = new Meters();
let api: Api;
let port: number;
let baseUrl: string;
beforeAll(async () => {
  const config = { ...defaultHttpConfig, heartbeatMs: 100, stalledMs: 3000 };
  api = await Api.start({ meters, config });
  port = (api.app.getHttpServer().address() as AddressInfo).port;
  baseUrl = `http://127.0.0.1:${port}`;
});
afterAll(() => api.stop());

const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
});

const client = (as: string): BerthClient =>
  new BerthClient({ baseUrl, token: api.tokens.get(as) ?? as, backoffMs: [1] });

async function write(name: string, projectId: ProjectId | null, text = ''): Promise<void> {
  const object = { kind: 'instance', id: name, name } as const;
  await api.store.eventInsert(ctx, {
    class: 'observation',
    type: 'test.happened',
    projectId,
    object,
    data: { text },
  });
}

/** A stream that is open, as its client follows it. `until` gives what came up to an event, with that. */
async function follow(as: string, more: { project?: string; after?: string } = {}) {
  const stop = new AbortController();
  let isOpen = (): void => undefined;
  const opened = new Promise<void>((resolve) => (isOpen = resolve));
  const events = client(as).events({ ...more, signal: stop.signal, connected: () => isOpen() });
  let pending = events.next();
  pending.catch(() => undefined);
  await Promise.race([opened, pending]);
  const until = async (name: string): Promise<Event[]> => {
    const seen: Event[] = [];
    for (;;) {
      const { value, done } = await pending;
      if (done === true) throw new Error(`the stream ended before ${name}`);
      seen.push(value);
      pending = events.next();
      pending.catch(() => undefined);
      if (value.object.name === name) return seen;
    }
  };
  return { until, next: () => pending, end: () => stop.abort() };
}
const names = (events: readonly Event[]): string[] => events.map((e) => e.object.name);

describe('the shared tail', () => {
  test('gives each stream what its token may see and its filter asks for, and nothing of others', async () => {
    // What was written before is numbered before.
    await api.ledger.flush();
    const [all, alpha, beta, asked] = await Promise.all([
      follow('all:viewer'),
      follow('alpha:viewer'),
      follow('beta:admin'),
      follow('all:admin', { project: 'beta' }),
    ]);
    await write('of-alpha', api.projects.alpha);
    await write('of-beta', api.projects.beta);
    await write('of-nobody', null);
    await write('end-alpha', api.projects.alpha);
    await write('end-beta', api.projects.beta);
    await api.ledger.flush();
    expect(names(await all.until('end-beta'))).toEqual([
      'of-alpha',
      'of-beta',
      'of-nobody',
      'end-alpha',
      'end-beta',
    ]);
    expect(names(await alpha.until('end-alpha'))).toEqual(['of-alpha', 'end-alpha']);
    expect(names(await beta.until('end-beta'))).toEqual(['of-beta', 'end-beta']);
    expect(names(await asked.until('end-beta'))).toEqual(['of-beta', 'end-beta']);
    for (const one of [all, alpha, beta, asked]) one.end();
  });

  test.each([
    ['project=beta', 404, 'alpha:admin'],
    ['project=none', 404, 'alpha:admin'],
    ['project=none', 404, 'all:admin'],
    ['project=Not%20a%20name', 400, 'all:admin'],
    ['class=audits', 400, 'all:admin'],
    ['objectKind=instances', 400, 'all:admin'],
    ['objectID=1', 400, 'all:admin'],
    ['after=1x', 400, 'all:admin'],
  ])('%s is answered with %i and a remedy before anything is streamed', async (query, status, as) => {
    const response = await fetch(`${baseUrl}/v1/events?${query}`, {
      headers: { authorization: `Bearer ${api.tokens.get(as)}`, accept: 'text/event-stream' },
    });
    expect(response.status).toBe(status);
    const problem = (await response.json()) as {
      remedy?: string;
      errors?: { path: string; remedy: string }[];
    };
    if (status === 400) {
      expect(problem.errors?.[0]?.path).toBe(`query/${query.split('=')[0]}`);
      expect(problem.errors?.[0]?.remedy).not.toBe('');
    }
  });
});

describe('a stream without events', () => {
  test('knows its place from the start: what happens while it is away is not lost', async () => {
    // Ends the first connection as soon as it stands.
    let connections = 0;
    const positions: (string | null)[] = [];
    const cut = new BerthClient({
      baseUrl,
      token: api.tokens.get('alpha:viewer') as string,
      backoffMs: [1],
      fetch: async (request) => {
        positions.push(request.headers.get('last-event-id'));
        const response = await fetch(request);
        if (connections++ > 0) return response;
        const reader = (response.body as ReadableStream<Uint8Array>).getReader();
        const { value } = await reader.read();
        await reader.cancel();
        await write('meanwhile', api.projects.alpha);
        await api.ledger.flush();
        return new Response(value as Uint8Array<ArrayBuffer>, response);
      },
    });
    const head = await api.ledger.flush();
    for await (const event of cut.events({ signal: AbortSignal.timeout(20_000) })) {
      expect(event.object.name).toBe('meanwhile');
      break;
    }
    expect(positions).toEqual([null, head]);
  });
});

describe('a stream ends', () => {
  test('when its token is revoked, before anything is told that came later', async () => {
    const { body } = await api
      .call('post', '/v1/tokens')
      .send({ name: 'short', role: 'viewer', project: 'alpha' })
      .expect(201);
    await api.ledger.flush();
    const mine = await follow(body.secret as string);
    const other = await follow('alpha:viewer');
    await write('before', api.projects.alpha);
    await api.call('delete', `/v1/tokens/${body.id}`).expect(204);
    await write('after', api.projects.alpha);
    // One numbering, so that one read of the tail has all three.
    await api.ledger.flush();
    expect(names(await other.until('after')).at(-1)).toBe('after');
    const told: string[] = [];
    const ended = (async () => {
      for (;;) {
        const { value } = await mine.next();
        told.push((value as Event).object.name);
        await mine.until((value as Event).object.name);
      }
    })();
    await expect(ended).rejects.toMatchObject({ code: 'unauthenticated' });
    expect(told).not.toContain('after');
    other.end();
  });

  test('when its browser signs out', async () => {
    const browser = await Browser.signIn(api, 'alpha:viewer');
    const response = await fetch(`${browser.origin}/v1/events`, {
      headers: { cookie: browser.cookie, accept: 'text/event-stream' },
      signal: AbortSignal.timeout(20_000),
    });
    await browser.call('delete', '/v1/session').expect(204);
    await api.ledger.flush();
    let last = '';
    for await (const message of sseMessages(response.body as ReadableStream<Uint8Array>))
      if (message.event === 'problem') last = message.data;
    expect(JSON.parse(last)).toMatchObject({ code: 'unauthenticated' });
  });
});

/** A client that sends a request and then reads nothing until it is asked to. */
async function connectRaw(after: string): Promise<{ socket: Socket; rest: () => Promise<string> }> {
  const socket = connect(port, '127.0.0.1');
  sockets.push(socket);
  await new Promise((resolve) => socket.once('connect', resolve));
  socket.write(
    `GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nAuthorization: Bearer ${api.tokens.get('all:viewer')}\r\n` +
      `Accept: text/event-stream\r\nLast-Event-ID: ${after}\r\n\r\n`,
  );
  socket.pause();
  return {
    socket,
    rest: () =>
      new Promise((resolve) => {
        let text = '';
        socket.setEncoding('utf8');
        socket.on('data', (chunk: string) => (text += chunk));
        socket.on('error', () => undefined);
        socket.on('close', () => resolve(text));
        socket.resume();
      }),
  };
}

async function figure(name: string): Promise<number> {
  const line = (await meters.registry.metrics()).split('\n').find((l) => l.startsWith(`${name} `));
  return Number(line?.split(' ')[1]);
}

test('who does not read is dropped and holds nobody up; it goes on by Last-Event-ID without a gap', async () => {
  const head = await api.ledger.flush();
  const before = await figure('berth_event_streams_dropped_total');
  const slow = await connectRaw(head);
  const fast = await follow('all:viewer', { after: head });
  // More than the system's own buffers of a connection take.
  const many = 400;
  const reading = fast.until(`big${many - 1}`);
  for (let n = 0; n < many; n += 1) await write(`big${n}`, null, 'x'.repeat(64 * 1024));
  await api.ledger.flush();
  const expected = Array.from({ length: many }, (_, n) => `big${n}`);
  expect(names(await reading)).toEqual(expected);
  // One that reads may be dropped too, where this process stood still for long: it goes on by itself.
  await expect
    .poll(() => figure('berth_event_streams_dropped_total'), { timeout: 30_000 })
    .toBeGreaterThan(before);
  const text = await slow.rest();
  const whole = [...text.matchAll(/^id: (\d+)\r?\nevent: test\.happened\r?\ndata: .*\r?\n\r?\n/gm)];
  expect(whole.length).toBeLessThan(many);
  const last = whole.at(-1)?.[1] ?? head;
  const again = await follow('all:viewer', { after: last });
  expect(names(await again.until(`big${many - 1}`))).toEqual(expected.slice(whole.length));
  again.end();
  fast.end();
  await expect.poll(() => figure('berth_event_streams'), { timeout: 10_000 }).toBe(0);
}, 120_000);

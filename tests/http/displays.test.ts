import type { AddressInfo } from 'node:net';
import { BerthError, keysOfRequest } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { Api } from './api.js';
import { EchoTerminals, type EchoTerminal } from './echo-terminals.js';
import { until } from './test-terminal.js';

const hosts = new EchoTerminals();
let api: Api;
beforeAll(async () => {
  api = await Api.start({ terminals: hosts });
});
afterEach(() => {
  hosts.refusal = null;
  hosts.away = false;
});
afterAll(() => api.stop());

let shared: Promise<string> | null = null;
/** A VM that runs; the host has not room for one a test. */
const vm = (): Promise<string> => (shared ??= started());
async function started(): Promise<string> {
  const name = await api.instance('alpha', { isolation: 'vm', image: 'disk' });
  await api.settle();
  return name;
}
const at = (name: string, what: string): string => `/v1/projects/alpha/instances/${name}/${what}`;

/** A viewer as any client of VNC over WebSocket is one. */
class Viewer {
  readonly pieces: Buffer[] = [];
  texts = 0;
  readonly closed: Promise<[number, string]>;
  private constructor(readonly socket: WebSocket) {
    socket.on('message', (data: Buffer, binary) => {
      if (binary) this.pieces.push(data);
      else this.texts += 1;
    });
    this.closed = new Promise((resolve) =>
      socket.once('close', (code, reason) => resolve([code, reason.toString()])),
    );
  }
  static async open(name: string): Promise<[Viewer, EchoTerminal]> {
    const before = hosts.opened.length;
    const { body } = await api.call('post', at(name, 'display')).send({}).expect(201);
    const { port } = api.app.getHttpServer().address() as AddressInfo;
    const viewer = new Viewer(new WebSocket(`ws://127.0.0.1:${port}/v1/console?ticket=${body.secret}`));
    await new Promise((resolve, reject) => viewer.socket.once('open', resolve).once('error', reject));
    await until(() => hosts.opened.length > before || hosts.refusal !== null, 'it is opened');
    return [viewer, hosts.opened.at(-1) as EchoTerminal];
  }
}

async function audit(name: string): Promise<{ type: string; data: Record<string, unknown> }[]> {
  await api.ledger.flush();
  const { body } = await api.call('get', '/v1/events?class=audit&limit=1000').expect(200);
  return body.items.filter((e: { object: { name: string } }) => e.object.name === name);
}

describe('the WebSocket of a display', () => {
  test('carries bytes as they are, both ways, and nothing else', async () => {
    const [viewer, host] = await Viewer.open(await vm());
    expect(host.open).toEqual({ kind: 'display' });
    viewer.socket.send(Buffer.from([1, 0, 255]));
    await until(() => viewer.pieces.length === 1, 'the bytes come back');
    expect(Buffer.concat(host.typed)).toEqual(Buffer.from([1, 0, 255]));
    expect(viewer.pieces).toEqual([Buffer.from([1, 0, 255])]);
    host.say({ end: { reason: 'workloadEnded', exit: null } });
    expect(await viewer.closed).toEqual([1000, 'The instance does not run any more.']);
    expect(viewer.texts).toBe(0);
  });

  test('is told of in the audit, and not a byte of it', async () => {
    const name = await vm();
    const [viewer] = await Viewer.open(name);
    viewer.socket.send(Buffer.from('secret'));
    await until(() => viewer.pieces.length === 1, 'the bytes come back');
    viewer.socket.close();
    const events = await until(
      async () => (await audit(name)).filter((e) => e.type.startsWith('display.')).slice(2),
      'both events',
      (found) => found.length === 2,
    );
    expect(events.map((e) => e.type)).toEqual(['display.started', 'display.ended']);
    expect(events[1]?.data).toMatchObject({ how: 'closedByClient', bytesIn: 6, bytesOut: 6 });
  });

  test('ends with the reason in the close where the host refuses it, or the client sends text', async () => {
    const name = await vm();
    hosts.refusal = new BerthError('unsupported', `it was started without a display, ${'long '.repeat(40)}`);
    const [refused] = await Viewer.open(name);
    const [code, reason] = await refused.closed;
    expect([code, reason.length]).toEqual([1008, 123]);
    expect(reason).toMatch(/^It was started without a display/);
    hosts.refusal = null;
    const [viewer, host] = await Viewer.open(await vm());
    viewer.socket.send('{"type":"hold"}');
    expect(await viewer.closed).toEqual([1008, 'A display takes binary messages only.']);
    await until(() => host.closed, 'the host is told');
  });
});

describe('what is asked of a display', () => {
  const routes = [
    ['post', 'display', {}],
    ['get', 'screenshot', undefined],
    ['post', 'keys', { presses: [['ret']] }],
  ] as const;

  test.each(routes)(
    '%s %s is refused for a container, what does not run, and a host that is away',
    async (...r) => {
      const [method, what, body] = r;
      const ask = (name: string) => api.call(method, at(name, what)).send(body);
      const container = await api.instance();
      const stopped = await api.instance('alpha', { isolation: 'vm', image: 'disk', desired: 'stopped' });
      expect((await ask(stopped).expect(409)).body.code).toBe('stateConflict');
      await api.settle();
      const refused = (await ask(container).expect(422)).body;
      expect(refused).toMatchObject({
        code: 'unsupported',
        remedy: expect.stringContaining('exec') as string,
      });
      hosts.away = true;
      await ask(await vm()).expect(503);
    },
  );

  test('a viewer may take a picture, and neither look on nor press a key', async () => {
    const name = await vm();
    await api.call('get', at(name, 'screenshot'), 'alpha:viewer').expect(200);
    for (const [method, what, body] of routes.filter(([, w]) => w !== 'screenshot'))
      await api.call(method, at(name, what), 'alpha:viewer').send(body).expect(403);
  });

  test('a host whose VMs have no display says so before anything is tried', async () => {
    const name = await vm();
    const { store, host } = api;
    const { capabilities, capacity } = (await store.hostGet(host.name)) ?? {};
    if (!capabilities || !capacity) throw new Error('the host said nothing of itself');
    await store.hostCapabilitiesSet(host.id, host.session, { ...capabilities, facets: ['logs'] }, capacity);
    for (const [method, what, body] of routes) {
      const { body: problem } = await api.call(method, at(name, what)).send(body).expect(422);
      expect(problem).toMatchObject({
        code: 'unsupported',
        detail: expect.stringContaining(host.name) as string,
      });
    }
    await store.hostCapabilitiesSet(host.id, host.session, capabilities, capacity);
  });

  test('one of several is asked for by its number, and one that the machine does not have is refused', async () => {
    await api.displaysGive();
    const spec = { isolation: 'vm', image: 'disk', displays: 2, placement: { driver: 'qemu' } } as const;
    const name = await api.instance('alpha', spec);
    await api.settle();
    const width = async (query: string): Promise<number> => {
      const answer = api.call('get', at(name, `screenshot${query}`)).responseType('arraybuffer');
      return ((await answer.expect(200)).body as Buffer).readUInt32BE(16);
    };
    expect([await width(''), await width('?head=0'), await width('?head=1')]).toEqual([2, 2, 4]);
    const ask = (head: unknown) => api.call('post', at(name, 'display')).send({ head });
    await ask(1).expect(201);
    for (const [answer, path] of [
      [await ask(2).expect(422), '/head'],
      [await api.call('get', at(name, 'screenshot?head=2')).expect(422), 'query/head'],
    ] as const)
      expect(answer.body).toMatchObject({
        code: 'unsupported',
        detail: expect.stringContaining('has 2 displays') as string,
        remedy: expect.stringContaining('0 to 1') as string,
        errors: [{ path }],
      });
    for (const head of [-1, 4, 0.5, '1']) await ask(head).expect(400);
    for (const head of ['-1', '4', '1e0', '0x1', '', '0.0', 'a'])
      expect((await api.call('get', at(name, `screenshot?head=${head}`)).expect(400)).body).toMatchObject({
        errors: [{ path: 'query/head' }],
      });
    await api
      .call('post', at(await vm(), 'display'))
      .send({ head: 1 })
      .expect(422);
    await api.call('delete', `/v1/projects/alpha/instances/${name}`).expect(202);
    await api.settle();
  });

  test('keys go to the host in their order; the audit counts them and names none', async () => {
    const name = await vm();
    const presses = [['h'], ['shift', 'u'], ['7'], ['ret']];
    await api.call('post', at(name, 'keys')).send({ presses }).expect(200, { presses: 4 });
    expect(hosts.keys.at(-1)).toEqual({ presses });
    const [event] = (await audit(name)).filter((e) => e.type === 'keys.sent');
    expect(event?.data).toEqual({ presses: 4 });
  });

  test('keys are not sent to what is paused', async () => {
    const name = await started();
    const before = hosts.keys.length;
    await api.facetsAdd('pause');
    await api.call('post', at(name, 'actions/pause')).expect(202);
    await api.settle();
    const { body } = await api
      .call('post', at(name, 'keys'))
      .send({ presses: [['a']] })
      .expect(409);
    expect(body).toMatchObject({
      code: 'stateConflict',
      remedy: expect.stringContaining('resume') as string,
    });
    expect(hosts.keys.length).toBe(before);
    await api.call('get', at(name, 'screenshot')).expect(200);
  });

  test.each([
    ['an unknown key', [['enter']], '/presses/0/0'],
    ['a key twice in one press', [['a', 'a']], '/presses/0'],
    ['a press of nothing', [[]], '/presses/0'],
    ['no press', [], '/presses'],
    ['too many keys at once', ['a b c d e f g h i'.split(' ')], '/presses/0'],
    ['too many keys', Array.from({ length: keysOfRequest }, () => ['ctrl', 'c']), '/presses'],
  ])('%s is refused with its place', async (_, presses, path) => {
    const { body } = await api
      .call('post', at(await vm(), 'keys'))
      .send({ presses })
      .expect(400);
    expect(body.errors.map((e: { path: string }) => e.path)).toContain(path);
  });
});

import { request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { BerthError, TerminalNotice, terminalMessageBytes } from '@berth/model';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { defaultHttpConfig } from '../../apps/api/src/http/deps.js';
import { withClient } from '../support/postgres.js';
import { Api } from './api.js';
import { Browser } from './browser.js';
import { EchoTerminals, type EchoTerminal } from './echo-terminals.js';
import { TestTerminal, until } from './test-terminal.js';

const hosts = new EchoTerminals();
let api: Api;
let port: number;
beforeAll(async () => {
  api = await Api.start({ terminals: hosts });
  port = (api.app.getHttpServer().address() as AddressInfo).port;
});
afterEach(() => {
  hosts.refusal = null;
  hosts.away = false;
});
afterAll(() => api.stop());

async function container(project = 'alpha'): Promise<string> {
  const name = await api.instance(project);
  await api.settle();
  return name;
}
async function vm(): Promise<string> {
  const name = await api.instance('alpha', { isolation: 'vm', image: 'disk' });
  await api.settle();
  return name;
}
async function ticket(
  name: string,
  kind: 'console' | 'exec' | 'attach',
  body: object = {},
  as = 'all:admin',
): Promise<string> {
  const path = `/v1/projects/alpha/instances/${name}/${kind}`;
  const wanted = kind === 'exec' ? { command: ['sh'], ...body } : body;
  return (await api.call('post', path, as).send(wanted).expect(201)).body.secret as string;
}
const connect = (secret: string, headers: Record<string, string> = {}): Promise<TestTerminal> =>
  TestTerminal.open(`ws://127.0.0.1:${port}/v1/console?ticket=${secret}`, headers);

/** A terminal and what stands for its host. */
async function opened(...args: Parameters<typeof ticket>): Promise<[TestTerminal, EchoTerminal]> {
  const terminal = await connect(await ticket(...args));
  await terminal.notice('opened');
  return [terminal, hosts.opened.at(-1) as EchoTerminal];
}
async function audit(
  name: string,
): Promise<{ type: string; actor: string; data: Record<string, unknown> }[]> {
  await api.ledger.flush();
  const { body } = await api.call('get', '/v1/events?class=audit&limit=1000').expect(200);
  return body.items.filter((e: { object: { name: string } }) => e.object.name === name);
}

describe('a ticket', () => {
  test('opens once what it was asked for', async () => {
    const name = await container();
    const secret = await ticket(name, 'exec', { command: ['id', '-u'], env: { A: 'b' } });
    const terminal = await connect(secret);
    await terminal.notice('opened');
    expect(hosts.opened.at(-1)).toMatchObject({
      instance: { name },
      open: { kind: 'exec', command: ['id', '-u'], env: { A: 'b' }, tty: false },
    });
    await expect(connect(secret)).rejects.toThrow('401');
    terminal.close();
  });

  test('of two that come with it at once, one is let in', async () => {
    const secret = await ticket(await container(), 'exec');
    const both = await Promise.allSettled([connect(secret), connect(secret)]);
    expect(both.map((b) => b.status).sort()).toEqual(['fulfilled', 'rejected']);
    for (const b of both) if (b.status === 'fulfilled') b.value.close();
  });

  test('is stored as its hash, and goes when it is spent', async () => {
    const secret = await ticket(await container(), 'exec');
    const rows = (): Promise<string[]> =>
      withClient(api.url, async (c) =>
        (await c.query<{ row: string }>('SELECT t::text AS row FROM terminal_tickets t')).rows.map(
          (r) => r.row,
        ),
      );
    const stored = await rows();
    expect(stored.length).toBeGreaterThan(0);
    expect(stored.join()).not.toContain(secret.slice('berthticket_'.length));
    (await connect(secret)).close();
    expect((await rows()).length).toBe(stored.length - 1);
  });

  test('keeps what it opens in an envelope that opens no other ticket', async () => {
    const name = await container();
    const exec = { command: ['psql', '--password=hunter3'], env: { PASSWORD: 'hunter4' }, user: 'web' };
    const [first, second] = [await ticket(name, 'exec', exec), await ticket(name, 'exec')];
    const stored = await withClient(api.url, async (c) => {
      const { rows } = await c.query<{ row: string }>('SELECT t::text AS row FROM terminal_tickets t');
      return rows.map((r) => r.row).join();
    });
    expect(stored).not.toMatch(/hunter|PASSWORD|psql/);
    await withClient(api.url, (c) =>
      c.query('UPDATE terminal_tickets SET envelope = (SELECT max(envelope) FROM terminal_tickets)'),
    );
    const both = await Promise.allSettled([connect(first), connect(second)]);
    expect(both.filter((b) => b.status === 'fulfilled').length).toBeLessThan(2);
    for (const b of both) if (b.status === 'fulfilled') b.value.close();
  });

  test('is good for thirty seconds, and then says what to do', async () => {
    const secret = await ticket(await container(), 'exec');
    await withClient(api.url, (c) => c.query(`UPDATE terminal_tickets SET expires_at = now()`));
    await expect(connect(secret)).rejects.toThrow(/401.*expired.*Ask for a new one/s);
  });

  test('is worth nothing once the token that asked for it is revoked', async () => {
    const made = await api.call('post', '/v1/tokens').send({ name: 'gone', role: 'operator' }).expect(201);
    const secret = await ticket(await container(), 'exec', {}, made.body.secret);
    await api.call('delete', `/v1/tokens/${made.body.id}`).expect(204);
    await expect(connect(secret)).rejects.toThrow('401');
  });

  test.each([
    ['console', 'container', 'unsupported', 422],
    ['attach', 'vm', 'unsupported', 422],
    ['exec', 'vm', 'stateConflict', 409],
  ] as const)('is not given for %s of a %s', async (kind, isolation, code, status) => {
    const name = isolation === 'vm' ? await vm() : await container();
    const path = `/v1/projects/alpha/instances/${name}/${kind}`;
    const { body } = await api
      .call('post', path)
      .send(kind === 'exec' ? { command: ['sh'] } : {})
      .expect(status);
    expect(body.code).toBe(code);
    expect(body.remedy).toMatch(/POST …\/(exec|console)/);
  });

  test('runs a program in a machine whose guest agent answers, but none in a terminal or as somebody', async () => {
    const name = await api.instance('alpha', { isolation: 'vm', image: 'disk', userData: '#sim:agent' });
    await api.settle();
    const path = `/v1/projects/alpha/instances/${name}/exec`;
    expect(await ticket(name, 'exec', { command: ['id'], env: { A: '1' } })).toMatch(/^berthticket_/);
    const { body } = await api
      .call('post', path)
      .send({ command: ['id'], tty: true, user: 'web', workdir: '/tmp' })
      .expect(422);
    expect(body.errors.map((e: { path: string }) => e.path)).toEqual(['/tty', '/user', '/workdir']);
    for (const { remedy } of body.errors) expect(remedy).toMatch(/^Leave it out/);
  });

  test('is not given for what does not run, to a viewer, or where the host is away', async () => {
    const path = `/v1/projects/alpha/instances/${await container()}/exec`;
    await api
      .call('post', path, 'alpha:viewer')
      .send({ command: ['sh'] })
      .expect(403);
    hosts.away = true;
    await api
      .call('post', path)
      .send({ command: ['sh'] })
      .expect(503);
    const stopped = `/v1/projects/alpha/instances/${await api.instance()}/exec`;
    const { body } = await api
      .call('post', stopped)
      .send({ command: ['sh'] })
      .expect(409);
    expect(body.code).toBe('stateConflict');
  });

  test('is not shown again by a replay', async () => {
    const path = `/v1/projects/alpha/instances/${await container()}/exec`;
    const ask = () =>
      api
        .call('post', path)
        .set('idempotency-key', 'again')
        .send({ command: ['sh'] })
        .expect(201);
    expect((await ask()).body.secret).toMatch(/^berthticket_/);
    expect((await ask()).body.secret).toBeNull();
  });
});

describe('the upgrade', () => {
  test('is refused to pages of other origins, and taken from pages of this API', async () => {
    const name = await container();
    await expect(connect(await ticket(name, 'exec'), { origin: 'https://evil.example' })).rejects.toThrow(
      '403',
    );
    const terminal = await connect(await ticket(name, 'exec'), { origin: `http://127.0.0.1:${port}` });
    await terminal.notice('opened');
    terminal.close();
  });

  test('is refused anywhere else, and the connection ends', async () => {
    const answer = await new Promise<{ status: number; text: string }>((resolve, reject) => {
      const headers = { connection: 'upgrade', upgrade: 'websocket' };
      httpRequest({ host: '127.0.0.1', port, path: '/v1/projects', headers }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
      })
        .on('error', reject)
        .end();
    });
    expect(answer.status).toBe(404);
    expect(JSON.parse(answer.text)).toMatchObject({ code: 'notFound' });
  });
});

describe('a terminal', () => {
  test('carries bytes both ways, orders, and how the process ended', async () => {
    const name = await container();
    const [terminal, host] = await opened(name, 'exec');
    terminal.type(Buffer.from([0, 255, 10, 13]));
    terminal.order({ type: 'resize', columns: 100, rows: 40 });
    terminal.order({ type: 'endInput' });
    await until(() => host.orders.length === 2, 'the orders arrive');
    host.say({ channel: 'errorOutput', bytes: Buffer.from('trouble') });
    host.say({ end: { reason: 'exited', code: 7 } });
    expect(await terminal.closed).toBe(1000);
    expect(terminal.output).toEqual(Buffer.from([0, 255, 10, 13]));
    expect(terminal.errorOutput.toString()).toBe('trouble');
    expect(terminal.notices.at(-1)).toEqual({ type: 'exit', end: { reason: 'exited', code: 7 } });
    expect(host.orders).toEqual([{ type: 'resize', columns: 100, rows: 40 }, { type: 'endInput' }]);
  });

  test('is told of in the audit: who, what, and how it ended, and not a byte of it', async () => {
    const name = await container();
    const secretCommand = { command: ['cat', '/etc/hostname'], env: { PASSWORD: 'hunter2' } };
    const [terminal, host] = await opened(name, 'exec', secretCommand, 'alpha:operator');
    terminal.type(Buffer.from('private words'));
    await until(() => host.typed.length === 1, 'it is typed');
    host.say({ end: { reason: 'exited', code: 3 } });
    await terminal.closed;
    const events = await until(
      async () => (await audit(name)).filter((e) => e.type.startsWith('exec.')),
      'both events',
      (found) => found.length === 2,
    );
    expect(events[0]).toMatchObject({
      type: 'exec.started',
      actor: 'token:alpha-operator',
      data: { opens: { command: ['cat', '/etc/hostname'], env: ['PASSWORD'], tty: false } },
    });
    expect(events[1]).toMatchObject({
      type: 'exec.ended',
      data: { how: 'exited', exitCode: 3, bytesIn: 13 },
    });
    expect(JSON.stringify(events)).not.toMatch(/private|hunter2/);
  });

  test('attaching carries what is typed to a first process with an input, and leaves it running', async () => {
    const name = await api.instance('alpha', { process: { tty: true } });
    await api.settle();
    const [terminal, host] = await opened(name, 'attach', { size: { columns: 100, rows: 30 } });
    expect(host.open).toEqual({
      ...{ kind: 'attach', readOnly: false, scrollbackBytes: 65_536 },
      size: { columns: 100, rows: 30 },
    });
    terminal.type(Buffer.from('help\r'));
    await until(() => Buffer.concat(host.typed).toString() === 'help\r', 'what was typed');
    terminal.close();
    await until(() => host.closed, 'the host is told');
    const told = await until(
      async () => (await audit(name)).filter(({ type }) => type.startsWith('attach.')),
      'the audit',
      (events) => events.length === 2,
    );
    expect(told).toMatchObject([
      { type: 'attach.started', data: { opens: { readOnly: false } } },
      { type: 'attach.ended', data: { bytesIn: 5 } },
    ]);
  });

  test('attaching to what has no input is for looking, and to a microVM or by an older host refused', async () => {
    const name = await container();
    const path = (of: string) => `/v1/projects/alpha/instances/${of}/attach`;
    const { body } = await api.call('post', path(name)).send({}).expect(422);
    expect(body).toMatchObject({ code: 'unsupported', remedy: expect.stringMatching(/process\.stdin/) });
    expect(body.errors).toMatchObject([{ path: '/readOnly' }]);
    expect(await ticket(name, 'attach', { readOnly: true })).toMatch(/^berthticket_/);
    await api.call('post', path(name), 'beta:admin').send({ readOnly: true }).expect(404);
    await api.call('post', path(name), 'alpha:viewer').send({ readOnly: true }).expect(403);
    for (const [spec, field] of [
      [{ isolation: 'microvm', image: 'oci', process: { tty: true } }, 'tty'],
      [{ isolation: 'container', image: 'oci', system: true, process: { stdin: true } }, 'stdin'],
    ] as const) {
      const refusal = await api
        .call('post', '/v1/projects/alpha/instances')
        .send({ name: 'no-input', spec: { memoryMiB: 128, ...spec } })
        .expect(400);
      expect(refusal.body.errors).toMatchObject([{ path: `/spec/process/${field}` }]);
    }
  });

  test.each(['console', 'attach'] as const)('read-only %s takes nothing that is typed', async (kind) => {
    const [terminal, host] = await opened(kind === 'console' ? await vm() : await container(), kind, {
      readOnly: true,
    });
    terminal.type(Buffer.from('reboot\n'));
    expect(await terminal.closed).toBe(1008);
    expect(terminal.notices.at(-1)).toMatchObject({ type: 'problem', problem: { code: 'malformed' } });
    expect(host.typed).toEqual([]);
  });

  test('ends on the host when the client goes away', async () => {
    const [terminal, host] = await opened(await vm(), 'console');
    terminal.terminate();
    await until(() => host.closed, 'the host is told');
  });

  test('says why the host refused it', async () => {
    hosts.refusal = new BerthError('stateConflict', 'the image has no user "nobody2"', {
      remedy: 'give a number',
    });
    const terminal = await connect(await ticket(await container(), 'exec'));
    expect(await terminal.closed).toBe(1008);
    expect(TerminalNotice.parse(terminal.notices.at(-1))).toMatchObject({
      type: 'problem',
      problem: { code: 'stateConflict', remedy: 'give a number' },
    });
  });

  test.each([
    ['a channel that is not input', (t: TestTerminal) => t.socket.send(Buffer.from([1, 65]))],
    ['text that is no order', (t: TestTerminal) => t.socket.send('{"type":"sing"}')],
    ['text that is no JSON', (t: TestTerminal) => t.socket.send('resize')],
  ])('%s ends it', async (_, send) => {
    const [terminal, host] = await opened(await container(), 'exec');
    send(terminal);
    expect(await terminal.closed).toBe(1008);
    await until(() => host.closed, 'the host is told');
  });

  test('a message that is too long ends it', async () => {
    const [terminal] = await opened(await container(), 'exec');
    terminal.socket.send(Buffer.alloc(terminalMessageBytes + 1));
    expect(await terminal.closed).toBe(1009);
  });

  test('a process that reads nothing holds the client up, and the API keeps little', async () => {
    const [terminal, host] = await opened(await container(), 'exec');
    host.reading = false;
    const piece = Buffer.alloc(32 * 1024);
    for (let i = 0; i < 2048; i++) terminal.type(piece);
    await until(() => host.typed.length > 0, 'the first arrives');
    // 64 MiB wait; what the client could not hand over stays with it.
    await until(() => terminal.socket.bufferedAmount > 32 * 1024 * 1024, 'the client is held up');
    expect(host.typed.length).toBe(1);
    terminal.terminate();
    await until(() => host.closed, 'the host is told');
  });

  test('a client that says hold gets nothing more until it goes on, though it reads', async () => {
    const [terminal, host] = await opened(await container(), 'exec');
    terminal.order({ type: 'hold' });
    // In order: once the resize has arrived, so has the hold.
    terminal.order({ type: 'resize', columns: 1, rows: 1 });
    await until(() => host.orders.length === 1, 'the order arrives');
    for (let i = 0; i < 5; i++) host.say({ channel: 'output', bytes: Buffer.from(`${i}`) });
    await until(() => host.unsaid === 4, 'the first is taken and held');
    expect(terminal.output.toString()).toBe('');
    terminal.order({ type: 'goOn' });
    await until(() => terminal.output.toString() === '01234', 'all of it comes');
    terminal.order({ type: 'hold' });
    terminal.terminate();
    await until(() => host.closed, 'one that is held ends with its client');
  });

  test('a client that reads nothing holds the host up', async () => {
    const [terminal, host] = await opened(await container(), 'exec');
    terminal.socket.pause();
    const bytes = Buffer.alloc(64 * 1024);
    for (let i = 0; i < 1000; i++) host.say({ channel: 'output', bytes });
    const left = (): number => host.unsaid;
    await until(() => left() < 1000, 'it begins');
    for (let still = 0; still < 20; still++) {
      const now = left();
      await new Promise((resolve) => setTimeout(resolve, 10));
      if (left() !== now) still = 0;
    }
    const taken = 1000 - left();
    // The kernel's socket buffers hold some megabytes of it.
    expect(taken * bytes.length).toBeLessThan(16 * 1024 * 1024);
    terminal.socket.resume();
    await until(() => terminal.outputBytes === 1000 * bytes.length, 'all of it comes');
    terminal.close();
  });
});

describe('terminals of an API', () => {
  const watched = (terminal: { pingMs: number; idleMs: number }): Promise<Api> =>
    Api.start({ terminals: hosts, config: { ...defaultHttpConfig, terminal } });
  const shell = async (of: Api, as?: string): Promise<TestTerminal> => {
    const name = await of.instance();
    await of.settle();
    const path = `/v1/projects/alpha/instances/${name}/exec`;
    const { body } = await of
      .call('post', path, as)
      .send({ command: ['sh'] })
      .expect(201);
    const { port: at } = of.app.getHttpServer().address() as AddressInfo;
    const terminal = await TestTerminal.open(`ws://127.0.0.1:${at}/v1/console?ticket=${body.secret}`);
    await terminal.notice('opened');
    return terminal;
  };
  const problem = async (terminal: TestTerminal): Promise<string> => {
    await terminal.closed;
    const last = terminal.notices.at(-1);
    return last?.type === 'problem' ? last.problem.code : 'none';
  };

  test('end where nothing happens for long', async () => {
    const idle = await watched({ pingMs: 20, idleMs: 100 });
    expect(await problem(await shell(idle))).toBe('gone');
    await idle.stop();
  });

  test('end at once when the browser signs out, and its tickets with it; those of others stay', async () => {
    // No ping comes: the ledger tells.
    const quiet = await watched({ pingMs: 3_600_000, idleMs: 3_600_000 });
    const [mine, other] = [
      await Browser.signIn(quiet, 'alpha:operator'),
      await Browser.signIn(quiet, 'alpha:operator'),
    ];
    const name = await quiet.instance();
    await quiet.settle();
    const { port: at } = quiet.app.getHttpServer().address() as AddressInfo;
    const open = (secret: string) => TestTerminal.open(`ws://127.0.0.1:${at}/v1/console?ticket=${secret}`);
    const exec = async (browser: Browser): Promise<string> => {
      const path = `/v1/projects/alpha/instances/${name}/exec`;
      return (
        await browser
          .call('post', path)
          .send({ command: ['sh'] })
          .expect(201)
      ).body.secret as string;
    };
    const [first, second] = [await open(await exec(mine)), await open(await exec(other))];
    for (const terminal of [first, second]) await terminal.notice('opened');
    const unspent = await exec(mine);
    await mine.call('delete', '/v1/session').expect(204);
    expect(await problem(first)).toBe('unauthenticated');
    await expect(open(unspent)).rejects.toThrow('401');
    second.type(Buffer.from('still here'));
    await until(() => second.output.toString() === 'still here', 'the other goes on');
    second.close();
    await quiet.stop();
  });

  test('end with their token, when the client does not answer pings, and with the API', async () => {
    const strict = await watched({ pingMs: 250, idleMs: 60_000 });
    const made = await strict.call('post', '/v1/tokens').send({ name: 't', role: 'operator' }).expect(201);
    const revoked = await shell(strict, made.body.secret);
    await strict.call('delete', `/v1/tokens/${made.body.id}`).expect(204);
    expect(await problem(revoked)).toBe('unauthenticated');

    const silent = await shell(strict);
    const host = hosts.opened.at(-1) as EchoTerminal;
    silent.socket.pause();
    await until(() => host.closed, 'a client that says nothing is given up');
    silent.terminate();

    const last = await shell(strict);
    await strict.stop();
    expect(await problem(last)).toBe('unavailable');
  });
});

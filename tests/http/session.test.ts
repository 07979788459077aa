import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sseMessages } from '@berth/client';
import { withClient } from '../support/postgres.js';
import { Api } from './api.js';
import { Browser } from './browser.js';

const instances = '/v1/projects/alpha/instances';
const body = (name: string) => ({ name, spec: { isolation: 'container', image: 'oci', memoryMiB: 64 } });
let passed = 0;
const clock = { now: () => new Date(Date.now() + passed) };
let api: Api;
beforeAll(async () => {
  api = await Api.start({ clock }, 'h1', clock);
});
afterAll(() => api.stop());

/** Lets that many seconds pass for the API and its store. */
const pass = (seconds: number): void => void (passed += seconds * 1000);

describe('a session', () => {
  test('may what its token may, in its project and no other', async () => {
    const operator = await Browser.signIn(api, 'alpha:operator');
    await operator.call('post', instances).send(body('by-cookie')).expect(202);
    await operator.call('get', '/v1/projects/beta/instances').expect(404);
    const viewer = await Browser.signIn(api, 'alpha:viewer');
    await viewer.call('get', instances).expect(200);
    expect((await viewer.call('post', instances).send(body('not-by-viewer'))).body.code).toBe('forbidden');
  });

  test('says who it is, until when, and which CSRF value it wants', async () => {
    const browser = await Browser.signIn(api, 'alpha:operator');
    const { body: session, headers } = await browser.call('get', '/v1/session').expect(200);
    expect(session).toMatchObject({
      actor: 'token:alpha-operator',
      role: 'operator',
      via: 'session',
      csrf: browser.csrf,
    });
    expect(headers['cache-control']).toBe('no-store');
  });

  test.each([
    ['no CSRF value', { 'x-berth-csrf': '' }],
    ['the CSRF value of another session', { 'x-berth-csrf': 'x'.repeat(43) }],
    ['the origin of another host', { origin: 'http://evil.example' }],
    ['the origin of another port', { origin: 'http://127.0.0.1:1' }],
    ['the same host over another scheme', { origin: 'https://127.0.0.1' }],
    ['an origin that is none', { origin: 'null' }],
  ])('changes nothing with %s', async (_, headers) => {
    const browser = await Browser.signIn(api, 'alpha:admin');
    const before = await api.counts();
    const answer = await browser.call('post', instances, headers).send(body('forged'));
    expect(answer.body).toMatchObject({ status: 403, code: 'forbidden' });
    expect(await api.counts()).toEqual(before);
  });

  test('changes nothing without any origin', async () => {
    const browser = await Browser.signIn(api, 'alpha:admin');
    const answer = await api.http
      .delete('/v1/session')
      .set('cookie', browser.cookie)
      .set('x-berth-csrf', browser.csrf);
    expect(answer.body.code).toBe('forbidden');
  });

  test('counts for nothing beside an Authorization header, good or bad', async () => {
    const browser = await Browser.signIn(api, 'alpha:admin');
    await api.call('get', '/v1/session', 'berth_wrong').set('cookie', browser.cookie).expect(401);
    const { body: who } = await api.call('get', '/v1/session', 'beta:viewer').set('cookie', browser.cookie);
    expect(who).toMatchObject({ project: 'beta', via: 'token' });
  });

  test('ends with its token', async () => {
    const token = await api.tokenMake('viewer', 'alpha');
    const browser = await Browser.signIn(api, token);
    await browser.call('get', '/v1/session').expect(200);
    const { body: tokens } = await api.call('get', '/v1/tokens', 'alpha:admin').expect(200);
    await api.call('delete', `/v1/tokens/${tokens.items.at(-1).id}`, 'alpha:admin').expect(204);
    const { body: problem } = await browser.call('get', '/v1/session').expect(401);
    expect(problem).toMatchObject({ code: 'unauthenticated', remedy: 'Sign in again.' });
  });

  test('lasts no longer than its token', async () => {
    const token = await api.tokenMake('viewer', 'alpha', new Date(clock.now().getTime() + 600_000));
    const browser = await Browser.signIn(api, token);
    await browser.call('get', '/v1/session').expect(200);
    pass(601);
    await browser.call('get', '/v1/session').expect(401);
  });

  test('ends when nothing of it was heard for two hours, and not before', async () => {
    const browser = await Browser.signIn(api, 'alpha:viewer');
    for (let i = 0; i < 3; i++) {
      pass(7100);
      await browser.call('get', '/v1/session').expect(200);
    }
    pass(7201);
    await browser.call('get', '/v1/session').expect(401);
  });

  test('ends after twelve hours, however busy', async () => {
    const browser = await Browser.signIn(api, 'alpha:viewer');
    for (let hours = 1; hours < 12; hours++) {
      pass(3600);
      await browser.call('get', '/v1/session').expect(200);
    }
    pass(3600);
    await browser.call('get', '/v1/session').expect(401);
  });

  test('ends its event stream with it', async () => {
    const token = await api.tokenMake('viewer', 'alpha');
    const browser = await Browser.signIn(api, token);
    const response = await fetch(`${browser.origin}/v1/events`, {
      headers: { cookie: browser.cookie, accept: 'text/event-stream' },
      signal: AbortSignal.timeout(20_000),
    });
    const { body: tokens } = await api.call('get', '/v1/tokens', 'alpha:admin').expect(200);
    await api.call('delete', `/v1/tokens/${tokens.items.at(-1).id}`, 'alpha:admin').expect(204);
    for await (const { event, data } of sseMessages(response.body as ReadableStream<Uint8Array>))
      if (event === 'problem') expect(JSON.parse(data)).toMatchObject({ code: 'unauthenticated' });
  });

  test('over HTTPS has a cookie that plain HTTP can neither read nor replace', async () => {
    const browser = await Browser.signIn(api, 'alpha:admin', 'https');
    expect(browser.cookie).toMatch(/^__Host-berth_session=/);
    await browser.call('post', instances).send(body('by-https')).expect(202);
    const origin = browser.origin.replace('https:', 'http:');
    await browser.call('post', instances, { origin }).send(body('downgraded')).expect(403);
  });

  test('leaves only a hash in the database, and its opening and end in the ledger', async () => {
    const browser = await Browser.signIn(api, 'beta:viewer');
    await browser.call('delete', '/v1/session').expect(204);
    const { rows } = await withClient(api.url, (c) =>
      c.query(`SELECT (SELECT json_agg(s)::text FROM browser_sessions s) AS sessions,
        (SELECT json_agg(type ORDER BY id) FROM events WHERE object_name = 'beta-viewer') AS types`),
    );
    expect(rows[0].sessions).not.toMatch(/berthsession_/);
    expect(rows[0].types).toEqual(['token.created', 'session.opened', 'session.ended']);
  });

  test('that is over is removed in time', async () => {
    await Browser.signIn(api, 'alpha:viewer');
    pass(13 * 3600);
    expect(await api.store.browserSessionsTrim()).toBeGreaterThan(0);
    expect((await api.counts())['browser_sessions']).toBe(0);
  });
});

describe('a sign-in code', () => {
  const code = async (as = 'alpha:operator'): Promise<string> =>
    (await api.call('post', '/v1/sign-in-codes', as).expect(201)).body.secret as string;

  test('signs in once, typed in any case, with spaces or dashes', async () => {
    const made = await code();
    const browser = await Browser.signIn(api, ` ${made.toLowerCase().replaceAll('-', ' ')} `);
    expect((await browser.call('get', '/v1/session')).body.actor).toBe('token:alpha-operator');
    await api.http.post('/v1/session').send({ secret: made }).expect(401);
  });

  test('works for five minutes', async () => {
    const [early, late] = [await code(), await code()];
    pass(299);
    await Browser.signIn(api, early);
    pass(2);
    await api.http.post('/v1/session').send({ secret: late }).expect(401);
  });

  test('of ten browsers at once lets one in', async () => {
    pass(61);
    const made = await code();
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => api.http.post('/v1/session').send({ secret: made })),
    );
    expect(answers.map((a) => a.status).filter((s) => s === 201)).toHaveLength(1);
  });
});

describe('signing in', () => {
  test('from a page of elsewhere is refused', async () => {
    const answer = await api.http
      .post('/v1/session')
      .set('origin', 'http://evil.example')
      .send({ secret: api.tokens.get('all:admin') });
    expect(answer.body.code).toBe('forbidden');
  });

  test('is held up after ten failures of one address, and free again after a minute', async () => {
    pass(61);
    const attempt = (secret: string) => api.http.post('/v1/session').send({ secret });
    for (let i = 0; i < 10; i++) await attempt('berth_guess').expect(401);
    const held = await attempt(api.tokens.get('alpha:viewer') as string).expect(429);
    expect(held.body).toMatchObject({ code: 'rateLimited', remedy: expect.stringMatching(/seconds/) });
    expect(Number(held.headers['retry-after'])).toBeGreaterThan(0);
    pass(61);
    await attempt(api.tokens.get('alpha:viewer') as string).expect(201);
  });
});

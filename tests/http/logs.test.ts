import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { finished } from 'node:stream/promises';
import { type Instance, placeAt, placeText } from '@berth/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BerthClient, type LogBegin, type LogForms, type LogPiece } from '@berth/client';
import type { AddressInfo } from 'node:net';
import { defaultHttpConfig } from '../../apps/api/src/http/deps.js';
import { statsText } from '../../apps/api/src/http/stats-text.js';
import { Api } from './api.js';
import { until } from './test-terminal.js';

/** What stands for the log of a host: it grows, its oldest bytes are dropped, and connections to it break. */
class Log {
  private bytes = Buffer.alloc(0);
  private wake = new Set<() => void>();
  private cuts = new Set<() => void>();
  private dropped = 0;

  print(text: string): void {
    this.bytes = Buffer.concat([this.bytes, Buffer.from(text)]);
    for (const wake of this.wake) wake();
  }
  drop(bytes: number): void {
    this.bytes = this.bytes.subarray(bytes);
    this.dropped += bytes;
  }
  /** Ends all who follow, as an API that is killed does. */
  cut(): void {
    for (const cut of this.cuts) cut();
  }
  /** A frame, which hosts give where lines are wanted with their times. */
  frame(stream: 'stdout' | 'stderr', second: number, text: string, tag = 'F'): void {
    this.print(`2026-01-02T03:04:${String(second).padStart(2, '0')}.5+00:00 ${stream} ${tag} ${text}\n`);
  }
  async *read(follow: boolean, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    let at = this.dropped;
    let over = !follow;
    const end = (): void => void (over = true);
    this.cuts.add(end);
    for (;;) {
      if (this.dropped + this.bytes.length > at) {
        const piece = this.bytes.subarray(at - this.dropped);
        at = this.dropped + this.bytes.length;
        yield piece;
      } else if (over || signal.aborted) return;
      else
        await new Promise<void>((resolve) => {
          this.wake.add(resolve);
          this.cuts.add(resolve);
          signal.addEventListener('abort', () => resolve(), { once: true });
        });
    }
  }
}

let log = new Log();
/** What the host was asked for last. */
let asked: { readonly follow: boolean; readonly framed?: boolean; readonly tailBytes?: number };
/** What stands for the stats of a host: what is told, until it ends or breaks. */
let stats = new PassThrough({ objectMode: true });
let api: Api;
let client: BerthClient;
beforeAll(async () => {
  api = await Api.start({
    logs: (_instance, options, signal) => {
      asked = options;
      return Promise.resolve(Readable.from(log.read(options.follow, signal)));
    },
    stats: (_instance, _everyMs, signal) => {
      const told = stats;
      signal.addEventListener('abort', () => told.destroy(), { once: true });
      return Promise.resolve(told);
    },
  });
  const { port } = api.app.getHttpServer().address() as AddressInfo;
  client = new BerthClient({ baseUrl: `http://127.0.0.1:${port}`, token: api.tokens.get('all:admin') ?? '' });
});
afterAll(() => api.stop());

async function running(): Promise<string> {
  log = new Log();
  const name = await api.instance();
  await api.settle();
  return name;
}

/** Follows a log and keeps what it gave. */
function followed(name: string, view: LogBegin & LogForms = {}) {
  const stop = new AbortController();
  const pieces: LogPiece[] = [];
  const options = { signal: stop.signal, backoffMs: [20], ...view };
  const ended = (async () => {
    for await (const piece of client.followLog({ project: 'alpha', instance: name }, options))
      pieces.push(piece);
  })();
  const text = (): string =>
    pieces
      .map((p) =>
        p.type === 'bytes' ? Buffer.from(p.bytes).toString() : p.type === 'gap' ? '[gap]' : `[${p.epoch}]`,
      )
      .join('');
  return { text, ended, stop: () => (stop.abort(), ended) };
}
const lines = (from: number, to: number): string =>
  Array.from({ length: to - from }, (_, i) => `line ${from + i}\n`).join('');

describe('a log that is followed', () => {
  test('goes on over broken connections, nothing lost and nothing twice', async () => {
    const follower = followed(await running());
    let printed = 0;
    for (let round = 0; round < 12; round++) {
      log.print(lines(printed, (printed += 150)));
      if (round % 3 === 0) await until(() => follower.text().endsWith(`line ${printed - 1}\n`), 'it comes');
      log.cut();
      log.print(lines(printed, (printed += 50)));
    }
    await until(() => follower.text().endsWith(`line ${printed - 1}\n`), 'all comes');
    expect(follower.text()).toBe(`[1]${lines(0, printed)}`);
    await follower.stop();
  });

  test('begins near its end when that is wanted, and goes on the same', async () => {
    const name = await running();
    log.print(lines(0, 1000));
    const follower = followed(name, { tailBytes: 18 });
    await until(() => follower.text() === '[1]line 998\nline 999\n', 'its end');
    log.cut();
    log.print('more\n');
    await until(() => follower.text() === '[1]line 998\nline 999\nmore\n', 'what comes');
    await follower.stop();
  });

  test('goes on where its host has dropped what was read, and says where it has dropped more', async () => {
    const name = await running();
    log.print(lines(0, 2000));
    const follower = followed(name);
    await until(() => follower.text().endsWith('line 1999\n'), 'it comes');
    log.drop(5000);
    log.cut();
    log.print(lines(2000, 2100));
    await until(() => follower.text().endsWith('line 2099\n'), 'the rest comes');
    expect(follower.text()).toBe(`[1]${lines(0, 2100)}`);
    log.drop(lines(0, 2100).length - 5000);
    log.cut();
    log.print('after\n');
    await until(() => follower.text().endsWith('after\n'), 'what is left comes');
    expect(follower.text()).toBe(`[1]${lines(0, 2100)}[gap]after\n`);
    await follower.stop();
  });

  test('goes on with the next epoch when the one before has said all, and ends with the instance', async () => {
    const name = await running();
    const follower = followed(name);
    log.print('first life\n');
    await until(() => follower.text() === '[1]first life\n', 'the first');
    const before = log;
    await api.call('post', `/v1/projects/alpha/instances/${name}/actions/stop`).expect(202);
    await api.settle();
    log = new Log();
    await api.call('post', `/v1/projects/alpha/instances/${name}/actions/start`).expect(202);
    await api.settle();
    log.print('second life\n');
    before.print('last words\n');
    await until(() => follower.text() === '[1]first life\nlast words\n[2]second life\n', 'the second');
    await api.call('delete', `/v1/projects/alpha/instances/${name}`).expect(202);
    await api.settle();
    await follower.ended;
  });

  test('of what is not there, or was never placed, is refused at once', async () => {
    await expect(followed('nobody').ended).rejects.toMatchObject({ status: 404 });
  });
});

test('a place of an epoch that is over begins the next from its beginning', async () => {
  const name = await running();
  log.print('abc');
  const at = (place: string) =>
    api.call('get', `/v1/projects/alpha/instances/${name}/logs?after=${place}`).expect(200);
  const answer = await at(placeText(placeAt(1, 2, Buffer.from('ab'))));
  expect([answer.text, answer.headers['berth-log-start']]).toEqual(['c', '1.2']);
  const anew = await at(placeText(placeAt(7, 2, Buffer.from('ab'))));
  expect([anew.text, anew.headers['berth-log-start']]).toEqual(['abc', '1.0']);
  await api.call('get', `/v1/projects/alpha/instances/${name}/logs?after=yesterday`).expect(400);
});

describe('a log whose lines have their times', () => {
  const read = (name: string, query: string) =>
    api.call('get', `/v1/projects/alpha/instances/${name}/logs?${query}`);
  const text = async (name: string, query: string): Promise<string> =>
    (await read(name, query).responseType('text').expect(200)).body.toString() as string;
  /** Four lines, a second between them, the third in two parts. */
  async function four(): Promise<string> {
    const name = await running();
    log.frame('stdout', 1, 'one');
    log.frame('stderr', 2, 'two');
    log.frame('stdout', 3, 'thr', 'P');
    log.frame('stdout', 3, 'ee');
    log.frame('stdout', 4, 'four');
    return name;
  }

  test('begins with what was written at a time, or so many lines before the end, whichever is later', async () => {
    const name = await four();
    expect(await text(name, 'since=2026-01-02T03:04:02Z')).toBe('two\nthree\nfour\n');
    expect(asked).toEqual({ follow: false, framed: true });
    expect(await text(name, 'since=2026-01-02T04:04:02%2B01:00&tailLines=2')).toBe('three\nfour\n');
    expect(await text(name, 'since=2026-01-02T03:04:04Z&tailLines=2')).toBe('four\n');
    expect(await text(name, 'since=2026-01-02T03:04:02Z&tailBytes=5')).toBe('four\n');
    expect(await text(name, 'since=2026-01-02T03:04:05Z')).toBe('');
    expect(await text(name, 'since=2020-01-02T03:04:05Z&tailLines=0')).toBe('');
  });

  test('is shown with them, or as JSON', async () => {
    const name = await four();
    expect(await text(name, 'timestamps=true&tailLines=2')).toBe(
      '2026-01-02T03:04:03.5Z three\n2026-01-02T03:04:04.5Z four\n',
    );
    const answer = await read(name, 'format=json&since=2026-01-02T03:04:02Z&tailLines=3').expect(200);
    expect(answer.headers['content-type']).toBe('application/x-ndjson');
    const json = await text(name, 'format=json&since=2026-01-02T03:04:02Z&tailLines=3');
    expect(
      json
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as unknown),
    ).toEqual([
      { time: '2026-01-02T03:04:03.5Z', stream: 'stdout', text: 'thr', partial: true },
      { time: '2026-01-02T03:04:03.5Z', stream: 'stdout', text: 'ee' },
      { time: '2026-01-02T03:04:04.5Z', stream: 'stdout', text: 'four' },
    ]);
  });

  test('is followed as JSON over broken connections, nothing lost and nothing twice', async () => {
    const name = await four();
    const follower = followed(name, { format: 'json', since: '2026-01-02T03:04:04Z' });
    await until(() => follower.text().includes('four'), 'its end');
    for (let n = 10; n < 40; n++) {
      log.frame(n % 3 === 0 ? 'stderr' : 'stdout', n, `more ${n}`);
      if (n % 5 === 0) log.cut();
    }
    await until(() => follower.text().includes('more 39'), 'what comes');
    const lines = follower.text().replace('[1]', '').split('\n').slice(0, -1);
    const said = lines.map((line) => (JSON.parse(line) as { text: string }).text);
    expect(said).toEqual(['four', ...Array.from({ length: 30 }, (_, i) => `more ${i + 10}`)]);
    await follower.stop();
  });

  test('may begin so many lines before the end where lines have no times, and is refused the times', async () => {
    const vm = await api.instance('alpha', { isolation: 'vm', image: 'disk', memoryMiB: 128 });
    await api.settle();
    log = new Log();
    log.print('one\ntwo\nhalf');
    expect(await text(vm, 'tailLines=2')).toBe('two\nhalf');
    expect(asked).toEqual({ follow: false });
    const answer = await read(vm, 'since=2026-01-02T03:04:02Z&format=json').expect(422);
    expect(answer.body).toMatchObject({
      code: 'unsupported',
      errors: [{ path: '/since' }, { path: '/format' }],
    });
    await read(vm, 'since=yesterday').expect(400);
  });
});

describe('stats that are followed', () => {
  const now = (memoryBytes: number) => ({
    ...{ cpuMillis: 5, memoryBytes, memoryLimitBytes: 64, guestMemoryBytes: null, pids: 1 },
    ...{ networkReceivedBytes: 0, networkSentBytes: 0, blockReadBytes: 0, blockWriteBytes: 0 },
  });
  const follow = (instance: string) => {
    stats = new PassThrough({ objectMode: true });
    return client.stats({ project: 'alpha', instance, follow: true, intervalSeconds: 1 });
  };

  test('come as they are measured, and end cleanly with the run', async () => {
    const seen: number[] = [];
    const all = follow(await running());
    stats.write(now(1));
    for await (const { memoryBytes, time } of all) {
      expect(Date.parse(time)).not.toBeNaN();
      seen.push(memoryBytes);
      if (seen.length === 1) stats.write(now(2));
      else stats.end();
    }
    expect(seen).toEqual([1, 2]);
  });

  test('nothing waits for whoever does not read; what is read late is the newest', async () => {
    const source = new PassThrough({ objectMode: true });
    const over = new AbortController();
    const text = await statsText(
      { stats: () => Promise.resolve(source), clock: { now: () => new Date() }, config: defaultHttpConfig },
      {} as Instance,
      { follow: true, intervalSeconds: 1 },
      { gone: over.signal, stillAllowed: () => Promise.resolve() },
    );
    source.write(now(1));
    expect(JSON.parse((await text.next()).value as string)).toMatchObject({ memoryBytes: 1 });
    for (let n = 2; n <= 500; n += 1) if (!source.write(now(n))) await once(source, 'drain');
    source.end();
    await finished(source);
    expect(JSON.parse((await text.next()).value as string)).toMatchObject({ memoryBytes: 500 });
    expect(await text.next()).toMatchObject({ done: true });
  });

  test('break off when their host is lost, and when their token is revoked', async () => {
    const name = await running();
    const lost = follow(name);
    stats.write(now(1));
    await lost.next();
    stats.destroy(new Error('the link is lost'));
    await expect(lost.next()).rejects.toThrow('broke off');

    const secret = await api.tokenMake('viewer', 'alpha');
    const { port } = api.app.getHttpServer().address() as AddressInfo;
    const viewer = new BerthClient({ baseUrl: `http://127.0.0.1:${port}`, token: secret });
    stats = new PassThrough({ objectMode: true });
    const seen = viewer.stats({ project: 'alpha', instance: name, follow: true, intervalSeconds: 1 });
    stats.write(now(1));
    await seen.next();
    const { items } = (await api.call('get', '/v1/tokens').expect(200)).body as {
      items: { id: string; name: string }[];
    };
    for (const { id } of items.filter((token) => token.name === 'alpha-viewer'))
      await api.call('delete', `/v1/tokens/${id}`).expect(204);
    const source = stats;
    const ended = until(() => {
      if (!source.destroyed) source.write(now(2));
      return source.destroyed;
    }, 'the end of the stream');
    await expect(
      (async () => {
        for await (const _ of seen);
      })(),
    ).rejects.toThrow('broke off');
    await ended;
  });

  test('are not for a token of another project, and not of what does not run', async () => {
    const name = await api.instance();
    await api.call('get', `/v1/projects/alpha/instances/${name}/stats`).expect(409);
    await api.settle();
    const other = await api
      .call('get', `/v1/projects/alpha/instances/${name}/stats`, 'beta:admin')
      .expect(404);
    expect(other.body.code).toBe('notFound');
    await api.call('get', `/v1/projects/alpha/instances/${name}/stats?intervalSeconds=61`).expect(400);
  });
});

import { Readable } from 'node:stream';
import { placeAt, placeText } from '@berth/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BerthClient, type LogPiece } from '@berth/client';
import type { AddressInfo } from 'node:net';
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
let api: Api;
let client: BerthClient;
beforeAll(async () => {
  api = await Api.start({
    logs: (_instance, { follow }, signal) => Promise.resolve(Readable.from(log.read(follow, signal))),
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
function followed(name: string, tailBytes?: number) {
  const stop = new AbortController();
  const pieces: LogPiece[] = [];
  const options = { signal: stop.signal, backoffMs: [20], ...(tailBytes === undefined ? {} : { tailBytes }) };
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
    const follower = followed(name, 18);
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

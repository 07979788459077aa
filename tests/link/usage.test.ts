import { rm } from 'node:fs/promises';
import { clockTrouble } from '@berth/model';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startPostgres } from '../support/postgres.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { Api, Host, database, tempDir, until } from './lab.js';

let cluster: ThrowawayPostgres;
let dir: string;

beforeAll(async () => {
  cluster = await startPostgres();
  dir = await tempDir();
});
afterAll(async () => {
  await cluster.stop();
  await rm(dir, { recursive: true, force: true });
});

it('what an instance uses comes over the link; an API that was restarted asks for what it missed', async () => {
  const url = await database(cluster.url);
  let api = await Api.start(url, dir);
  const host = new Host(`${dir}/h1`, 'h1');
  try {
    host.start(api.door.port, await api.joinToken());
    const { id } = await api.create('web');
    await api.untilState('web', 'running');
    // An agent looks as soon as it has begun.
    await host.end();
    host.start(api.door.port, '');
    const told = () => [...api.usage.latest()].map((l) => l.usage.instanceId);
    await until(told, (ids) => ids.includes(id), 'the usage of web');
    // The newest step may have begun since the sample: it has nothing yet.
    const { memoryBytes } = api.usage.instance(id, { seconds: 60, step: 15 });
    expect(Math.max(...memoryBytes.map((bytes) => bytes ?? 0))).toBeGreaterThan(1024 * 1024);
    const stats = await api.door.stats(await api.untilConnected(), id, 1000, new AbortController().signal);
    const lines = stats[Symbol.asyncIterator]();
    expect((await lines.next()).value).toMatchObject({ memoryLimitBytes: 16 * 1024 * 1024, pids: 1 });
    expect(api.door.figures()).toMatchObject({ hosts: 1 });
    expect(api.door.figures().receivedBytes).toBeGreaterThan(0);
    // What stops ends its stream cleanly, and can be asked of no more.
    await api.act('web', 'stop');
    await until(
      () => lines.next(),
      ({ done }) => done === true,
      'the end of the stream',
    );
    await expect(
      api.door.stats(await api.untilConnected(), id, 1000, new AbortController().signal),
    ).rejects.toMatchObject({ code: 'stateConflict' });
    const { port } = api.door;
    await api.close();
    api = await Api.start(url, dir, port);
    expect(told()).toEqual([]);
    await until(told, (ids) => ids.includes(id), 'the usage of web, from before this API began');
  } finally {
    await host.end();
    await api.close();
  }
});

it('a clock that is wrong is told of with what to do, and told of no more when it is right', async () => {
  const url = await database(cluster.url);
  const api = await Api.start(url, dir);
  const host = new Host(`${dir}/h3`, 'h3');
  const clock = () => api.store.hostGet('h3').then((found) => found && clockTrouble(found)?.message);
  const events = async () => {
    await api.store.eventsNumber();
    const { events: all } = await api.store.eventsRead('0', 100);
    return all.map((e) => e.type).filter((type) => type.startsWith('host.clock'));
  };
  try {
    host.clockAheadMs = -90_000;
    host.start(api.door.port, await api.joinToken());
    await until(clock, (said) => said === "clock is 90 s behind the API's", 'the wrong clock');
    await host.end();
    host.clockAheadMs = 0;
    host.start(api.door.port, '');
    await until(clock, (said) => said === undefined, 'the clock that is right');
    expect(await events()).toEqual(['host.clockWrong', 'host.clockRight']);
  } finally {
    await host.end();
    await api.close();
  }
});

it('the trace of a start tells its parts in the API, and within them those of the host', async () => {
  const url = await database(cluster.url);
  const api = await Api.start(url, dir);
  const host = new Host(`${dir}/h2`, 'h2');
  try {
    host.start(api.door.port, await api.joinToken());
    await until(
      () => api.door.connected(),
      (all) => all.length === 1,
      'the host',
    );
    const { id } = await api.create('web');
    // What the REST side does, which this lab has not.
    const operation = { id: 'op', traceId: 'trace' };
    api.traces.begin(operation, id, api.traces.now());
    await api.place();
    await api.untilState('web', 'running');
    const named = (room: string) => {
      const spans = api.traces.get('op')?.spans ?? [];
      return spans.filter((s) => s.room === room).map((s) => s.name);
    };
    expect(named('api').filter((n) => n !== 'decision')).toEqual([
      'transaction',
      'offer',
      'link',
      'host',
      'report',
    ]);
    expect(named('host')).toEqual(expect.arrayContaining(['prepare', 'start']));
  } finally {
    await host.end();
    await api.close();
  }
});

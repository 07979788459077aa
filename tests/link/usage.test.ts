import { rm } from 'node:fs/promises';
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
    expect(api.usage.instance(id, { seconds: 60, step: 15 }).memoryBytes.at(-1)).toBeGreaterThan(1024 * 1024);
    expect(api.door.figures()).toMatchObject({ hosts: 1 });
    expect(api.door.figures().receivedBytes).toBeGreaterThan(0);
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

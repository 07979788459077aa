import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres, withClient } from '../support/postgres.js';
import { create, ctx, world, type World } from './fixture.js';

let cluster: ThrowawayPostgres;
let w: World;
beforeAll(async () => {
  cluster = await startPostgres();
  w = await world(cluster.url);
});
afterAll(async () => {
  await w.store.close();
  await cluster.stop();
});

test('connections that the server ends, in the middle of whatever they do, cost their requests and nothing else', async () => {
  await create(w, 'a');
  const at = { projectId: w.projectId, name: 'a', deadlineSeconds: 60 };
  let over = false;
  const failures: unknown[] = [];
  const again = async (work: () => Promise<unknown>): Promise<void> => {
    while (!over) await work().catch((error: unknown) => failures.push(error));
  };
  const busy = [
    again(() => w.store.instanceAct(ctx, { ...at, verb: 'restart' })),
    again(() => w.store.instanceAct(ctx, { ...at, verb: 'stop' })),
    again(() => w.store.instanceList({ projectId: w.projectId })),
    again(() => w.store.operationList({ projectId: w.projectId })),
  ];
  for (let i = 0; i < 20; i++)
    await withClient(w.url, (c) =>
      c.query(`select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'berth-api'`),
    );
  over = true;
  await Promise.all(busy);
  expect(failures.length).toBeGreaterThan(0);
  for (const failure of failures) expect(failure).toMatchObject({ code: 'unavailable' });
  expect((await w.store.instanceGet(w.projectId, 'a'))?.name).toBe('a');
});

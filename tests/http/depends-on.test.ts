import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { placePending } from '../../apps/api/src/scheduling/place.js';
import { Api } from './api.js';

const clock = { now: () => new Date() };
const ids = { uuid: () => randomUUID() as string };

/* Real Postgres and scheduler; the host is the test's, and says what it is told to. */

let api: Api;
beforeAll(async () => {
  api = await Api.start();
  await api.facetsAdd('probes');
});
afterAll(() => api.stop());

const instances = '/v1/projects/alpha/instances';
const path = (name: string): string => `${instances}/${name}`;
const status = async (name: string): Promise<{ state: string; reason: string | null }> =>
  (await api.call('get', path(name)).expect(200)).body.status;
const act = async (name: string, verb: string): Promise<void> => {
  await api.call('post', `${path(name)}/actions/${verb}`).expect(202);
  await api.settle();
};
const plain = { isolation: 'container', image: 'oci', memoryMiB: 64 };
const update = (name: string, spec: object) =>
  api.call('put', path(name)).send({ spec: { ...plain, ...spec }, labels: {} });
const after = (instance: string, condition?: string) => ({
  dependsOn: [{ instance, ...(condition === undefined ? {} : { condition }) }],
});
const probed = { probes: { readiness: { tcp: { port: 80 } } } };
/** An instance that is to run, once the scheduler and the host have done what they can. */
async function made(change: object = {}): Promise<string> {
  const name = await api.instance('alpha', change);
  await api.settle();
  return name;
}

describe('an instance that depends on another', () => {
  test('starts once that one runs, says until then what it waits for, and runs on when that one ends', async () => {
    const db = await made({ desired: 'stopped' });
    const web = await made(after(db));
    const waits = `waits until ${db} is running: it is stopped`;
    expect(await status(web)).toMatchObject({ state: 'pending', reason: waits });
    const { body } = await api.call('get', `${path(web)}/decision`).expect(200);
    expect(body).toMatchObject({
      outcome: 'unplaced',
      summary: waits,
      rejected: [{ filter: 'dependencies', hosts: 1, need: `${db} running`, bestHave: 'stopped' }],
    });
    expect((await api.call('get', `${path(web)}/explain`).expect(200)).body.decision.summary).toBe(waits);
    await act(db, 'start');
    await api.settle();
    expect((await status(web)).state).toBe('running');
    await act(db, 'stop');
    expect((await status(web)).state).toBe('running');
    await act(web, 'restart');
    expect(await status(web)).toMatchObject({ state: 'pending', reason: waits });
    await update(web, { dependsOn: [] }).expect(202);
    await api.settle();
    expect((await status(web)).state).toBe('running');
  });

  test('has the scheduler woken by whatever its dependency becomes', async () => {
    const db = await made({ desired: 'stopped' });
    const web = await made(after(db));
    await api.call('post', `${path(db)}/actions/start`).expect(202);
    await placePending({ store: api.store, strategy: 'spread', clock, ids, placed: () => undefined });
    const list = await api.store.assignmentsOffer(api.host.id);
    const of = list?.assignments.find((a) => a.name === db);
    if (of === undefined) throw new Error('it was not placed');
    const report = (seq: number, phase: 'preparing' | 'running') =>
      api.store.reportApply({
        ...{
          hostId: api.host.id,
          session: api.host.session,
          seq,
          instanceId: of.instanceId,
          epoch: of.epoch,
        },
        ...{
          run: 1,
          phase,
          power: phase === 'running' ? 'running' : 'off',
          exit: null,
          observedAt: new Date(),
        },
      });
    expect(await report(1_000_000, 'running')).toMatchObject({ outcome: 'applied', awaited: true });
    await placePending({ store: api.store, strategy: 'spread', clock, ids, placed: () => undefined });
    expect((await status(web)).state).not.toBe('pending');
  });

  test('waits for what its probes say, or for its end without a fault', async () => {
    const db = await made({ ...probed, desired: 'stopped' });
    const web = await made(after(db, 'ready'));
    expect((await status(web)).reason).toBe(`waits until ${db} is ready: it is stopped`);
    await act(db, 'start');
    await api.settle();
    expect((await status(web)).state).toBe('running');
    const job = await made({ desired: 'stopped' });
    const late = await made(after(job, 'completed'));
    expect((await status(late)).reason).toBe(
      `waits until ${job} is completed: it is stopped, never started: start it again`,
    );
    await act(job, 'start');
    await api.settle();
    await api.settle();
    expect((await status(late)).reason).toBe(`waits until ${job} is completed: it is running`);
  });

  test('whose dependency was deleted runs on, and says so at its next start', async () => {
    const db = await made();
    const web = await made(after(db));
    await api.call('delete', path(db)).expect(202);
    await api.settle();
    expect((await status(web)).state).toBe('running');
    // Another field may change all the same.
    await update(web, { ...after(db), memoryMiB: 65 }).expect(202);
    await api.settle();
    await act(web, 'restart');
    expect((await status(web)).reason).toBe(
      `waits until ${db} is running: it is not there: create it, or take it out of dependsOn`,
    );
    await api.call('post', instances).send({ name: db, spec: plain }).expect(202);
    await api.settle();
    await api.settle();
    expect((await status(web)).state).toBe('running');
  });
});

describe('a wish that cannot be is refused', () => {
  const first = (answer: { body: { errors: { path: string; message: string }[] } }) => answer.body.errors[0];
  const create = async (spec: object) =>
    first(
      await api
        .call('post', instances)
        .send({ name: 'new', spec: { ...plain, ...spec } })
        .expect(400),
    );

  test('who is not there, itself, and a condition that nothing tells', async () => {
    expect(await create(after('nobody'))).toMatchObject({
      path: '/spec/dependsOn/0/instance',
      message: 'names no instance of the project ("nobody")',
    });
    expect((await create(after('new')))?.message).toContain('new → new');
    const db = await made();
    expect(await create(after(db, 'healthy'))).toMatchObject({
      path: '/spec/dependsOn/0/condition',
      message: `is told by no probe: "${db}" has no probes.liveness`,
    });
    expect((await create({ dependsOn: [{ instance: db }, { instance: db }] }))?.path).toBe('/spec/dependsOn');
  });

  test('a circle, which is named, also where two requests would make it together', async () => {
    const a = await made();
    const b = await made(after(a));
    const c = await made(after(b));
    const refused = first(await update(a, after(c)).expect(400));
    expect(refused?.message).toBe(`makes a circle, in which none could start: ${a} → ${c} → ${b} → ${a}`);
    const [x, y] = [await made(), await made()];
    const both = await Promise.all(
      [
        [x, y],
        [y, x],
      ].map(([from = '', to = '']) => update(from, after(to))),
    );
    expect(both.map((answer) => answer.status).sort()).toEqual([202, 400]);
  });
});

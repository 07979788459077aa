import { InstanceSpec, type Sizes } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { create, ctx, joinHost, place, report, refusal, world } from './fixture.js';

let cluster: ThrowawayPostgres;
let w: World;
let alpha: TestHost;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  alpha = await joinHost(w, 'alpha', { cpuMillis: 4000, memoryMiB: 1000, diskMiB: 1000 });
});
afterEach(() => w?.store.close());

const container = { isolation: 'container', image: 'busybox', cpuMillis: 500, memoryMiB: 100 } as const;
const vm = { isolation: 'vm', image: 'debian', vcpus: 2, memoryMiB: 100, rootDisk: { sizeMiB: 64 } } as const;

const used = async () => {
  const { cpuMillis, memoryMiB } = (await w.store.hostGet('alpha'))?.used ?? expect.fail();
  return { cpuMillis, memoryMiB };
};
const listed = async () => (await w.store.assignmentsRead(alpha.id))?.assignments[0] ?? expect.fail();
const change = async (fields: object, name = 'a') => {
  const spec = (await w.store.instanceGet(w.projectId, name))?.spec;
  const update = { projectId: w.projectId, name, deadlineSeconds: 60 };
  return w.store.instanceUpdate(ctx, { ...update, spec: InstanceSpec.parse({ ...spec, ...fields }) });
};
type Made = Awaited<ReturnType<typeof create>>;
const runs = async (spec: object, name = 'a'): Promise<Made> => {
  const made = await create(w, name, spec as never);
  await place(w, made, alpha);
  await says(made, 1, null);
  return made;
};
const says = (instance: Made, revision: number, sizes: Sizes | null) =>
  report(w, alpha, { instance, epoch: 1, phase: 'running', revision, sizes });

describe('room of what runs', () => {
  test('is booked at once when it grows, and let go when its host says that it has less', async () => {
    const made = await runs(container);
    await change({ memoryMiB: 300, cpuMillis: 700 });
    expect(await used()).toEqual({ cpuMillis: 700, memoryMiB: 300 });
    expect((await listed()).sizes).toEqual({ vcpus: 1, cpuMillis: 700, memoryMiB: 300 });
    await change({ memoryMiB: 50, cpuMillis: 100 });
    expect(await used()).toEqual({ cpuMillis: 700, memoryMiB: 300 });
    // It says what it had before it heard of the newest spec.
    await says(made, 2, { vcpus: 1, cpuMillis: 500, memoryMiB: 100 });
    expect(await used()).toEqual({ cpuMillis: 700, memoryMiB: 300 });
    // Its memory is in use.
    const outcome = await says(made, 3, { vcpus: 1, cpuMillis: 100, memoryMiB: 300 });
    expect(outcome).toMatchObject({ outcome: 'applied', freed: true, assignmentsChanged: false });
    expect(await used()).toEqual({ cpuMillis: 100, memoryMiB: 300 });
    expect(await says(made, 3, { vcpus: 1, cpuMillis: 100, memoryMiB: 50 })).toMatchObject({ freed: true });
    expect(await used()).toEqual({ cpuMillis: 100, memoryMiB: 50 });
    expect(await says(made, 3, { vcpus: 1, cpuMillis: 100, memoryMiB: 50 })).toMatchObject({ freed: false });
  });

  test('stays as it was for what waits for the next start', async () => {
    await runs(vm);
    await change({ memoryMiB: 999, vcpus: 3, cpuMillis: 1500 });
    expect((await listed()).spec).toMatchObject({ memoryMiB: 999, vcpus: 3 });
    expect((await listed()).sizes).toEqual({ vcpus: 2, cpuMillis: 1500, memoryMiB: 100 });
    expect(await used()).toEqual({ cpuMillis: 2000, memoryMiB: 100 });
  });

  test('of a machine follows its processors, up to the maximum of its epoch and not below what it began with', async () => {
    const made = await runs({ ...vm, maxVcpus: 4 });
    expect(await used()).toMatchObject({ cpuMillis: 2000 });
    const range = { minVcpus: 2, maxVcpus: 4 };
    await change({ vcpus: 4 });
    expect((await listed()).sizes).toEqual({ vcpus: 4, cpuMillis: null, memoryMiB: 100, ...range });
    expect(await used()).toMatchObject({ cpuMillis: 4000 });
    await change({ vcpus: 1 });
    expect((await listed()).sizes).toMatchObject({ vcpus: 4 });
    await change({ vcpus: 2 });
    expect(await used()).toMatchObject({ cpuMillis: 4000 });
    // Its guest has let go of one.
    await says(made, 4, { vcpus: 3, cpuMillis: null, memoryMiB: 100, ...range });
    expect(await used()).toMatchObject({ cpuMillis: 3000 });
  });

  test('of a machine follows its memory, up to the maximum of its epoch and not below what it began with', async () => {
    const made = await runs({ ...vm, maxMemoryMiB: 400 });
    expect(await used()).toMatchObject({ memoryMiB: 100 });
    const range = { minMemoryMiB: 100, maxMemoryMiB: 400 };
    await change({ memoryMiB: 300 });
    expect((await listed()).sizes).toEqual({ vcpus: 2, cpuMillis: null, memoryMiB: 300, ...range });
    expect(await used()).toMatchObject({ memoryMiB: 300 });
    await change({ memoryMiB: 500, maxMemoryMiB: 600 });
    expect((await listed()).sizes).toEqual({ vcpus: 2, cpuMillis: null, memoryMiB: 300, ...range });
    await change({ memoryMiB: 99 });
    expect((await listed()).sizes).toMatchObject({ memoryMiB: 300 });
    await change({ memoryMiB: 100 });
    expect(await used()).toMatchObject({ memoryMiB: 300 });
    // Its guest has given back some.
    await says(made, 5, { vcpus: 2, cpuMillis: null, memoryMiB: 180, ...range });
    expect(await used()).toMatchObject({ memoryMiB: 180 });
  });

  test('of the disk of a container grows while it runs, is booked, and is never less', async () => {
    const made = await runs({ ...container, rootDisk: { sizeMiB: 64 } });
    const disk = async () => (await w.store.hostGet('alpha'))?.used.diskMiB;
    const size = (sizeMiB: number) => change({ rootDisk: { sizeMiB, pool: 'default' } });
    expect(await disk()).toBe(64);
    await size(512);
    expect(await disk()).toBe(512);
    expect(await listed()).toMatchObject({ rootVolume: { sizeMiB: 512 } });
    await report(w, alpha, { instance: made, epoch: 1, phase: 'running', revision: 2, sizes: null });
    await expect(size(511)).rejects.toThrow(/must be at least 512/);
    expect(await refusal(size(1001))).toBe('noRoom');
    expect(await disk()).toBe(512);
  });

  test('is refused where its host has none, and nothing has changed then', async () => {
    await runs(container);
    await runs(container, 'b');
    expect(await refusal(change({ memoryMiB: 901 }))).toBe('noRoom');
    expect(await refusal(change({ cpuMillis: 3501 }))).toBe('noRoom');
    expect(await used()).toEqual({ cpuMillis: 1000, memoryMiB: 200 });
    await change({ memoryMiB: 900, cpuMillis: 3500 });
    expect(await refusal(change({ memoryMiB: 101 }, 'b'))).toBe('noRoom');
  });

  test('is that of the spec at the next start, for what is about to stop', async () => {
    const made = await runs(container);
    await w.store.instanceAct(ctx, { projectId: w.projectId, name: 'a', verb: 'stop', deadlineSeconds: 60 });
    await change({ memoryMiB: 2000 });
    expect(await used()).toEqual({ cpuMillis: 500, memoryMiB: 100 });
    await report(w, alpha, { instance: made, epoch: 1, phase: 'ended' });
    expect(await used()).toEqual({ cpuMillis: 0, memoryMiB: 0 });
  });

  test('of one host is never given twice, however many ask at once', async () => {
    const names = ['a', 'b', 'c', 'd'];
    for (const name of names) await runs(container, name);
    const asked = await Promise.all(names.map((name) => refusal(change({ memoryMiB: 400 }, name))));
    expect(asked.filter((code) => code === 'noRoom')).toHaveLength(2);
    expect((await used()).memoryMiB).toBe(1000);
  });
});

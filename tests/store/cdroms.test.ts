import type { BerthError, ImageContent } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { capabilities, create, ctx, digest, joinHost, place, report, world } from './fixture.js';

let cluster: ThrowawayPostgres;
let w: World;
let host: TestHost;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  host = await joinHost(w, 'alpha');
  for (const [name, n] of [
    ['first', 20],
    ['second', 21],
  ] as const)
    await w.store.imageInsert(ctx, { projectId: w.projectId, name, content: iso(n) });
});
afterEach(() => w?.store.close());

function iso(n: number): ImageContent {
  const blobs = [{ digest: digest(n), sizeBytes: 2048 }];
  return { kind: 'iso', digest: digest(n), sizeBytes: 2048, bootable: false, blobs };
}
const able = (facets: string[] = ['cdroms']) =>
  w.store.hostCapabilitiesSet(
    host.id,
    host.session,
    { ...capabilities, facets },
    { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 100_000 },
  );
const failure = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (e: unknown) => e as BerthError,
  );
const vm = { isolation: 'vm', image: 'debian', rootDisk: { sizeMiB: 64 } } as const;
const machine = (name: string, ...images: (string | undefined)[]) =>
  create(w, name, { ...vm, cdroms: images.map((image) => (image === undefined ? {} : { image })) });
const drives = (name: string, ...images: string[]) =>
  w.store.instanceGet(w.projectId, name).then((instance) => {
    if (instance === null) throw new Error(`${name} is missing`);
    const cdroms = images.map((image) => ({ bus: 'sata', bootFirst: false, force: false, image }) as const);
    const spec = { ...instance.spec, cdroms };
    return w.store.instanceUpdate(ctx, { projectId: w.projectId, name, spec, deadlineSeconds: 60 });
  });
const remove = (name: string) => w.store.imageDelete(ctx, w.projectId, name);
const list = async () => (await w.store.assignmentsRead(host.id)) ?? Promise.reject(new Error('no list'));

test('a drive takes images of kind iso of the project, and no disk is made of one', async () => {
  expect(await failure(machine('a', 'debian'))).toMatchObject({
    code: 'invalid',
    options: { errors: [{ path: '/spec/cdroms/0/image' }] },
  });
  expect(await failure(machine('a', 'first', 'nowhere'))).toMatchObject({
    options: { errors: [{ path: '/spec/cdroms/1/image' }] },
  });
  expect(await failure(create(w, 'a', { ...vm, image: 'first' }))).toMatchObject({
    options: { errors: [{ path: '/spec/image', remedy: expect.stringContaining('spec.cdroms') as string }] },
  });
  await machine('a', 'first');
  expect(await failure(drives('a', 'busybox'))).toMatchObject({
    options: { errors: [{ path: '/spec/cdroms/0/image' }] },
  });
});

test('hosts hear what is to be in each drive, get it, and an image that a spec names stays', async () => {
  await able();
  const instance = await machine('a', 'first', undefined);
  const epoch = await place(w, instance, host);
  const drive = { bus: 'sata', bootFirst: false, force: false };
  expect((await list()).assignments[0]?.cdroms).toEqual([
    { ...drive, image: iso(20) },
    { ...drive, image: null },
  ]);
  expect(await w.store.imageBlobWanted(host.id, digest(20))).toBe(true);
  expect(await w.store.imageBlobWanted(host.id, digest(21))).toBe(false);
  expect(await failure(remove('first'))).toMatchObject({ code: 'inUse' });
  const { hosts } = await drives('a', 'second');
  expect(hosts).toEqual([host.id]);
  expect(await w.store.imageBlobWanted(host.id, digest(21))).toBe(true);
  await remove('first');
  await report(w, host, { instance, epoch, phase: 'ended' });
  expect(await failure(remove('second'))).toMatchObject({ code: 'inUse' });
});

test('what lies in a drive is told, and is not collected from its host before it is out of it', async () => {
  await able();
  const instance = await machine('a', 'first');
  const epoch = await place(w, instance, host);
  await w.store.hostImagesSet(host.id, host.session, [digest(20)]);
  const seen = { digest: digest(20), trayOpen: false, locked: true };
  await report(w, host, { instance, epoch, phase: 'running', cdroms: [seen] });
  const told = async () => (await w.store.instanceGet(w.projectId, 'a'))?.status.cdroms;
  expect(await told()).toEqual([{ ...seen, image: 'first' }]);
  await drives('a', 'second');
  await remove('first');
  expect(await told()).toEqual([{ ...seen, image: null }]);
  expect((await list()).unusedImages).toEqual([]);
  const other = { digest: digest(21), trayOpen: true, locked: false };
  await report(w, host, { instance, epoch, phase: 'running', cdroms: [other] });
  expect(await told()).toEqual([{ ...other, image: 'second' }]);
  expect((await list()).unusedImages).toEqual([digest(20)]);
});

test('drives are refused to hosts that give none, and stay as they are while their machine is suspended', async () => {
  await able([]);
  const instance = await machine('a', 'first');
  const epoch = await place(w, instance, host);
  await report(w, host, { instance, epoch, phase: 'running' });
  const errors = [{ path: '/spec/cdroms/0/image' }];
  expect(await failure(drives('a', 'second'))).toMatchObject({ code: 'unsupported', options: { errors } });
  await able();
  await drives('a', 'second');
  await w.store.instanceAct(ctx, { projectId: w.projectId, name: 'a', verb: 'suspend', deadlineSeconds: 60 });
  expect(await failure(drives('a', 'first'))).toMatchObject({ code: 'stateConflict', options: { errors } });
});

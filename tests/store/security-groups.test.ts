import type { BerthError, SecurityRule } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { startPostgres } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { body, create, ctx, joinHost, place, report, world } from './fixture.js';

/* Groups, who names them, and what hosts hear of them. */

let cluster: ThrowawayPostgres;
let w: World;
let alpha: TestHost;
beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  w = await world(cluster.url);
  alpha = await joinHost(w, 'alpha');
});
afterEach(() => w?.store.close());

const http: SecurityRule = { direction: 'ingress', protocol: 'tcp', ports: { first: 80, last: 80 } };
const put = (name: string, rules: readonly SecurityRule[], ifMatch?: number) =>
  w.store.securityGroupPut(ctx, {
    projectId: w.projectId,
    name,
    rules,
    ...(ifMatch === undefined ? {} : { ifMatch }),
  });
const remove = (name: string) => w.store.securityGroupDelete(ctx, { projectId: w.projectId, name });
const nicsOf = (...securityGroups: string[]) => [{ network: 'default', securityGroups }];
const failure = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (e: unknown) => e as BerthError,
  );
const listed = async () => (await w.store.assignmentsOffer(alpha.id))?.networks[0];

test('a host hears of the groups of its leases under a higher revision, at every change, until nothing names them', async () => {
  await put('web', [http]);
  await put('unused', []);
  const a = await create(w, 'a', { nics: nicsOf('web') });
  await create(w, 'b', { nics: nicsOf() }).then((b) => place(w, b, alpha));
  expect(await listed()).toMatchObject({ leases: [{ name: 'b' }] });
  expect(await listed()).not.toHaveProperty('groups');
  await place(w, a, alpha);
  const first = await listed();
  expect(first?.groups).toEqual([{ name: 'web', rules: [http] }]);
  expect(first?.leases).toEqual([
    expect.objectContaining({ name: 'a', groups: ['web'] }),
    expect.not.objectContaining({ groups: expect.anything() as unknown }),
  ]);
  const rules: SecurityRule[] = [{ direction: 'ingress', group: 'web' }];
  const { group, hosts } = await put('web', rules, 1);
  expect({ version: group.resourceVersion, hosts }).toEqual({ version: 2, hosts: [alpha.id] });
  const second = await listed();
  expect(second?.groups).toEqual([{ name: 'web', rules }]);
  expect(second?.revision).toBeGreaterThan(first?.revision ?? Infinity);
  expect((await put('unused', [http])).hosts).toEqual([]);
  const { spec } = body('a', { nics: [{ network: 'default' }] });
  await w.store.instanceUpdate(ctx, { projectId: w.projectId, name: 'a', spec, deadlineSeconds: 60 });
  expect(await listed()).not.toHaveProperty('groups');
  await report(w, alpha, { instance: a, epoch: 1, phase: 'ended' });
});

test('what names a group keeps it; what names none that is there is refused with its field', async () => {
  const missing = await failure(create(w, 'a', { nics: nicsOf('web') }));
  expect(missing?.options.errors?.[0]).toMatchObject({ path: '/spec/nics/0/securityGroups/0' });
  const odd = await failure(put('web', [http, { direction: 'egress', group: 'db' }]));
  expect(odd?.options.errors?.[0]).toMatchObject({ path: '/rules/1/group' });
  await put('db', []);
  await put('web', [
    { direction: 'ingress', group: 'db' },
    { direction: 'ingress', group: 'web' },
  ]);
  await create(w, 'a', { nics: nicsOf('web') });
  expect((await failure(remove('web')))?.publicMessage).toContain('instance "a"');
  expect((await failure(remove('db')))?.publicMessage).toContain('security group "web"');
  await w.store.instanceDelete(ctx, { projectId: w.projectId, name: 'a', deadlineSeconds: 60 });
  await remove('web');
  await remove('db');
  expect(await w.store.securityGroupList(w.projectId)).toEqual([]);
  expect((await failure(remove('db')))?.code).toBe('notFound');
});

test('an instance and the deletion of its group never pass each other', async () => {
  for (let round = 0; round < 10; round += 1) {
    await put('web', []);
    const name = `r${round}`;
    const [made, gone] = await Promise.all([
      failure(create(w, name, { nics: nicsOf('web'), desired: 'stopped' })),
      failure(remove('web')),
    ]);
    expect([made === null, gone === null].filter(Boolean)).toHaveLength(1);
    if (made === null)
      await w.store.instanceDelete(ctx, { projectId: w.projectId, name, deadlineSeconds: 60 });
  }
});

test("another project's groups are none of one's own", async () => {
  const { id } = await w.store.projectCreate(ctx, { name: 'q' });
  await put('web', [http]);
  expect(await w.store.securityGroupGet(id, 'web')).toBeNull();
  expect((await failure(w.store.securityGroupDelete(ctx, { projectId: id, name: 'web' })))?.code).toBe(
    'notFound',
  );
});

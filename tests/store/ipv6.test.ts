import { randomUUID } from 'node:crypto';
import {
  type BerthError,
  cidrHolds6,
  guestAddresses6,
  ipv6Number,
  ipv6Text,
  type NicSpec,
} from '@berth/model';
import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { z } from 'zod';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { migrations } from '../../migrations/index.js';
import { migrate } from '../../apps/api/src/store/migrate.js';
import { openStore } from '../../apps/api/src/store/open.js';
import { freshDatabase, startPostgres, withClient } from '../support/postgres.js';
import type { TestHost, World } from './fixture.js';
import { capabilities, create, ctx, ids, joinHost, ociImage, place, world } from './fixture.js';

/* IPv6 prefixes of networks, and the addresses that nics are given of them. */

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
});
afterEach(() => w?.store.close());

const made = (name: string, ipv6Cidr?: string, anyRange = true) =>
  w.store.networkCreate(ctx, {
    projectId: w.projectId,
    body: { name, ...(ipv6Cidr === undefined ? {} : { ipv6Cidr }) },
    anyRange,
  });
const failure = (work: Promise<unknown>) =>
  work.then(
    () => null,
    (e: unknown) => e as BerthError,
  );
const change = (name: string, nics: readonly z.input<typeof NicSpec>[], spec: object) =>
  w.store.instanceUpdate(ctx, {
    projectId: w.projectId,
    name,
    spec: { ...spec, nics } as never,
    deadlineSeconds: 60,
  });
const vm = { isolation: 'vm', image: 'debian', memoryMiB: 64, rootDisk: { sizeMiB: 64 } } as const;
const facets = (...names: string[]) =>
  w.store.hostCapabilitiesSet(
    host.id,
    host.session,
    { ...capabilities, facets: names },
    { cpuMillis: 4000, memoryMiB: 4096, diskMiB: 100_000 },
  );

test('a network has the prefix that is asked for, in canonical text, or the lowest free /64; and without one IPv4 only', async () => {
  expect(await made('plain')).toMatchObject({ ipv6Cidr: null, ipv6Gateway: null });
  expect(await made('chosen', 'FD00:0001:0:0::/64')).toMatchObject({
    ipv6Cidr: 'fd00:1::/64',
    ipv6Gateway: 'fd00:1::1',
  });
  expect(await made('first', 'auto')).toMatchObject({ ipv6Cidr: 'fd62:6572:7468::/64' });
  // A part of a /64 is taken with the whole of it.
  await made('part', 'fd62:6572:7468:1:8000::/80');
  const several = await Promise.all(['a', 'b', 'c'].map((name) => made(name, 'auto')));
  expect(several.map((n) => n.ipv6Cidr).sort()).toEqual([2, 3, 4].map((n) => `fd62:6572:7468:${n}::/64`));
  await w.store.networkDelete(ctx, { projectId: w.projectId, name: 'first' });
  expect((await made('again', 'auto')).ipv6Cidr).toBe('fd62:6572:7468::/64');
});

test('a prefix that overlaps another, or is beside the range of networks, is refused by the field', async () => {
  const { id: other } = await w.store.projectCreate(ctx, { name: 'secretive' });
  await w.store.networkCreate(ctx, {
    projectId: other,
    body: { name: 'hidden', ipv6Cidr: 'fd62:6572:7468:9::/64' },
    anyRange: false,
  });
  await made('own', 'fd62:6572:7468:8::/64');
  for (const [prefix, words] of [
    ['fd62:6572:7468:8:1::/80', 'network "own" (fd62:6572:7468:8::/64)'],
    ['fd62:6572:7468:9::/112', 'a network of another project'],
  ] as const) {
    const error = await failure(made('late', prefix));
    expect(error).toMatchObject({ code: 'conflict', publicMessage: `ipv6Cidr ${prefix} overlaps ${words}` });
    expect(error?.options.errors).toEqual([expect.objectContaining({ path: '/ipv6Cidr' })]);
    expect(error?.options.remedy).toContain('say auto');
  }
  const foreign = await failure(made('late', '2001:db8::/64', false));
  expect(foreign).toMatchObject({ code: 'forbidden', options: { errors: [{ path: '/ipv6Cidr' }] } });
  expect(foreign?.options.remedy).toContain('choose one in fd62:6572:7468::/48');
  expect((await made('late', '2001:db8::/64')).ipv6Gateway).toBe('2001:db8::1');
  const both = await Promise.all(['x', 'y'].map((name) => failure(made(name, 'fd00:7::/64'))));
  expect(both.map((e) => e?.code).sort()).toEqual(['conflict', undefined]);
});

test('each nic has the lowest free address or the one that is asked for, and hosts are told them with leases and ports', async () => {
  await made('six', 'fd00:6::/64');
  const at = (name: string, address6: string) => create(w, name, { nics: [{ network: 'six', address6 }] });
  const a = await create(w, 'a', {
    nics: [
      { network: 'default' },
      { network: 'six', ports: [{ protocol: 'tcp', hostPort: 8080, guestPort: 80 }] },
    ],
  });
  expect(a.status.nics.map((n) => n.ipv6)).toEqual([undefined, 'fd00:6::2']);
  expect((await at('b', 'FD00:6:0::3')).status.nics[0]?.ipv6).toBe('fd00:6::3');
  expect((await create(w, 'c', { nics: [{ network: 'six' }] })).status.nics[0]?.ipv6).toBe('fd00:6::4');
  const refusal = async (address6: string, network = 'six') => {
    const error = await failure(create(w, 'z', { nics: [{ network, address6 }] }));
    return [error?.code, error?.options.errors?.[0]?.path, error?.publicMessage];
  };
  const range = 'must be one of fd00:6::2 to fd00:6::ffff:ffff:ffff:ffff on network "six" (fd00:6::/64)';
  for (const address of ['fd00:6::', 'fd00:6::1', 'fd00:5::9'])
    expect(await refusal(address)).toEqual([
      'invalid',
      '/spec/nics/0/address6',
      `spec.nics.0.address6 ${range}`,
    ]);
  expect((await refusal('fd00:6::3')).slice(0, 2)).toEqual(['conflict', '/spec/nics/0/address6']);
  expect((await refusal('fd00:6::9', 'default'))[2]).toContain('network "default" does not have');
  await place(w, a, host);
  const list = await w.store.assignmentsOffer(host.id);
  const six = list?.networks.find((n) => n.name === 'six');
  expect(six).toMatchObject({
    ipv6: { cidr: 'fd00:6::/64', gateway: 'fd00:6::1' },
    leases: [{ name: 'a', ipv6: 'fd00:6::2' }],
    ports: [{ hostPort: 8080, ipv6: 'fd00:6::2' }],
  });
  // To an older agent nothing is said that it does not know.
  const plain = list?.networks.find((n) => n.name === 'default');
  expect([Object.keys(plain!), Object.keys(plain!.leases[0]!)].flat()).not.toContain('ipv6');
  const nics = list?.assignments[0]?.nics ?? [];
  expect(nics.map((n) => 'ipv6' in n)).toEqual([false, true]);
});

test("whatever was asked for and given back, the next one is the lowest free address, and none is anyone else's", async () => {
  await made('six', 'fd00:6::/112');
  const step = fc.record({ asks: fc.option(fc.integer({ min: 2, max: 12 })), leaves: fc.option(fc.nat(9)) });
  const has = new Map<string, number>();
  for (const [n, { asks, leaves }] of fc.sample(step, 30).entries()) {
    const gone = leaves === null ? undefined : [...has.keys()][leaves];
    if (gone !== undefined) {
      await w.store.instanceDelete(ctx, { projectId: w.projectId, name: gone, deadlineSeconds: 60 });
      has.delete(gone);
    }
    const taken = new Set(has.values());
    let free = 2;
    while (taken.has(free)) free += 1;
    const name = `i${n}`;
    const address6 = asks === null ? {} : { address6: `fd00:6::${asks.toString(16)}` };
    const work = create(w, name, { nics: [{ network: 'six', ...address6 }], desired: 'stopped' });
    if (asks !== null && taken.has(asks)) {
      expect(await failure(work)).toMatchObject({ code: 'conflict' });
      continue;
    }
    const given = asks ?? free;
    expect((await work).status.nics[0]?.ipv6).toBe(`fd00:6::${given.toString(16)}`);
    has.set(name, given);
  }
});

test('an address changes while the instance is stopped, keeps its spelling in the spec, and while it runs it is refused', async () => {
  await made('six', 'fd00:6::/64');
  const a = await create(w, 'a', { nics: [{ network: 'six' }], desired: 'stopped' });
  const to = async (address6?: string) => {
    const nics = [{ network: 'six', ...(address6 === undefined ? {} : { address6 }) }];
    return (await change('a', nics, a.spec)).instance.status.nics[0]?.ipv6;
  };
  expect(await to('fd00:6::a')).toBe('fd00:6::a');
  expect(await to('FD00:6::000A')).toBe('fd00:6::a');
  expect(await to()).toBe('fd00:6::a');
  const b = await create(w, 'b', { ...vm, nics: [{ network: 'six' }] });
  await facets('nics', 'ipv6');
  await place(w, b, host);
  const error = await failure(change('b', [{ network: 'six', address6: 'fd00:6::77' }], b.spec));
  expect(error).toMatchObject({
    code: 'stateConflict',
    options: { errors: [{ path: '/spec/nics/0/address6' }] },
  });
});

test('an instance with IPv6 says so to the scheduler, and a host without it takes no such nic while it runs', async () => {
  await made('six', 'fd00:6::/64');
  const plain = await create(w, 'plain', vm);
  const six = await create(w, 'six', { ...vm, nics: [{ network: 'six' }] });
  const pending = await w.store.pendingInstances(10);
  expect(new Map(pending.map((p) => [p.name, p.ipv6]))).toEqual(
    new Map([
      ['plain', false],
      ['six', true],
    ]),
  );
  expect(await w.store.originForSpec(w.projectId, six.spec)).toMatchObject({ ipv6: true });
  expect(await w.store.originForSpec(w.projectId, plain.spec)).toMatchObject({ ipv6: false });
  await facets('nics');
  await place(w, plain, host);
  const attach = () => change('plain', [{ network: 'default' }, { network: 'six' }], plain.spec);
  const error = await failure(attach());
  expect(error).toMatchObject({ code: 'unsupported' });
  expect(error?.options.remedy).toContain('berth doctor');
  await facets('nics', 'ipv6');
  expect((await attach()).instance.status.nics[1]?.ipv6).toBe('fd00:6::3');
});

test('addresses as numbers and as text are each other, and the canonical text is that of Postgres', async () => {
  const word = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n });
  // Runs of zeros, where spellings differ.
  const holes = fc.array(fc.constantFrom<bigint[]>(0n, 0n, 1n, 0xabcdn), { minLength: 8, maxLength: 8 });
  const any = fc.oneof(
    word,
    holes.map((groups) => groups.reduce((sum, g) => sum * 65_536n + g, 0n)),
  );
  fc.assert(
    fc.property(any, fc.integer({ min: 64, max: 112 }), (number, prefix) => {
      expect(ipv6Number(ipv6Text(number))).toBe(number);
      const size = 2n ** BigInt(128 - prefix);
      const cidr = `${ipv6Text(number - (number % size))}/${prefix}`;
      const { first, last } = guestAddresses6(cidr);
      expect(ipv6Number(last) - ipv6Number(first)).toBe(size - 3n);
      for (const address of [first, last, ipv6Text(number)]) expect(cidrHolds6(cidr, address)).toBe(true);
      expect(cidrHolds6(cidr, ipv6Text((ipv6Number(last) + 1n) % 2n ** 128n))).toBe(false);
    }),
  );
  const texts = fc.sample(any, 50).map(ipv6Text);
  // What has an IPv4 tail is written so by Postgres: none of these ranges is for networks.
  const plain = texts.filter((text) => ipv6Number(text) >> 32n > 0xffffn);
  const { rows } = await withClient(cluster.url, (client) =>
    client.query<{ text: string }>(`SELECT host(x::inet) AS text FROM unnest($1::text[]) x`, [plain]),
  );
  expect(rows.map((r) => r.text)).toEqual(plain);
});

test('networks and addresses of before the step go on with IPv4 alone, and new ones stand beside them', async () => {
  const url = await freshDatabase(cluster.url);
  const at = migrations.findIndex(({ name }) => name === 'Ipv6');
  await migrate(url, migrations.slice(0, at));
  const [project, network, instance, nic] = Array.from({ length: 4 }, () => randomUUID());
  await withClient(url, async (client) => {
    await client.query('SET session_replication_role = replica'); // the instance itself is of no interest
    await client.query(
      `INSERT INTO projects (id, name, created_at, updated_at) VALUES ($1, 'old', now(), now())`,
      [project],
    );
    await client.query(
      `INSERT INTO pools (id, project_id, name, driver, created_at) VALUES ($1, $2, 'default', 'directory', now())`,
      [randomUUID(), project],
    );
    await client.query(
      `INSERT INTO networks (id, project_id, name, scope, cidr, gateway, created_at)
       VALUES ($1, $2, 'default', 'host', '10.64.0.0/24', '10.64.0.1', now())`,
      [network, project],
    );
    await client.query(
      `INSERT INTO nics (id, instance_id, network_id, index, mac) VALUES ($1, $2, $3, 0, '02:00:00:00:00:01')`,
      [nic, instance, network],
    );
    await client.query(
      `INSERT INTO addresses (network_id, address, nic_id, created_at) VALUES ($1, '10.64.0.2', $2, now())`,
      [network, nic],
    );
  });
  await migrate(url);
  const store = await openStore({ url, clock: w.clock, ids });
  try {
    const projectId = project as typeof w.projectId;
    expect(await store.networkGet(projectId, 'default')).toMatchObject({
      ipv6Cidr: null,
      cidr: '10.64.0.0/24',
    });
    await store.imageInsert(ctx, { projectId, name: 'busybox', content: ociImage });
    const made = await create({ ...w, store, projectId }, 'a', { nics: [{ network: 'default' }] });
    expect(made.status.nics).toMatchObject([{ ipv4: '10.64.0.3' }]);
    expect(made.status.nics[0]).not.toHaveProperty('ipv6');
  } finally {
    await store.close();
  }
});

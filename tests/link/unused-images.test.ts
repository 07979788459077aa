import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BlobStore } from '@berth/images';
import type { Digest } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startPostgres, type ThrowawayPostgres } from '../support/postgres.js';
import { Api, database, Host, tempDir, until } from './lab.js';

/*
 * Images that no project has any more go from hosts: real Postgres, dispatch, agent and blob store; the machine is simulated.
 * The time of grace is none.
 */

let cluster: ThrowawayPostgres;
let dir: string;
let url: string;
let api: Api;
let host: Host;
let blobs: BlobStore;
let bases: Set<string>;
/** How often it was asked what the disks stand on. */
let asked: number;

beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(() => cluster.stop());
beforeEach(async () => {
  dir = await tempDir();
  url = await database(cluster.url);
  api = await Api.start(url, dir);
  host = new Host(`${dir}/h1`, 'h1');
  blobs = new BlobStore(join(dir, 'blobs'));
  bases = new Set();
  asked = 0;
  stand(() => Promise.resolve(bases));
});
const stand = (on: () => Promise<Set<string>>): void => {
  const counted = (): Promise<Set<string>> => {
    asked += 1;
    return on();
  };
  host.stores = { blobs, layers: null, roots: null, bases: counted };
};
afterEach(async () => {
  await host.end();
  await api.close();
  await rm(dir, { recursive: true, force: true });
});

const system = { actor: 'system:test', traceId: 'test' };
const held = async (): Promise<Digest[]> => (await blobs.list()).map((blob) => blob.digest);
const records = (): number => readdirSync(join(host.dir, 'var/lib/berth/agent/images')).length;
const known = async (): Promise<number> => {
  const [hostId] = await Promise.all([api.untilConnected()]);
  return (await api.store.snapshotRead()).hosts.find((h) => h.id === hostId)?.images.length ?? 0;
};

/** An instance that ran and was deleted; its image is still on the host. */
async function left(name = 'web'): Promise<Digest> {
  await api.create(name);
  await api.untilState(name, 'running');
  await until(known, (n) => n === 1, 'the host says that it holds the image');
  await api.remove(name);
  await until(
    () => api.get(name),
    (i) => i === null,
    `${name} is gone`,
  );
  const [digest] = await held();
  return digest as Digest;
}
async function imageDelete(): Promise<void> {
  const hosts = await api.store.imageDelete(system, await api.project(), 'base');
  for (const id of hosts) api.door.wake(id);
}
const wake = async (): Promise<void> => api.door.wake(await api.untilConnected());

describe('an image on a host', () => {
  it('stays as long as a project has it, though nothing uses it, also over a restart of the agent', async () => {
    host.start(api.door.port, await api.joinToken());
    const digest = await left();
    await wake();
    expect(await held()).toEqual([digest]);
    await host.end();
    host.start(api.door.port, '');
    await until(known, (n) => n === 1, 'the host says again that it holds the image');
    expect(await held()).toEqual([digest]);
  });

  it('goes when no project has it any more, with its record, and the API forgets that it was there', async () => {
    host.start(api.door.port, await api.joinToken());
    await left();
    expect(records()).toBe(1);
    await imageDelete();
    await until(held, (all) => all.length === 0, 'the blob is gone');
    await until(known, (n) => n === 0, 'the API knows');
    expect(records()).toBe(0);
  });

  it('goes also when the agent was away while it was deleted', async () => {
    host.start(api.door.port, await api.joinToken());
    await left();
    await host.end();
    await imageDelete();
    host.start(api.door.port, '');
    await until(held, (all) => all.length === 0, 'the blob is gone');
  });

  it('stays while a disk of this host stands on it, whatever the API says, and goes after that', async () => {
    host.start(api.door.port, await api.joinToken());
    const digest = await left();
    bases.add(blobs.path(digest));
    await imageDelete();
    await until(
      () => asked,
      (n) => n >= 3,
      'it is looked again and again',
    );
    expect(await held()).toEqual([digest]);
    bases.clear();
    await until(held, (all) => all.length === 0, 'the blob is gone');
  });

  it('stays while it cannot be told what the disks stand on', async () => {
    let fault: Error | null = new Error('a volume cannot be read');
    stand(() => (fault === null ? Promise.resolve(bases) : Promise.reject(fault)));
    host.start(api.door.port, await api.joinToken());
    const digest = await left();
    await imageDelete();
    await until(
      () => asked,
      (n) => n >= 2,
      'it is looked twice',
    );
    expect(await held()).toEqual([digest]);
    fault = null;
    await until(held, (all) => all.length === 0, 'the blob is gone');
  });

  it('comes again when it is imported again, and an instance of it starts while it is being removed', async () => {
    host.start(api.door.port, await api.joinToken());
    for (let round = 0; round < 5; round += 1) {
      const digest = await left(`web${round}`);
      const image = await api.store.imageGet(await api.project(), 'base');
      if (image === null) throw new Error('no image');
      await imageDelete();
      await api.store.imageInsert(system, {
        projectId: await api.project(),
        name: 'base',
        content: image.content,
      });
      await wake();
      await api.create(`again${round}`);
      await api.untilState(`again${round}`, 'running');
      expect(await held()).toEqual([digest]);
      await api.remove(`again${round}`);
      await until(
        () => api.get(`again${round}`),
        (i) => i === null,
        'it is gone',
      );
    }
  });
});

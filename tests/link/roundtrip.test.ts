import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { ImageContent, type Digest, type InstanceId, type VolumeId } from '@berth/model';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { RuntimeError, SimulatedRuntime } from '@berth/runtime';
import { startPostgres } from '../support/postgres.js';
import type { ThrowawayPostgres } from '../support/postgres.js';
import { Api, Host, database, dropBundle, tempDir, until } from './lab.js';

let cluster: ThrowawayPostgres;
let dir: string;
let url: string;
let api: Api;
let host: Host;

beforeAll(async () => {
  cluster = await startPostgres();
});
afterAll(async () => {
  await cluster.stop();
  await dropBundle();
});
beforeEach(async () => {
  dir = await tempDir();
  url = await database(cluster.url);
  api = await Api.start(url, dir);
  host = new Host(`${dir}/h1`, 'h1');
});
afterEach(async () => {
  await host.end();
  await api.close();
  await rm(dir, { recursive: true, force: true });
});

const keys = (h: Host): string[] => Object.keys(h.machine.state.workloads);

describe('an instance over the link', () => {
  it('is assigned, fetches its image, runs, stops, starts with its disk, and leaves nothing when deleted', async () => {
    host.start(api.door.port, await api.joinToken());
    const made = await api.create('web');
    await api.untilState('web', 'running');
    expect(host.blobs.held.size).toBe(1);
    await api.act('web', 'stop');
    const stopped = await api.untilState('web', 'stopped');
    expect(stopped?.status.lastExit?.reason).toBe('stopped');
    await api.act('web', 'start');
    const again = await api.untilState('web', 'running');
    expect(again?.status.epoch).toBe(2);
    const [disk] = Object.values(host.machine.state.disks);
    expect(disk).toBe(2);
    await api.remove('web');
    await until(
      () => api.get('web'),
      (i) => i === null,
      'web is gone',
    );
    expect(keys(host).filter((k) => k.startsWith(made.id))).toEqual([]);
    expect(host.machine.state.disks).toEqual({});
  });

  it('gets what its host lacks into a drive once that was fetched, and runs on meanwhile', async () => {
    host.start(api.door.port, await api.joinToken());
    const projectId = await api.project();
    const system = { actor: 'system:test', traceId: 'test' };
    const image = async (name: string, facts: object): Promise<Digest> => {
      const bytes = randomBytes(4096);
      const digest = api.blobs.add(bytes);
      const blobs = [{ digest, sizeBytes: bytes.length }];
      const content = ImageContent.parse({ digest, sizeBytes: bytes.length, blobs, ...facts });
      await api.store.imageInsert(system, { projectId, name, content });
      return digest;
    };
    await image('disk', { kind: 'disk', format: 'raw', virtualSizeMiB: 1 });
    await api.create('vm', { isolation: 'vm', image: 'disk', cdroms: [{}] });
    const vm = await api.untilState('vm', 'running');
    if (vm === null) throw new Error('it is missing');
    expect(vm.status.cdroms).toMatchObject([{ image: null, digest: null }]);
    const digest = await image('installer', { kind: 'iso', bootable: true });
    const cdroms = [{ bus: 'sata', bootFirst: false, force: false, image: 'installer' } as const];
    const update = { projectId, name: 'vm', spec: { ...vm.spec, cdroms }, deadlineSeconds: 60 };
    const { hosts, operation } = await api.store.instanceUpdate(system, update);
    for (const id of hosts) api.door.wake(id);
    const inside = await until(
      () => api.get('vm'),
      (now) => now?.status.cdroms[0]?.image === 'installer',
      'it is in its drive',
    );
    expect(inside?.status).toMatchObject({ epoch: 1, run: 1, cdroms: [{ digest, trayOpen: false }] });
    expect(host.blobs.held.has(digest)).toBe(true);
    await until(
      () => api.store.operationGet(projectId, operation.id),
      (done) => done?.state === 'succeeded',
      'the change is done',
    );
  });

  it('gets the newest time of grace that is asked for, also while it is being stopped', async () => {
    host.start(api.door.port, await api.joinToken());
    const stubborn = { process: { args: ['sim:stubborn'] }, stopGraceSeconds: 3600 };
    for (const name of ['stopped', 'again', 'removed']) {
      await api.create(name, stubborn);
      await api.untilState(name, 'running');
    }
    await api.act('stopped', 'stop');
    await api.act('again', 'restart', 1800);
    await api.remove('removed');
    await api.untilState('stopped', 'stopping');
    await api.untilState('again', 'stopping');
    const asked = await api.act('stopped', 'stop', 0);
    expect((await api.untilState('stopped', 'stopped'))?.status.lastExit?.reason).toBe('killed');
    expect((await api.store.operationGet(await api.project(), asked.id))?.state).toBe('succeeded');
    await api.act('again', 'restart', 0);
    await until(
      () => api.get('again'),
      (i) => i?.status.state === 'running' && (i.status.epoch ?? 0) > 1,
      'it runs again',
    );
    // A second delete joins the first, and hurries it.
    await api.remove('removed', 0);
    await until(
      () => api.get('removed'),
      (i) => i === null,
      'it is gone',
    );
  });

  it('has its exports read over the link from any byte; what cannot be read is told clearly', async () => {
    host.start(api.door.port, await api.joinToken());
    await until(
      () => api.door.connected(),
      (hosts) => hosts.length === 1,
      'the host is connected',
    );
    const [hostId] = api.door.connected();
    const volumeId = '00000000-0000-4000-8000-00000000000e' as VolumeId;
    const { signal } = new AbortController();
    if (hostId === undefined) throw new Error('no host');
    const reading = async (from: number, id = volumeId): Promise<string> => {
      let text = '';
      for await (const chunk of await api.door.exportRead(hostId, id, from, signal))
        text += Buffer.from(chunk).toString();
      return text;
    };
    await expect(reading(0)).rejects.toMatchObject({
      code: 'stateConflict',
      options: { remedy: 'delete the export, and export the volume again' },
    });
    host.machine.state.disks[volumeId] = 3;
    const whole = await reading(0);
    expect(whole).toBe(`what ${volumeId} holds: 3\n`);
    expect(await reading(5)).toBe(whole.slice(5));
    await expect(reading(-1)).rejects.toMatchObject({ code: 'stateConflict' });
    await expect(reading(0, '../../etc/passwd' as VolumeId)).rejects.toMatchObject({ code: 'notFound' });
    await host.end();
    await until(
      () => api.door.connected(),
      (hosts) => hosts.length === 0,
      'the host is away',
    );
    await expect(reading(0)).rejects.toMatchObject({
      code: 'unavailable',
      options: { remedy: expect.stringContaining('GET /v1/hosts') },
    });
  });

  it('crashes, is restarted by the agent alone while the API is away, and the new run is told later', async () => {
    host.start(api.door.port, await api.joinToken());
    const restart = { policy: 'onFailure', backoffSeconds: 1, maxBackoffSeconds: 2 } as const;
    const made = await api.create('crashy', { restart });
    await api.untilState('crashy', 'running');
    const { port } = api.door;
    await api.close();
    host.machine.end({ instanceId: made.id, epoch: 1 }, { reason: 'signalled', signal: 'SIGSEGV' });
    await until(
      () => host.machine.state.starts,
      (n) => n === 2,
      'the agent starts it again',
    );
    api = await Api.start(url, dir, port);
    const back = await until(
      () => api.get('crashy'),
      (i) => i?.status.run === 2 && i.status.state === 'running',
      'run 2',
    );
    expect(back?.status.lastExit?.reason).toBe('signalled');
  });

  it('that ends by itself under "never" stays stopped', async () => {
    host.start(api.door.port, await api.joinToken());
    await api.create('once', { process: { args: ['sim:exit=0'] } });
    const done = await api.untilState('once', 'stopped');
    expect(done?.status.lastExit).toMatchObject({ reason: 'exited', code: 0 });
    expect(host.machine.state.starts).toBe(1);
  });

  it('runs on when the API goes away, and the agent comes back by itself', async () => {
    host.start(api.door.port, await api.joinToken());
    await api.create('web');
    await api.untilState('web', 'running');
    const { port } = api.door;
    const { blobs } = api;
    await api.close();
    api = await Api.start(url, dir, port, blobs);
    await api.untilConnected();
    await api.create('second');
    await api.untilState('second', 'running');
    expect(host.machine.state.starts).toBe(2);
  });

  it('that no list names keeps running and is told of once', async () => {
    const stranger = '11111111-1111-4111-8111-111111111111' as InstanceId;
    host.start(api.door.port, await api.joinToken());
    const made = await api.create('web');
    await api.untilState('web', 'running');
    const known = host.machine.state.workloads[`${made.id}/1`];
    if (known === undefined) throw new Error('web does not run');
    host.machine.state.workloads[`${stranger}/1`] = {
      ...known,
      spec: { ...known.spec, instanceId: stranger },
    };
    host.machine.changed({
      instanceId: stranger,
      epoch: 1,
      phase: 'running',
      power: 'running',
      exit: null,
      pid: 7,
    });
    const told = async (): Promise<number> => {
      await api.store.eventsNumber();
      const { events } = await api.store.eventsRead('0', 1000);
      return events.filter((e) => e.type === 'host.unclaimedWorkload' && e.data['instanceId'] === stranger)
        .length;
    };
    await until(told, (n) => n === 1, 'the stranger is reported');
    await api.create('next');
    await api.untilState('next', 'running');
    expect(await told()).toBe(1);
    expect(host.machine.state.workloads[`${stranger}/1`]?.pid).not.toBeNull();
  });

  it('of which only parts are left, which nobody knows, is told of and swept; its volume and what is known stay', async () => {
    const lost = '33333333-3333-4333-8333-333333333333';
    host.start(api.door.port, await api.joinToken());
    const made = await api.create('web');
    await api.untilState('web', 'running');
    host.machine.state.disks['a-volume'] = 1;
    host.machine.state.debris[`${lost}/4`] = ['link bt1', 'cgroup x'];
    const told = async (): Promise<string[]> => {
      await api.store.eventsNumber();
      const { events } = await api.store.eventsRead('0', 1000);
      const own = events.filter((e) => e.type.startsWith('host.orphan') && e.data['instanceId'] === lost);
      for (const e of own) expect(e.data).toMatchObject({ epoch: 4, parts: ['link bt1', 'cgroup x'] });
      return own.map((e) => e.type);
    };
    await until(told, (types) => types.length === 2, 'it is found and swept');
    expect(await told()).toEqual(['host.orphanFound', 'host.orphanSwept']);
    expect(host.machine.state.debris).toEqual({});
    expect(host.machine.state.disks['a-volume']).toBe(1);
    expect(host.machine.state.workloads[`${made.id}/1`]?.pid).not.toBeNull();
  });

  it('has its name on the host’s network while it runs, and the network goes with the last instance', async () => {
    host.start(api.door.port, await api.joinToken());
    const names = (want: string[][]): Promise<string[][]> =>
      until(
        () => host.networks.names(),
        (held) => JSON.stringify(held) === JSON.stringify(want),
        `the names become ${JSON.stringify(want)}`,
      );
    await api.create('a');
    await api.create('b');
    await names([['a', 'b']]);
    await api.act('a', 'stop');
    await names([['b']]);
    await api.remove('b');
    await names([[]]);
    await api.act('a', 'start');
    await names([['a']]);
    await api.remove('a');
    await names([]);
  });

  it('can be read from its log, also after its run ended', async () => {
    host.start(api.door.port, await api.joinToken());
    const made = await api.create('once', { process: { args: ['sim:exit=3'] } });
    await api.untilState('once', 'error');
    const [hostId] = api.door.connected();
    if (hostId === undefined) throw new Error('not connected');
    const stream = await api.door.logs(hostId, made.id, { follow: false }, new AbortController().signal);
    const text = Buffer.concat((await stream.toArray()) as Buffer[]).toString('utf8');
    expect(text).toContain('ready hostname=once boots=1');
    await expect(
      api.door.logs(
        hostId,
        '22222222-2222-4222-8222-222222222222' as InstanceId,
        { follow: false },
        new AbortController().signal,
      ),
    ).rejects.toMatchObject({ code: 'notFound' });
  });
});

/** A host whose network is taken until somebody frees it. */
class Blocked extends SimulatedRuntime {
  blocked = true;
  override prepare(...step: Parameters<SimulatedRuntime['prepare']>): Promise<void> {
    if (!this.blocked) return super.prepare(...step);
    const cause = Object.assign(new Error('taken'), { remedy: 'free 10.90.0.0/24 on this host' });
    return Promise.reject(new RuntimeError('hostFault', '10.90.0.0/24 overlaps eth0', { cause }));
  }
}

describe('content that only a host has', () => {
  let second: Host;
  beforeEach(() => (second = new Host(`${dir}/h2`, 'h2')));
  afterEach(() => second.end());

  /** An image that ran on the first host, and is gone from the API; what comes next goes to the second. */
  async function onFirstOnly(): Promise<string> {
    host.start(api.door.port, await api.joinToken());
    await api.create('web');
    await api.untilState('web', 'running');
    await until(
      async () => (await api.store.imageGet(await api.project(), 'base'))?.hosts.map((h) => h.name),
      (names) => names?.join() === 'h1',
      'h1 says that it holds the image',
    );
    api.blobs.held.clear();
    second.start(api.door.port, await api.joinToken());
    await until(
      () => api.door.connected(),
      (hosts) => hosts.length === 2,
      'both hosts are connected',
    );
    const system = { actor: 'system:test', traceId: 'test' };
    await api.store.hostUpdate(system, 'h1', { schedulable: false });
    return [...host.blobs.held.keys()][0] as string;
  }

  it('goes from there to another, through the API, which keeps none of it', async () => {
    const digest = await onFirstOnly();
    await api.create('other');
    const other = await api.untilState('other', 'running');
    expect(other?.status.host?.name).toBe('h2');
    expect(second.blobs.held.get(digest)).toEqual(host.blobs.held.get(digest));
    expect(api.blobs.held.size).toBe(0);
  });

  it('and was damaged there is not taken; it is fetched again until it is right', async () => {
    const digest = await onFirstOnly();
    const right = host.blobs.held.get(digest) as Buffer;
    host.blobs.held.set(digest, Buffer.alloc(right.length, 1));
    const put = vi.spyOn(second.blobs, 'put');
    await api.create('other');
    await until(
      () => put.mock.settledResults.filter((r) => r.type === 'rejected').length,
      (refused) => refused > 0,
      'h2 refuses what came',
    );
    expect(second.blobs.held.has(digest)).toBe(false);
    host.blobs.held.set(digest, right);
    await api.untilState('other', 'running');
    expect(second.blobs.held.get(digest)).toEqual(right);
  });

  it('and is not there after all leaves the instance waiting, and comes once the API has it', async () => {
    const digest = await onFirstOnly();
    const right = host.blobs.held.get(digest) as Buffer;
    host.blobs.held.clear();
    const asked = vi.spyOn(host.blobs, 'has');
    await api.create('other');
    await until(
      () => asked.mock.calls.length,
      (times) => times > 0,
      'h1 is asked',
    );
    expect((await api.get('other'))?.status.state).not.toBe('running');
    api.blobs.add(right);
    await api.untilState('other', 'running');
  });
});

describe('an instance that cannot be started yet', () => {
  it('says why and what to do while it is tried again, and nothing of it once it runs', async () => {
    const runtime = new Blocked(host.machine);
    host.start(api.door.port, await api.joinToken(), runtime);
    await api.create('web');
    const why = 'prepare: 10.90.0.0/24 overlaps eth0';
    const held = await until(
      () => api.get('web'),
      (i) => i?.status.reason === why,
      'the reason is told',
    );
    expect(held?.status).toMatchObject({ state: 'provisioning', reason: why });
    const remedy = 'free 10.90.0.0/24 on this host';
    expect(held?.status.conditions).toMatchObject([{ type: 'Retrying', message: why, remedy }]);
    runtime.blocked = false;
    const up = await api.untilState('web', 'running');
    expect(up?.status).toMatchObject({ reason: null, conditions: [] });
  });
});

/** A guest that never stops talking. */
class Chatty extends SimulatedRuntime {
  override async *logs(): AsyncIterable<Uint8Array> {
    for (;;) {
      yield Buffer.alloc(64 * 1024, 'x');
      await Promise.resolve();
    }
  }
}

describe('a log stream that nobody reads', () => {
  it('holds bounded memory and blocks neither assignments nor reports', async () => {
    host.start(api.door.port, await api.joinToken(), new Chatty(host.machine));
    const made = await api.create('chatty');
    await api.untilState('chatty', 'running');
    const [hostId] = api.door.connected();
    if (hostId === undefined) throw new Error('not connected');
    const stop = new AbortController();
    const streams = await Promise.all(
      [1, 2, 3].map(() => api.door.logs(hostId, made.id, { follow: true }, stop.signal)),
    );
    for (const stream of streams) stream.on('error', () => undefined);
    await api.create('beside');
    await api.untilState('beside', 'running');
    await api.act('beside', 'stop');
    await api.untilState('beside', 'stopped');
    for (const stream of streams) expect(stream.readableLength).toBeLessThan(4 * 1024 * 1024);
    stop.abort();
  });
});

describe('an agent killed with kill -9', () => {
  it('finds its placements again, starts nothing twice, and says what happened meanwhile', async () => {
    await host.spawn(api.door.port, await api.joinToken());
    const made = await api.create('web');
    await api.untilState('web', 'running');
    await host.kill('SIGKILL');
    await host.spawn(api.door.port, 'no token is needed any more');
    await until(
      async () => (await api.store.hostGet('h1'))?.state,
      (s) => s === 'ready',
      'the host is ready',
    );
    await api.create('second');
    await api.untilState('second', 'running');
    const state = await host.machineState();
    expect(state.starts).toBe(2);
    expect(Object.keys(state.workloads)).toContain(`${made.id}/1`);
    await host.kill('SIGKILL');
    const web = state.workloads[`${made.id}/1`];
    if (web === undefined) throw new Error('web is gone');
    // While no agent lives, the workload ends; the machine remembers how.
    web.pid = null;
    web.exit = { reason: 'exited', code: 5, at: new Date().toISOString() };
    await writeFile(host.machineFile, JSON.stringify(state));
    await host.spawn(api.door.port, 'no token is needed any more');
    const ended = await api.untilState('web', 'error');
    expect(ended?.status.lastExit).toMatchObject({ reason: 'exited', code: 5 });
  });
});

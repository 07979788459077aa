import { mkdtemp, rm } from 'node:fs/promises';
import type { ClientHttp2Session } from 'node:http2';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { duplexPair } from 'node:stream';
import {
  Report,
  clientLink,
  lines,
  linkLimits,
  parseMessage,
  protocol,
  send,
  sendForStream,
} from '@berth/link';
import type { AssignmentList } from '@berth/link';
import type { HostId } from '@berth/model';
import { type Runtime, SimulatedHost, SimulatedRuntime } from '@berth/runtime';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HostNetworks } from './networks.js';
import { ImageFetch } from './image-fetch.js';
import { Journal } from './journal.js';
import { Outbox } from './outbox.js';
import { Placements } from './placements.js';
import { Runtimes } from './runtimes.js';
import { serveSession } from './session.js';
import { systemClock } from './system-clock.js';
import { assignmentList, hostId, instanceId } from './testing/assignment-list.js';
import { SecretValues } from './secret-values.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };

/** An agent without TLS: journal and queue on disk, a simulated machine that outlives it. */
class Agent {
  outbox!: Outbox;
  private stop = new AbortController();
  private parts: { close(): Promise<void> }[] = [];
  private served: Promise<unknown>[] = [];
  private ports!: Parameters<typeof serveSession>[1];

  constructor(
    readonly dir: string,
    readonly machine: SimulatedHost,
  ) {}

  async start(runtime: Runtime = new SimulatedRuntime(this.machine)): Promise<void> {
    this.stop = new AbortController();
    const { journal } = await Journal.open(join(this.dir, 'journal'), () => new Date());
    this.outbox = await Outbox.open(join(this.dir, 'reports'), (e) => {
      throw e;
    });
    const report = (body: Parameters<Outbox['put']>[0]): void => this.outbox.put(body);
    const runtimes = new Runtimes([runtime], systemClock, log);
    const images = new ImageFetch(
      {
        has: () => Promise.resolve(true),
        rely: () => undefined,
        put: () => Promise.resolve(),
        open: () => Promise.reject(new Error('it holds nothing')),
      },
      report,
      { keep: () => Promise.resolve() },
    );
    const networks = new HostNetworks(null, systemClock, log);
    const common = { clock: systemClock, log, journal, images, bootId: 'b1' };
    const placements = new Placements({
      ...common,
      runtimes,
      networks,
      secrets: new SecretValues(),
      vmStarts: 2,
      report,
      unusedImages: () => undefined,
    });
    placements.start();
    this.parts = [placements, networks, runtimes, journal];
    const began = (): Promise<void> => Promise.resolve();
    const usage = { since: () => ({ now: 0, samples: [], more: false }) };
    const agentVersion = 't';
    const told = { usage, traffic: null };
    this.ports = {
      ...common,
      hostId,
      agentVersion,
      outbox: this.outbox,
      placements,
      runtimes,
      ...told,
      began,
    };
  }

  /** The API's side of a new connection, its session begun. */
  async connect(session: number, storeIncarnation = 'one', adopt = false): Promise<ClientHttp2Session> {
    const [near, far] = duplexPair();
    this.served.push(serveSession(far, this.ports, this.stop.signal));
    const h2 = clientLink(near, { onClose: () => undefined });
    const body = { protocol, session, storeIncarnation, adopt };
    expect((await send(h2, { method: 'POST', path: '/session', body })).status).toBe(204);
    return h2;
  }

  async end(): Promise<void> {
    this.stop.abort();
    await Promise.all(this.served);
    for (const part of this.parts) await part.close();
    await this.outbox.flushed();
  }
}

function list(session: number, rev: number, over: Partial<AssignmentList> = {}, epoch = 1): AssignmentList {
  return { ...assignmentList({ rev, session, epoch }), ...over };
}

async function put(h2: ClientHttp2Session, body: object): Promise<{ status: number; code: string | null }> {
  const answer = await send(h2, { method: 'PUT', path: '/assignments', body });
  const text = answer.body.toString('utf8');
  return { status: answer.status, code: text === '' ? null : (JSON.parse(text) as { code: string }).code };
}

/** Reads reports of a session until one satisfies `good`. */
async function readUntil(
  h2: ClientHttp2Session,
  session: number,
  good: (r: Report) => boolean,
): Promise<Report[]> {
  const stream = await sendForStream(h2, { method: 'GET', path: `/reports?session=${session}` });
  const seen: Report[] = [];
  for await (const line of lines(stream, linkLimits.lineBytes)) {
    seen.push(parseMessage(Report, line));
    if (good(seen[seen.length - 1] as Report)) break;
  }
  return seen;
}

const runs = (r: Report): boolean => r.body.kind === 'placement' && r.body.phase === 'running';

let dir: string;
let agent: Agent;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'berth-agent-'));
  agent = new Agent(dir, new SimulatedHost({ now: () => new Date() }));
  await agent.start();
});
afterEach(async () => {
  await agent.end();
  await rm(dir, { recursive: true, force: true });
});

describe('reports', () => {
  it('rise in number within a session, begin at 1 in each, and are repeated in the next one until they are acknowledged', async () => {
    const first = await agent.connect(1);
    expect(await put(first, list(1, 1))).toEqual({ status: 204, code: null });
    const said = await readUntil(first, 1, runs);
    const numbers = said.map((r) => r.seq);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    first.destroy();
    const second = await agent.connect(2);
    const again = await readUntil(second, 2, runs);
    expect(again[0]?.seq).toBe(1);
    await send(second, {
      method: 'POST',
      path: '/ack',
      body: { session: 2, seq: again[again.length - 1]?.seq ?? 0 },
    });
    expect(agent.outbox.size).toBe(0);
    second.destroy();
  });

  it('survive the agent on disk, and an acknowledgement of an older session removes none', async () => {
    agent.outbox.put({ kind: 'tombstoneDone', id: 't1' });
    await agent.end();
    await agent.start();
    const h2 = await agent.connect(5);
    await send(h2, { method: 'POST', path: '/ack', body: { session: 4, seq: 99 } });
    const [kept] = await readUntil(h2, 5, () => true);
    expect(kept).toEqual({ seq: 1, body: { kind: 'tombstoneDone', id: 't1' } });
    expect(agent.outbox.size).toBe(1);
    h2.destroy();
  });
});

describe('a list', () => {
  it('of a lower revision, another session or another host is refused, and changes nothing', async () => {
    const h2 = await agent.connect(3);
    await put(h2, list(3, 7));
    await readUntil(h2, 3, runs);
    const stop = list(3, 6).assignments.map((a) => ({ ...a, wanted: 'stopped' as const }));
    expect(await put(h2, list(3, 6, { assignments: stop }))).toEqual({ status: 409, code: 'lowerRevision' });
    expect(await put(h2, list(2, 8, { assignments: stop }))).toEqual({ status: 409, code: 'staleSession' });
    const other = '00000000-0000-4000-8000-000000000002' as HostId;
    expect(await put(h2, list(3, 8, { assignments: stop, hostId: other }))).toEqual({
      status: 409,
      code: 'wrongHost',
    });
    expect(await put(h2, { ...list(3, 8), protocol: 2 })).toMatchObject({ status: 400, code: 'malformed' });
    expect(agent.machine.state.workloads[`${instanceId}/1`]?.pid).not.toBeNull();
    h2.destroy();
  });

  it('of a restored database is refused until an operator adopts it; reports go on', async () => {
    const before = await agent.connect(1);
    await put(before, list(1, 1));
    await readUntil(before, 1, runs);
    before.destroy();
    const restored = await agent.connect(1, 'two');
    const empty = { storeIncarnation: 'two', assignments: [] };
    expect(await put(restored, list(1, 9, empty))).toEqual({ status: 409, code: 'otherIncarnation' });
    expect((await readUntil(restored, 1, runs)).length).toBeGreaterThan(0);
    restored.destroy();
    const adopted = await agent.connect(2, 'two', true);
    expect(await put(adopted, list(2, 1, empty))).toEqual({ status: 204, code: null });
    const told = await readUntil(adopted, 2, (r) => r.body.kind === 'unclaimed');
    expect(told[told.length - 1]?.body).toMatchObject({ kind: 'unclaimed', instanceId, epoch: 1 });
    expect(agent.machine.state.workloads[`${instanceId}/1`]?.pid).not.toBeNull();
    adopted.destroy();
  });

  it('with a lower epoch is refused with the highest one known, also after a restart of the agent', async () => {
    const h2 = await agent.connect(1);
    await put(h2, list(1, 1, {}, 4));
    await readUntil(h2, 1, runs);
    await agent.end();
    await agent.start();
    const next = await agent.connect(2);
    await put(next, list(2, 2, {}, 3));
    const said = await readUntil(next, 2, (r) => r.body.kind === 'refusedEpoch');
    expect(said[said.length - 1]?.body).toEqual({ kind: 'refusedEpoch', instanceId, epoch: 3, highest: 4 });
    expect(Object.keys(agent.machine.state.workloads)).toEqual([`${instanceId}/4`]);
    next.destroy();
  });

  it('takes nothing away by leaving it out: only its tombstone removes it, as often as asked', async () => {
    const h2 = await agent.connect(1);
    await put(h2, list(1, 1));
    await readUntil(h2, 1, runs);
    await put(h2, list(1, 2, { assignments: [] }));
    expect(agent.machine.state.workloads[`${instanceId}/1`]?.pid).not.toBeNull();
    const tombstones = [
      { id: 'volume', kind: 'volume' as const, instanceId, volumeId: instanceId as never },
      { id: 'epoch', kind: 'epoch' as const, instanceId, epoch: 1 },
    ];
    await put(h2, list(1, 3, { assignments: [], tombstones }));
    const done = new Set<string>();
    await readUntil(h2, 1, ({ body }) => {
      if (body.kind === 'tombstoneDone') done.add(body.id);
      return done.size === 2;
    });
    expect(agent.machine.state.workloads).toEqual({});
    expect(agent.machine.state.disks).toEqual({});
    await put(h2, list(1, 4, { assignments: [], tombstones }));
    const again = await readUntil(h2, 1, ({ body }) => body.kind === 'tombstoneDone');
    expect(again).toHaveLength(1);
    h2.destroy();
  });
});

it('a log is out of reach, not unknown, while a new agent has not yet heard what its runtime holds', async () => {
  const h2 = await agent.connect(1);
  await put(h2, list(1, 1));
  await readUntil(h2, 1, runs);
  await agent.end();
  const slow = new SimulatedRuntime(agent.machine);
  let answer: () => void = () => undefined;
  const held = new Promise<void>((resolve) => (answer = resolve));
  const recover = slow.recover.bind(slow);
  slow.recover = () => held.then(recover);
  await agent.start(slow);
  const next = await agent.connect(2);
  const ask = (id: string) => send(next, { method: 'GET', path: `/logs/${id}?follow=0` });
  const early = await ask(instanceId);
  expect([early.status, JSON.parse(early.body.toString())]).toEqual([
    503,
    { code: 'unavailable', message: expect.stringMatching(/^its agent is still starting/) as string },
  ]);
  expect((await ask('00000000-0000-4000-8000-0000000000bb')).status).toBe(404);
  answer();
  await expect.poll(async () => (await ask(instanceId)).status).toBe(200);
  next.destroy();
});

it('a line or a body beyond its bound is refused, not held', async () => {
  const h2 = await agent.connect(1);
  const huge = { session: 1, seq: 1, padding: 'x'.repeat(linkLimits.joinBytes) };
  expect((await send(h2, { method: 'POST', path: '/ack', body: huge })).status).toBe(413);
  async function* endless(): AsyncGenerator<Buffer> {
    for (;;) yield await Promise.resolve(Buffer.alloc(1024, 'x'));
  }
  await expect(lines(endless(), 4096).next()).rejects.toMatchObject({ code: 'tooLarge' });
  h2.destroy();
});

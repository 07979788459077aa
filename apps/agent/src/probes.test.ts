import { createServer as httpServer } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { Readable } from 'node:stream';
import type { Workload } from '@berth/link';
import { ProbesSpec } from '@berth/model';
import type { z } from 'zod';
import { afterEach, expect, it } from 'vitest';
import type { LayerFacet, Runtime, Terminal } from '@berth/runtime';
import { Slots } from './clock.js';
import type { PlacementRecord } from './journal.js';
import { PlacementHealth } from './placement-health.js';
import { instanceId } from './testing/assignment-list.js';
import { PlacementsLab, quiet } from './testing/placements-lab.js';

/*
 * Probes of one placement, with no API about. The workload is simulated and its programs are `exit <code>` and `sleep`, which ends with its terminal; what answers for its address is a real server on loopback.
 */
let lab: PlacementsLab;
const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  await lab.close();
  for (const end of ends.splice(0)) await end();
});

const restart = { policy: 'onFailure', backoffSeconds: 10, maxBackoffSeconds: 60 } as const;
const nic = { id: instanceId, networkId: instanceId, mac: '52:54:00:00:00:01', ipv4: '127.0.0.1' };
async function probed(
  probes: z.input<typeof ProbesSpec>,
  over: Partial<Workload> = {},
  facets: Pick<Runtime, 'layers'> = {},
): Promise<void> {
  const nics = [nic] as unknown as Workload['nics'];
  lab = await PlacementsLab.with({ probes: ProbesSpec.parse(probes), nics, ...over }, facets);
}
const noLayers: LayerFacet = {
  changes: () => Promise.reject(new Error('nobody asks')),
  pack: () => Readable.from([]),
  holds: () => false,
};
const last = () => lab.said.at(-1);
const conditions = (): string[] => (last()?.conditions ?? []).map((c) => c.type);
const message = (type: string) => last()?.conditions.find((c) => c.type === type)?.message;
const runIs = (run: number): Promise<void> => expect.poll(() => lab.host.state.starts).toBe(run);

/** Lets so many intervals pass, each once its question was answered. */
async function intervals(many: number, seconds = 10): Promise<void> {
  for (let n = 0; n < many; n += 1) {
    await answered(seconds);
    await lab.clock.pass(seconds * 1000);
  }
}
/** The newest question was answered, and the next is so many seconds away. */
const answered = (seconds = 10): Promise<void> =>
  expect.poll(() => lab.clock.due()).toContain(seconds * 1000);

/** A server on loopback that can be told what to answer. */
async function served(server: Server, open: Set<Socket>): Promise<number> {
  server.on('connection', (socket) => {
    open.add(socket);
    socket.resume().on('error', () => undefined);
    socket.once('close', () => open.delete(socket));
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  ends.push(() => {
    for (const socket of open) socket.destroy();
    return new Promise((closed) => server.close(closed));
  });
  return (server.address() as AddressInfo).port;
}

it('readiness follows the answers of its address, and ends nothing', async () => {
  let status = 503;
  const asked: (string | undefined)[] = [];
  const server = httpServer((request, answer) => {
    asked.push(request.url);
    answer.writeHead(status).end('x'.repeat(100_000));
  });
  const port = await served(server, new Set());
  await probed({ readiness: { http: { port, path: '/ready?a=b' }, failureThreshold: 2 } });
  await intervals(2);
  await expect.poll(conditions).toEqual(['NotReady']);
  expect(message('NotReady')).toBe('its readiness probe failed: answers 503 to GET /ready?a=b');
  expect(asked[0]).toBe('/ready?a=b');
  status = 204;
  await intervals(1);
  await expect.poll(conditions).toEqual(['Ready']);
  expect(lab.host.state.starts).toBe(1);
});

it('a liveness that fails ends the run, which the restart policy follows up, and lastExit tells it', async () => {
  await probed({ liveness: { exec: { command: ['exit', '3'] } } });
  await intervals(2);
  await expect.poll(() => last()?.exit?.reason).toBe('unhealthy');
  expect(last()?.exit?.message).toBe('its liveness probe failed: exits with 3');
  expect(conditions()).toEqual(['Restarting']);
  expect(last()?.power).toBe('off');
  expect(lab.host.state.starts).toBe(1);
  await lab.clock.pass(10_000);
  await runIs(2);
});

it('with policy never an unhealthy one runs on, and may get well again', async () => {
  const open = new Set<Socket>();
  const server = createServer();
  const port = await served(server, open);
  await new Promise((closed) => server.close(closed));
  await probed({ liveness: { tcp: { port } } }, { restart: { ...restart, policy: 'never' } });
  await intervals(3);
  await expect.poll(conditions).toEqual(['Unhealthy']);
  expect(message('Unhealthy')).toContain('ECONNREFUSED');
  await new Promise<void>((listening) => server.listen(port, '127.0.0.1', listening));
  await intervals(1);
  await expect.poll(conditions).toEqual(['Healthy']);
  expect(lab.host.state.starts).toBe(1);
});

it('a start-up probe holds the others back, and ends what does not come up in time', async () => {
  const open = new Set<Socket>();
  const silent = await served(createServer(), open);
  await probed({
    startup: {
      http: { port: silent },
      timeoutSeconds: 2,
      intervalSeconds: 5,
      failureThreshold: 2,
      startPeriodSeconds: 7,
    },
    liveness: { exec: { command: ['exit', '1'] }, intervalSeconds: 1 },
  });
  // Asked at 0, 7 and 14 seconds: the first failure is forgiven.
  for (const [seconds, step] of [
    [2, 2],
    [7, 5],
    [9, 2],
    [14, 5],
  ] as const) {
    await expect.poll(() => lab.clock.due()).toContain(step * 1000);
    await lab.clock.pass(step * 1000);
    expect([seconds, conditions()]).toEqual([seconds, []]);
  }
  await expect.poll(() => lab.clock.due()).toContain(2000);
  await lab.clock.pass(2000);
  await expect.poll(() => last()?.exit?.message).toBe('its startup probe failed: no answer in time');
  expect(last()?.exit?.reason).toBe('unhealthy');
  // Nobody holds a connection that nobody waits for.
  await expect.poll(() => open.size).toBe(0);
});

it('a program that takes too long has failed', async () => {
  await probed({
    readiness: { exec: { command: ['sleep'] }, timeoutSeconds: 4, intervalSeconds: 9, failureThreshold: 1 },
  });
  await answered(4);
  expect(conditions()).toEqual([]);
  await lab.clock.pass(4000);
  await expect.poll(() => message('NotReady')).toBe('its readiness probe failed: no answer in time');
  await answered(9);
});

it('no program is put beside one of before that did not end', async () => {
  let begun = 0;
  let release: () => void = () => undefined;
  const gone = new Promise<null>((resolve) => (release = () => resolve(null)));
  const pipe = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => undefined) }) };
  const terminal = { output: pipe, endInput: () => undefined, ended: gone } as unknown as Terminal;
  const runtime = { exec: () => ((begun += 1), Promise.resolve(terminal)) } as unknown as Runtime;
  await probed({}); // for its clock
  const probes = ProbesSpec.parse({ readiness: { exec: { command: ['x'] }, failureThreshold: 1 } });
  const workload = { probes, restart };
  const record = { assignment: { instanceId, workload }, run: 1 } as unknown as PlacementRecord;
  const { clock } = lab;
  const ports = { clock, journal: { save: () => Promise.resolve() }, log: quiet, probeSlots: new Slots(1) };
  const health = new PlacementHealth(record, ports, () => undefined);
  const words = (): string | undefined => health.conditions[0]?.message;
  health.follow({ key: { instanceId, epoch: 1 }, runtime, address: null });
  await expect.poll(() => clock.due()).toContain(5000);
  await clock.pass(5000);
  await expect.poll(words).toContain('no answer in time');
  for (let n = 0; n < 3; n += 1) await intervals(1);
  expect(begun).toBe(1);
  release();
  await gone;
  await intervals(1);
  await expect.poll(() => begun).toBe(2);
  await health.close();
});

it('a new agent goes on from what was found, asks anew, and ends what an agent of before found unhealthy', async () => {
  let status = 200;
  const server = httpServer((_, answer) => answer.writeHead(status).end());
  const port = await served(server, new Set());
  await probed({ liveness: { http: { port }, failureThreshold: 2 } });
  await expect.poll(conditions).toEqual(['Healthy']);
  await lab.end();
  lab.said.length = 0;
  status = 500;
  await lab.begin();
  await expect.poll(() => last()?.power).toBe('running');
  expect(lab.said.every((body) => body.conditions.some((c) => c.type === 'Healthy'))).toBe(true);
  await intervals(1);
  await expect.poll(() => last()?.exit?.reason).toBe('unhealthy');
  await lab.end();
  await lab.begin();
  await lab.clock.pass(10_000);
  await runIs(2);
});

it('nobody is asked while it is paused', async () => {
  await probed({ liveness: { exec: { command: ['exit', '1'] }, failureThreshold: 2 } });
  await answered();
  await lab.want('paused');
  await expect.poll(() => last()?.power).toBe('paused');
  expect(lab.clock.due()).not.toContain(10_000);
  await lab.clock.pass(1_000_000);
  expect(conditions()).toEqual([]);
  await lab.want('running');
  await intervals(1);
  await expect.poll(() => last()?.exit?.reason).toBe('unhealthy');
});

it('what it does not answer while it is committed, and stands still for that, is not held against it', async () => {
  let held = true;
  const layers = { ...noLayers, holds: () => held };
  await probed({ liveness: { exec: { command: ['exit', '1'] }, failureThreshold: 1 } }, {}, { layers });
  await intervals(5);
  expect(lab.host.state.starts).toBe(1);
  expect(last()?.power).toBe('running');
  held = false;
  await intervals(1);
  await expect.poll(() => last()?.exit?.reason).toBe('unhealthy');
});

it('a change of the probes takes effect at once, and what is asked no more is said no more', async () => {
  await probed({ readiness: { exec: { command: ['exit', '1'] }, failureThreshold: 1 } });
  await expect.poll(conditions).toEqual(['NotReady']);
  await lab.want('running', { probes: ProbesSpec.parse({ liveness: { exec: { command: ['exit', '0'] } } }) });
  await expect.poll(conditions).toEqual(['Healthy']);
  await lab.want('running', { probes: undefined });
  await expect.poll(conditions).toEqual([]);
  expect(lab.host.state.starts).toBe(1);
});

it('an unhealthy one that is to be stopped was stopped, and is not started again', async () => {
  await probed({ liveness: { exec: { command: ['exit', '1'] }, failureThreshold: 1 } });
  await expect.poll(() => last()?.exit?.reason).toBe('unhealthy');
  await lab.want('stopped');
  await expect.poll(() => last()?.phase).toBe('ended');
  await lab.clock.pass(100_000);
  expect(lab.host.state.starts).toBe(1);
});

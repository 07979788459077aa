import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AssignmentList, protocol } from '@berth/link';
import type { InstanceId, RestartPolicy } from '@berth/model';
import { SimulatedHost, SimulatedRuntime } from '@berth/runtime';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { HostNetworks } from './networks.js';
import { ImageFetch } from './image-fetch.js';
import { Journal } from './journal.js';
import { Placements } from './placements.js';
import { Runtimes } from './runtimes.js';
import { TestClock } from './testing/test-clock.js';

/*
 * Restarts after crashes with no API about: the list came once, in the agent's first life. Time is the test's own; the
 * journal is real and on disk.
 */
const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const instanceId = '00000000-0000-4000-8000-0000000000aa' as InstanceId;
const digest = `sha256:${'a'.repeat(64)}`;
const restart: RestartPolicy = { policy: 'onFailure', backoffSeconds: 10, maxBackoffSeconds: 60 };

let dir: string;
let clock: TestClock;
let host: SimulatedHost;
let placements: Placements;
let parts: { close(): Promise<void> }[];
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'berth-restart-'));
  clock = new TestClock();
  host = new SimulatedHost({ now: clock.now });
  await begin();
  expect(await placements.apply(list())).toBeNull();
  await started(1);
});
afterEach(async () => {
  await end();
  await rm(dir, { recursive: true });
});

async function begin(): Promise<void> {
  const { journal } = await Journal.open(dir, clock.now);
  const report = (): void => undefined;
  const runtimes = new Runtimes([new SimulatedRuntime(host)], clock, log);
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
  const networks = new HostNetworks(null, clock, log);
  const common = { clock, log, journal, images, runtimes, networks, report };
  placements = new Placements({ ...common, bootId: 'b1', vmStarts: 2, unusedImages: () => undefined });
  placements.start();
  parts = [placements, networks, runtimes, journal];
}
async function end(): Promise<void> {
  for (const part of parts) await part.close();
}

function list(): AssignmentList {
  const workload = {
    instanceId,
    epoch: 1,
    project: 'p',
    name: 'web',
    uuid: instanceId,
    isolation: 'container',
    image: {
      kind: 'oci',
      digest,
      configDigest: digest,
      layers: [],
      process: { entrypoint: [], cmd: [], env: [], user: '', workdir: '/' },
      arch: 'amd64',
      blobs: [],
    },
    vcpus: 1,
    cpuMillis: null,
    memoryMiB: 16,
    rootVolume: { id: instanceId, sizeMiB: 1 },
    volumes: [],
    nics: [],
    process: null,
    userData: null,
    restart,
    accel: 'any',
    driver: 'any',
  };
  const assignment = { instanceId, epoch: 1, revision: 1, wanted: 'running', stopGraceSeconds: 1, workload };
  return {
    protocol,
    hostId: '00000000-0000-4000-8000-000000000001',
    storeIncarnation: 'one',
    session: 1,
    assignmentRev: 1,
    assignments: [assignment],
    networks: [],
    tombstones: [],
  } as unknown as AssignmentList;
}

const started = (times: number): Promise<void> => expect.poll(() => host.state.starts).toBe(times);
const crash = (): void => host.end({ instanceId, epoch: 1 }, { reason: 'exited', code: 1 });
/** The agent waits, and wakes in so many seconds at the latest. */
const waits = (seconds: number): Promise<void> => expect.poll(() => clock.due()).toContain(seconds * 1000);

/** Crashes at once, and is back after so many seconds and not before. */
async function crashAndWait(seconds: number): Promise<void> {
  const before = host.state.starts;
  crash();
  await waits(seconds);
  expect(host.state.starts).toBe(before);
  await clock.pass(seconds * 1000);
  await started(before + 1);
}

it('the back-off doubles with each crash in a row, up to the most', async () => {
  for (const seconds of [10, 20, 40, 60, 60]) await crashAndWait(seconds);
});

it('the back-off and its count are kept over a restart of the agent, without the API', async () => {
  await crashAndWait(10);
  crash();
  await waits(20);
  await clock.pass(15_000);
  await end();
  await begin();
  await waits(5);
  expect(host.state.starts).toBe(2);
  await clock.pass(5_000);
  await started(3);
  await end();
  await begin();
  await crashAndWait(40);
});

it('a crash while no agent lives is followed by a restart after the back-off, counted from the crash', async () => {
  await crashAndWait(10);
  await end();
  crash();
  await clock.pass(12_000);
  await begin();
  await waits(8);
  await clock.pass(8_000);
  await started(3);
});

it('a run that held out as long as the longest back-off begins the count anew, also over a restart of the agent', async () => {
  for (const seconds of [10, 20]) await crashAndWait(seconds);
  await clock.pass(59_000);
  await crashAndWait(40);
  await clock.pass(30_000);
  await end();
  await begin();
  await clock.pass(30_000);
  await crashAndWait(10);
  await crashAndWait(20);
});

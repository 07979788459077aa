import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { InstanceId } from '@berth/model';
import type { WorkloadKey } from '@berth/runtime';
import type { Machine, MachineDriver, MachineListener } from './machine-driver.js';
import { VmRuntime } from './vm-runtime.js';
import { WorkloadRecords } from './workload-record.js';

let dir: string;
let runtime: VmRuntime<Machine>;
let listener: MachineListener;
let machines: Machine[];
/** What `find` waits for before it answers, by instance. */
let holds: Map<string, Promise<void>>;
let listFails: number;
const watching = new AbortController();

const machine = (power: Machine['power']): Machine => {
  const instanceId = randomUUID() as InstanceId;
  return {
    instanceId,
    epoch: 1,
    uuid: randomUUID(),
    name: instanceId,
    power,
    end: 'guestOff',
    storage: null,
    agentPort: false,
  };
};

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'berth-vm-runtime-'));
  machines = [];
  holds = new Map();
  listFails = 0;
  const driver = {
    name: 'scripted',
    listen: (to: MachineListener) => (listener = to),
    watch: () => undefined,
    close: () => undefined,
    list: () =>
      listFails-- > 0 ? Promise.reject(new Error('a call took too long')) : Promise.resolve(machines),
    find: async ({ instanceId }: WorkloadKey) => {
      const found = machines.find((m) => m.instanceId === instanceId) ?? null;
      await holds.get(instanceId);
      return found;
    },
    pid: () => Promise.resolve(1),
    tpm: () => Promise.resolve(null),
    ended: () => Promise.resolve(),
  } as unknown as MachineDriver;
  const at = { stateDir: join(dir, 'state'), logDir: join(dir, 'log'), runDir: join(dir, 'run') };
  runtime = new VmRuntime(driver, at as never);
});
afterEach(async () => {
  await runtime.close();
  rmSync(dir, { recursive: true, force: true });
});

it('what was seen earlier is never said after what was seen later', async () => {
  const [quick, slow] = [machine('running'), machine('running')];
  machines = [quick, slow];
  const { instanceId, epoch, uuid } = quick;
  const never = {
    bootId: null,
    paused: false,
    exit: null,
    closed: false,
    memory: null,
    watchdog: null,
    cpuModel: null,
    expiredAt: null,
    frozenUntil: null,
    stilled: false,
  };
  const record = { instanceId, epoch, uuid, ...never };
  await new WorkloadRecords(join(dir, 'state')).write({ ...record, state: 'started', intent: 'stop' });
  let letGo = (): void => undefined;
  holds.set(slow.instanceId, new Promise((resolve) => (letGo = resolve)));
  const said: [string, string][] = [];
  const seen = runtime.observe(watching.signal)[Symbol.asyncIterator]();
  const next = async (): Promise<void> => {
    const { value } = (await seen.next()) as { value: { instanceId: string; phase: string } };
    said.push([value.instanceId, value.phase]);
  };
  listener.resync();
  // One that takes long does not hold up the other.
  await next();
  machines = [{ ...quick, power: null }, slow];
  listener.noticed(quick);
  await next();
  letGo();
  await next();
  expect(said).toEqual([
    [quick.instanceId, 'stopping'],
    [quick.instanceId, 'ended'],
    [slow.instanceId, 'running'],
  ]);
});

it('a look that failed is repeated', async () => {
  machines = [machine('running')];
  listFails = 2;
  const seen = runtime.observe(watching.signal)[Symbol.asyncIterator]();
  listener.resync();
  const { value } = await seen.next();
  expect(value).toMatchObject({ instanceId: machines[0]?.instanceId, phase: 'running' });
});

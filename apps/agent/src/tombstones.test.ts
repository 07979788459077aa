import type { ReportBody, Tombstone } from '@berth/link';
import type { InstanceId, VolumeId } from '@berth/model';
import type { Runtime } from '@berth/runtime';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { Runtimes } from './runtimes.js';
import { systemClock } from './system-clock.js';
import { Tombstones } from './tombstones.js';

const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
const instance = (n: number): InstanceId =>
  `00000000-0000-4000-8000-${String(n).padStart(12, '0')}` as InstanceId;
const volumeOf = (n: number, id = `v${n}`): Tombstone =>
  ({ kind: 'volume', id, instanceId: instance(n), volumeId: id as VolumeId }) as Tombstone;

let begun: string[];
let finish: Map<string, () => void>;
let said: string[];
let heard: () => void;
let tombstones: Tombstones;
beforeEach(() => {
  [begun, finish, said, heard] = [[], new Map(), [], () => undefined];
  // Each removal lasts until the test ends it.
  const removeVolume = (id: string): Promise<void> =>
    new Promise((resolve) => {
      begun.push(id);
      finish.set(id, resolve);
      heard();
    });
  const runtime = { removeVolume } as unknown as Runtime;
  tombstones = new Tombstones({
    clock: systemClock,
    log,
    runtimes: { ready: () => [runtime] } as unknown as Runtimes,
    report: (body: ReportBody) => {
      if (body.kind === 'tombstoneDone') said.push(body.id);
      heard();
    },
  });
});
afterEach(async () => {
  for (const end of finish.values()) end();
  await tombstones.close();
});

const order = (tombstone: Tombstone): void =>
  tombstones.add(tombstone, { worker: null, isolation: 'container', mayRemoveVolume: () => true });
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise<void>((resolve) => (heard = resolve));
}

it('an order that hangs holds up only its own instance, whose orders come one after the other', async () => {
  order(volumeOf(1, 'first'));
  order(volumeOf(1, 'second'));
  order(volumeOf(2, 'other'));
  await until(() => begun.includes('first') && begun.includes('other'));
  finish.get('other')?.();
  await until(() => said.includes('other'));
  expect(begun).toEqual(['first', 'other']);
  finish.get('first')?.();
  await until(() => begun.includes('second'));
  expect(said).toEqual(['other', 'first']);
});

it('no more than eight are carried out at once, and every one has its turn', async () => {
  for (let n = 1; n <= 20; n += 1) order(volumeOf(n));
  const ended = new Set<string>();
  while (ended.size < 20) {
    await until(() => begun.some((id) => !ended.has(id)));
    const running = begun.filter((id) => !ended.has(id));
    expect(running.length).toBeLessThanOrEqual(8);
    for (const id of running) {
      ended.add(id);
      finish.get(id)?.();
    }
  }
  await until(() => said.length === 20);
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InstanceId } from '@berth/model';
import { KeyedLock, RuntimeError, type WorkloadKey } from '@berth/runtime';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Freezes, frozenCondition } from './freezes.js';
import { WorkloadRecords, type WorkloadRecord } from './workload-record.js';

const key: WorkloadKey = { instanceId: '6f1d2f7e-2a0b-4c57-9df5-7b7d4a2a1c11' as InstanceId, epoch: 1 };
const signal = new AbortController().signal;

let dir: string;
let records: WorkloadRecords;
/** What is true of the guest, whatever became of us. */
let guest: { frozen: boolean; answers: boolean; thaws: number; failsToFreeze: boolean };
const lives: Freezes[] = [];
const lock = new KeyedLock();

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-freezes-'));
  records = new WorkloadRecords(dir);
  guest = { frozen: false, answers: true, thaws: 0, failsToFreeze: false };
  const started: WorkloadRecord = {
    ...{
      ...key,
      uuid: '0b0f7c0e-6f0e-4a54-8a4e-2f8b6a3f9d10',
      state: 'started',
      intent: 'none',
      bootId: null,
    },
    ...{
      paused: false,
      exit: null,
      closed: false,
      memory: null,
      watchdog: null,
      cpuModel: null,
      expiredAt: null,
      frozenUntil: null,
      stilled: false,
    },
  };
  await records.write(started);
});
afterEach(async () => {
  for (const life of lives.splice(0)) life.close();
  await lock.idle();
  rmSync(dir, { recursive: true, force: true });
});

/** The part of an agent's life that this is about. */
function life(): Freezes {
  const away = (): RuntimeError => new RuntimeError('agentAway', 'it does not answer');
  const made = new Freezes({
    guests: {
      freeze: () => {
        if (!guest.answers) return Promise.reject(away());
        guest.frozen = true;
        return guest.failsToFreeze ? Promise.reject(away()) : Promise.resolve(2);
      },
      thaw: () => {
        if (!guest.answers) return Promise.reject(away());
        guest.thaws += 1;
        guest.frozen = false;
        return Promise.resolve(2);
      },
    },
    records,
    running: async () => (await records.read(key)) as WorkloadRecord,
    locked: (of, work) => lock.run(of.instanceId, work),
    changed: () => undefined,
    now: () => new Date(),
  });
  lives.push(made);
  return made;
}
const until = async (): Promise<string | null | undefined> => (await records.read(key))?.frozenUntil;
const thawed = () => expect.poll(() => guest.frozen, { timeout: 10_000 }).toBe(false);

describe('file systems that are frozen', () => {
  it('are recorded before they are, and thawed by whoever asks', async () => {
    const freezes = life();
    guest.answers = true;
    expect(await freezes.freeze(key, 60, signal)).toBe(2);
    expect([guest.frozen, Date.parse((await until()) ?? '') > Date.now()]).toEqual([true, true]);
    expect(frozenCondition(await records.read(key))).toMatchObject({ type: 'FilesystemsFrozen' });
    expect(await freezes.thaw(key, signal)).toBe(2);
    expect([guest.frozen, await until()]).toEqual([false, null]);
    expect(frozenCondition(await records.read(key))).toBeNull();
  });

  it('are thawed when their time is up, and once', async () => {
    await life().freeze(key, 1, signal);
    expect(guest.frozen).toBe(true);
    await thawed();
    await expect.poll(until).toBeNull();
    expect(guest.thaws).toBe(1);
  });

  it('are thawed when their time is up by the next life of the agent', async () => {
    const killed = life();
    await killed.freeze(key, 1, signal);
    killed.close();
    const next = life();
    next.saw(key, await records.read(key));
    expect(guest.frozen).toBe(true);
    await thawed();
    await expect.poll(until).toBeNull();
  });

  it('are thawed once their guest answers again', async () => {
    const freezes = life();
    await freezes.freeze(key, 1, signal);
    guest.answers = false;
    await expect(freezes.thaw(key, signal)).rejects.toMatchObject({ code: 'agentAway' });
    expect(await until()).not.toBeNull();
    guest.answers = true;
    await thawed();
  });

  it('are not left so where the guest failed to freeze them all', async () => {
    guest.failsToFreeze = true;
    await expect(life().freeze(key, 60, signal)).rejects.toMatchObject({ code: 'agentAway' });
    expect([guest.frozen, await until()]).toEqual([false, null]);
  });

  it('are thawed before their machine is asked to end', async () => {
    const freezes = life();
    await freezes.freeze(key, 60, signal);
    await freezes.release(key);
    expect(guest.frozen).toBe(false);
    await freezes.release(key);
    expect(guest.thaws).toBe(1);
  });

  it('of a run that is over are forgotten', async () => {
    const freezes = life();
    await freezes.freeze(key, 1, signal);
    const record = (await records.read(key)) as WorkloadRecord;
    const ended: WorkloadRecord = { ...record, state: 'ended' };
    await records.write(ended);
    freezes.saw(key, ended);
    await freezes.release(key);
    expect(guest.thaws).toBe(0);
  });
});

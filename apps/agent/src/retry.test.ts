import { RuntimeError } from '@berth/runtime';
import { describe, expect, it } from 'vitest';
import type { Clock } from './clock.js';
import { failureOf, Retry } from './retry.js';

let at = 1000;
const clock: Clock = { now: () => new Date((at += 1000)), random: () => 0.5, sleep: () => Promise.resolve() };

describe('a failed step', () => {
  it('is told with the remedy of the room that failed first, however often it was wrapped', () => {
    const first = Object.assign(new Error('taken'), { remedy: 'free it' });
    const wrapped = new RuntimeError('hostFault', 'no network', {
      cause: new Error('between', { cause: first }),
    });
    expect(failureOf(wrapped)).toEqual({ code: 'hostFault', message: 'no network', remedy: 'free it' });
    expect(failureOf(first)).toMatchObject({ code: 'hostFault', remedy: 'free it' });
    const own = new RuntimeError('noSpace', 'full', { cause: first, remedy: 'add a disk' });
    expect(failureOf(own).remedy).toBe('add a disk');
    expect(failureOf('odd')).toEqual({ code: 'hostFault', message: 'odd', remedy: null });
  });

  it('holds the next attempt back, keeps its fault until a step succeeds, and its beginning while it repeats', () => {
    const retry = new Retry(clock);
    retry.failed('prepare', new RuntimeError('hostFault', 'one'));
    const since = retry.fault?.since;
    expect(retry.at).toBeGreaterThan(1000);
    retry.failed('prepare', new RuntimeError('hostFault', 'two'));
    expect(retry.fault).toMatchObject({ type: 'Retrying', message: 'prepare: two', since });
    retry.succeeded('prepare');
    expect([retry.at, retry.fault]).toEqual([null, null]);
  });

  it('is final only where no repeat of the same can mend it', () => {
    const retry = new Retry(clock);
    retry.failed('stop', new RuntimeError('unsupported', 'no'));
    expect(retry.fatal).toBeNull();
    retry.failed('start', new RuntimeError('badImage', 'broken'));
    expect(retry.fatal).toBe('broken');
  });
});

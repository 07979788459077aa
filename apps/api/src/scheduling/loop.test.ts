import { describe, expect, it } from 'vitest';
import { CoalescedLoop } from './loop.js';

function gate(): { readonly opened: Promise<void>; open(): void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}
const silent = { error: (): void => undefined };

describe('a coalesced loop', () => {
  it('turns any number of wakes during a pass into one more pass', async () => {
    const first = gate();
    let passes = 0;
    const loop = new CoalescedLoop('t', () => (++passes === 1 ? first.opened : Promise.resolve()), silent);
    for (let i = 0; i < 5; i++) loop.wake();
    first.open();
    await loop.idle();
    expect(passes).toBe(2);
  });

  it('goes on after a pass that failed, and tells it', async () => {
    const told: string[] = [];
    let passes = 0;
    const loop = new CoalescedLoop(
      't',
      () => (++passes === 1 ? Promise.reject(new Error('no')) : Promise.resolve()),
      { error: (_c, m) => told.push(m) },
    );
    loop.wake();
    await loop.idle();
    loop.wake();
    await loop.idle();
    expect(passes).toBe(2);
    expect(told).toHaveLength(1);
  });

  it('takes no wake after it was closed, and close waits for the pass under way', async () => {
    const pass = gate();
    let ended = false;
    let passes = 0;
    const loop = new CoalescedLoop(
      't',
      async () => {
        passes++;
        await pass.opened;
        ended = true;
      },
      silent,
    );
    loop.wake();
    loop.wake();
    const closed = loop.close();
    pass.open();
    await closed;
    loop.wake();
    expect(ended).toBe(true);
    expect(passes).toBe(1);
  });
});
